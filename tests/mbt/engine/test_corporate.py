"""Corporate actions: worked examples by hand, recorded splits, dividends and renames, and continuity."""

import csv
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt.engine.account import Kind, Position, Posting, post
from mbt.engine.corporate import (
    Action,
    CashDividend,
    CashMerger,
    Effect,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
    adjusted_classes,
    adjusts_options,
    apply,
    contract_change,
    entitlement,
    pay,
)
from mbt.engine.orders import NEVER_NS, Leg, Order, OrderType, Side, TimeInForce
from raxx.market.contracts import AssetClass, Right, osi, parse_symbol
from raxx.market.listing import Deliverable, OptionClass, class_of

D = Decimal
DAY = date(2026, 6, 1)
EXPIRY = date(2026, 12, 18)


def call(strike: str, root: str = "XYZ") -> str:
    return osi(root, EXPIRY, Right.CALL, int(D(strike) * 10_000))


def put(strike: str, root: str = "XYZ") -> str:
    return osi(root, EXPIRY, Right.PUT, int(D(strike) * 10_000))


def held(qty: str | int, cost: str | int) -> Position:
    return Position(D(qty), D(cost))


def ticks(dollars: str) -> int:
    return int(D(dollars) * 10_000)


def split(new: int, old: int, close: str) -> Split:
    return Split(symbol="XYZ", ex_date=DAY, new=new, old=old, close=ticks(close))


def after(book: Mapping[str, Position], postings: Iterable[Posting]) -> dict[str, Position]:
    result = dict(book)
    for posting in postings:
        result[posting.symbol] = post(result.get(posting.symbol, Position()), posting)
    for position in result.values():
        assert position.qty or not position.cost, "an empty position has no cost"
    return {symbol: position for symbol, position in result.items() if position.qty}


def do(
    event: Event, book: Mapping[str, Position], adjusted: Mapping[str, OptionClass] | None = None
) -> Effect:
    effect = apply(event, book=book, adjusted=adjusted or {})
    cash = sum((p.cash for p in effect.postings), D(0))
    assert cash + sum(p.cost for p in effect.postings) == sum(p.realized for p in effect.postings)
    return effect


def cash_of(effect: Effect) -> D:
    return sum((p.cash for p in effect.postings), D(0))


# Dividends.


def test_a_dividend_belongs_to_who_holds_at_the_close_before() -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, pay_date=date(2026, 6, 15), amount=D("0.2625"))
    effect = do(event, {"XYZ": held(150, "6000.00"), call("50"): held(1, "100.00")})
    assert effect.postings == ()
    assert effect.contracts == ()
    assert effect.entitlement is not None
    assert effect.entitlement.amount == D("39.38")  # 150 x 0.2625 = 39.375, half-even
    assert effect.entitlement.pay_date == date(2026, 6, 15)
    paid = pay(effect.entitlement)
    assert (paid.kind, paid.cash) == (Kind.DIVIDEND, D("39.38"))
    assert paid.cost == paid.qty == paid.realized == 0


def test_a_short_position_pays_it() -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("0.50"))
    owed = entitlement(event, {"XYZ": held(-200, "-9000.00")})
    assert owed is not None
    assert pay(owed).cash == D("-100.00")
    assert "in lieu" in pay(owed).note
    assert entitlement(event, {"ABC": held(5, 1)}) is None


@pytest.mark.parametrize(
    ("amount", "special", "contract", "strike"),
    [
        pytest.param("7", True, call("105"), "98", id="special: 105 - 7"),
        pytest.param("0.125", True, call("105"), "104.88", id="the least: 104.875, half-even"),
        pytest.param("0.12", True, call("105"), None, id="too small"),
        pytest.param("7", False, call("105"), None, id="ordinary, however large"),
    ],
)
def test_a_special_dividend_cuts_strikes(
    amount: str, special: bool, contract: str, strike: str | None
) -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D(amount), special=special)
    book = {contract: held(-3, "-900.00")}
    left = after(book, do(event, book).postings)
    assert left == ({call(strike): held(-3, "-900.00")} if strike else book)
    assert adjusted_classes(event, {}).get("XYZ") is None  # still standard


