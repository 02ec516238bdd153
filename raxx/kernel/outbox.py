"""The outbox: what happened is stored in the same transaction as the change, and announced after it.

`add` writes a row. When the transaction has committed, the row rings at once on the Valkey stream
`raxx:events:<topic>` (fields `id`, `key`, `payload`). What did not ring, because Valkey or the process
was gone, is found and rung by `sweep`. So every event arrives at least once, never before its commit,
and never when the change was rolled back. A listener is idempotent; ids of one key grow in commit
order, so it may drop an event that is older than the last one it saw of that key.

Streams are doorbells, cut at about 10,000 entries: the truth is in PostgreSQL. docs/adr/0010.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog
from django.db import connection, transaction
from redis.exceptions import RedisError

from raxx.kernel import valkey

PUBLISHED_KEY = "raxx:outbox:published"
STREAM_LENGTH = 10_000
DIRECT_FOR = timedelta(seconds=2)  # as long as this the process that wrote a row has it to itself
KEEP_FOR = timedelta(days=7)
_RING_ROWS_MAX = 1_000  # rows in one round trip to Valkey
_SWEEP_ROWS, _SWEEP_ROUNDS_MAX = 1_000, 50
_PURGE_ROWS_MAX = 10_000
# Marks that nobody collects vanish, and with them those that a replaced database left behind.
_PUBLISHED_TTL_S = 600

log = structlog.get_logger(__name__)
_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


class Event(NamedTuple):
    """A row of the outbox. `payload` is JSON text."""

    id: int
    topic: str
    key: str
    payload: str


class Swept(NamedTuple):
    """Rows that a sweep found published, published itself, and deleted."""

    marked: int
    republished: int
    purged: int


def stream(topic: str) -> str:
    """The name of the stream that events of `topic` ring on."""
    return f"raxx:events:{topic}"


def add(*, topic: str, key: str, payload: Mapping[str, object]) -> None:
    """Store one event in the caller's transaction. `payload` holds ids and small facts, never secrets."""
    add_many(topic=topic, events=[(key, payload)])


def add_many(*, topic: str, events: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    """Store (key, payload) pairs in the caller's transaction, with one statement.

    Raises TransactionManagementError outside of a transaction: an event without its change is a bug.
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("outbox rows belong into the transaction of the change")
    if not events:
        return
    keys = [key for key, _ in events]
    payloads = [_encoder.encode(payload).decode() for _, payload in events]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox (topic, key, payload)"
            " SELECT %s, event ->> 0, (event ->> 1)::jsonb FROM json_array_elements(%s::json) AS event"
            " RETURNING id",
            [topic, _encoder.encode(list(zip(keys, payloads, strict=True))).decode()],
        )
        ids = [row[0] for row in cursor.fetchall()]
    bell([Event(*event) for event in zip(ids, [topic] * len(ids), keys, payloads, strict=True)])


def bell(events: Sequence[Event]) -> None:
    """Ring for rows that are already in the table: for code that writes them by its own SQL.

    Inside a transaction it rings after the commit, or never; outside of one, at once. It never raises
    on account of Valkey and waits at most for its time-outs.
    """
    if not events:
        return
    if not connection.in_atomic_block:
        _ring(events)
        return
    batch = _open_batch()
    if batch is None:
        transaction.on_commit(_Batch(events).ring, robust=True)
    else:
        batch.events.extend(events)


class _Batch:
    """Rows of one transaction (of one savepoint, where it has some) that ring together."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = list(events)

    def ring(self) -> None:
        _ring(self.events)


def _open_batch() -> _Batch | None:
    """The batch that the next row may join: the last one, if no savepoint came or went since then,
    because a savepoint that is rolled back takes its rows along."""
    for hook in reversed(connection.run_on_commit):  # (savepoints, callback, robust)
        batch = getattr(hook[1], "__self__", None)
        if isinstance(batch, _Batch):
            return batch if hook[0] == set(connection.savepoint_ids) else None
    return None


class _Breaker:
    """After a failure one caller a second tries again; the others pass by without waiting."""

    PAUSE_S = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._retry_at: float | None = None

    def allows(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if self._retry_at is None:
                return True
            if now < self._retry_at:
                return False
            self._retry_at = now + self.PAUSE_S  # this caller is the one who tries
            return True

    def report(self, *, works: bool) -> None:
        with self._lock:
            self._retry_at = None if works else time.monotonic() + self.PAUSE_S


_breaker = _Breaker()


def _ring(events: Sequence[Event]) -> None:
    if not _breaker.allows():
        return  # the sweep will do it
    try:
        for start in range(0, len(events), _RING_ROWS_MAX):
            _send(events[start : start + _RING_ROWS_MAX], note_published=True)
    except RedisError as failure:
        _breaker.report(works=False)
        log.warning("outbox rows left to the sweep", rows=len(events), reason=str(failure))
    else:
        _breaker.report(works=True)


def _send(events: Sequence[Event], *, note_published: bool) -> None:
    """One round trip. The marks come last: whoever finds one knows that its event is in the stream."""
    pipeline = valkey.shared().pipeline(transaction=False)
    for event in events:
        fields = {"id": event.id, "key": event.key, "payload": event.payload}
        pipeline.xadd(stream(event.topic), fields, maxlen=STREAM_LENGTH, approximate=True)  # type: ignore[arg-type]
    if note_published:
        pipeline.sadd(PUBLISHED_KEY, *(event.id for event in events))
        pipeline.expire(PUBLISHED_KEY, _PUBLISHED_TTL_S, nx=True)
    pipeline.execute()


def sweep(now: datetime) -> Swept:
    """Settle the table: note what was published, publish what was not, delete what is old.

    Safe to run twice and in several processes at once. Where Valkey does not answer, it only deletes.
    """
    marked = republished = 0
    try:
        marked = _mark_published(now)
        republished = _republish(now)
    except RedisError as failure:
        log.warning("outbox sweep without Valkey", reason=str(failure))
    return Swept(marked, republished, _purge(now))


def _mark_published(now: datetime) -> int:
    """A crash between the two steps loses marks, never events: unmarked rows are published again."""
    client, marked = valkey.shared(), 0
    for _ in range(_SWEEP_ROUNDS_MAX):
        ids = [int(member) for member in client.spop(PUBLISHED_KEY, _SWEEP_ROWS) or []]
        if not ids:
            break
        marked += _mark(ids, now)
    return marked


def _mark(ids: Sequence[int], now: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE outbox SET published_at = %s WHERE id = ANY(%s) AND published_at IS NULL",
            [now, list(ids)],
        )
        return int(cursor.rowcount)


def _republish(now: datetime) -> int:
    """The row locks are held while Valkey is called, which is short by its time-outs, and only other
    sweeps ever look at these rows; they skip them."""
    republished = 0
    for _ in range(_SWEEP_ROUNDS_MAX):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, topic, key, payload::text FROM outbox"
                " WHERE published_at IS NULL AND created_at < %s"
                " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED",
                [now - DIRECT_FOR, _SWEEP_ROWS],
            )
            events = [Event(*row) for row in cursor.fetchall()]
            if not events:
                break
            _send(events, note_published=False)
            republished += _mark([event.id for event in events], now)
    return republished


def _purge(now: datetime) -> int:
    """Looks only at the lowest ids, which are the oldest: so it needs no index and never walks the table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM outbox WHERE id IN ("
            " SELECT id FROM (SELECT id, published_at FROM outbox ORDER BY id LIMIT %s) AS oldest"
            " WHERE published_at < %s)",
            [_PURGE_ROWS_MAX, now - KEEP_FOR],
        )
        return int(cursor.rowcount)
