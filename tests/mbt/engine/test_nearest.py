"""How near the market came to orders that it did not fill, against a look at every row of the tape for every order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from mbt.engine.fills import Market
from mbt.engine.matching import Advanced, Closed, Filled, Matcher, Rested
from mbt.engine.nearest import Nearest
from mbt.engine.orders import (
    FRESH,
    NEVER_NS,
    FillPreference,
    Leg,
    Order,
    OrderStatus,
    OrderType,
    Progress,
    Side,
    TimeInForce,
)
from raxx.market.contracts import AssetClass
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Session, Sessions

SECOND = 1_000_000_000
# Regular hours inside of extended ones, twice.
SESSIONS = Sessions(
    "TEST",
    [
        Session(
            date(2026, 1, 1 + n), (a + 50) * SECOND, (a + 300) * SECOND, extended_open_ns=a * SECOND,
            extended_close_ns=(a + 400) * SECOND, late_close_ns=(a + 320) * SECOND,
        )
        for n, a in enumerate((100, 600, 10_000))
    ],
)  # fmt: skip
END_NS = 1_050 * SECOND

instants = st.one_of(
    st.sampled_from([99, 100, 149, 150, 151, 399, 400, 420, 500, 600, 650, 900, 1_000]),
    st.integers(90, 1_049),
).map(lambda s: s * SECOND)
cents = st.integers(9_985, 10_015)
sides = st.one_of(cents, cents, cents, cents, st.just(0)).map(lambda c: c * 100)


@st.composite
def tapes(draw: st.DrawFn) -> list[Quote]:
    rows = draw(st.lists(st.tuples(st.sampled_from("AB"), instants, sides, sides), min_size=30, max_size=80))
    quotes = [
        Quote(
            symbol, ts, min(bid, ask) or bid, 1 if bid else 0, max(bid, ask) if bid else ask, 1 if ask else 0
        )
        for symbol, ts, bid, ask in rows
    ]
    return sorted(quotes, key=lambda quote: quote.ts)


@st.composite
def orders(draw: st.DrawFn) -> list[Order]:
    made = []
    for number in range(1, draw(st.integers(1, 12)) + 1):
        kind = draw(st.sampled_from([OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT]))
        at_ns, side = draw(instants), draw(st.sampled_from(Side))
        hours = draw(st.sampled_from([Hours.REGULAR, Hours.REGULAR, Hours.EXTENDED]))
        away = draw(st.integers(10, 60)) * 100 * (-1 if side is Side.BUY else 1)
        made.append(Order(
            id=UUID(int=number), number=number, account_id=UUID(int=0), symbol=draw(st.sampled_from("AB")),
            asset_class=AssetClass.EQUITY, multiplier=1, side=side, type=kind, qty=Decimal(1), accepted_ns=at_ns,
            tif=TimeInForce.GTC if draw(st.booleans()) else TimeInForce.DAY, hours=hours,
            limit=1_000_000 + away if kind is not OrderType.STOP else None,
            stop=1_000_000 - away // 2 if kind is not OrderType.LIMIT else None,
            expires_ns=NEVER_NS if draw(st.booleans()) else SESSIONS.current_or_next(at_ns, hours).closes_ns(hours),
        ))  # fmt: skip
    return made


@dataclass
class Life:
    """What was said of one order."""

    order: Order
    met: tuple[Market, int] | None = None  # the first usable quote, and when it mattered
    triggered: tuple[Market, int] | None = None
    over_ns: int | None = None
    filled: bool = False
    noted: Nearest | None = None

    def note(self, nearest: Nearest | None) -> None:
        known = self.noted
        if nearest is not None and (
            known is None or known.to_stop is not nearest.to_stop or nearest.away < known.away
        ):
            self.noted = nearest


def by_looking_at_all(life: Life, tape: Sequence[Quote]) -> tuple[int, bool, int, Market] | None:
    """Away, whether from the stop, when, and the quote."""
    order, best = life.order, None
    if life.met is None:
        return None
    first, met_ns = life.triggered or life.met
    to_stop = order.type is not OrderType.LIMIT and life.triggered is None
    begun = False
    for quote in tape:
        begun = begun or quote is first
        if (
            not begun
            or quote.symbol != order.symbol
            or (life.over_ns is not None and quote.ts >= life.over_ns)
        ):
            continue
        session = SESSIONS.current_or_next(quote.ts, order.hours)
        if not session.is_open(quote.ts, order.hours) or not quote.bid or not quote.ask:
            continue
        if to_stop:
            assert order.stop is not None
            away = order.stop - quote.ask if order.side is Side.BUY else quote.bid - order.stop
        else:
            assert order.limit is not None
            away = quote.ask - order.limit if order.side is Side.BUY else order.limit - quote.bid
        if best is None or away < best[0]:
            best = away, to_stop, max(quote.ts, met_ns if quote is first else 0), quote
    return best


@settings(max_examples=200, deadline=None)
@given(
    tape=tapes(), asked=orders(), cuts=st.lists(st.integers(90, 1_049), max_size=6), restart=st.integers(0, 7)
)
def test_the_nearest_is_what_a_look_at_every_row_finds_also_over_a_restart(
    tape: list[Quote], asked: list[Order], cuts: list[int], restart: int
) -> None:
    lives = {order.id: Life(order) for order in asked}
    progress: dict[UUID, Progress] = {}
    matcher = Matcher(SESSIONS, now_ns=0, keeps_nearest=True)
    for order in asked:
        matcher.accept(order)
    done = noted_ns = -1
    for number, edge in enumerate(sorted({cut * SECOND for cut in cuts} | {END_NS})):
        matcher.advance([quote for quote in tape if done < quote.ts <= edge], edge)
        done = edge
        for decision in matcher.take():
            life = lives[decision.order.id]
            match decision:
                case Rested(quote=quote, at_ns=at_ns):
                    life.met = quote, at_ns
                case Advanced(progress=now, quote=quote):
                    progress[decision.order.id] = now
                    life.triggered = quote, decision.at_ns
                    life.met = life.met or life.triggered
                case Closed(at_ns=at_ns, nearest=nearest):
                    life.over_ns = at_ns
                    life.note(nearest)
                case Filled():
                    life.filled = True
        for order_id, nearest in matcher.nearest_since(noted_ns).items():
            lives[order_id].note(nearest)
        noted_ns = edge
        for order_id in matcher.order_ids():  # nothing was left out of what has changed
            nearest = matcher.nearest(order_id)
            known = lives[order_id].noted
            assert nearest is None or (known is not None and known.away <= nearest.away), order_id
        if number == restart:
            in_force = {quote.symbol: quote for quote in tape if quote.ts <= edge}
            open_ids = matcher.order_ids()
            matcher = Matcher(SESSIONS, now_ns=edge, in_force=in_force, keeps_nearest=True)
            for order_id in open_ids:
                life = lives[order_id]
                matcher.accept(
                    life.order, resting=life.met is not None, progress=progress.get(order_id, FRESH)
                )
    for life in lives.values():
        if life.filled:
            continue
        expected = by_looking_at_all(life, tape)
        found = life.noted
        told = None if found is None else (found.away, found.to_stop, found.at_ns, found.quote)
        assert told == expected, life.order


# -- by hand: what else an order may be ----------------------------------------------------------------


def quote(symbol: str, second: int, bid: str, ask: str, size: int = 5) -> Quote:
    return Quote(symbol, second * SECOND, ticks(bid), size, ticks(ask), size)


def ticks(dollars: str) -> int:
    return int(Decimal(dollars) * 10_000)


def option(number: int, kind: OrderType = OrderType.LIMIT, **terms: Any) -> Order:  # noqa: ANN401
    values: dict[str, Any] = {
        "id": UUID(int=number), "number": number, "account_id": UUID(int=0), "symbol": "AA261218C00100000",
        "asset_class": AssetClass.OPTION, "multiplier": 100, "side": Side.BUY, "type": kind, "tif": TimeInForce.GTC,
        "qty": Decimal(10), "limit": None, "accepted_ns": 200 * SECOND, "expires_ns": NEVER_NS, "underlying": "AA",
    }  # fmt: skip
    return Order(**(values | terms))


def after(order: Order, quotes: Sequence[Quote]) -> Nearest | None:
    matcher = Matcher(SESSIONS, now_ns=200 * SECOND, keeps_nearest=True)
    matcher.accept(order)
    for each in quotes:
        matcher.advance([each], each.ts)
    assert {**matcher.nearest_since(0)}.get(order.id) == matcher.nearest(order.id)
    return matcher.nearest(order.id)


SYMBOL = "AA261218C00100000"


def test_of_a_package_the_net_price_counts() -> None:
    legs = (Leg("AA261218C00100000", Side.BUY, 1), Leg("AA261218C00110000", Side.SELL, 1))
    order = option(1, symbol="", legs=legs, limit=ticks("1.00"))
    found = after(order, [
        quote(legs[0].symbol, 210, "2.00", "2.10"), quote(legs[1].symbol, 211, "0.80", "0.90"),  # 2.10 - 0.80 = 1.30
        quote(legs[1].symbol, 212, "1.05", "1.15"),  # 2.10 - 1.05 = 1.05: five cents away
        quote(legs[0].symbol, 213, "2.20", "2.30"),
    ])  # fmt: skip
    assert found is not None
    assert (found.away, found.at_ns, found.quote.ask) == (ticks("0.05"), 212 * SECOND, ticks("1.05"))


def test_inside_the_spread_the_middle_counts() -> None:
    order = option(1, preference=FillPreference.MID, limit=ticks("2.00"))
    quotes = [
        quote(SYMBOL, 210, "2.00", "2.10"),
        quote(SYMBOL, 211, "2.00", "2.04"),
        quote(SYMBOL, 212, "2.00", "2.06"),
    ]
    found = after(order, quotes)
    assert found is not None
    assert (found.away, found.at_ns) == (ticks("0.02"), 211 * SECOND)  # the middle of 2.00 and 2.04


def test_a_trailing_stop_counts_from_where_it_stood_then() -> None:
    order = option(1, OrderType.TRAILING_STOP, side=Side.SELL, trail=ticks("0.10"))
    quotes = [
        quote(SYMBOL, 210, "2.00", "2.10"),  # the stop is at 1.90
        quote(SYMBOL, 211, "1.94", "2.10"),  # four cents
        quote(SYMBOL, 212, "2.50", "2.60"),  # the stop is at 2.40
        quote(SYMBOL, 213, "2.45", "2.60"),  # five cents
    ]
    found = after(order, quotes)
    assert found is not None
    assert (found.away, found.at_ns, found.to_stop) == (ticks("0.04"), 211 * SECOND, True)


def test_a_quote_that_shows_too_little_was_there() -> None:
    order = option(1, size_cap=True, limit=ticks("2.00"))
    found = after(order, [quote(SYMBOL, 210, "1.90", "2.10"), quote(SYMBOL, 211, "1.90", "2.00", size=0)])
    assert found is not None
    assert (found.away, found.at_ns) == (0, 211 * SECOND)


def test_nothing_comes_near_in_a_halt() -> None:
    order = option(1, limit=ticks("2.00"))
    matcher = Matcher(SESSIONS, now_ns=200 * SECOND, keeps_nearest=True)
    matcher.accept(order)
    matcher.advance([quote(SYMBOL, 210, "2.05", "2.10")], 210 * SECOND)
    matcher.halt("AA", until_ns=220 * SECOND)
    matcher.advance([quote(SYMBOL, 215, "1.95", "2.01"), quote(SYMBOL, 225, "1.95", "2.03")], 230 * SECOND)
    found = matcher.nearest(order.id)
    assert found is not None
    assert (found.away, found.at_ns) == (ticks("0.03"), 225 * SECOND)


def test_an_order_that_ends_says_how_near_it_came() -> None:
    order = option(1, limit=ticks("2.00"), tif=TimeInForce.DAY, expires_ns=400 * SECOND)
    matcher = Matcher(SESSIONS, now_ns=200 * SECOND, keeps_nearest=True)
    matcher.accept(order)
    quotes = [
        quote(SYMBOL, 210, "2.00", "2.10"),
        quote(SYMBOL, 230, "2.00", "2.03"),
        quote(SYMBOL, 240, "2.00", "2.09"),
    ]
    matcher.advance(quotes, 500 * SECOND)
    *_, end = matcher.take()
    assert isinstance(end, Closed)
    assert end.status is OrderStatus.EXPIRED
    assert end.nearest == Nearest(230 * SECOND, ticks("0.03"), False, quotes[1])
    assert matcher.nearest(order.id) is None


def test_thousands_of_orders_cost_a_log_no_longer_than_what_they_can_tell_apart() -> None:
    matcher = Matcher(SESSIONS, now_ns=160 * SECOND, keeps_nearest=True)
    for number in range(1, 2_001):
        at_ns = 160 * SECOND + number * 10_000
        matcher.advance([quote("A", 160, "99.00", f"{100 + number % 7}.00")] if number == 1 else [], at_ns)
        matcher.accept(option(number, symbol="A", underlying="A", limit=ticks("90.00"), accepted_ns=at_ns))
        matcher.advance(
            [Quote("A", at_ns + 5_000, ticks("99.00"), 1, ticks(f"{100 + number % 7}.00"), 1)], at_ns + 9_000
        )
    assert len(matcher) == 2_000
    book = matcher._books["A"]
    assert sum(len(log) for logs in book._logs.values() for log in logs) < 700


def test_a_better_quote_of_before_hides_nothing_from_a_newer_order() -> None:
    """Also when another order leaves meanwhile, and the bounds of what is to be noted are set anew."""

    def buy(number: int, limit: int, accepted_s: int) -> Order:
        return Order(
            id=UUID(int=number), number=number, account_id=UUID(int=0), symbol="A", asset_class=AssetClass.EQUITY,
            multiplier=1, side=Side.BUY, type=OrderType.LIMIT, qty=Decimal(1), limit=limit,
            accepted_ns=accepted_s * SECOND, tif=TimeInForce.GTC, expires_ns=NEVER_NS,
        )  # fmt: skip

    matcher = Matcher(SESSIONS, now_ns=160 * SECOND, keeps_nearest=True)
    before = Quote("A", 161 * SECOND, 999_900, 1, 1_000_000, 1)
    after = Quote("A", 163 * SECOND, 1_004_900, 1, 1_005_000, 1)
    old, leaving, new = buy(1, 990_000, 160), buy(2, 970_000, 160), buy(3, 980_000, 162)
    for order in (old, leaving):
        matcher.accept(order, resting=True)
    matcher.advance([before], 161 * SECOND)
    matcher.accept(new, resting=True)
    matcher.remove(leaving.id)
    matcher.advance([after], 163 * SECOND)
    assert matcher.nearest(old.id) == Nearest(before.ts, 10_000, False, before)
    assert matcher.nearest(new.id) == Nearest(after.ts, 25_000, False, after)
