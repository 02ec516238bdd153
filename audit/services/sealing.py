"""The sealer: gives every committed row its place in the chain, outside of business transactions.

It takes no lock that a writer of rows could wait for. Two sealers at once take turns, and one that dies
leaves nothing half done: seals, floor and ceiling are of one transaction.

A row may be committed long after rows with higher ids. `floor` is the id up to which everything has its
seal and nothing can follow any more. It rises like this: an INSERT takes its lock on the table before it
takes an id, and gives it back after its commit can be seen. So once every transaction has ended that held
that lock when the ids stood at `ceiling`, no row up to `ceiling` is still to come. docs/adr says more.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db import connection, transaction

from audit.canonical import ROW, genesis, leaf_of, link

LOCK = (0x41554449, 1)  # "AUDI": one sealer at a time
BATCH_ROWS = 10_000
LATE_S = 10.0  # rows that wait longer than this for their seal are an alarm

# Both indexes are walked side by side, up to the limit: to hash or sort a backlog of a million rows for each
# batch of them was three times slower.
_BEGIN = """
SELECT pg_try_advisory_xact_lock(%s, %s), set_config('enable_hashjoin', 'off', true), set_config('enable_sort', 'off', true)
"""
_WRITERS = """
SELECT DISTINCT virtualtransaction FROM pg_locks
 WHERE locktype = 'relation' AND relation = 'audit_log'::regclass AND granted AND pid <> pg_backend_pid()
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND mode NOT IN ('AccessShareLock', 'RowShareLock')
"""
_UNSEALED = f"""
COPY (SELECT {ROW} FROM audit_log l
       WHERE l.id > %s AND NOT EXISTS (SELECT FROM audit_seal s WHERE s.entry_id = l.id AND s.entry_id > %s)
       ORDER BY l.id LIMIT %s) TO STDOUT
"""  # noqa: S608 - a constant


class Sealed(NamedTuple):
    """What one call did: rows sealed now, the last seal's number, and whether more is waiting."""

    rows: int
    seq: int
    more: bool


class Head(NamedTuple):
    """The end of the chain."""

    record_id: UUID
    seq: int
    chain: bytes


def seal(
    *, patience_s: float = 20.0, batch_rows: int = BATCH_ROWS, everything: bool = False
) -> Sealed | None:
    """Seal what is committed, in the order of ids, batch by batch, until nothing is left or the time is up.

    None: another sealer is at it. `everything` looks below the floor too, where by rights nothing waits.
    """
    rows, after, until = 0, 0 if everything else None, time.monotonic() + patience_s
    while True:
        batch = _seal_batch(after, batch_rows)
        if batch is None:
            return None
        rows += batch.rows
        if not batch.more or time.monotonic() > until:
            return Sealed(rows, batch.seq, batch.more)
        after = None if after is None else batch.last_id


def head() -> Head | None:
    """Where the chain ends now; None while there is none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.record_id, s.seq, s.chain FROM audit_sealer r"
            " LEFT JOIN LATERAL (SELECT seq, chain FROM audit_seal ORDER BY seq DESC LIMIT 1) s ON true"
        )
        row = cursor.fetchone()
    if row is None:
        return None
    record_id, seq, chain = row
    return Head(record_id, seq or 0, bytes(chain) if chain else genesis(record_id))


def oldest_unsealed() -> datetime | None:
    """When the row was written that waits longest for its seal; None: nothing waits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(l.recorded_at) FROM audit_log l"
            " WHERE l.id > COALESCE((SELECT floor FROM audit_sealer), 0)"
            "   AND NOT EXISTS (SELECT FROM audit_seal s WHERE s.entry_id = l.id)"
        )
        found: datetime | None = cursor.fetchone()[0]
    return found


class _Batch(NamedTuple):
    rows: int
    last_id: int
    seq: int
    more: bool


def _seal_batch(after: int | None, limit: int) -> _Batch | None:
    """Rows above `after`, or above the floor, which then rises. None: not our turn."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_BEGIN, LOCK)
        if not cursor.fetchone()[0]:
            return None
        floor, ceiling, holders = _state()
        settled = floor if _writers().intersection(holders) else max(floor, ceiling)
        # Only now read the rows: what the settled transactions wrote can be seen.
        lines = _read_unsealed(floor if after is None else after, limit)
        last = head()
        assert last is not None  # noqa: S101 - _state has made it
        last_id, seq = _append(last, lines)
        more = len(lines) == limit
        if after is None:
            now = floor, ceiling, holders
            floor = min(settled, max(floor, last_id)) if more else settled
            if settled >= ceiling:
                ceiling, holders = _next_ceiling()
            if (floor, ceiling, holders) != now:
                cursor.execute(
                    "UPDATE audit_sealer SET floor = %s, ceiling = %s, holders = to_jsonb(%s::text[])",
                    [floor, ceiling, holders],
                )
    return _Batch(len(lines), last_id, seq, more)


def _state() -> tuple[int, int, list[str]]:
    """Floor, ceiling and its holders."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT floor, ceiling, holders::text FROM audit_sealer")
        row = cursor.fetchone()
        if row is None:
            cursor.execute("INSERT INTO audit_sealer (record_id, holders) VALUES (%s, '[]')", [uuid4()])
            return 0, 0, []
    floor, ceiling, holders = row
    return floor, ceiling, json.loads(holders)


def _writers() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(_WRITERS)
        return {row[0] for row in cursor.fetchall()}


def _next_ceiling() -> tuple[int, list[str]]:
    """The highest id given out, and then who may still hold one up to it. In this order."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM audit_log_id_seq")
        ceiling = int(cursor.fetchone()[0])
    return ceiling, sorted(_writers())


def _read_unsealed(after: int, limit: int) -> list[bytes]:
    with connection.cursor() as cursor, cursor.copy(_UNSEALED, [after, after, limit]) as copy:
        return [bytes(line)[:-1] for line in copy]


def _append(last: Head, lines: Sequence[bytes]) -> tuple[int, int]:
    seq, chain, last_id = last.seq, last.chain, 0
    seals = []
    for line in lines:
        seq, leaf, last_id = seq + 1, leaf_of(line), int(line[: line.index(b"\t")])
        chain = link(chain, seq, leaf)
        seals.append(
            b"%d\t%d\t\\\\x%b\t\\\\x%b\n" % (seq, last_id, leaf.hex().encode(), chain.hex().encode())
        )
    if seals:
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY audit_seal (seq, entry_id, leaf, chain) FROM STDIN") as copy,
        ):
            copy.write(b"".join(seals))
    return last_id, seq
