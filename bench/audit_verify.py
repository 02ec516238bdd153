"""The audit record: how fast its rows are written, sealed and verified.

A million rows as the product writes them, in a database of its own: sealed by the sealer, verified as
`manage.py audit_verify` does. Beside the verification stands the least that any could do: reading the
same rows out of PostgreSQL and hashing each once. Then what the sealer costs those who write rows: a
thousand small transactions alone, and with a sealer that works all the time.
"""

import statistics
import threading
import time
from typing import TYPE_CHECKING

from audit.canonical import ROW, leaf_of
from bench import house as houses
from bench.common import Options, Report, main
from raxx.kernel import clock
from raxx.kernel.ids import new_id

if TYPE_CHECKING:  # models can only be imported in a house: bench/house.py
    from audit.log import Entry

TITLE = "The sealed audit record"
ROWS = 1_000_000
_BATCH = 1_000


def entries(count: int) -> "list[Entry]":
    from audit.log import Entry

    at, actor = clock.now(), "780829fd6a2079a8548cc99c8a11051d"
    return [
        Entry(
            action="mbt.order.accepted",
            actor=actor,
            object_type="mbt.order",
            object_id=new_id(),
            at=at,
            changes={
                "status": "accepted", "symbol": "SPY", "side": "buy", "qty": "10", "order_type": "limit",
                "limit_price": "612.34", "time_in_force": "day", "cash_hold": "6123.40",
            },
            request_id="0193f3c1e7b2a7c3d9e4f5a6b7c8d9e0",
        )
        for _ in range(count)
    ]  # fmt: skip


def write(rows: int) -> float:
    """Seconds. Batches of a thousand, as a busy engine writes them."""
    from django.db import transaction

    from audit.log import record_many

    began = time.perf_counter()
    for _ in range(rows // _BATCH):
        with transaction.atomic():
            record_many(entries(_BATCH))
    return time.perf_counter() - began


def read_and_hash() -> float:
    from django.db import connection

    began = time.perf_counter()
    statement = f"COPY (SELECT {ROW} FROM audit_log l ORDER BY l.id) TO STDOUT"  # noqa: S608 - constants
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for line in copy:
            leaf_of(bytes(line)[:-1])
    return time.perf_counter() - began


def small_transactions(count: int) -> float:
    """Milliseconds of the median one."""
    from django.db import transaction

    from audit.log import record_many

    took = []
    for entry in entries(count):
        began = time.perf_counter()
        with transaction.atomic():
            record_many([entry])
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


def beside_a_sealer(count: int) -> float:
    from django.db import connection

    from audit.services import sealing

    stop = threading.Event()

    def seal_on() -> None:
        try:
            while not stop.wait(0.2):
                sealing.seal()
        finally:
            connection.close()

    sealer = threading.Thread(target=seal_on)
    sealer.start()
    try:
        return small_transactions(count)
    finally:
        stop.set()
        sealer.join()


def run(options: Options, report: Report) -> None:
    rows = options.size(ROWS, 20_000)
    with houses.opened() as house:
        from django.conf import settings

        from audit.services import checkpoints, sealing
        from audit.verification import verify

        settings.RAXX_AUDIT_CHECKPOINTS = str(house.folder / "checkpoints.jsonl")
        wrote = write(rows)
        began = time.perf_counter()
        sealing.seal(patience_s=3_600)
        sealed = time.perf_counter() - began
        checkpoints.make(now=clock.now())
        found = verify(files=[house.folder / "checkpoints.jsonl"])
        assert found.is_sound, found.first
        assert found.rows == rows
        bare = read_and_hash()
        count = options.size(1_000, 100)
        alone, beside = small_transactions(count), beside_a_sealer(count)
    report.table(
        f"{rows:,} rows",
        ["", "s", "thousand rows/s"],
        [
            ["written, a thousand at a time", wrote, rows / wrote / 1e3],
            ["sealed", sealed, rows / sealed / 1e3],
            ["verified: rows, MACs, chain, checkpoints", found.seconds, rows / found.seconds / 1e3],
            ["only read, and hashed once", bare, rows / bare / 1e3],
        ],
    )
    report.table(
        "A transaction with one audit row",
        ["ms, median", ""],
        [["alone", alone], ["beside a sealer that works five times a second", beside]],
    )
    report.goal("verification of a million rows", found.seconds * ROWS / rows, most=60, unit="s")


if __name__ == "__main__":
    main(run, TITLE)
