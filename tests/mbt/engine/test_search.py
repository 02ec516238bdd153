"""Searches find what looking at every row finds; and a whole day fills alike on three ways through it."""

import random
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt.engine.account import Position
from mbt.engine.ledger import whole_us
from mbt.engine.matching import Filled, Matcher
from mbt.engine.orders import NEVER_NS, FillPreference, Order, OrderType, Side, TimeInForce
from mbt.engine.replay import Submit, replay
from mbt.engine.search import NO_ROW, FirstFill, Lookout, Reach, TapeIndex, first_fills
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market import calendar
from raxx.market.contracts import AssetClass
from raxx.market.feeds.columns import Columns
from raxx.market.feeds.tape import read_tape
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours
from tests.mbt.engine.test_replay import SESSIONS, START_NS, Dice, columns
from tests.oracle import brute_force

SECOND = 1_000_000_000


@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 4_095, 4_096, 4_097, 300_000])
def test_a_reach_finds_what_looking_at_every_price_finds(length: int, falling: bool) -> None:
    dice = np.random.default_rng(length)
    prices = 10_000 + np.cumsum(dice.integers(-3, 4, length))
    prices[dice.random(length) < 0.05] = 0  # no quote on that side: it reaches nothing
    reach = Reach(prices, falling=falling)
    starts = np.concatenate([dice.integers(0, length + 1, 300), [0, length - 1, length]])
    bounds = 10_000 + dice.integers(-2_000, 2_000, len(starts))
    expected = []
    for start, bound in zip(starts.tolist(), bounds.tolist(), strict=True):
        tail = prices[start:]
        hits = np.flatnonzero((tail > 0) & (tail <= bound) if falling else tail >= bound)
        expected.append(start + int(hits[0]) if hits.size else length)
    assert [reach.first(*pair) for pair in zip(starts.tolist(), bounds.tolist(), strict=True)] == expected
    assert reach.first_each(starts, bounds).tolist() == expected
    assert reach.first_each(starts[:0], bounds[:0]).tolist() == []


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    low=st.integers(95, 104),
    width=st.integers(-1, 9),
    open_side=st.integers(0, 5),
)
def test_a_lookout_finds_the_next_row_outside_of_a_guard(
    seed: int, low: int, width: int, open_side: int
) -> None:
    quotes = Dice(seed).tape()
    symbol = quotes[0].symbol
    lookout = Lookout(TapeIndex(columns(quotes)).rows(symbol))  # type: ignore[arg-type]  # it is on the tape
    guard = [low * 1_000, (low + width) * 1_000] * 2
    if open_side < 4:
        guard[open_side] = (-1, 2**62)[open_side % 2]
    ask_low, ask_high, bid_low, bid_high = guard
    row = 0
    while row < len(quotes):
        found = lookout.next(row, (ask_low, ask_high, bid_low, bid_high))
        outside = (
            n for n, quote in enumerate(quotes) if n >= row and quote.symbol == symbol and (
                ask_low > ask_high or (0 < quote.ask <= ask_low) or quote.ask >= ask_high or (0 < quote.bid <= bid_low)
                or quote.bid >= bid_high
            )
        )  # fmt: skip
        assert found == next(outside, NO_ROW)
        row = found + 1


def simple(dice: Dice, number: int, symbol: str, at_ns: int) -> Order:
    """An order that the search knows, of any hours."""
    order = dice.order(number, symbol, at_ns)
    kind = dice.choice((OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP))
    tif = dice.choice((TimeInForce.DAY, TimeInForce.GTC))
    expires_ns = SESSIONS.current_or_next(at_ns, order.hours).closes_ns(order.hours)
    return msgspec.structs.replace(
        order, type=kind, tif=tif, expires_ns=expires_ns if tif is TimeInForce.DAY else NEVER_NS, size_cap=False,
        limit=dice.price() if kind is OrderType.LIMIT else None, stop=dice.price() if kind is OrderType.STOP else None,
        trail=None, trail_percent=None, notional=None, preference=FillPreference.CONSERVATIVE,
    )  # fmt: skip


def test_the_search_fills_orders_as_the_matcher_does() -> None:
    fills = 0
    for seed in range(600):
        dice = Dice(seed)
        quotes = dice.tape()
        symbols = [*sorted({quote.symbol for quote in quotes}), "ZZ"]
        orders = [simple(dice, number, dice.choice(symbols), dice.at()) for number in range(1, 21)]
        matcher = Matcher(SESSIONS, now_ns=START_NS)
        for order in orders:
            matcher.accept(order)
        matcher.advance(quotes, 1_000 * SECOND)
        expected = {d.order.id: d for d in matcher.take() if isinstance(d, Filled)}
        found = first_fills(TapeIndex(columns(quotes)), orders, SESSIONS)
        for order, fill in zip(orders, found, strict=True):
            if fill is None:
                assert order.id not in expected, (seed, order)
                continue
            decided = expected[order.id]
            assert (decided.at_ns, decided.fill.price, decided.fill.rule) == (
                fill.at_ns,
                fill.price,
                fill.rule,
            ), seed
            assert decided.fill.quote == quotes[fill.row], seed
            fills += 1
    assert fills > 2_000


