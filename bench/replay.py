"""Whole-tape replay: a recorded day with 500 orders, in memory, from the compressed file to the ledger's digest.

With recorded data (RAXX_TAPES, default ../shared/data) it is AIG of 2013-10-07, 540,000 quotes; without, a synthetic
tape of the same form. The account is replayed from the tape's columns: of the quotes that can matter. Beside that
stand the same from every quote, which must leave the same ledger, and a loop that does nothing but look at both
prices of every quote. Then the first fills of 1,000 and 10,000 orders that do not depend on each other are searched
for. With --yardstick the same 500 orders also go through nautilus_trader, downloaded for the run.
"""

import gzip
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from bench import market
from bench.common import Contestant, Options, Rates, Report, interleave, main, ratio
from mbt.engine.account import Position
from mbt.engine.ledger import Ledger, digest
from mbt.engine.orders import NEVER_NS, Order, OrderType, Side, TimeInForce
from mbt.engine.replay import Submit, replay
from mbt.engine.search import TapeIndex, first_fills
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market import calendar
from raxx.market.contracts import AssetClass
from raxx.market.feeds.tape import Tape, read_tape
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

TITLE = "Whole-tape replay"
TAPE = "quotes_tick_AIG_20131007.csv.gz"
ORDERS = 500
CASH = Decimal("1000000000.00")
WHOLE, READ, REPLAY, EVERY = (
    "whole: file to digest", "read_tape", "replay, index and digest included", "replay of every quote",
)  # fmt: skip
SEARCH = "search of {:,} orders, index {}"
RIVAL_PACKAGE = "nautilus_trader==1.221.0"  # the last for Python 3.11


def run(options: Options, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="raxx-bench-", dir="/var/tmp") as name:
        folder = Path(name)
        path = _recorded() or _synthetic(folder, options.size(500_000, 20_000))
        tape = read_tape(path)
        sessions = calendar.xnys()
        quotes = tape.rows(0, len(tape))
        session = sessions.current_or_next(quotes[0].ts)
        orders = commands(quotes, session, ORDERS)
        report.say(f"{path.name}: {len(quotes):,} quotes, {len(orders)} orders")
        rounds = options.size(7, 2)
        account(report, path, tape, quotes, orders, sessions, rounds)
        search(
            options,
            report,
            tape,
            [s.order for s in commands(quotes, session, options.size(10_000, 2_000))],
            sessions,
        )
        if options.yardstick:
            against_rival(report, folder, tape, session, orders, sessions, rounds=options.size(5, 1))


def account(
    report: Report, path: Path, tape: Tape, quotes: Sequence[Quote], orders: Sequence[Submit], sessions: Sessions, rounds: int,
) -> None:  # fmt: skip
    ledgers = set()
    reused = TapeIndex(tape)

    def replayed(source: Callable[[], Sequence[Quote] | TapeIndex]) -> Contestant:
        def run() -> int:
            ledgers.add(digest(play(orders, source(), tape, sessions)))
            return len(tape)

        return lambda: run

    rates = interleave({
        WHOLE: replayed(lambda: TapeIndex(read_tape(path))),
        READ: lambda: lambda: len(read_tape(path)),
        REPLAY: replayed(lambda: TapeIndex(tape)),
        "replay, index reused, digest included": replayed(lambda: reused),
        EVERY: replayed(lambda: tape.rows(0, len(tape))),
        "  of it the rows to Quote": lambda: lambda: len(tape.rows(0, len(tape))),
        "a loop that compares two prices": lambda: lambda: _look(quotes),
    }, rounds=rounds)  # fmt: skip
    report.table("CPU time by part", ["", "quotes/s", "ms", "of the whole"], [
        [name, statistics.median(found), 1_000 * len(quotes) / statistics.median(found), _share(rates, name)]
        for name, found in rates.items()
    ])  # fmt: skip
    assert len(ledgers) == 1, "two replays of the same day differ"
    report.say(f"{4 * (rounds + 1)} replays, one digest: {ledgers.pop()[:16]}…")
    report.say(f"leaving quotes out is {ratio(rates, REPLAY, EVERY):.1f} times as fast as showing them all")
    report.goal(
        "5 whole-account replay from columns, reading of the file apart",
        statistics.median(rates[REPLAY]) / 1e6, least=2, unit="million quotes/s",
    )  # fmt: skip


