"""A replay that leaves quotes out decides what one decides that shows them all, whatever orders there are."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from uuid import UUID

import msgspec
import numpy as np
import pytest

from mbt.engine.account import Position
from mbt.engine.ledger import digest
from mbt.engine.matching import Decision, Filled, Matcher, Refused
from mbt.engine.orders import NEVER_NS, FillPreference, Leg, Order, OrderType, Side, TimeInForce
from mbt.engine.replay import Cancel, Command, EveryQuote, QuotesThatMatter, Stream, Submit, replay
from mbt.engine.search import TapeIndex
from raxx.market import calendar
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.feeds.columns import Columns
from raxx.market.feeds.tape import read_tape
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Session, Sessions
from tests.oracle.sample_orders import sample

ROOT = Path(__file__).resolve().parents[3]
SECOND = 1_000_000_000
STOCKS = ("AA", "BB")
OPTIONS = ("AA260116C00010000", "AA260116C00012000", "BB260116P00010000")
# Two short sessions with longer hours around them, then one far away.
SESSIONS = Sessions("TEST", [
    Session(date(2026, 1, n), a * SECOND, b * SECOND, False, (b + 20) * SECOND, (a - 50) * SECOND, (b + 60) * SECOND)
    for n, (a, b) in enumerate([(100, 400), (600, 900), (10_000, 10_100)], 1)
])  # fmt: skip
START_NS, END_NS = 20 * SECOND, 1_000 * SECOND
CASH = Decimal("1000000000.00")
PLAYS = int(os.environ.get("RAXX_SOAK", "1")) * 700


@dataclass(frozen=True)
class Play:
    quotes: list[Quote]
    commands: list[Command]


def columns(quotes: Sequence[Quote]) -> Columns:
    symbols = tuple(sorted({quote.symbol for quote in quotes}))

    def column(name: str) -> np.ndarray:
        return np.array([getattr(quote, name) for quote in quotes], np.int64)

    return Columns(
        symbols=symbols, ts=column("ts"), bid=column("bid"), bid_size=column("bid_size"), ask=column("ask"),
        ask_size=column("ask_size"), symbol_index=np.array([symbols.index(q.symbol) for q in quotes], np.intp),
    )  # fmt: skip


class Dice(random.Random):
    def odds(self, chance: float) -> bool:
        return self.random() < chance

    def at(self) -> int:
        """Often the edge of some hours, or its neighbour."""
        edge = self.choice([49, 50, 99, 100, 101, 399, 400, 420, 460, 599, 600, 899, 900, 960])
        return (edge if self.odds(0.2) else self.randint(21, 999)) * SECOND

    def tape(self) -> list[Quote]:
        symbols = self.sample(STOCKS + OPTIONS, self.randint(1, 5))
        stamps = sorted(self.at() for _ in range(self.choice([3, 20, 100, 300])))
        middle = dict.fromkeys(symbols, 100_000)
        quotes = []
        for at_ns in stamps:
            symbol = self.choice(symbols)
            middle[symbol] = max(50_000, middle[symbol] + 500 * self.randint(-3, 3))
            bid, ask = (
                middle[symbol],
                middle[symbol] + self.choice([-1_000, 0, 500, 1_000, 1_000, 1_500, 2_000]),
            )
            bid, ask = (0 if self.odds(0.06) else bid), (0 if self.odds(0.06) else ask)
            sizes = (self.randint(1, 4) if bid else 0), (self.randint(1, 4) if ask else 0)
            quotes.append(Quote(symbol, at_ns, bid, sizes[0], ask, sizes[1]))
        return quotes

    def price(self) -> int:
        return 100_000 + 500 * self.randint(-12, 12)

    def order(self, number: int, symbol: str, at_ns: int) -> Order:
        kind = self.choice(tuple(OrderType))
        tif = self.choice(tuple(TimeInForce) + (TimeInForce.DAY, TimeInForce.GTC) * 3)
        option = parse_symbol(symbol).asset_class is AssetClass.OPTION
        hours = self.choice((Hours.REGULAR, Hours.REGULAR, Hours.LATE if option else Hours.EXTENDED))
        by_percent = self.odds(0.5)
        trails = kind is OrderType.TRAILING_STOP
        session = SESSIONS.current_or_next(at_ns, hours)
        arrives_ns = (
            session.close_ns - 1 if tif is TimeInForce.CLS else at_ns + self.choice([0, 0, 0, 7]) * SECOND
        )
        return Order(
            id=UUID(int=number), number=number, account_id=UUID(int=0), symbol=symbol,
            asset_class=AssetClass.OPTION if option else AssetClass.EQUITY, multiplier=100 if option else 1,
            side=self.choice(tuple(Side)), type=kind, tif=tif, qty=Decimal(self.randint(1, 9)),
            limit=self.price() if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
            stop=self.price() if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
            trail=500 * self.randint(1, 8) if trails and not by_percent else None,
            trail_percent=Decimal(self.randint(1, 40)) / 10 if trails and by_percent else None,
            accepted_ns=at_ns, arrives_ns=arrives_ns, hours=hours, size_cap=self.odds(0.3), underlying=symbol[:2],
            expires_ns=NEVER_NS if tif is TimeInForce.GTC else session.closes_ns(hours),
            preference=self.choice(tuple(FillPreference)) if option else FillPreference.CONSERVATIVE,
            notional=Decimal(self.randint(5, 90)) if kind is OrderType.MARKET and self.odds(0.2) else None,
        )  # fmt: skip

    def package(self, number: int, symbols: Sequence[str], at_ns: int) -> Order:
        chosen = self.sample(symbols, self.randint(2, len(symbols)))
        legs = tuple(Leg(s, self.choice(tuple(Side)), self.randint(1, 2)) for s in chosen)
        order = self.order(number, chosen[0], at_ns)
        kind = self.choice((OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT))
        return msgspec.structs.replace(
            order, symbol="", legs=legs, side=Side.BUY, type=kind, stop=None, trail=None, trail_percent=None, notional=None,
            limit=500 * self.randint(-40, 40) if kind is OrderType.LIMIT else None,
        )  # fmt: skip

    def group(self, number: int, entry: Order) -> Iterator[Submit]:
        """A bracket, an entry with one exit, or two exits of something held."""
        count, has_entry = self.choice([(2, True), (1, True), (2, False)])
        if has_entry:
            yield Submit(entry, f"o{number}", Decimal(0))
        for exit_number in range(number + 1, number + 1 + count):
            kind = self.choice((OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT))
            price = 500 * self.randint(-40, 40) if entry.legs else self.price()
            yield Submit(
                msgspec.structs.replace(
                    entry, id=UUID(int=exit_number), number=exit_number, type=kind, notional=None, trail=None,
                    trail_percent=None, limit=None if kind is OrderType.STOP else price,
                    stop=None if kind is OrderType.LIMIT else price, side=entry.side if entry.legs else entry.side.other,
                    tif=self.choice((TimeInForce.DAY, TimeInForce.GTC)), group_id=UUID(int=number) if count == 2 else None,
                    entry_id=entry.id if has_entry else None, arrives_ns=0,
                ),
                f"o{exit_number}", Decimal(0), held=has_entry,
            )  # fmt: skip

    def play(self) -> Play:
        quotes = self.tape()
        symbols = sorted({quote.symbol for quote in quotes}) + ["ZZ"] * self.odds(0.1)
        options = [symbol for symbol in symbols if symbol in OPTIONS]
        commands: list[Command] = []
        for number in range(1, self.choice([2, 6, 14]) * 10, 10):
            at_ns = self.at()
            if len(options) > 1 and self.odds(0.3):
                order = self.package(number, options, at_ns)
            else:
                order = self.order(number, self.choice(symbols), at_ns)
            made = (
                list(self.group(number, order))
                if self.odds(0.35)
                else [Submit(order, f"o{number}", Decimal(0))]
            )
            commands += made
            if self.odds(0.2):
                commands.append(Cancel(self.choice(made).order.id, at_ns + self.randint(0, 300) * SECOND))
        return Play(quotes, commands)


def decisions(play: Play, stream: Stream) -> list[Decision]:
    matcher, found = Matcher(SESSIONS, now_ns=START_NS), []
    for command in sorted(play.commands, key=attrgetter("at_ns")):
        stream.advance(matcher, command.at_ns)
        if isinstance(command, Submit):
            matcher.accept(command.order, held=command.held)
        else:
            matcher.remove(command.order_id)
        found += matcher.take()
    stream.advance(matcher, END_NS)
    return found + matcher.take()


@dataclass
class InPieces:
    """Every quote, instant after instant or in pieces of random length, as a live feed would bring them."""

    quotes: list[Quote]
    dice: random.Random | None = None

    def advance(self, matcher: Matcher, now_ns: int) -> None:
        while self.quotes and self.quotes[0].ts <= now_ns:
            last_ns = self.quotes[min(self.dice.randrange(40) if self.dice else 0, len(self.quotes) - 1)].ts
            last_ns = min(last_ns, now_ns)
            matcher.advance([quote for quote in self.quotes if quote.ts <= last_ns], last_ns)
            self.quotes = [quote for quote in self.quotes if quote.ts > last_ns]
        matcher.advance([], now_ns)


def run(play: Play, quotes: Sequence[Quote] | TapeIndex) -> str:
    held = {symbol: Position(Decimal(10**6), CASH) for symbol in STOCKS + OPTIONS}
    return digest(replay(
        play.commands, quotes, SESSIONS, cash=CASH, positions=held, start_ns=START_NS, end_ns=END_NS,
    ))  # fmt: skip


def test_leaving_quotes_out_and_cutting_the_stream_change_no_decision() -> None:
    kinds: dict[str, int] = {}
    for seed in range(PLAYS):
        play = Dice(seed).play()
        index = TapeIndex(columns(play.quotes))
        all_of_them = decisions(play, EveryQuote(play.quotes))
        for worth in (0, 3, 32):
            stream = QuotesThatMatter(index, worth_a_search=worth)
            assert decisions(play, stream) == all_of_them, (seed, worth)
        assert decisions(play, InPieces(play.quotes)) == all_of_them, seed
        assert decisions(play, InPieces(play.quotes, random.Random(seed))) == all_of_them, seed
        assert run(play, index) == run(play, index) == run(play, play.quotes), seed
        for decision in all_of_them:
            kinds[type(decision).__name__] = kinds.get(type(decision).__name__, 0) + 1
    # The plays are worth something: all that can be decided was decided, many times.
    assert len(kinds) == 7
    assert min(kinds.values()) > 100, kinds


class Counting(Columns):
    """Says how many quotes were made of it."""

    made = 0

    def rows(self, start: int, stop: int) -> list[Quote]:
        Counting.made += stop - start
        return super().rows(start, stop)


def test_a_quote_between_the_bands_is_not_even_made() -> None:
    """One order far below a market that is quiet for 10,000 quotes, then falls to it: two quotes are enough."""
    quotes = [
        Quote("AA", 110 * SECOND + n * SECOND // 100, 100_000 + n % 7, 1, 100_100 + n % 7, 1)
        for n in range(10_000)
    ]
    quotes.append(Quote("AA", 300 * SECOND, 89_900, 1, 90_000, 1))
    order = msgspec.structs.replace(
        Dice(1).order(1, "AA", 105 * SECOND), type=OrderType.LIMIT, side=Side.BUY, limit=90_000, tif=TimeInForce.GTC,
        hours=Hours.REGULAR, expires_ns=NEVER_NS, stop=None, trail=None, trail_percent=None, notional=None, arrives_ns=0,
    )  # fmt: skip
    tape = columns(quotes)
    counting = Counting(**{name: getattr(tape, name) for name in tape.__dataclass_fields__})
    Counting.made = 0
    found = decisions(Play(quotes, [Submit(order, "o", Decimal(0))]), QuotesThatMatter(TapeIndex(counting)))
    assert [d.at_ns for d in found if isinstance(d, Filled)] == [300 * SECOND]
    assert Counting.made < 100


def test_a_quote_that_cannot_be_used_is_told_although_it_fills_nothing() -> None:
    quotes = [
        Quote("AA", at * SECOND, bid, 1, ask, 1)
        for at, bid, ask in [(110, 99, 101), (120, 99, 89), (130, 99, 101)]
    ]
    order = msgspec.structs.replace(
        Dice(1).order(1, "AA", 115 * SECOND), type=OrderType.LIMIT, side=Side.BUY, limit=90, tif=TimeInForce.GTC, stop=None,
        hours=Hours.REGULAR, expires_ns=NEVER_NS, trail=None, trail_percent=None, notional=None, arrives_ns=0,
    )  # fmt: skip
    found = decisions(
        Play(quotes, [Submit(order, "o", Decimal(0))]), QuotesThatMatter(TapeIndex(columns(quotes)))
    )
    assert [(d.why, d.at_ns) for d in found if isinstance(d, Refused)] == [("CROSSED_QUOTE", 120 * SECOND)]


TAPES = ("quotes_tick_AIG_20131007", "quotes_tick_IBM_20131007", "quotes_1min_options_GOOG_20151223")


def recorded(
    path: Path, count: int
) -> tuple[list[Submit], Columns, Callable[[Sequence[Quote] | TapeIndex], str]]:
    """Sampled orders on a recorded tape, and what a replay of them on its quotes or its index comes to."""
    tape, sessions = read_tape(path), calendar.xnys()
    submits = []
    for sent in sample(path, 20131007, count):
        instrument = parse_symbol(sent.symbol)
        close_ns = sessions.current_or_next(sent.submit_ns).close_ns
        submits.append(Submit(
            Order(
                id=UUID(int=sent.number), number=sent.number, account_id=UUID(int=1), symbol=instrument.symbol,
                asset_class=instrument.asset_class, multiplier=instrument.multiplier, side=Side(sent.side),
                type=OrderType(sent.type), tif=TimeInForce(sent.tif), qty=sent.qty, accepted_ns=sent.submit_ns,
                limit=int(sent.limit_price * 10_000) if sent.limit_price else None,
                expires_ns=NEVER_NS if sent.tif == "gtc" else close_ns,
            ),
            f"o{sent.number}", Decimal(0),
        ))  # fmt: skip

    def played(quotes: Sequence[Quote] | TapeIndex) -> str:
        first_ns, last_ns = int(tape.ts[0]), int(tape.ts[-1])
        held = {symbol: Position(Decimal(10**8), CASH) for symbol in tape.symbols}
        return digest(replay(
            submits, quotes, sessions, cash=CASH * 1_000, positions=held, start_ns=first_ns - 1, end_ns=last_ns + SECOND,
        ))  # fmt: skip

    return submits, tape, played


@pytest.mark.tapes
@pytest.mark.parametrize("name", TAPES)
def test_500_orders_on_a_recorded_day_leave_the_same_ledger(tapes: Path, name: str) -> None:
    _, tape, played = recorded(tapes / f"{name}.csv.gz", 500)
    index = TapeIndex(tape)
    assert played(index) == played(index) == played(tape.rows(0, len(tape)))


@pytest.mark.tapes
def test_neither_hash_seeds_nor_the_time_zone_reach_the_ledger(tapes: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.mbt.engine.test_replay import TapeIndex, Dice, columns, recorded, run\n"
        "_, tape, played = recorded(Path(sys.argv[1]), 300); print(played(TapeIndex(tape)))\n"
        "for seed in range(40):\n"
        "    play = Dice(seed).play(); print(run(play, TapeIndex(columns(play.quotes))))\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program, str(tapes / "quotes_1min_options_GOOG_20151223.csv.gz")],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}, cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for seed, zone in (("0", "UTC"), ("1", "Asia/Tokyo"), ("4242", "America/New_York"))
    }  # fmt: skip
    assert len(printed) == 1
    assert len(printed.pop().split()) == 41