def test_a_strike_that_cannot_be_cut_stays_and_the_dividend_is_delivered() -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("7"), special=True)
    change = contract_change(event, call("5"), {})
    assert change is not None
    assert change.new == call("5", "XYZ1")
    assert adjusted_classes(event, {})["XYZ1"].deliverable == Deliverable((("XYZ", D(100)),), D("700.00"))


# Splits.


@pytest.mark.parametrize(
    ("new", "old", "close", "before", "qty", "cost", "cash"),
    [
        pytest.param(2, 1, "89.03", held(100, "8000.00"), "200", "8000.00", "0", id="2-for-1"),
        # 7 x 1.5 = 10.5; half a share at 60 x 2/3 = 40: 20.00, with 0.5/10.5 of 210.00.
        pytest.param(3, 2, "60", held(7, "210.00"), "10", "200.00", "20.00", id="3-for-2 with a fraction"),
        pytest.param(3, 2, "60", held(-7, "-210.00"), "-10", "-200.00", "-20.00", id="short"),
        # 30 / 8 = 3.75; three quarters at 8 x 6.50 = 52: 39.00, with 0.75/3.75 of 150.00.
        pytest.param(1, 8, "6.50", held(30, "150.00"), "3", "120.00", "39.00", id="1-for-8"),
        pytest.param(
            1, 8, "6.50", held(3, "15.00"), "0", "0", "19.50", id="nothing but a fraction"
        ),  # 3 x 6.50
        pytest.param(
            3, 2, "60", held("0.3", "15.00"), "0.45", "15.00", "0", id="who held a fraction keeps it"
        ),
        pytest.param(1, 3, "60", held("0.5", "15.00"), "0.166666667", "15.00", "0", id="to the billionth"),
    ],
)
def test_a_split_of_shares(
    new: int, old: int, close: str, before: Position, qty: str, cost: str, cash: str
) -> None:
    effect = do(split(new, old, close), {"XYZ": before})
    assert after({"XYZ": before}, effect.postings).get("XYZ", Position()) == held(qty, cost)
    assert cash_of(effect) == D(cash)
    released = before.cost - D(cost)
    assert sum(p.realized for p in effect.postings) == D(cash) - released


def test_a_whole_split_of_contracts() -> None:
    book = {
        call("50"): held(3, "600.00"),
        put("42.5"): held(-1, "-80.00"),
        call("50", "ABC"): held(1, "5.00"),
    }
    effect = do(split(2, 1, "48"), book)
    assert after(book, effect.postings) == {
        call("25"): held(6, "600.00"), put("21.25"): held(-2, "-80.00"), call("50", "ABC"): held(1, "5.00"),
    }  # fmt: skip
    assert adjusted_classes(split(2, 1, "48"), {}) == {}


def test_strikes_are_rounded_to_the_cent() -> None:
    # Apple, 9 June 2014: the 645 strike became 92.14 (645 / 7 = 92.142857).
    event = Split(symbol="AAPL", ex_date=date(2014, 6, 9), new=7, old=1, close=ticks("645.57"))
    change = contract_change(event, "AAPL140621C00645000", {})
    assert change is not None
    assert (change.new, change.each) == ("AAPL140621C00092140", 7)


def test_three_for_two() -> None:
    """Same contracts, strike x 2/3, deliverable 150: the exercise price stays 4,500."""
    event = split(3, 2, "48")
    book = {call("45"): held(2, "700.00")}
    assert after(book, do(event, book).postings) == {call("30", "XYZ1"): held(2, "700.00")}
    listed = adjusted_classes(event, {})["XYZ1"]
    assert listed.deliverable == Deliverable((("XYZ", D(150)),))
    assert listed.multiplier * 30 == 4500


def test_one_for_eight() -> None:
    """Rule sheet: contracts and strike stay; each 6-call pays 600 for 12 shares and cash for half a share."""
    event = split(1, 8, "6.50")
    book = {call("6"): held(2, "150.00")}
    assert after(book, do(event, book).postings) == {call("6", "XYZ1"): held(2, "150.00")}
    listed = adjusted_classes(event, {})["XYZ1"]
    assert listed.deliverable == Deliverable((("XYZ", D(12)),), D("26.00"))  # 0.5 x 52
    assert listed.multiplier * 6 == 600