def search(options: Options, report: Report, tape: Tape, orders: Sequence[Order], sessions: Sessions) -> None:
    """Limits and stops, day or good till canceled."""
    resting = [
        msgspec.structs.replace(
            order, tif=order.tif if order.tif is TimeInForce.GTC else TimeInForce.DAY, type=kind,
            stop=_beyond(order) if kind is OrderType.STOP else None,
            limit=None if kind is OrderType.STOP else order.limit,
        )
        for order in orders if order.limit is not None
        for kind in [OrderType.STOP if order.number % 3 == 0 else OrderType.LIMIT]
    ]  # fmt: skip
    reused = TapeIndex(tape)
    counts = (1_000, options.size(5_000, 1_200))

    def searched(count: int, index: Callable[[], TapeIndex]) -> Contestant:
        def run() -> int:
            first_fills(index(), resting[:count], sessions)
            return len(tape)

        return lambda: run

    rates = interleave(
        {SEARCH.format(n, "built"): searched(n, lambda: TapeIndex(tape)) for n in counts}
        | {SEARCH.format(n, "reused"): searched(n, lambda: reused) for n in counts},
        rounds=options.size(7, 2),
    )  # fmt: skip
    found = sum(fill is not None for fill in first_fills(reused, resting, sessions))
    report.table("First fills of orders that do not depend on each other", ["", "million quotes/s", "ms"], [
        [name, statistics.median(rate) / 1e6, 1_000 * len(tape) / statistics.median(rate)] for name, rate in rates.items()
    ])  # fmt: skip
    report.say(f"{found:,} of {len(resting):,} orders fill")


def against_rival(
    report: Report, folder: Path, tape: Tape, session: Session, orders: Sequence[Submit], sessions: Sessions, *, rounds: int
) -> None:  # fmt: skip
    """On the quotes that both would use: two-sided, not crossed, inside the session."""
    keep = (
        (tape.bid > 0) & (tape.bid <= tape.ask) & (tape.ts >= session.open_ns) & (tape.ts < session.close_ns)
    )
    clean = Tape(
        name=tape.name, digest="", symbols=tape.symbols, ts=tape.ts[keep], symbol_index=tape.symbol_index[keep],
        bid=tape.bid[keep], bid_size=tape.bid_size[keep], ask=tape.ask[keep], ask_size=tape.ask_size[keep],
    )  # fmt: skip
    ours: list[float] = []
    searches: list[float] = []
    theirs: list[dict[str, Any]] = []
    resting = [submit for submit in orders if submit.order.tif in (TimeInForce.DAY, TimeInForce.GTC)]
    with rival(folder, clean, orders) as ask:
        for _ in range(rounds):
            theirs.append(ask())
            began = time.process_time()
            ledger = play(orders, TapeIndex(clean), clean, sessions)
            replayed = time.process_time()
            first_fills(TapeIndex(clean), [submit.order for submit in resting], sessions)
            searches.append(time.process_time() - replayed)
            ours.append(replayed - began)
    names = ("nautilus_trader, run", "nautilus_trader, with engine and data", "replay, index included",
             f"search of the {len(resting)} that rest, index included")  # fmt: skip
    times = ([t["run_s"] for t in theirs], [t["whole_s"] for t in theirs], ours, searches)
    report.table(f"Beside {RIVAL_PACKAGE}: {len(clean):,} quotes, {len(orders)} orders", ["", "thousand quotes/s", "ms"], [
        [name, len(clean) / statistics.median(took) / 1e3, 1e3 * statistics.median(took)]
        for name, took in zip(names, times, strict=True)
    ])  # fmt: skip
    compare(report, orders, ledger, theirs[-1]["fills"])
    pairs = list(zip(times[0], ours, searches, strict=True))
    report.goal("5 replay, of nautilus_trader's run", statistics.median(t / r for t, r, _ in pairs), least=15)
    report.goal(
        "5 search, of nautilus_trader's run", statistics.median(t / s for t, _, s in pairs), least=1_000
    )


def compare(
    report: Report, orders: Sequence[Submit], ledger: Ledger, fills: Sequence[tuple[int, float] | None]
) -> None:
    ours = {line.client_order_id: line for line in ledger.fills}
    filled = quote = price = 0
    for submit, theirs in zip(orders, fills, strict=True):
        line = ours.get(submit.client_order_id)
        if line is None or theirs is None:
            filled += line is None and theirs is None
            quote += line is None and theirs is None
            price += line is None and theirs is None
            continue
        filled += 1
        # An order that fills when it arrives carries the instant of its arrival.
        quote += abs(theirs[0] - line.filled_ns) < 1_000
        price += to_ticks(line.price) == round(theirs[1] * 10_000)
    report.say(
        f"of {len(orders)} orders {filled} fill or stay unfilled on both sides, "
        f"{quote} at the same instant, {price} at the same price"
    )