def test_nothing_fills_after_the_end_of_the_calendar() -> None:
    order = simple(Dice(1), 1, "AA", START_NS)
    index = TapeIndex(columns([Quote("AA", 20_000 * SECOND, 1, 1, 2, 1)]))
    assert first_fills(index, [order], SESSIONS) == [None]


@pytest.mark.parametrize(
    "change",
    [
        {"type": OrderType.TRAILING_STOP, "trail": 100}, {"type": OrderType.STOP_LIMIT, "stop": 100}, {"size_cap": True},
        {"tif": TimeInForce.IOC}, {"preference": FillPreference.MID}, {"group_id": UUID(int=1)},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_the_search_refuses_orders_that_it_would_fill_wrongly(change: dict[str, object]) -> None:
    plain = msgspec.structs.replace(simple(Dice(1), 1, "AA", START_NS), type=OrderType.LIMIT, limit=100)
    order = msgspec.structs.replace(plain, **change)
    index = TapeIndex(columns([Quote("AA", 150 * SECOND, 1, 1, 2, 1)]))
    with pytest.raises(ValueError, match="fills by more than its own price"):
        first_fills(index, [order], SESSIONS)


def near_the_market(tape: Columns, count: int) -> list[Order]:
    """Orders sent at any moment of the day, and within an hour before and after it, at prices around the market."""
    dice = random.Random(2013)
    sessions = calendar.xnys()
    session = sessions.current_or_next(int(tape.ts[len(tape) // 2]))
    orders = []
    for number in range(1, count + 1):
        quote = tape.rows(row := dice.randrange(len(tape)), row + 1)[0]
        side = dice.choice(tuple(Side))
        kind = dice.choices((OrderType.MARKET, OrderType.LIMIT, OrderType.STOP), (1, 6, 3))[0]
        tif = dice.choice((TimeInForce.DAY, TimeInForce.GTC))
        outside = dice.random() < 0.1
        at_ns = quote.ts if dice.random() < 0.2 else quote.ts + dice.randrange(10_000_000) * 1_000
        if outside:
            at_ns = dice.choice((session.open_ns, session.close_ns)) + dice.randrange(-3_600, 3_600) * SECOND
        hours = Hours.EXTENDED if kind is OrderType.LIMIT and dice.random() < 0.2 else Hours.REGULAR
        price = (quote.bid or quote.ask) + dice.randint(-60, 60) * 100
        orders.append(Order(
            id=UUID(int=number), number=number, account_id=UUID(int=1), symbol=quote.symbol, asset_class=AssetClass.EQUITY,
            multiplier=1, side=side, type=kind, tif=tif, qty=Decimal(dice.randint(1, 100)), accepted_ns=at_ns, hours=hours,
            limit=price if kind is OrderType.LIMIT else None, stop=price if kind is OrderType.STOP else None,
            expires_ns=NEVER_NS if tif is TimeInForce.GTC else sessions.current_or_next(at_ns, hours).closes_ns(hours),
        ))  # fmt: skip
    return sorted(orders, key=lambda order: (order.accepted_ns, order.number))


@pytest.mark.tapes
def test_10_000_orders_fill_alike_live_replayed_and_searched(tapes: Path) -> None:
    """The live matcher in uneven batches of quotes, the replay of the account, and the search: one and the same."""
    tape, sessions = read_tape(tapes / "quotes_tick_AIG_20131007.csv.gz"), calendar.xnys()
    index, orders = TapeIndex(tape), near_the_market(tape, 10_000)
    first_ns, last_ns = int(tape.ts[0]), int(tape.ts[-1])
    start_ns, end_ns = first_ns - 7_200 * SECOND, last_ns + 7_200 * SECOND

    def told(order: Order, fill: FirstFill) -> tuple[object, ...]:
        quote = index.quote(fill.row)
        return order.number, whole_us(fill.at_ns), fill.price, fill.rule, quote.ts, quote.bid, quote.ask

    found = first_fills(index, orders, sessions)
    searched = {told(order, fill) for order, fill in zip(orders, found, strict=True) if fill is not None}

    ledger = replay(
        [Submit(order, str(order.number), Decimal(0)) for order in orders], index, sessions, cash=Decimal(10**12),
        positions={tape.symbols[0]: Position(Decimal(10**8), Decimal(10**9))}, start_ns=start_ns, end_ns=end_ns,
    )  # fmt: skip
    replayed = {
        (
            int(line.client_order_id), line.filled_ns, to_ticks(line.price), line.rule, line.quote_ns, to_ticks(line.bid),
            to_ticks(line.ask),
        )
        for line in ledger.fills
    }  # fmt: skip

    dice = random.Random(10_000)
    matcher, live = Matcher(sessions, now_ns=start_ns), set()
    cuts = sorted(
        {order.accepted_ns for order in orders}
        | {int(tape.ts[dice.randrange(len(tape))]) for _ in range(300)}
    )
    waiting, row = iter(orders), 0
    following = next(waiting)
    for now_ns in [*cuts, end_ns]:
        stop = tape.until(now_ns)
        matcher.advance(tape.rows(row, stop), now_ns)
        row = stop
        while following is not None and following.accepted_ns <= now_ns:
            matcher.accept(following)
            following = next(waiting, None)  # type: ignore[assignment]  # None ends it
        live |= {
            (
                d.order.number, whole_us(d.at_ns), d.fill.price, d.fill.rule, d.fill.quote.ts, d.fill.quote.bid,
                d.fill.quote.ask,
            )
            for d in matcher.take() if isinstance(d, Filled)
        }  # fmt: skip

    assert live == replayed == searched
    assert 5_000 < len(searched) < 9_900
    assert {fill.rule for fill in found if fill} == {
        "market.touch",
        "limit.marketable",
        "limit.resting",
        "stop.touch",
    }


@pytest.mark.tapes
def test_10_000_orders_fill_as_the_oracle_says(tapes: Path) -> None:
    """On a tape thin enough for the oracle, which looks at every row for every order."""
    tape, sessions = read_tape(tapes / "quotes_tick_AIG_20131007.csv.gz"), calendar.xnys()
    quotes = [quote for row in range(0, len(tape), 2_500) for quote in tape.rows(row, row + 1)]
    session = sessions.current_or_next(quotes[len(quotes) // 2].ts)
    day_end = {TimeInForce.DAY: session.close_ns, TimeInForce.GTC: NEVER_NS}
    orders = [
        msgspec.structs.replace(order, hours=Hours.REGULAR, expires_ns=day_end[order.tif])
        for order in near_the_market(tape, 12_000)
        if order.accepted_ns < session.close_ns
    ][:10_000]
    asked = [
        brute_force.Order(
            number=order.number, symbol=order.symbol, submit_ns=order.accepted_ns, side=order.side.value,
            type=order.type.value, tif=order.tif.value, qty=order.qty,
            limit_price=from_ticks(order.limit) if order.limit else None,
            stop_price=from_ticks(order.stop) if order.stop else None,
        )
        for order in orders
    ]  # fmt: skip
    rows = [
        brute_force.Row(q.ts, from_ticks(q.bid) if q.bid else None, from_ticks(q.ask) if q.ask else None)
        for q in quotes
    ]
    days = (session, sessions.current_or_next(session.close_ns))
    told = brute_force.outcomes(
        asked,
        brute_force.Tape({tape.symbols[0]: rows}, quotes[-1].ts),
        [brute_force.Session(day.open_ns, day.close_ns) for day in days],
    )
    expected = {
        (order.number, outcome.at_ns, outcome.price, outcome.rule)
        for order, outcome in zip(orders, told, strict=True)
        if outcome.kind == "filled"
    }

    index = TapeIndex(columns(quotes))
    searched = {
        (order.number, fill.at_ns, from_ticks(fill.price), fill.rule.value)
        for order, fill in zip(orders, first_fills(index, orders, sessions), strict=True)
        if fill is not None
    }
    ledger = replay(
        [Submit(order, str(order.number), Decimal(0)) for order in orders], quotes, sessions, cash=Decimal(10**12),
        positions={tape.symbols[0]: Position(Decimal(10**8), Decimal(10**9))},
        start_ns=quotes[0].ts - 7_200 * SECOND, end_ns=quotes[-1].ts,
    )  # fmt: skip
    replayed = {(int(line.client_order_id), line.filled_ns, line.price, line.rule) for line in ledger.fills}
    assert len(orders) == 10_000
    assert searched == expected
    assert replayed == {
        (number, whole_us(at_ns or 0), price, rule) for number, at_ns, price, rule in expected
    }
    assert 3_000 < len(expected) < 9_900