def test_adjusted_contracts_are_adjusted_again() -> None:
    first = adjusted_classes(split(1, 8, "6.50"), {})
    again = split(3, 2, "60")
    second = adjusted_classes(again, first)
    # XYZ becomes XYZ2 (150 shares), XYZ1 becomes XYZ3: 18 shares and the same cash.
    assert set(second) == {"XYZ2", "XYZ3"}
    assert second["XYZ3"].deliverable == Deliverable((("XYZ", D(18)),), D("26.00"))
    change = contract_change(again, call("6", "XYZ1"), first)
    assert change is not None
    assert change.new == call("6", "XYZ3")


# Renames, mergers, spin-offs.


def test_a_new_ticker_changes_names_and_nothing_else() -> None:
    event = SymbolChange(symbol="FB", new_symbol="META", effective=date(2022, 6, 9))
    adjusted = {"FB1": OptionClass(underlying="FB", deliverable=Deliverable((("FB", D(100)),), D("5")))}
    book = {
        "FB": held(-10, "-2000.00"),
        call("200", "FB"): held(1, "900.00"),
        call("190", "FB1"): held(-2, "-50.00"),
    }
    assert after(book, do(event, book, adjusted).postings) == {
        "META": held(-10, "-2000.00"), call("200", "META"): held(1, "900.00"), call("190", "META1"): held(-2, "-50.00"),
    }  # fmt: skip
    assert adjusted_classes(event, adjusted) == {
        "META1": OptionClass(underlying="META", deliverable=Deliverable((("META", D(100)),), D("5")))
    }


def test_a_cash_merger() -> None:
    event = CashMerger(symbol="XYZ", effective=DAY, cash=D("54.20"))
    book = {"XYZ": held(100, "3800.00"), call("50"): held(1, "300.00")}
    effect = do(event, book)
    assert cash_of(effect) == D("5420.00")
    assert sum(p.realized for p in effect.postings) == D("1620.00")
    assert after(book, effect.postings) == {call("50", "XYZ1"): held(1, "300.00")}
    assert adjusted_classes(event, {})["XYZ1"].deliverable == Deliverable((), D("5420.00"))


def test_a_cash_merger_of_one_of_two_stocks() -> None:
    """100 XYZ and 33 KID; KID is bought for 20.00 a share: 100 XYZ and 660.00, under the same name."""
    adjusted = {
        "XYZ1": OptionClass(underlying="XYZ", deliverable=Deliverable((("XYZ", D(100)), ("KID", D(33)))))
    }
    event = CashMerger(symbol="KID", effective=DAY, cash=D("20.00"))
    assert adjusted_classes(event, adjusted)["XYZ1"].deliverable == Deliverable(
        (("XYZ", D(100)),), D("660.00")
    )


def test_a_merger_for_stock_and_cash() -> None:
    # 0.6 of NEW at 50 and 10 in cash: 40 a share, a quarter of it cash. 25 shares: 15 NEW, 250 in cash.
    event = StockMerger(
        symbol="XYZ", new_symbol="NEW", effective=DAY, new=3, old=5, price=ticks("50"), cash=D(10)
    )
    book = {"XYZ": held(25, "800.00"), put("40"): held(-1, "-120.00")}
    effect = do(event, book)
    assert after(book, effect.postings) == {"NEW": held(15, "600.00"), put("40", "NEW1"): held(-1, "-120.00")}
    assert cash_of(effect) == D("250.00")
    assert sum(p.realized for p in effect.postings) == D("50.00")  # 250 less a quarter of 800
    made = adjusted_classes(event, {})["NEW1"]
    assert (made.underlying, made.deliverable) == ("NEW", Deliverable((("NEW", D(60)),), D("1000.00")))


def test_a_merger_into_a_stock_that_is_sold_short() -> None:
    event = StockMerger(symbol="XYZ", new_symbol="NEW", effective=DAY, new=1, old=1, price=ticks("50"))
    book = {"XYZ": held(100, "800.00"), "NEW": held(-40, "-500.00")}
    effect = do(event, book)
    # 40 of the new shares, which cost 320, close what was sold for 500.
    assert after(book, effect.postings) == {"NEW": held(60, "480.00")}
    assert sum(p.realized for p in effect.postings) == D("180.00")


