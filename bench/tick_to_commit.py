"""Tick to commit, and handover, in the live engine process on the practice market.

Tick to commit: from the instant that a quote carries to the committed fill of an order that rested. The practice
market's quotes carry wall-clock instants and are given out every 50 ms, so up to 50 ms of it is the feed's own beat;
the rows after the first leave that out. Handover: from just before the submission begins until the order is
in the engine's index, beside the least that a handover needs: a row committed, an entry on a Redis stream, and
another process that waits for it.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import redis

from bench import house as houses
from bench.common import SPREAD_COLUMNS, Options, Report, main, percentile, spread_row
from bench.engine_probe import Notes
from bench.house import House, Trader

TITLE = "Tick to commit, and handover"
FEED = "simulated"
BEAT_NS = 50_000_000  # raxx/market/feeds/simulated.py
BARE_STREAM = "bench:handover"
GAP_S = 0.02


class Listener(threading.Thread):
    """Another process's view: when it hears of an order's fill on the stream that the outbox rings."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        from mbt.events import ORDERS_TOPIC
        from raxx.kernel import outbox

        self._client, self._stream = redis.Redis.from_url(url), outbox.stream(ORDERS_TOPIC)
        self.heard: dict[UUID, int] = {}
        self.stopping = False

    def run(self) -> None:
        last: Any = "$"
        while not self.stopping:
            found: Any = self._client.xread({self._stream: last}, block=200)
            for _, entries in found or []:
                at = time.time_ns()
                last = entries[-1][0]
                for _, fields in entries:
                    told = msgspec.json.decode(fields[b"payload"])
                    if told["event"] == "filled":
                        self.heard[UUID(told["order_id"])] = at


def run(options: Options, report: Report) -> None:
    with houses.opened() as house:
        traders = house.traders(8, feed=FEED)
        notes_file, bare_file = house.folder / "notes.json", house.folder / "bare.json"
        listener = Listener(house.redis_url)
        with _engine(house, notes_file), _reader(house, bare_file):
            listener.start()
            begun = handovers(house, traders, options.size(400, 40))
            resting = rest(traders, options.size(25, 5))
        listener.stopping = True  # the engine has ended: nothing more will be told
        listener.join()
        notes = msgspec.json.decode(notes_file.read_bytes(), type=Notes)
        bare_ages: list[int] = msgspec.json.decode(bare_file.read_bytes())
        _report_handover(report, begun, notes, bare_ages)
        _report_ticks(report, resting, notes, listener.heard)


def handovers(house: House, traders: list[Trader], count: int) -> dict[UUID, tuple[int, int]]:
    """Submit orders that nothing reaches, each followed by a bare handover. When each submission began and ended."""
    client = redis.Redis.from_url(house.redis_url)
    begun: dict[UUID, tuple[int, int]] = {}
    with psycopg.connect(house.database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE bare_order (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body text)"
        )
        for number in range(count):
            order_id, *between = submit(traders[number % len(traders)], "AAPL", Decimal("1.00"))
            begun[order_id] = (between[0], between[1])
            time.sleep(GAP_S)
            at = time.time_ns()
            with connection.transaction():
                connection.execute("INSERT INTO bare_order (body) VALUES (%s)", ["x" * 100])
            client.xadd(BARE_STREAM, {"begun": at})
            time.sleep(GAP_S)
    client.xadd(BARE_STREAM, {"end": 1})
    return begun


def rest(traders: list[Trader], seconds: int) -> set[UUID]:
    """Buy orders just below the ask of every stock, for a while; then a pause in which the last ones may fill."""
    from mbt import selectors
    from raxx.kernel.money import from_ticks
    from raxx.market.contracts import parse_symbol, price_step
    from raxx.market.feeds.practice.underlyings import UNDERLYINGS

    symbols = [underlying.symbol for underlying in UNDERLYINGS]
    sent: set[UUID] = set()
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        quotes = selectors.market(FEED, symbols).quotes
        for symbol, quote in quotes.items():
            if quote.ask:
                limit = quote.ask - price_step(parse_symbol(symbol), quote.ask)
                sent.add(submit(traders[number % len(traders)], symbol, from_ticks(limit))[0])
                number += 1
                time.sleep(GAP_S)
    time.sleep(2)
    return sent


