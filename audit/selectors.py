"""Reading the record: the trail of one object, and of one person."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection

from audit import private, pseudonym
from audit.events import event_types

_STEP = 50_000
_TRAIL = """
SELECT l.id, l.at, l.recorded_at, l.actor_ref, l.action, l.object_type, l.object_id, l.changes::text, l.reason,
       l.request_id, s.seq, encode(s.leaf, 'hex'), encode(s.chain, 'hex')
  FROM audit_log l LEFT JOIN audit_seal s ON s.entry_id = l.id
"""


class TrailRow(NamedTuple):
    """One row with its seal; `seq`, `leaf` and `chain` are None until it is sealed.

    `changes` and `reason` as they are stored: private fields stay closed.
    """

    id: int
    at: datetime
    recorded_at: datetime
    actor: str
    action: str
    object_type: str
    object_id: str
    changes: dict[str, Any]
    reason: str
    request_id: str
    seq: int | None
    leaf: str | None
    chain: str | None


def trail(*, object_type: str, object_id: str) -> Iterator[TrailRow]:
    """Everything that was ever recorded of one object, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"{_TRAIL} WHERE l.object_type = %s AND l.object_id = %s ORDER BY l.id",
            [object_type, object_id],
        )
        yield from map(_row, cursor.fetchall())


def trail_of_person(user_id: UUID) -> Iterator[TrailRow]:
    """What a person did and what was done to them, oldest first, with their private fields opened.

    For a request for access. Reads the whole record in steps. Empty for somebody who was forgotten.
    """
    key = pseudonym.key_of(user_id)
    if key is None:
        return
    ref, after = pseudonym.actor_ref(user_id, key), 0
    while (end := _step_end(after)) is not None:
        with connection.cursor() as cursor:
            cursor.execute(
                f"{_TRAIL} WHERE l.id > %s AND l.id <= %s"
                " AND (l.actor_ref = %s OR (l.object_type = 'user' AND l.object_id = %s)) ORDER BY l.id",
                [after, end, ref, ref],
            )
            rows = [_row(row) for row in cursor.fetchall()]
        yield from (opened(row, key) for row in rows)
        after = end


def opened(row: TrailRow, key: bytes | None) -> TrailRow:
    """The row with its private fields as they were recorded; None where the key is not theirs, or gone."""
    forgets = event_types[row.action].forgets if row.action in event_types else ()
    if not forgets:
        return row
    changes = {
        name: private.open_value(key=key, action=row.action, name=name, stored=value)
        if name in forgets
        else value
        for name, value in row.changes.items()
    }
    reason = row.reason
    if reason and "reason" in forgets:
        reason = str(
            private.open_value(key=key, action=row.action, name="reason", stored=reason) or "(forgotten)"
        )
    return row._replace(changes=changes, reason=reason)


def _step_end(after: int) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(id) FROM (SELECT id FROM audit_log WHERE id > %s ORDER BY id LIMIT %s) AS step",
            [after, _STEP],
        )
        found: int | None = cursor.fetchone()[0]
    return found


def _row(columns: tuple[Any, ...]) -> TrailRow:
    row = TrailRow(*columns)
    return row._replace(changes=msgspec.json.decode(columns[7]))