def test_a_spin_off() -> None:
    # One KID for three XYZ. Afterwards 45 and 15: 5 of 50 dollars went, a tenth of the cost. 10 shares: 3 1/3 KID.
    event = SpinOff(
        symbol="XYZ", new_symbol="KID", ex_date=DAY, new=1, old=3, price=ticks("45"), new_price=ticks("15")
    )
    book = {"XYZ": held(10, "300.00"), call("50"): held(1, "90.00")}
    effect = do(event, book)
    # A third of a share is paid with 5.00 and takes a tenth of the 30.00 along.
    assert after(book, effect.postings) == {
        "XYZ": held(10, "270.00"), "KID": held(3, "27.00"), call("50", "XYZ1"): held(1, "90.00"),
    }  # fmt: skip
    assert cash_of(effect) == D("5.00")
    made = adjusted_classes(event, {})["XYZ1"]
    assert made.deliverable == Deliverable((("XYZ", D(100)), ("KID", D(33))), D("5.00"))  # 0.33.. x 15


# Open orders.


def order(
    symbol: str = "XYZ", side: Side = Side.BUY, kind: OrderType = OrderType.LIMIT, tif: TimeInForce = TimeInForce.GTC,
    limit: str | None = None, stop: str | None = None, legs: tuple[Leg, ...] = (),
) -> Order:  # fmt: skip
    return Order(
        id=UUID(int=1), number=1, account_id=UUID(int=2), symbol=symbol, asset_class=AssetClass.EQUITY, multiplier=1,
        side=side, type=kind, tif=tif, qty=D(10), limit=ticks(limit) if limit else None,
        stop=ticks(stop) if stop else None, accepted_ns=0, expires_ns=NEVER_NS, legs=legs,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "limit", "stop"),
    [
        pytest.param(order(limit="50.00"), "49.44", None, id="buy limit: 49.445, down to the cent"),
        pytest.param(order(limit="1.20"), "0.645", None, id="below a dollar the step is finer"),
        pytest.param(order(side=Side.SELL, kind=OrderType.STOP, stop="45"), None, "44.44", id="sell stop"),
        pytest.param(
            order(side=Side.SELL, kind=OrderType.STOP_LIMIT, stop="45", limit="44"), "43.44", "44.44", id="sell stop-limit"
        ),
    ],
)  # fmt: skip
def test_a_dividend_lowers_orders_that_wait_below_the_market(
    asked: Order, limit: str | None, stop: str | None
) -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("0.555"))
    (change,) = apply(event, book={}, orders=[asked], adjusted={}).orders
    assert change.action is Action.ADJUST
    assert (change.limit, change.stop) == (ticks(limit) if limit else None, ticks(stop) if stop else None)
    assert change.lowered == 5_550


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(order(side=Side.SELL, limit="50"), id="sell limit"),
        pytest.param(order(kind=OrderType.STOP, stop="50"), id="buy stop"),
        pytest.param(order(limit="50", tif=TimeInForce.DAY), id="day order"),
        pytest.param(order("ABC", limit="50"), id="another stock"),
        pytest.param(order(call("50"), limit="5"), id="option"),
        pytest.param(order(kind=OrderType.MARKET), id="market order"),
    ],
)
def test_a_dividend_leaves_other_orders_alone(asked: Order) -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("0.50"))
    assert apply(event, book={}, orders=[asked], adjusted={}).orders == ()
    tiny = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("0.009"))
    assert apply(tiny, book={}, orders=[order(limit="50")], adjusted={}).orders == ()


def test_an_order_that_the_dividend_exceeds_is_canceled() -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("2"))
    (change,) = apply(event, book={}, orders=[order(limit="1.99")], adjusted={}).orders
    assert change.action is Action.CANCEL


@pytest.mark.parametrize(
    "event",
    [
        split(2, 1, "50"), split(1, 8, "5"), SymbolChange(symbol="XYZ", new_symbol="NEW", effective=DAY),
        CashMerger(symbol="XYZ", effective=DAY, cash=D(50)),
        StockMerger(symbol="XYZ", new_symbol="NEW", effective=DAY, new=1, old=2, price=ticks("9")),
        SpinOff(symbol="XYZ", new_symbol="KID", ex_date=DAY, new=1, old=2, price=ticks("9"), new_price=ticks("2")),
    ],
    ids=lambda event: type(event).__name__,
)  # fmt: skip
def test_what_changes_the_stock_cancels_orders_for_it_and_its_options(event: Event) -> None:
    package = order("", legs=(Leg(call("50"), Side.BUY, 1), Leg(call("55"), Side.SELL, 1)))
    asked = [order(limit="50"), order(call("50"), limit="5"), package, order("ABC"), order(call("50", "ABC"))]
    changes = apply(event, book={}, orders=asked, adjusted={}).orders
    assert [change.action for change in changes] == [Action.CANCEL] * 3
    assert "XYZ" in changes[0].reason