def submit(trader: Trader, symbol: str, limit: Decimal) -> tuple[UUID, int, int]:
    """As the API does; the order, and when its submission began and ended."""
    from audit.pseudonym import actor_ref_for
    from mbt import selectors
    from mbt.engine.orders import OrderType, Side, TimeInForce
    from mbt.engine.tickets import Ticket
    from mbt.services import orders
    from raxx.kernel.ids import new_id

    market = selectors.market(FEED, [symbol])
    ticket = Ticket(
        symbol=symbol, side=Side.BUY, qty=Decimal(1), order_type=OrderType.LIMIT, time_in_force=TimeInForce.GTC,
        limit_price=limit, client_order_id=str(new_id()),
    )  # fmt: skip
    account, actor = selectors.account_ref(trader.user_id), actor_ref_for(trader.user_id)
    at = time.time_ns()
    taken = orders.submit(
        account=account, ticket=ticket, now_ns=market.now_ns, quotes=market.quotes, actor=actor
    )
    return taken.order.pk, at, time.time_ns()


def _report_handover(
    report: Report, begun: dict[UUID, tuple[int, int]], notes: Notes, bare_ages: list[int]
) -> None:
    missing = begun.keys() - notes.indexed.keys()
    assert not missing, f"{len(missing)} orders never came into the index"
    ages = [(notes.indexed[order_id] - at) / 1e6 for order_id, (at, _) in begun.items()]
    after = [(notes.indexed[order_id] - done) / 1e6 for order_id, (_, done) in begun.items()]
    submitting = [(done - at) / 1e6 for at, done in begun.values()]
    bare = [age / 1e6 for age in bare_ages]
    report.table("Handover of a committed order to the engine", SPREAD_COLUMNS, [
        spread_row("begin of the submission → in the index", ages),
        spread_row("  of it the submission (lock, decide, store, commit, ring)", submitting),
        spread_row("  of it afterwards", after),
        spread_row("bare: begin → row committed → heard on a Redis stream", bare),
    ])  # fmt: skip
    report.goal(
        "10 p99 of the handover, of the bare one", percentile(ages, 99) / percentile(bare, 99), most=2
    )
    report.say(f"at the median it is {percentile(ages, 50) / percentile(bare, 50):.1f} x the bare one")


def _report_ticks(report: Report, resting: set[UUID], notes: Notes, heard: dict[UUID, int]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT f.order_id, f.quote_ns, (extract(epoch FROM a.recorded_at) * 1000000000)::bigint FROM mbt_fills f"
            " JOIN audit_log a ON a.object_type = 'mbt.order' AND a.object_id = f.order_id::text"
            " WHERE f.rule = 'limit.resting' AND a.action = 'mbt.order.filled'"
        )
        rows = [row for row in cursor.fetchall() if row[0] in resting]
    assert rows, "nothing filled"
    filled = [
        (quote_ns, notes.decided[i], recorded, notes.committed[i], heard[i]) for i, quote_ns, recorded in rows
    ]
    given = [-(-quote_ns // BEAT_NS) * BEAT_NS for quote_ns, *_ in filled]
    report.table("From a quote to the fill of a resting order", SPREAD_COLUMNS, [
        spread_row("quote's instant → committed", [(c - q) / 1e6 for q, _, _, c, _ in filled]),
        spread_row("the feed's beat → committed", [(f[3] - g) / 1e6 for f, g in zip(filled, given, strict=True)]),
        spread_row("  the feed's beat → decided", [(f[1] - g) / 1e6 for f, g in zip(filled, given, strict=True)]),
        spread_row("  decided → recorded (audit_log.recorded_at, inside the transaction)", [(r - d) / 1e6 for _, d, r, _, _ in filled]),
        spread_row("  decided → committed", [(c - d) / 1e6 for _, d, _, c, _ in filled]),
        spread_row("  committed → heard by another process", [(h - c) / 1e6 for *_, c, h in filled]),
    ])  # fmt: skip
    slow = percentile([(f[3] - f[0]) / 1e6 for f in filled], 99)
    report.goal("headline: p99 from a quote to the committed fill", slow, most=200, unit="ms")


@contextmanager
def _engine(house: House, notes: Path) -> Iterator[None]:
    """The live engine, until it has written its notes."""
    from mbt import selectors
    from raxx.market.board import MarketDataUnavailable

    with house.process([sys.executable, "-m", "bench.engine_probe", str(notes)]) as program:
        deadline = time.monotonic() + 60
        while True:
            try:
                if "AAPL" in selectors.market(FEED, ["AAPL"]).quotes:
                    break
            except MarketDataUnavailable:
                pass
            assert program.poll() is None, "the engine ended"
            assert time.monotonic() < deadline, "the engine does not publish"
            time.sleep(0.2)
        time.sleep(2)  # the first quotes of everything are through
        yield
        program.terminate()
        program.wait(20)
        assert program.returncode == 0, f"the engine ended with {program.returncode}"


@contextmanager
def _reader(house: House, file: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "bench.stream_reader", house.redis_url, BARE_STREAM, str(file)]
    with house.process(command) as program:
        while not file.with_suffix(".ready").exists():
            time.sleep(0.05)
        yield
        program.wait(10)


if __name__ == "__main__":
    main(run, TITLE)
