"""Contracts that a corporate action has changed: what they need, what covers them, and orders in them.

Amounts are reckoned by hand from docs/rules/margin.md and docs/rules/corporate-actions.md. The classes are those that
the actions make: 3 for 2 (150 shares, and a dollar of price is 150 dollars), 1 for 8 (12 shares and 26.00), a special
dividend of 7.00 on a contract whose strike cannot be cut (100 shares and 700.00), a merger for 54.20 in cash, and a
spin-off of a third of a share (100 XYZ, 33 KID and 5.00).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine import corporate, intake, tickets
from mbt.engine.account import Part, Position, Unbookable, book_fill
from mbt.engine.buying_power import (
    AccountType,
    AccountView,
    Holding,
    InsufficientBuyingPower,
    InsufficientQuantity,
    NotApproved,
)
from mbt.engine.cost import Trade
from mbt.engine.intake import ClosingOnly, Draft
from mbt.engine.margin import Holding as Held
from mbt.engine.margin import MarginRules, Requirement, UncoveredShort, cash_requirement, requirement
from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.strategies import Name, recognise
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.clock import to_ns
from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import to_ticks, up_to_cents
from raxx.market.calendar import xnys
from raxx.market.contracts import Right, osi
from raxx.market.listing import Deliverable, OptionClass, UnknownDeliverable, instrument_of
from raxx.market.quotes import Quote

DAY, EXPIRY, LATER = date(2026, 11, 20), date(2026, 12, 18), date(2027, 1, 15)
RULES = MarginRules()
Classes = Mapping[str, OptionClass]


def made_by(event: corporate.Event) -> Classes:
    return corporate.adjusted_classes(event, {})


THREE_FOR_TWO = made_by(corporate.Split(symbol="XYZ", ex_date=DAY, new=3, old=2, close=480_000))
ONE_FOR_EIGHT = made_by(corporate.Split(symbol="XYZ", ex_date=DAY, new=1, old=8, close=65_000))
DIVIDEND = made_by(corporate.CashDividend(symbol="XYZ", ex_date=DAY, amount=D("7.00"), special=True))
MERGER = made_by(corporate.CashMerger(symbol="XYZ", effective=DAY, cash=D("54.20")))
SPIN_OFF = made_by(corporate.SpinOff(
    symbol="XYZ", new_symbol="KID", ex_date=DAY, new=1, old=3, price=450_000, new_price=150_000
))  # fmt: skip
# As the clearing house has it at other times: the deliverable grows, and strike and multiplier stay.
SHARES_ONLY = {"XYZ1": OptionClass(underlying="XYZ", deliverable=Deliverable((("XYZ", D(150)),)))}


def option(text: str, *, root: str = "XYZ1", expiry: date = EXPIRY) -> str:
    """`30C`"""
    return osi(root, expiry, Right(text[-1]), to_ticks(D(text[:-1])))


def marks_of(prices: Mapping[str, str]) -> dict[str, int]:
    return {symbol: to_ticks(D(price)) for symbol, price in prices.items()}


def held(adjusted: Classes, positions: Mapping[str, int]) -> list[Held]:
    return [Held(instrument_of(symbol, adjusted), D(qty)) for symbol, qty in positions.items()]


def needs(
    adjusted: Classes, prices: Mapping[str, str], positions: Mapping[str, int], rules: MarginRules = RULES
) -> Requirement:
    return requirement(held(adjusted, positions), marks=marks_of(prices), rules=rules, adjusted=adjusted)


# -- what they are --------------------------------------------------------------------------------------


def test_what_the_actions_make() -> None:
    assert THREE_FOR_TWO["XYZ1"].deliverable == Deliverable((("XYZ", D(150)),))
    assert THREE_FOR_TWO["XYZ1"].multiplier == 150
    assert ONE_FOR_EIGHT["XYZ1"].deliverable == Deliverable((("XYZ", D(12)),), D("26.00"))
    assert DIVIDEND["XYZ1"].deliverable == Deliverable((("XYZ", D(100)),), D("700.00"))
    assert MERGER["XYZ1"].deliverable == Deliverable((), D("5420.00"))
    assert SPIN_OFF["XYZ1"].deliverable == Deliverable((("XYZ", D(100)), ("KID", D(33))), D("5.00"))
    assert [c["XYZ1"].multiplier for c in (ONE_FOR_EIGHT, DIVIDEND, MERGER, SPIN_OFF)] == [100] * 4


def test_an_instrument_has_the_multiplier_of_its_class() -> None:
    assert instrument_of(option("30C"), THREE_FOR_TWO).multiplier == 150
    assert instrument_of(option("30C", root="XYZ"), THREE_FOR_TWO).multiplier == 100
    assert instrument_of("XYZ", THREE_FOR_TWO).multiplier == 1


# -- margin ---------------------------------------------------------------------------------------------

XYZ_32 = {"XYZ": "32.00", option("30C"): "2.80", option("30P"): "0.90", option("30C", root="XYZ"): "2.80"}
XYZ_52 = {"XYZ": "52.00", option("6C"): "0.80", option("7P"): "0.70"}
XYZ_5 = {"XYZ": "5.00", option("5C"): "7.05"}
SPUN = {"XYZ": "45.00", "KID": "15.00", option("50C"): "1.00"}

MARGIN = {
    # 2.80 + 20 % x 32.00 = 9.20, and 150 of them.
    "3 for 2, naked call": (THREE_FOR_TWO, XYZ_32, {option("30C"): -1}, "1380", "1380"),
    # 0.90 + 6.40 - 2.00 out of the money = 5.30, x 150.
    "3 for 2, naked put": (THREE_FOR_TWO, XYZ_32, {option("30P"): -1}, "795", "795"),
    # The call's 9.20 and the put's mark: 10.10 x 150.
    "3 for 2, straddle": (THREE_FOR_TWO, XYZ_32, {option("30C"): -1, option("30P"): -1}, "1515", "1515"),
    # 150 shares are worth 4,800; the strike brings 4,500: 25 % of that, and 300 in the money.
    "3 for 2, covered": (THREE_FOR_TWO, XYZ_32, {"XYZ": 150, option("30C"): -1}, "2400", "1425"),
    # 149 shares cover nothing: 25 % of 4,768, and the naked call.
    "3 for 2, 149 shares": (THREE_FOR_TWO, XYZ_32, {"XYZ": 149, option("30C"): -1}, "3764", "2572"),
    # 30 % of 4,800, and nothing in the money.
    "3 for 2, covered put": (THREE_FOR_TWO, XYZ_32, {"XYZ": -150, option("30P"): -1}, "2400", "1440"),
    # 10 % x 4,500 + 300 on the way to the strike, below 25 % x 4,800.
    "3 for 2, protective put": (THREE_FOR_TWO, XYZ_32, {"XYZ": 150, option("30P"): 1}, "2400", "750"),
    "3 for 2, spread": (THREE_FOR_TWO, XYZ_32, {option("30C"): -1, option("35C"): 1}, "750", "750"),
    # The same contract, quoted otherwise: strike 45 and 4.20 for the call, 100 dollars each.
    "150 shares for 4,500": (SHARES_ONLY, {"XYZ": "32.00", option("45C"): "4.20"}, {option("45C"): -1}, "1380", "1380"),
    "150 shares, covered": (
        SHARES_ONLY, {"XYZ": "32.00", option("45C"): "4.20"}, {"XYZ": 150, option("45C"): -1}, "2400", "1425",
    ),
    # 12 x 52.00 + 26.00 = 650. The call: 80 + 20 % x 650. The put, 50 in the money: 70 + 130.
    "1 for 8, naked call": (ONE_FOR_EIGHT, XYZ_52, {option("6C"): -1}, "210", "210"),
    "1 for 8, naked put": (ONE_FOR_EIGHT, XYZ_52, {option("7P"): -1}, "200", "200"),
    # The 600 of the strike pay the 26.00 first: 25 % x 574, and 50 in the money. Half of 624.
    "1 for 8, covered": (ONE_FOR_EIGHT, XYZ_52, {"XYZ": 12, option("6C"): -1}, "312", "193.50"),
    # 500 + 700 for 500: 705 + 20 % x 1,200.
    "special dividend, naked": (DIVIDEND, XYZ_5, {option("5C"): -1}, "945", "945"),
    # The strike does not even pay the cash: nothing of the shares is lent on, and 700 stand against the call.
    "special dividend, covered": (DIVIDEND, XYZ_5, {"XYZ": 100, option("5C"): -1}, "250", "700"),
    # What it delivers never moves: 5,420 for 5,000, and the mark is that.
    "cash merger, call": (MERGER, {option("50C"): "4.20"}, {option("50C"): -1}, "420", "420"),
    "cash merger, put": (MERGER, {option("60P"): "5.70"}, {option("60P"): -1}, "580", "580"),
    "cash merger, far": (MERGER, {option("70C"): "0.05"}, {option("70C"): -2}, "10", "10"),
    # 4,500 + 495 + 5 = 5,000: 100 + 20 % of it.
    "spin-off, naked": (SPIN_OFF, SPUN, {option("50C"): -1}, "1100", "1100"),
    # Half, and a quarter, of 4,995.
    "spin-off, covered": (SPIN_OFF, SPUN, {"XYZ": 100, "KID": 33, option("50C"): -1}, "2497.50", "1248.75"),
    # 5,000 + 660 + 5, and 665 of it in the money: the 4,995 that the strike leaves are all XYZ.
    "spin-off, in the money": (
        SPIN_OFF, SPUN | {"XYZ": "50.00", "KID": "20.00", option("50C"): "7.00"},
        {"XYZ": 100, "KID": 33, option("50C"): -1}, "2830", "1913.75",
    ),
    "spin-off, half of it": (SPIN_OFF, SPUN, {"XYZ": 100, option("50C"): -1}, "3350", "2225"),
    # 100 beside the standard call, 150 beside the other: 25 % x 3,000 + 200, and 1,425.
    "both covered": (
        THREE_FOR_TWO, XYZ_32, {"XYZ": 250, option("30C"): -1, option("30C", root="XYZ"): -1}, "4000", "2375",
    ),
    # For one of them only. The dearer: 1,425, 50 shares for 400, and 920 for the standard call.
    "one of two": (
        THREE_FOR_TWO, XYZ_32, {"XYZ": 200, option("30C"): -1, option("30C", root="XYZ"): -1}, "4120", "2745",
    ),
    # At the trade the standard call is the dearer one to leave naked (1,845 and 1,380), and half of the stock is
    # required either way. Afterwards covering it saves less: it is deep in the money.
    "two divisions": (
        THREE_FOR_TWO, XYZ_32 | {option("20C", root="XYZ"): "12.05"},
        {"XYZ": 200, option("30C"): -1, option("20C", root="XYZ"): -1}, "4580", "3670",
    ),
    # A standard long option covers nothing: it delivers something else.
    "no spread": (THREE_FOR_TWO, XYZ_32, {option("30C"): -1, option("30C", root="XYZ"): 2}, "1380", "1380"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("adjusted", "prices", "positions", "initial", "maintenance"), MARGIN.values(), ids=MARGIN
)
def test_margin(
    adjusted: Classes, prices: Mapping[str, str], positions: Mapping[str, int], initial: str, maintenance: str
) -> None:
    found = needs(adjusted, prices, positions)
    assert (found.initial, found.maintenance) == (D(initial), D(maintenance))
    assert found.is_least
    used: dict[str, D] = {}
    for group in found.groups:
        for part in group.legs:
            used[part.instrument.symbol] = used.get(part.instrument.symbol, D(0)) + part.qty
    assert used == positions


def test_groups_have_their_names_and_say_how() -> None:
    (group,) = needs(THREE_FOR_TWO, XYZ_32, {"XYZ": 300, option("30C"): -2}).groups
    assert (group.name, group.label) == (Name.COVERED_CALL, "XYZ1 18 Dec 2026 30 covered call ×2")
    assert (
        group.formula
        == "initial 150 × 50% × 32.00 × 2 = 4,800.00; maintenance (25% × 4,500.00 + 300.00) × 2 = 2,850.00"
    )
    (spun,) = needs(SPIN_OFF, SPUN, {"XYZ": 100, "KID": 33, option("50C"): -1}).groups
    assert spun.name is Name.COVERED_CALL
    (naked,) = needs(ONE_FOR_EIGHT, XYZ_52, {option("6C"): -2}).groups
    assert naked.formula == "(80.00 + max(20% × 650.00, 10% × 650.00)) × 2 = 420.00"


def test_the_broker_style_model() -> None:
    universal = MarginRules(model=RULES.model.UNIVERSAL_SPREAD)
    assert needs(THREE_FOR_TWO, XYZ_32, {"XYZ": 150, option("30C"): -1}, universal).maintenance == 1_425
    assert needs(THREE_FOR_TWO, XYZ_32, {option("30C"): -1, option("35C"): 1}, universal).maintenance == 750
    assert needs(THREE_FOR_TWO, XYZ_32, {option("30P"): -1}, universal).maintenance == 4_500


def test_a_class_that_nothing_describes_has_no_requirement() -> None:
    with pytest.raises(UnknownDeliverable):
        needs({}, XYZ_32, {option("30C"): -1})


# What holds for every book.

CLASSES = st.sampled_from([THREE_FOR_TWO, ONE_FOR_EIGHT, DIVIDEND, SPIN_OFF, SHARES_ONLY])
SERIES = [
    option(f"{strike}{right}", root=root, expiry=expiry)
    for root in ("XYZ", "XYZ1")
    for strike in (20, 25, 30)
    for right in "CP"
    for expiry in (EXPIRY, LATER)
]
LEGS = st.dictionaries(st.sampled_from(SERIES), st.integers(-4, 4).filter(bool), max_size=5)
STOCK = st.fixed_dictionaries({}, optional={"XYZ": st.integers(-500, 900), "KID": st.integers(-100, 300)})
Drawn = tuple[Classes, dict[str, int], dict[str, int], int, int]  # and the price of XYZ, a seed of marks
BOOKS = st.tuples(CLASSES, LEGS, STOCK, st.integers(5, 60), st.integers(1, 900))


def book_of(drawn: Drawn) -> tuple[Classes, dict[str, str], dict[str, int]]:
    adjusted, legs, stock, price, seed = drawn
    prices = {"XYZ": str(price), "KID": "15.00"}
    prices |= {symbol: str(D(1 + (seed * n) % 900) / 100) for n, symbol in enumerate(SERIES, start=1)}
    return adjusted, prices, {s: qty for s, qty in {**legs, **stock}.items() if qty}


def exact(found: Requirement) -> tuple[D, D]:
    return sum((g.initial for g in found.initial_groups), D(0)), sum(
        (g.maintenance for g in found.groups), D(0)
    )


@given(BOOKS, st.integers(2, 3))
def test_order_and_quantity(drawn: Drawn, times: int) -> None:
    """The order of legs does not matter; so many times a book never need more than so many times as much; each leg
    alone exactly that, and all of them no more than the sum of each alone."""
    adjusted, prices, positions = book_of(drawn)
    whole = exact(needs(adjusted, prices, positions))
    assert exact(needs(adjusted, prices, dict(reversed(positions.items())))) == whole
    alone = [exact(needs(adjusted, prices, {symbol: qty})) for symbol, qty in positions.items()]
    for n in (0, 1):
        assert whole[n] <= sum((each[n] for each in alone), D(0))
    often = needs(adjusted, prices, {symbol: times * qty for symbol, qty in positions.items()})
    assert often.is_least
    for n in (0, 1):
        assert exact(often)[n] <= times * whole[n]
    for each, (symbol, qty) in zip(alone, positions.items(), strict=True):
        assert exact(needs(adjusted, prices, {symbol: times * qty})) == (times * each[0], times * each[1])


@given(BOOKS, st.sampled_from(SERIES))
def test_a_long_option_more_never_raises_it(drawn: Drawn, more: str) -> None:
    adjusted, prices, positions = book_of(drawn)
    if positions.get(more, 0) < 0:
        return
    before = exact(needs(adjusted, prices, positions))
    after = exact(needs(adjusted, prices, {**positions, more: positions.get(more, 0) + 1}))
    assert after[0] <= before[0]
    assert after[1] <= before[1]


@given(st.integers(0, 1_200), st.integers(0, 4), st.integers(0, 4), st.integers(20, 44))
def test_the_best_division_of_the_shares(shares: int, larger: int, standard: int, price: int) -> None:
    """Short 30 calls of both classes over some shares: all divisions, by the formulas of the chapter."""
    if not (shares or larger or standard):
        return
    prices = {"XYZ": str(price), option("30C"): "5.00", option("30C", root="XYZ"): "5.00"}
    calls = {option("30C"): -larger, option("30C", root="XYZ"): -standard, "XYZ": shares}
    found = needs(THREE_FOR_TWO, prices, {symbol: qty for symbol, qty in calls.items() if qty})
    itm, otm = max(D(0), D(price) - 30), max(D(0), D(30) - price)
    covered, plain = D("0.25") * min(price, 30) + itm, D("0.25") * price
    naked = 5 + max(D("0.2") * price - otm, D("0.1") * price)

    def charge(a: int, b: int) -> D:
        beside = 150 * a + 100 * b
        return (
            covered * beside + plain * (shares - beside) + naked * (150 * (larger - a) + 100 * (standard - b))
        )

    least = min(
        charge(a, b) for a in range(larger + 1) for b in range(standard + 1) if 150 * a + 100 * b <= shares
    )
    assert found.maintenance == up_to_cents(least)


# -- cash accounts --------------------------------------------------------------------------------------

SECURED = {
    "150 shares": (THREE_FOR_TWO, {"XYZ": 150, option("30C"): -1}, "0"),
    "a put on 150 shares": (THREE_FOR_TWO, {option("30P"): -2}, "9000"),
    "12 shares and 26.00": (ONE_FOR_EIGHT, {"XYZ": 25, option("6C"): -2}, "52"),
    "100 shares and 700.00": (DIVIDEND, {"XYZ": 100, option("5C"): -1}, "700"),
    "cash alone": (MERGER, {option("50C"): -1}, "5420"),
    "a put on cash": (MERGER, {option("60P"): -1}, "6000"),
    "two stocks": (SPIN_OFF, {"XYZ": 100, "KID": 33, option("50C"): -1}, "5"),
    "both classes": (THREE_FOR_TWO, {"XYZ": 250, option("30C"): -1, option("30C", root="XYZ"): -1}, "0"),
}


@pytest.mark.parametrize(("adjusted", "positions", "aside"), SECURED.values(), ids=SECURED)
def test_what_a_cash_account_sets_aside(adjusted: Classes, positions: Mapping[str, int], aside: str) -> None:
    assert cash_requirement(held(adjusted, positions), adjusted=adjusted).maintenance == D(aside)


UNCOVERED = {
    "100 of 150": (THREE_FOR_TWO, {"XYZ": 100, option("30C"): -1}, "150 shares of XYZ"),
    "11 of 12": (ONE_FOR_EIGHT, {"XYZ": 11, option("6C"): -1}, "12 shares of XYZ"),
    "one of two stocks": (SPIN_OFF, {"XYZ": 500, option("50C"): -1}, "100 shares of XYZ and 33 shares of KID"),
    "shares used twice": (
        THREE_FOR_TWO, {"XYZ": 249, option("30C"): -1, option("30C", root="XYZ"): -1}, "150 shares of XYZ",
    ),
    "a long option": (THREE_FOR_TWO, {option("30C"): -1, option("25C"): 1}, "150 shares of XYZ"),
}  # fmt: skip


@pytest.mark.parametrize(("adjusted", "positions", "remedy"), UNCOVERED.values(), ids=UNCOVERED)
def test_what_covers_nothing_in_a_cash_account(
    adjusted: Classes, positions: Mapping[str, int], remedy: str
) -> None:
    with pytest.raises(UncoveredShort, match=remedy):
        cash_requirement(held(adjusted, positions), adjusted=adjusted)


# -- structures -----------------------------------------------------------------------------------------


def test_strikes_of_different_deliverables_make_no_spread() -> None:
    legs = [
        (instrument_of(option("30C"), THREE_FOR_TWO), D(1)),
        (instrument_of(option("35C", root="XYZ")), D(-1)),
    ]
    assert recognise(legs, underlying="XYZ").name is Name.CUSTOM
    same = [(instrument_of(option(t), THREE_FOR_TWO), D(q)) for t, q in (("30C", 1), ("35C", -1))]
    assert recognise(same).label == "XYZ1 18 Dec 2026 30/35 call debit spread"


# -- orders ---------------------------------------------------------------------------------------------

NOW_NS = to_ns(datetime(2026, 11, 23, 15, 0, tzinfo=UTC))  # a Monday, 10:00 in New York


def quote(symbol: str, bid: str, ask: str, *, at_ns: int = NOW_NS) -> Quote:
    return Quote(symbol, at_ns, to_ticks(D(bid)), 10, to_ticks(D(ask)), 10)


QUOTES = {
    q.symbol: q
    for q in (
        quote("XYZ", "31.99", "32.01"), quote(option("30C"), "2.70", "2.90"), quote(option("35C"), "0.90", "1.10"),
        quote(option("30P"), "0.80", "1.00"), quote(option("30C", root="XYZ"), "2.70", "2.90"),
        quote(option("50C"), "4.10", "4.30"), quote(option("6C"), "0.70", "0.90"),
        quote(option("30C", expiry=LATER), "3.40", "3.60"), quote(option("6C", expiry=LATER), "1.00", "1.20"),
        quote(option("60C", root="XYZ", expiry=LATER), "1.40", "1.60"),
    )
}  # fmt: skip


def view(
    adjusted: Classes, positions: Mapping[str, int], *, cash: str = "20000.00", kind: AccountType = AccountType.CASH,
    naked: bool = False, pending: Sequence[Trade] = (),
) -> AccountView:  # fmt: skip
    return AccountView(
        type=kind, cash=D(cash), cash_held=D(0), holdings={s: Holding(D(q), D(0)) for s, q in positions.items()},
        marks={s: (q.bid + q.ask) // 2 for s, q in QUOTES.items()}, adjusted=adjusted,
        options_level=2 if kind is AccountType.CASH else 3, naked_shorts=naked, pending=tuple((t,) for t in pending),
    )  # fmt: skip


def ticket(*legs: tuple[int, str], qty: int = 1, limit: str | None = None) -> Ticket:
    def side(count: int) -> Side:
        return Side.BUY if count > 0 else Side.SELL

    single = len(legs) == 1
    return Ticket(
        symbol=legs[0][1] if single else "", side=side(legs[0][0]) if single else Side.BUY,
        qty=D(abs(legs[0][0]) * qty if single else qty), limit_price=None if limit is None else D(limit),
        order_type=OrderType.MARKET if limit is None else OrderType.LIMIT, time_in_force=TimeInForce.DAY,
        client_order_id="mine", order_class=OrderClass.SIMPLE if single else OrderClass.MLEG,
        legs=() if single else tuple(LegTicket(symbol, side(count), abs(count)) for count, symbol in legs),
    )  # fmt: skip


def send(asked: Ticket, account: AccountView, quotes: Mapping[str, Quote] = QUOTES) -> Draft:
    instruments = [instrument_of(symbol, account.adjusted) for symbol in asked.symbols]
    return intake.accept(asked, instruments, account=account, quotes=quotes, sessions=xnys(), now_ns=NOW_NS)[
        0
    ]


def test_a_purchase_holds_150_dollars_for_a_dollar() -> None:
    draft = send(ticket((1, option("30C")), qty=2, limit="2.90"), view(THREE_FOR_TWO, {}))
    assert (draft.multiplier, draft.cash_hold) == (150, D("870.00"))  # 2 x 2.90 x 150
    assert send(ticket((1, option("6C")), qty=2, limit="0.90"), view(ONE_FOR_EIGHT, {})).cash_hold == D(
        "180.00"
    )
    with pytest.raises(InsufficientBuyingPower) as denial:
        send(ticket((1, option("30C")), qty=4, limit="2.90"), view(THREE_FOR_TWO, {}, cash="1300.00"))
    assert denial.value.details["qty_max"] == "2"  # 870; three are 1,305


def test_closing_needs_nothing() -> None:
    draft = send(ticket((-1, option("30C")), qty=2), view(THREE_FOR_TWO, {option("30C"): 2}, cash="0.00"))
    assert (draft.cash_hold, draft.position_holds, draft.multiplier) == (D(0), {option("30C"): D(2)}, 150)
    with pytest.raises(InsufficientQuantity):
        send(ticket((-1, option("30C")), qty=3), view(THREE_FOR_TWO, {option("30C"): 2}))


def test_a_short_call_in_a_cash_account_needs_150_shares() -> None:
    sold = ticket((-1, option("30C")), limit="2.70")
    assert send(sold, view(THREE_FOR_TWO, {"XYZ": 150}, cash="0.00")).cash_hold == 0
    with pytest.raises(UncoveredShort):
        send(sold, view(THREE_FOR_TWO, {"XYZ": 149}))
    # The shares are bound: none can be sold, also while the call's own order is open.
    for account in (
        view(THREE_FOR_TWO, {"XYZ": 150, option("30C"): -1}),
        view(
            THREE_FOR_TWO, {"XYZ": 150}, pending=[Trade(instrument_of(option("30C"), THREE_FOR_TWO), D(-1))]
        ),
    ):
        with pytest.raises(UncoveredShort):
            send(ticket((-1, "XYZ")), account)
    assert send(ticket((-1, "XYZ"), qty=50), view(THREE_FOR_TWO, {"XYZ": 200, option("30C"): -1})).qty == 50


def test_a_short_call_in_a_cash_account_needs_the_cash_that_it_delivers() -> None:
    sold = ticket((-1, option("6C")), limit="0.70")
    assert send(sold, view(ONE_FOR_EIGHT, {"XYZ": 12}, cash="26.00")).cash_hold == D("26.00")
    with pytest.raises(InsufficientBuyingPower):
        send(sold, view(ONE_FOR_EIGHT, {"XYZ": 12}, cash="25.99"))


def test_a_short_put_sets_its_exercise_price_aside() -> None:
    sold = ticket((-1, option("30P")), limit="0.80")
    assert send(sold, view(THREE_FOR_TWO, {}, cash="4500.00")).cash_hold == D("4500.00")  # 30 x 150
    with pytest.raises(InsufficientBuyingPower):
        send(sold, view(THREE_FOR_TWO, {}, cash="4499.99"))


def test_a_margin_account_holds_the_change_of_its_requirement() -> None:
    spread = ticket((-1, option("30C")), (1, option("35C")), limit="-1.60")
    draft = send(spread, view(THREE_FOR_TWO, {}, kind=AccountType.MARGIN))
    assert draft.cash_hold == D("510.00")  # 5.00 x 150 - 1.60 x 150
    assert [leg.multiplier for leg in draft.legs] == [150, 150]
    naked = ticket((-1, option("30C")), limit="2.70")
    with pytest.raises(NotApproved):
        send(naked, view(THREE_FOR_TWO, {"XYZ": 149}, kind=AccountType.MARGIN))
    # 1,380 at the mark of 2.80, less 405 that it brings.
    assert send(naked, view(THREE_FOR_TWO, {}, kind=AccountType.MARGIN, naked=True)).cash_hold == D("975.00")
    covered = view(THREE_FOR_TWO, {"XYZ": 150}, kind=AccountType.MARGIN)
    assert send(naked, covered).cash_hold == 0  # it brings 405, and the initial requirement stays 2,400


def test_the_cover_of_a_call_on_150_shares_is_not_sold_in_a_margin_account() -> None:
    account = view(THREE_FOR_TWO, {"XYZ": 150, option("30C"): -1}, kind=AccountType.MARGIN)
    with pytest.raises(NotApproved, match=f"buy 1 {option('30C')}"):
        send(ticket((-1, "XYZ"), qty=50), account)


def test_a_roll_within_the_class_and_into_standard_contracts() -> None:
    held_long = view(ONE_FOR_EIGHT, {option("6C"): 1})
    out, later = (-1, option("6C")), (1, option("6C", expiry=LATER))
    assert send(ticket(out, later, limit="0.50"), held_long).cash_hold == D("50.00")
    standard = (1, option("60C", root="XYZ", expiry=LATER))
    assert send(ticket(out, standard, limit="0.90"), held_long).cash_hold == D("90.00")
    # A dollar of one is 150 dollars and of the other 100: no net price says both.
    larger, quotes = view(THREE_FOR_TWO, {option("30C"): 1}), QUOTES
    with pytest.raises(InvalidInput, match="100 and 150 dollars a contract"):
        send(ticket((-1, option("30C")), standard, limit="0.90"), larger, quotes)
    with pytest.raises(InvalidInput, match="one underlying"):
        tickets.check_terms(
            ticket((1, option("30C")), (1, option("30C", root="ABC")), limit="1.00"),
            [instrument_of(option("30C"), THREE_FOR_TWO), instrument_of(option("30C", root="ABC"))], THREE_FOR_TWO,
        )  # fmt: skip


def test_what_can_only_be_closed() -> None:
    bought = ticket((1, option("50C")), limit="4.30")
    with pytest.raises(ClosingOnly, match=r"delivers \$5,420.00 in cash and nothing else"):
        send(bought, view(MERGER, {}))
    assert send(bought, view(MERGER, {option("50C"): -1})).only_closes
    unquoted = {s: q for s, q in QUOTES.items() if s != option("30C")}
    yesterday = QUOTES | {
        option("30C"): quote(option("30C"), "2.70", "2.90", at_ns=NOW_NS - 3 * 86_400 * 10**9)
    }
    one_sided = QUOTES | {option("30C"): quote(option("30C"), "0", "2.90")}
    for quotes in (unquoted, yesterday, one_sided):
        with pytest.raises(ClosingOnly, match="nobody has quoted") as denial:
            send(ticket((1, option("30C")), limit="2.90"), view(THREE_FOR_TWO, {}), quotes)
        assert denial.value.details["remedy"] == "Trade a standard contract of XYZ."
        assert send(
            ticket((-1, option("30C")), limit="2.90"), view(THREE_FOR_TWO, {option("30C"): 1}), quotes
        )
    # A standard contract needs no quote for that.
    assert send(ticket((1, option("30C", root="XYZ")), limit="2.90"), view(THREE_FOR_TWO, {}), {})


def test_on_its_last_afternoon_it_can_only_be_closed() -> None:
    afternoon = to_ns(datetime(2026, 12, 18, 20, 20, tzinfo=UTC))
    quotes = {s: Quote(s, afternoon, q.bid, 10, q.ask, 10) for s, q in QUOTES.items()}
    account, asked = view(THREE_FOR_TWO, {}), ticket((1, option("30C")), limit="2.90")
    with pytest.raises(ClosingOnly, match="about to expire"):
        intake.accept(
            asked, [instrument_of(option("30C"), THREE_FOR_TWO)], account=account, quotes=quotes, sessions=xnys(),
            now_ns=afternoon,
        )  # fmt: skip


# -- fills ----------------------------------------------------------------------------------------------


def part(symbol: str, side: Side, price: str, adjusted: Classes, qty: int = 1) -> Part:
    size = instrument_of(symbol, adjusted).multiplier
    return Part(
        symbol=symbol,
        side=side,
        qty=D(qty),
        multiplier=size,
        price=to_ticks(D(price)),
        quote=quote(symbol, "1", "2"),
    )


def test_a_fill_moves_150_dollars_for_a_dollar() -> None:
    bought = [part(option("30C"), Side.BUY, "2.90", THREE_FOR_TWO)]
    booked = book_fill(bought, positions={}, spendable=D(435), adjusted=THREE_FOR_TWO)
    assert not isinstance(booked, Unbookable)
    assert [posting.cash for posting in booked] == [D("-435.00")]


@pytest.mark.parametrize(
    ("adjusted", "sold", "price", "spendable", "booked"),
    [
        (THREE_FOR_TWO, option("30P"), "0.80", "4380", True),  # 30 x 150 less the 120 that it brings
        (THREE_FOR_TWO, option("30P"), "0.80", "4379.99", False),
        (ONE_FOR_EIGHT, option("6C"), "0.10", "16", True),  # 26.00 to be delivered, less 10
        (ONE_FOR_EIGHT, option("6C"), "0.10", "15.99", False),
        (SHARES_ONLY, option("45C"), "0.10", "0", True),
    ],
)
def test_what_a_fill_must_leave_in_a_cash_account(
    adjusted: Classes, sold: str, price: str, spendable: str, booked: bool
) -> None:
    found = book_fill(
        [part(sold, Side.SELL, price, adjusted)], positions={}, spendable=D(spendable), adjusted=adjusted
    )
    assert (found is not Unbookable.INSUFFICIENT_CASH) is booked


def test_what_is_set_aside_is_not_spent() -> None:
    positions = {option("30P"): Position(D(-1), D("-120.00"))}
    bought = [part("XYZ", Side.BUY, "32.00", THREE_FOR_TWO, qty=10)]
    assert (
        book_fill(bought, positions=positions, spendable=D(4820), adjusted=THREE_FOR_TWO)
        is not Unbookable.INSUFFICIENT_CASH
    )
    assert (
        book_fill(bought, positions=positions, spendable=D("4819.99"), adjusted=THREE_FOR_TWO)
        is Unbookable.INSUFFICIENT_CASH
    )