def test_a_special_dividend_cancels_option_orders() -> None:
    event = CashDividend(symbol="XYZ", ex_date=DAY, amount=D("2"), special=True)
    changes = apply(
        event, book={}, orders=[order(call("50"), limit="5"), order(limit="50")], adjusted={}
    ).orders
    assert [change.action for change in changes] == [Action.CANCEL, Action.ADJUST]


# Continuity: what the account is worth does not change, to the cent.


def worth(
    book: Mapping[str, Position], prices: Mapping[str, Fraction], adjusted: Mapping[str, OptionClass]
) -> Fraction:
    """Shares at their price; each contract at what exercising it is worth, in the money or not (that is linear,
    so nothing hides). Written anew here, in fractions."""
    total = Fraction(0)
    for symbol, position in book.items():
        contract = parse_symbol(symbol)
        if contract.asset_class is AssetClass.EQUITY:
            total += Fraction(position.qty) * prices[symbol]
            continue
        listed = class_of(contract.underlying, adjusted)
        value = Fraction(listed.deliverable.cash)
        for name, qty in listed.deliverable.shares:
            value += Fraction(qty) * prices[name]
        value -= Fraction(contract.strike, 10_000) * listed.multiplier
        total += Fraction(position.qty) * (value if contract.right is Right.CALL else -value)
    return total


def prices_around(event: Event, close: Fraction) -> tuple[dict[str, Fraction], dict[str, Fraction]]:
    """Prices before and after that are the same market seen from both sides of the event."""
    other = {"ABC": Fraction(30)}
    match event:
        case CashDividend():
            return {"XYZ": close, **other}, {"XYZ": close - Fraction(event.amount), **other}
        case Split():
            return {"XYZ": close, **other}, {"XYZ": close * event.old / event.new, **other}
        case SymbolChange():
            return {"XYZ": close, **other}, {"NEW": close, **other}
        case CashMerger():
            return {"XYZ": Fraction(event.cash), **other}, other
        case StockMerger():
            new = Fraction(event.price, 10_000)
            value = new * event.new / event.old + Fraction(event.cash)
            return {"XYZ": value, "NEW": new, **other}, {"NEW": new, **other}
        case SpinOff():
            parent, child = Fraction(event.price, 10_000), Fraction(event.new_price, 10_000)
            before = {"XYZ": parent + child * event.new / event.old, "KID": child, **other}
            return before, {"XYZ": parent, "KID": child, **other}


def check_continuity(
    event: Event, book: Mapping[str, Position], adjusted: Mapping[str, OptionClass], close: Fraction
) -> None:
    before, later = prices_around(event, close)
    effect = do(event, book, adjusted)
    classes = adjusted_classes(event, adjusted)
    left = after(book, effect.postings)
    owed = effect.entitlement.amount if effect.entitlement is not None else D(0)
    difference = (
        worth(left, later, classes) + Fraction(cash_of(effect) + owed) - worth(book, before, adjusted)
    )
    # A cent for the account's own cash, and what the terms of a contract are rounded by: its strike to the cent,
    # and the cash that it delivers, twice at most.
    allowed = Fraction(1, 100)
    for change in effect.contracts:
        old, new = parse_symbol(change.old), parse_symbol(change.new)
        listed = class_of(new.underlying, classes)
        exact = Fraction(old.strike)
        if isinstance(event, Split) and new.strike != old.strike:
            exact = exact * event.old / event.new
        if isinstance(event, CashDividend) and new.underlying == old.underlying:
            exact -= Fraction(event.amount * listed.deliverable.of("XYZ") * 10_000) / listed.multiplier
        moved = abs(new.strike - exact) * listed.multiplier / 10_000
        assert moved <= Fraction(listed.multiplier, 200)
        allowed += abs(Fraction(left[change.new].qty)) * (moved + Fraction(2, 200))
    assert abs(difference) <= allowed, f"{float(difference)} at {event}"
    if isinstance(event, SymbolChange):
        assert difference == 0
    # Cost goes on: what left the positions is what was realized on.
    cost = sum(p.cost for p in book.values()) - sum(p.cost for p in left.values())
    assert cost == sum(p.cash for p in effect.postings) - sum(p.realized for p in effect.postings)


