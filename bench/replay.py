"""Whole-tape replay: a recorded day with 500 orders, in memory, from the compressed file to the ledger's digest.

With recorded data (RAXX_TAPES, default ../shared/data) it is AIG of 2013-10-07, 540,000 quotes; without, a synthetic
tape of the same form. Beside the parts stand a loop that does nothing but look at both prices of every quote, and
the matcher without any order: what of the time is matching, and what is the account.
"""

import gzip
import os
import random
import statistics
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from bench import market
from bench.common import Contestant, Options, Rates, Report, interleave, main, ratio
from mbt.engine.account import Position
from mbt.engine.ledger import Ledger, digest
from mbt.engine.matching import Matcher
from mbt.engine.orders import NEVER_NS, Order, OrderType, Side, TimeInForce
from mbt.engine.replay import Submit, replay
from raxx.kernel.money import from_ticks
from raxx.market import calendar
from raxx.market.contracts import AssetClass
from raxx.market.feeds.tape import read_tape
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

TITLE = "Whole-tape replay"
TAPE = "quotes_tick_AIG_20131007.csv.gz"
ORDERS = 500
CASH = Decimal("1000000000.00")
WHOLE, READ, ROWS, REPLAY = "whole: file to digest", "read_tape", "rows", "replay"


def run(options: Options, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="raxx-bench-") as folder:
        path = _recorded() or _synthetic(Path(folder), options.size(500_000, 20_000))
        tape = read_tape(path)
        sessions = calendar.xnys()
        quotes = tape.rows(0, len(tape))
        session = sessions.current_or_next(quotes[0].ts)
        orders = commands(quotes, session, ORDERS)
        report.say(f"{path.name}: {len(quotes):,} quotes, {len(orders)} orders")
        rounds = options.size(5, 2)

        ledgers = set()

        def whole() -> int:
            read = read_tape(path)
            ledgers.add(digest(play(orders, read.rows(0, len(read)), sessions)))
            return len(read)

        def replayed() -> int:
            ledgers.add(digest(play(orders, quotes, sessions)))
            return len(quotes)

        def matched() -> int:
            matcher = Matcher(sessions, now_ns=quotes[0].ts - 1)
            matcher.advance(quotes, quotes[-1].ts)
            return len(quotes)

        parts: dict[str, Contestant] = {
            WHOLE: lambda: whole,
            READ: lambda: lambda: len(read_tape(path)),
            ROWS: lambda: lambda: len(tape.rows(0, len(tape))),
            REPLAY: lambda: replayed,
            "  of it the matcher without orders": lambda: matched,
            "a loop that compares two prices": lambda: lambda: _look(quotes),
        }
        rates = interleave(parts, rounds=rounds)
        report.table("CPU time by part", ["", "quotes/s", "ms", "of the whole"], [
            [name, statistics.median(found), 1_000 * len(quotes) / statistics.median(found), _share(rates, name)]
            for name, found in rates.items()
        ])  # fmt: skip
        bare = ratio(rates, REPLAY, "a loop that compares two prices")
        report.say(
            f"reading is {_share(rates, READ, ROWS)} of the whole, matching and booking {_share(rates, REPLAY)}"
        )
        report.say(f"matching and booking runs at {bare:.2f} of the bare loop")
        assert len(ledgers) == 1, "two replays of the same day differ"
        report.say(f"{2 * (rounds + 1)} replays, one digest: {ledgers.pop()[:16]}…")


def play(orders: Sequence[Submit], quotes: Sequence[Quote], sessions: Sessions) -> Ledger:
    return replay(
        orders, quotes, sessions, cash=CASH, positions={quotes[0].symbol: Position(Decimal(10**8), CASH)},
        start_ns=quotes[0].ts - 1, end_ns=quotes[-1].ts,
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