@contextmanager
def rival(folder: Path, tape: Tape, orders: Sequence[Submit]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Has the same played by nautilus_trader, in a process and an environment of its own, once for each call."""
    environment = folder / "rival"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", RIVAL_PACKAGE],
        check=True, capture_output=True,
    )  # fmt: skip
    np.savez(folder / "tape.npz", ts=tape.ts, bid=tape.bid, ask=tape.ask)
    asked = [
        {"at_ns": o.accepted_ns, "side": o.side, "type": o.type, "tif": o.tif, "qty": int(o.qty), "price": o.limit}
        for o in (submit.order for submit in orders)
    ]  # fmt: skip
    (folder / "orders.json").write_text(json.dumps(asked))
    script = Path(__file__).with_name("rival_replay.py")
    with subprocess.Popen(
        [python, str(script), str(folder / "tape.npz"), str(folder / "orders.json")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask() -> dict[str, Any]:
            stdin.write("again\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        ask()  # to warm up
        yield ask
        stdin.close()


def play(
    orders: Sequence[Submit], quotes: Sequence[Quote] | TapeIndex, tape: Tape, sessions: Sessions
) -> Ledger:
    return replay(
        orders, quotes, sessions, cash=CASH, positions={tape.symbols[0]: Position(Decimal(10**8), CASH)},
        start_ns=int(tape.ts[0]) - 1, end_ns=int(tape.ts[-1]),
    )  # fmt: skip


def commands(quotes: Sequence[Quote], session: Session, count: int) -> list[Submit]:
    """Market and limit orders of every time in force, sent at random moments of the session at prices near the market."""
    dice = random.Random(2013)
    inside = [quote for quote in quotes if session.is_open(quote.ts) and 0 < quote.bid < quote.ask]
    found = []
    for number in range(1, count + 1):
        quote = dice.choice(inside)
        side = dice.choice((Side.BUY, Side.SELL))
        tif = dice.choices(tuple(TimeInForce)[:4], (50, 20, 15, 15))[0]
        is_limit = dice.random() < 0.7
        near, away = (quote.bid, -1) if side is Side.BUY else (quote.ask, 1)
        order = Order(
            id=UUID(int=number), number=number, account_id=UUID(int=1), symbol=quote.symbol, asset_class=AssetClass.EQUITY,
            multiplier=1, side=side, type=OrderType.LIMIT if is_limit else OrderType.MARKET, tif=tif,
            qty=Decimal(dice.randint(1, 500)), limit=near + away * dice.randint(-3, 40) * 100 if is_limit else None,
            accepted_ns=quote.ts + dice.randrange(1_000_000) * 1_000,
            expires_ns=NEVER_NS if tif is TimeInForce.GTC else session.close_ns,
        )  # fmt: skip
        found.append(Submit(order, f"bench-{number}", Decimal(0)))
    return found


def _beyond(order: Order) -> int:
    """A stop as far from the market as the order's limit was, on the other side."""
    assert order.limit is not None
    return order.limit + (4_000 if order.side is Side.BUY else -4_000)


def _share(rates: Rates, *parts: str) -> str:
    """Of the time that the whole takes."""
    whole = statistics.median(rates[WHOLE])
    return f"{sum(whole / statistics.median(rates[part]) for part in parts):.0%}"


def _look(quotes: Sequence[Quote]) -> int:
    """The least that a matcher can do with a quote."""
    low, high = 0, 2**62
    for quote in quotes:
        if low < quote.ask and quote.bid < high:
            continue
        raise AssertionError(quote)
    return len(quotes)


def _recorded() -> Path | None:
    folder = Path(os.environ.get("RAXX_TAPES") or Path(__file__).resolve().parents[2] / "shared" / "data")
    path = folder / TAPE
    return path if path.exists() else None


def _synthetic(folder: Path, count: int) -> Path:
    """A day of one symbol from 9:30 to 16:00, in the format of the recorded tapes."""
    found = market.quotes(count, symbols=1, step=0.00002)
    session = calendar.xnys().current_or_next(found[0].ts)
    step = (session.close_ns - session.open_ns) // count
    path = folder / "quotes_tick_BENCH_20231114.csv.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("ts_ns_utc,symbol,bid,bid_size,ask,ask_size\n")
        for number, q in enumerate(found):
            bid, ask = from_ticks(q.bid), from_ticks(q.ask)
            file.write(
                f"{session.open_ns + number * step},{q.symbol},{bid},{q.bid_size},{ask},{q.ask_size}\n"
            )
    return path


if __name__ == "__main__":
    main(run, TITLE)