quantities = st.integers(-500, 500).filter(bool)
books = st.fixed_dictionaries(
    {},
    optional={
        "XYZ": quantities.map(D) | st.integers(1, 500_000_000_000).map(lambda n: D(n) / 10**9),
        "ABC": quantities.map(D),
        **{f"C{k}": st.integers(-20, 20).filter(bool).map(D) for k in (3, 45, 50)},
        **{f"P{k}": st.integers(-20, 20).filter(bool).map(D) for k in (3, 45, 50)},
        "ADJUSTED": st.integers(-20, 20).filter(bool).map(D),
    },
)
dollars = st.integers(100, 90_000).map(lambda n: D(n) / 100)
price_ticks = dollars.map(lambda d: int(d * 10_000))
ratio = st.integers(1, 30)
events = st.one_of(
    st.builds(CashDividend, symbol=st.just("XYZ"), ex_date=st.just(DAY), amount=st.integers(1, 90_000).map(lambda n: D(n) / 10_000), special=st.booleans()),
    st.builds(Split, symbol=st.just("XYZ"), ex_date=st.just(DAY), new=ratio, old=ratio, close=price_ticks),
    st.builds(SymbolChange, symbol=st.just("XYZ"), new_symbol=st.just("NEW"), effective=st.just(DAY)),
    st.builds(CashMerger, symbol=st.just("XYZ"), effective=st.just(DAY), cash=dollars),
    st.builds(StockMerger, symbol=st.just("XYZ"), new_symbol=st.just("NEW"), effective=st.just(DAY), new=ratio, old=ratio, price=price_ticks, cash=dollars | st.just(D(0))),
    st.builds(SpinOff, symbol=st.just("XYZ"), new_symbol=st.just("KID"), ex_date=st.just(DAY), new=ratio, old=ratio, price=price_ticks, new_price=price_ticks),
)  # fmt: skip
ADJUSTED = {"XYZ1": OptionClass(underlying="XYZ", deliverable=Deliverable((("XYZ", D(12)),), D("26.00")))}


@given(events, books, price_ticks)
@settings(max_examples=600, deadline=None)
def test_no_event_makes_an_account_richer_or_poorer(event: Event, holdings: dict[str, D], close: int) -> None:
    symbols = {"XYZ": "XYZ", "ABC": "ABC", "ADJUSTED": call("6", "XYZ1")}
    book = {}
    for n, (name, qty) in enumerate(sorted(holdings.items())):
        symbol = symbols.get(name) or (call if name[0] == "C" else put)(name[1:])
        book[symbol] = Position(qty, (1 if qty > 0 else -1) * D(12_345 + 1_001 * n) / 100)
    if isinstance(event, CashDividend) and not adjusts_options(event):
        # By design contracts lose, or gain, what the stock loses by an ordinary dividend.
        book = {symbol: position for symbol, position in book.items() if symbol in ("XYZ", "ABC")}
    at = Fraction(event.close if isinstance(event, Split) else close, 10_000)
    check_continuity(event, book, ADJUSTED, at)


# The recorded events.


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def recorded_splits(tapes: Path) -> list[Split]:
    found = []
    for row in rows(tapes / "splits.csv"):
        exact = Fraction(row["new_shares_per_old"]).limit_denominator(10_000)
        found.append(
            Split(
                symbol=row["symbol"], ex_date=date.fromisoformat(row["ex_date"]), new=exact.numerator,
                old=exact.denominator, close=ticks(row["prev_close"]),
            )
        )  # fmt: skip
    return found


