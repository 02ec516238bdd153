"""Writing into the record: in the same transaction as the change, or not at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import connection, transaction

from audit import private
from audit.canonical import mac_of_entry
from audit.events import event_types
from audit.pseudonym import is_actor_ref
from raxx.kernel.api.request_id import current_request_id
from raxx.kernel.keys import derive

# For code that inserts by its own SQL: what `values` returns, in this order.
COLUMNS = ("at", "actor_ref", "action", "object_type", "object_id", "changes", "reason", "request_id", "mac")

_SECRETIVE = re.compile(r"secret|token|passw|passphrase|private_key|cookie|authorization", re.IGNORECASE)
# Whoever means such a field says so in the event type, and it is stored under the person's key.
_PERSONAL = frozenset(
    ["email", "phone", "ip", "ip_address", "user_agent", "address", "full_name", "first_name", "last_name"]
)
MAC_KEY = "audit-row-mac"
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")

# The rows travel as one JSON document: as eight text[] parameters, whose quotes psycopg escapes one by
# one in Python, a row cost three times as much.
_INSERT = """
INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, reason, request_id, mac)
SELECT at, actor_ref, action, object_type, object_id, changes::jsonb, reason, request_id, decode(mac, 'base64')
  FROM json_to_recordset(%s::json) AS entry (at timestamptz, actor_ref text, action text, object_type text,
       object_id text, changes text, reason text, request_id text, mac text)
"""


class UnregisteredEvent(LookupError):
    """The action is not in `audit.events`. A bug: nobody decided how long such rows are kept."""


class SecretInRecord(ValueError):
    """A changed field is named like a secret. A bug: rows cannot be cleaned afterwards."""


class PersonalDataInRecord(ValueError):
    """A changed field tells about a person, and its event type does not say that it must be forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row to be. `actor` is an actor_ref: `pseudonym.actor_ref_for(user_id)` or a `system:` word.

    `changes` maps field names to [before, after], or to a value where the object is new. No personal
    data, except in fields that the event type lists in `forgets`: those are stored under the key of
    `subject`, a user id, which is not stored itself. Rows outlive the person, so a person as the object
    is named by pseudonym too, never by user id. No floats. `at` is an aware instant of the business clock.
    """

    action: str
    actor: str
    object_type: str
    object_id: UUID | str | int
    at: datetime
    changes: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    request_id: str = field(default_factory=current_request_id)
    subject: UUID | None = None


def record(
    action: str,
    *,
    actor: str,
    object_type: str,
    object_id: UUID | str | int,
    at: datetime,
    changes: Mapping[str, object] | None = None,
    reason: str = "",
    request_id: str | None = None,
    subject: UUID | None = None,
) -> None:
    """Write one row; the arguments are those of Entry. Raises as `record_many` does."""
    record_many(
        [
            Entry(
                action=action,
                actor=actor,
                object_type=object_type,
                object_id=object_id,
                at=at,
                changes=changes or {},
                reason=reason,
                request_id=current_request_id() if request_id is None else request_id,
                subject=subject,
            )
        ]
    )


def record_many(entries: Sequence[Entry]) -> None:
    """Write rows in the given order, with one statement.

    Raises TransactionManagementError outside of a transaction, UnregisteredEvent, SecretInRecord,
    PersonalDataInRecord, FloatInRecord, and ValueError for an actor that is no actor_ref, an instant
    without a zone, or fields to forget without a subject.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("audit rows belong into the transaction of the change")
    if not entries:
        return
    rows = [dict(zip(COLUMNS, values(entry), strict=True)) for entry in entries]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [_encoder.encode(rows).decode()])


def values(entry: Entry) -> tuple[datetime, str, str, str, str, str, str, str, bytes]:
    """A checked entry as the values of COLUMNS; `changes` is JSON text. Raises as `record_many` does."""
    if entry.action not in event_types:
        raise UnregisteredEvent(f"audit event {entry.action!r} is not registered: see audit/events.py")
    if not is_actor_ref(entry.actor):
        raise ValueError("an audit actor is a pseudonym or a system word: see audit/pseudonym.py")
    if entry.at.tzinfo is None:
        raise ValueError("audit instants carry their zone")
    forgets = event_types[entry.action].forgets
    changes, reason = entry.changes, entry.reason
    _refuse(changes, allowed=forgets)
    if forgets:
        changes, reason = private.seal(
            action=entry.action, forgets=forgets, subject=entry.subject, changes=changes, reason=reason
        )
    changes_json, object_id = _encoder.encode(changes), str(entry.object_id)
    mac = mac_of_entry(
        derive(MAC_KEY),
        at=entry.at,
        actor=entry.actor,
        action=entry.action,
        object_type=entry.object_type,
        object_id=object_id,
        changes=changes_json,
        reason=reason,
        request_id=entry.request_id,
    )
    return (
        entry.at,
        entry.actor,
        entry.action,
        entry.object_type,
        object_id,
        changes_json.decode(),
        reason,
        entry.request_id,
        mac,
    )


def _refuse(node: object, *, allowed: tuple[str, ...] = ()) -> None:
    """`allowed`: personal fields that are going to be stored under the person's key."""
    if isinstance(node, Mapping):
        for name, inner in node.items():
            if _SECRETIVE.search(str(name)):
                raise SecretInRecord(f"audit changes name {name!r}: secrets are never recorded")
            if name in _PERSONAL and name not in allowed:
                raise PersonalDataInRecord(
                    f"audit changes name {name!r}: list it in `forgets` of the event type, or leave it out"
                )
            _refuse(inner)
    elif isinstance(node, list | tuple):
        for inner in node:
            _refuse(inner)
