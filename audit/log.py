"""Writing into the record: in the same transaction as the change, or not at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import connection, transaction

from audit.events import event_types
from audit.pseudonym import is_actor_ref
from raxx.kernel.api.request_id import current_request_id

# For code that inserts by its own SQL: what `values` returns, in this order.
COLUMNS = ("at", "actor_ref", "action", "object_type", "object_id", "changes", "reason", "request_id")

_SECRETIVE = re.compile(r"secret|token|passw|passphrase|private_key|cookie|authorization", re.IGNORECASE)
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")

# The rows travel as one JSON document: as eight text[] parameters, whose quotes psycopg escapes one by
# one in Python, a row cost three times as much.
_INSERT = """
INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, reason, request_id)
SELECT at, actor_ref, action, object_type, object_id, changes::jsonb, reason, request_id
  FROM json_to_recordset(%s::json) AS entry (at timestamptz, actor_ref text, action text, object_type text,
       object_id text, changes text, reason text, request_id text)
"""


class UnregisteredEvent(LookupError):
    """The action is not in `audit.events`. A bug: nobody decided how long such rows are kept."""


class SecretInRecord(ValueError):
    """A changed field is named like a secret. A bug: rows cannot be cleaned afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row to be. `actor` is an actor_ref: `pseudonym.actor_ref_for(user_id)` or a `system:` word.

    `changes` maps field names to [before, after], or to a value where the object is new. No personal
    data: rows outlive the person; a person as the object is named by pseudonym too, never by user id.
    `at` is an aware instant of the business clock.
    """

    action: str
    actor: str
    object_type: str
    object_id: UUID | str | int
    at: datetime
    changes: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    request_id: str = field(default_factory=current_request_id)


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
            )
        ]
    )


def record_many(entries: Sequence[Entry]) -> None:
    """Write rows in the given order, with one statement.

    Raises TransactionManagementError outside of a transaction, UnregisteredEvent, SecretInRecord, and
    ValueError for an actor that is no actor_ref or an instant without a zone.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("audit rows belong into the transaction of the change")
    if not entries:
        return
    rows = [dict(zip(COLUMNS, values(entry), strict=True)) for entry in entries]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [_encoder.encode(rows).decode()])


def values(entry: Entry) -> tuple[datetime, str, str, str, str, str, str, str]:
    """A checked entry as the values of COLUMNS; `changes` is JSON text. Raises as `record_many` does."""
    if entry.action not in event_types:
        raise UnregisteredEvent(f"audit event {entry.action!r} is not registered: see audit/events.py")
    if not is_actor_ref(entry.actor):
        raise ValueError("an audit actor is a pseudonym or a system word: see audit/pseudonym.py")
    if entry.at.tzinfo is None:
        raise ValueError("audit instants carry their zone")
    _refuse_secrets(entry.changes)
    return (
        entry.at,
        entry.actor,
        entry.action,
        entry.object_type,
        str(entry.object_id),
        _encoder.encode(entry.changes).decode(),
        entry.reason,
        entry.request_id,
    )


def _refuse_secrets(node: object) -> None:
    if isinstance(node, Mapping):
        for name, inner in node.items():
            if _SECRETIVE.search(str(name)):
                raise SecretInRecord(f"audit changes name {name!r}: secrets are never recorded")
            _refuse_secrets(inner)
    elif isinstance(node, list | tuple):
        for inner in node:
            _refuse_secrets(inner)