@pytest.mark.tapes
def test_recorded_splits(tapes: Path) -> None:
    """Sixteen real splits, with shares, a fraction of a share, a short position, and options near the price."""
    events = recorded_splits(tapes)
    assert len(events) == 16
    for event in events:
        close = Fraction(event.close, 10_000)
        strike = str(round(close / 5) * 5 or 1)
        for qty, cost in ((D(137), D("4321.09")), (D(-59), D("-777.77")), (D("12.345678901"), D("99.99"))):
            book = {
                event.symbol: Position(qty, cost),
                call(strike, event.symbol): held(3, "412.00"),
                put(strike, event.symbol): held(-2, "-230.00"),
            }
            difference_in_prices = {event.symbol: close}, {event.symbol: close * event.old / event.new}
            effect = do(event, book)
            left = after(book, effect.postings)
            classes = adjusted_classes(event, {})
            before, later = (
                worth(b, p, c)
                for b, p, c in zip((book, left), difference_in_prices, ({}, classes), strict=True)
            )
            # Strikes are rounded by at most half a cent on each share that is delivered.
            rounding = sum(
                abs(position.qty) * class_of(parse_symbol(s).underlying, classes).multiplier
                for s, position in left.items()
                if s != event.symbol
            ) * D("0.005")
            assert abs(later + Fraction(cash_of(effect)) - before) <= Fraction(rounding) + Fraction(1, 50)
            shares = Fraction(qty) * event.new / event.old
            assert abs(Fraction(left[event.symbol].qty) - shares) < 1


@pytest.mark.tapes
def test_recorded_splits_by_hand(tapes: Path) -> None:
    events = {(event.symbol, event.ex_date.year): event for event in recorded_splits(tapes)}
    book = {"AAPL": held(100, "10100.00")}
    for year in (2000, 2005, 2014, 2020):
        book = after(book, do(events["AAPL", year], book).postings)
    assert book == {"AAPL": held(11_200, "10100.00")}  # 100 x 2 x 2 x 7 x 4

    def after_split(symbol: str, year: int, qty: int) -> tuple[int, D]:
        effect = do(events[symbol, year], {symbol: held(qty, 0)})
        return int(after({symbol: held(qty, 0)}, effect.postings)[symbol].qty), cash_of(effect)

    assert after_split("AIG", 2009, 137) == (6, D("19.21"))  # 6.85; 0.85 x 20 x 1.13
    assert after_split("TWX", 2009, 137) == (45, D("16.84"))  # 45 2/3; 2/3 x 3 x 8.42
    assert after_split("GOOG", 2015, 100) == (100, D("152.16"))  # 100.27; 0.27 x 565.06 / 1.0027 = 152.1554
    assert after_split("AIG", 1999, 137) == (171, D("23.28"))  # 171.25; 0.25 x 116.38 / 1.25 = 23.276
    listed = adjusted_classes(events["GOOG", 2015], {})["GOOG1"]
    assert listed.deliverable == Deliverable((("GOOG", D(100)),), D("152.16"))
    listed = adjusted_classes(events["AIG", 1999], {})["AIG1"]
    assert (listed.deliverable, listed.multiplier) == (Deliverable((("AIG", D(125)),)), 125)


@pytest.mark.tapes
def test_recorded_dividends(tapes: Path) -> None:
    """448 real dividends: what the price loses, who held gets and who was short pays."""
    found = rows(tapes / "dividends.csv")
    assert len(found) == 448
    for row in found:
        amount, close = D(row["amount"]), D(row["prev_close"])
        event = CashDividend(symbol=row["symbol"], ex_date=date.fromisoformat(row["ex_date"]), amount=amount)
        for qty in (D(137), D(-50), D("0.75")):
            effect = do(event, {row["symbol"]: Position(qty, D(0))})
            assert effect.postings == ()
            assert effect.entitlement is not None
            equity_after = qty * (close - amount) + pay(effect.entitlement).cash
            assert abs(equity_after - qty * close) <= D("0.005")


@pytest.mark.tapes
def test_recorded_renames(tapes: Path) -> None:
    found = rows(tapes / "symbol_changes.csv")
    assert [(row["old_symbol"], row["new_symbol"]) for row in found] == [
        ("NB", "BAC"),
        ("AOL", "TWX"),
        ("GOOCV", "GOOG"),
    ]
    for row in found:
        old, new = row["old_symbol"], row["new_symbol"]
        event = SymbolChange(symbol=old, new_symbol=new, effective=date.fromisoformat(row["effective_date"]))
        book = {old: held("10.5", "123.45"), call("60", old): held(-4, "-88.00")}
        assert after(book, do(event, book).postings) == {
            new: held("10.5", "123.45"), call("60", new): held(-4, "-88.00"),
        }  # fmt: skip
