"""Expiration: worked examples by hand, real expirations from recorded days, and laws over random books."""

import csv
import gzip
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt.engine.account import Kind, Position, Posting, post
from mbt.engine.expiry import Expiration, Fate, Instructions, expire
from mbt.engine.means import Means, NoSettlementPrice
from mbt.engine.risk_close import Structure, no_opening_ns, pin_risks, risk_close, risk_close_ns, structures
from raxx.kernel.clock import to_ns
from raxx.market.calendar import xnys
from raxx.market.contracts import Right, osi, parse_symbol
from raxx.market.listing import Deliverable, OptionClass, OptionTerms, terms_of

D = Decimal
NEW_YORK = ZoneInfo("America/New_York")
SOAK = os.environ.get("RAXX_SOAK")
RICH = Means(D(10) ** 12, short_rate=D("0.5"))
FRIDAY = date(2026, 12, 18)
NEXT_MONTH = date(2027, 1, 15)


def at(text: str) -> int:
    return to_ns(datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=NEW_YORK))


CLOSE = at("2026-12-18 16:00")


def call(strike: str, root: str = "XYZ", expiry: date = FRIDAY) -> str:
    return osi(root, expiry, Right.CALL, int(D(strike) * 10_000))


def put(strike: str, root: str = "XYZ", expiry: date = FRIDAY) -> str:
    return osi(root, expiry, Right.PUT, int(D(strike) * 10_000))


def terms_for(
    symbols: Iterable[str], adjusted: Mapping[str, OptionClass] | None = None
) -> dict[str, OptionTerms]:
    return {
        s: terms_of(parse_symbol(s), xnys(), adjusted or {}) for s in symbols if any(c.isdigit() for c in s)
    }


def ticks(dollars: str | D) -> int:
    return int(D(dollars) * 10_000)


def position(qty: int | str, cost: str | int) -> Position:
    return Position(D(qty), D(cost))


def settle(
    book: Mapping[str, Position], prices: Mapping[str, str | D], means: Means = RICH, at_ns: int = CLOSE,
    instructions: Instructions | None = None, adjusted: Mapping[str, OptionClass] | None = None,
) -> Expiration:  # fmt: skip
    return expire(
        book, terms=terms_for(book, adjusted), prices={name: ticks(price) for name, price in prices.items()},
        means=means, at_ns=at_ns, instructions=instructions or Instructions(),
    )  # fmt: skip


def after(book: Mapping[str, Position], postings: Iterable[Posting]) -> dict[str, Position]:
    """The positions that are left."""
    result = dict(book)
    for posting in postings:
        result[posting.symbol] = post(result.get(posting.symbol, Position()), posting)
    for held in result.values():
        assert held.qty or not held.cost, "an empty position has no cost"
    return {symbol: held for symbol, held in result.items() if held.qty}


def cash_of(done: Expiration) -> D:
    return sum((posting.cash for posting in done.postings), D(0))


def fates(done: Expiration) -> list[tuple[Fate, int]]:
    return [(outcome.fate, int(outcome.qty)) for outcome in done.outcomes]


def balances(postings: Iterable[Posting]) -> bool:
    postings = list(postings)
    return sum(p.cash for p in postings) + sum(p.cost for p in postings) == sum(p.realized for p in postings)


# The premium goes where the shares go. Rule: basis K + premium (call), proceeds K - premium (put).


def test_an_exercised_call_costs_the_strike_and_the_premium() -> None:
    book = {call("50"): position(2, "460.00")}  # two at 2.30
    done = settle(book, {"XYZ": "53.00"})
    assert after(book, done.postings) == {"XYZ": position(200, "10460.00")}  # 200 x 50 + 460
    assert cash_of(done) == D("-10000.00")
    assert [p.realized for p in done.postings] == [0, 0]
    assert {p.kind for p in done.postings} == {Kind.EXERCISE}
    assert done.outcomes[0].reason == "3.00 in the money at the official price of 53.00: exercised"
    assert done.outcomes[0].amount == D("600.00")


def test_an_exercised_put_brings_the_strike_less_the_premium() -> None:
    book = {"XYZ": position(100, "4000.00"), put("50"): position(1, "120.00")}
    done = settle(book, {"XYZ": "47.00"})
    assert after(book, done.postings) == {}
    assert cash_of(done) == D("5000.00")
    assert sum(p.realized for p in done.postings) == D("880.00")  # 5000 - 120 - 4000


def test_an_assigned_call_brings_the_strike_and_the_premium() -> None:
    book = {"XYZ": position(100, "4000.00"), call("45"): position(-1, "-185.00")}
    done = settle(book, {"XYZ": "47.00"})
    assert after(book, done.postings) == {}
    assert cash_of(done) == D("4500.00")
    assert sum(p.realized for p in done.postings) == D("685.00")  # 4500 + 185 - 4000
    assert {p.kind for p in done.postings} == {Kind.ASSIGNMENT}


def test_an_assigned_put_costs_the_strike_less_the_premium() -> None:
    book = {put("50"): position(-1, "-110.00")}
    done = settle(book, {"XYZ": "47.00"})
    assert after(book, done.postings) == {"XYZ": position(100, "4890.00")}  # 5000 - 110
    assert cash_of(done) == D("-5000.00")


def test_what_is_not_in_the_money_by_a_cent_expires_for_nothing() -> None:
    book = {call("50"): position(1, "230.00"), put("50"): position(-1, "-110.00")}
    for price in ("50.00", "50.0099"):
        done = settle(book, {"XYZ": price})
        assert {o.fate for o in done.outcomes} == {Fate.WORTHLESS}
        assert after(book, done.postings) == {}
        assert sum(p.realized for p in done.postings) == D("-120.00")
        assert {p.kind for p in done.postings} == {Kind.EXPIRATION}
    assert settle(book, {"XYZ": "50.01"}).outcomes[0].fate is Fate.EXERCISED


def test_nothing_is_settled_before_its_time_or_without_a_price() -> None:
    book = {call("50"): position(1, "230.00"), call("50", expiry=NEXT_MONTH): position(1, "300.00")}
    assert settle(book, {"XYZ": "60"}, at_ns=CLOSE - 1).outcomes == ()
    assert [o.symbol for o in settle(book, {"XYZ": "60"}).outcomes] == [call("50")]
    with pytest.raises(NoSettlementPrice):
        settle(book, {})


def test_both_legs_of_a_vertical_leave_together() -> None:
    book = {call("50"): position(3, "900.00"), call("55"): position(-3, "-300.00")}
    done = settle(book, {"XYZ": "58.00"})
    assert after(book, done.postings) == {}
    assert cash_of(done) == D("1500.00")  # 3 x 5.00 x 100
    assert sum(p.realized for p in done.postings) == D("900.00")  # 1500 paid out, 600 paid in


def test_instructions() -> None:
    book = {call("50"): position(5, "1000.00")}
    done = settle(book, {"XYZ": "53"}, instructions=Instructions(do_not_exercise={call("50"): D(2)}))
    assert fates(done) == [
        (Fate.EXERCISED, 3),
        (Fate.NOT_EXERCISED_INSTRUCTED, 2),
    ]
    assert after(book, done.postings) == {"XYZ": position(300, "15600.00")}  # 300 x 50 + 3/5 of 1000
    assert sum(p.realized for p in done.postings) == D("-400.00")
    out = settle(book, {"XYZ": "49.90"}, instructions=Instructions(exercise={call("50"): D(1)}))
    assert fates(out) == [(Fate.EXERCISED, 1), (Fate.WORTHLESS, 4)]


def test_a_cash_account_exercises_what_it_can_pay_for() -> None:
    book = {call("50"): position(10, "2000.00")}
    done = settle(book, {"XYZ": "60"}, Means(D("20000.00")))
    assert fates(done) == [
        (Fate.EXERCISED, 4),
        (Fate.NOT_EXERCISED_UNAFFORDABLE, 6),
    ]
    assert "$30,000.00 short" in done.outcomes[1].reason  # 10 x 5,000 - 20,000
    assert cash_of(done) == D("-20000.00")
    assert done.deficit == 0


def test_a_margin_account_pays_half() -> None:
    # Each contract takes 5,000 and gives 100 shares at 60 to borrow 50 % on: 5,000 - 3,000 = 2,000.
    done = settle(
        {call("50"): position(10, "2000.00")}, {"XYZ": "60"}, Means(D("7000.00"), D("0.5"), D("0.5"))
    )
    assert done.outcomes[0].qty == 3


def test_a_put_needs_the_shares_where_shorting_is_not_allowed() -> None:
    book = {"XYZ": position(150, "6000.00"), put("50"): position(2, "200.00")}
    done = settle(book, {"XYZ": "45"}, Means(D(0)))
    assert fates(done) == [
        (Fate.EXERCISED, 1),
        (Fate.NOT_EXERCISED_UNAFFORDABLE, 1),
    ]
    assert "sell shares worth $2,250.00 that the account does not have" in done.outcomes[1].reason  # 50 x 45


@pytest.mark.parametrize(
    "rates", [{}, {"long_rate": D("0.5"), "short_rate": D("0.5")}], ids=["cash", "margin"]
)
def test_a_put_does_not_sell_the_shares_that_a_later_call_stands_on(rates: dict[str, D]) -> None:
    later = call("48", expiry=NEXT_MONTH)
    book = {
        "XYZ": position(500, "20000.00"),
        put("50"): position(3, "300.00"),
        later: position(-3, "-900.00"),
    }
    done = settle(book, {"XYZ": "45"}, Means(D(10**6), pledged={"XYZ": D(300)}, **rates))
    assert fates(done) == [(Fate.EXERCISED, 2), (Fate.NOT_EXERCISED_UNAFFORDABLE, 1)]  # 500 held, 300 pledged
    assert "sell shares worth $4,500.00 that the account does not have free" in done.outcomes[1].reason
    # Assignment cannot be refused, whatever stands on the shares.
    called = {"XYZ": position(300, "12000.00"), call("40"): position(-2, "-200.00")}
    taken = settle(called, {"XYZ": "45"}, Means(D(0), pledged={"XYZ": D(300)}, **rates))
    assert fates(taken) == [(Fate.ASSIGNED, -2)]


def test_a_put_that_could_not_sell_pledged_shares_is_sold_before_it_is_lost() -> None:
    book = {"XYZ": position(200, "8000.00"), put("50"): position(2, "300.00")}
    assert intents(book, "45", Means(D(0))) == []
    assert intents(book, "45", Means(D(0), pledged={"XYZ": D(200)})) == [{put("50"): D(-2)}]


def test_assignment_cannot_be_refused() -> None:
    book = {put("50"): position(-2, "-220.00")}
    done = settle(book, {"XYZ": "45"}, Means(D("4000.00")))
    assert done.outcomes[0].fate is Fate.ASSIGNED
    assert done.deficit == D("6000.00")  # 10,000 to pay, 4,000 there


def test_a_spread_is_exercised_even_by_an_account_without_a_dollar() -> None:
    book = {call("50"): position(1, "400.00"), call("55"): position(-1, "-100.00")}
    done = settle(book, {"XYZ": "80"}, Means(D(-100)))
    assert [o.fate for o in done.outcomes] == [Fate.EXERCISED, Fate.ASSIGNED]
    assert cash_of(done) == D("500.00")


def test_what_is_worth_least_is_forgone_first() -> None:
    book = {call("50"): position(1, "900.00"), call("58"): position(1, "200.00")}
    done = settle(book, {"XYZ": "60"}, Means(D("6000.00")))
    assert [(o.symbol, o.fate) for o in done.outcomes] == [
        (call("50"), Fate.EXERCISED),
        (call("58"), Fate.NOT_EXERCISED_UNAFFORDABLE),
    ]


def test_after_a_reverse_split_the_contract_delivers_shares_and_cash() -> None:
    # Rule sheet: 1-for-8 on two long 6-calls: each pays 600 for 12 shares and cash for half a share (at 52.00).
    adjusted = {"XYZ1": OptionClass(underlying="XYZ", deliverable=Deliverable((("XYZ", D(12)),), D("26.00")))}
    book = {call("6", "XYZ1"): position(2, "150.00")}
    done = settle(book, {"XYZ": "55"}, adjusted=adjusted)
    # 12 x 55 + 26 - 600 = 86 a contract
    assert done.outcomes[0].amount == D("172.00")
    assert cash_of(done) == D("-1148.00")  # 2 x (600 - 26)
    assert after(book, done.postings) == {"XYZ": position(24, "1298.00")}  # 1148 + 150
    assert balances(done.postings)


def test_a_deliverable_of_two_stocks_divides_the_cost_by_value() -> None:
    spun = Deliverable((("XYZ", D(100)), ("KID", D(25))))
    adjusted = {"XYZ1": OptionClass(underlying="XYZ", deliverable=spun)}
    book = {call("40", "XYZ1"): position(1, "100.00")}
    done = settle(book, {"XYZ": "45", "KID": "20"}, adjusted=adjusted)
    # 4,500 and 500 of 5,000: nine tenths and one tenth of 4,000 + 100.
    assert after(book, done.postings) == {"XYZ": position(100, "3690.00"), "KID": position(25, "410.00")}


def test_only_cash_is_left_to_deliver_after_a_cash_merger() -> None:
    adjusted = {"XYZ": OptionClass(underlying="XYZ", deliverable=Deliverable(cash=D("5420.00")))}
    book = {call("50"): position(2, "500.00"), put("50"): position(1, "80.00")}
    done = settle(book, {}, adjusted=adjusted)
    assert after(book, done.postings) == {}
    assert cash_of(done) == D("840.00")  # 2 x (5,420 - 5,000)
    assert sum(p.realized for p in done.postings) == D("260.00")  # 840 - 500 - 80


# The recorded expirations.


def _quotes(path: Path, at_ns: int) -> dict[str, tuple[int, int]]:
    """Bid and ask in force, by compact symbol."""
    found: dict[str, tuple[int, int]] = {}
    with gzip.open(path, "rt") as lines:
        for row in csv.DictReader(lines):
            if int(row["ts_ns_utc"]) > at_ns:
                break
            found[row["symbol"].replace(" ", "")] = (ticks(row["bid"] or "0"), ticks(row["ask"] or "0"))
    return found


def _last_price(path: Path, symbol: str, end_ns: int) -> D:
    with gzip.open(path, "rt") as lines:
        rows = [
            r for r in csv.DictReader(lines) if r["symbol"] == symbol and int(r["ts_end_ns_utc"]) <= end_ns
        ]
    return D(rows[-1]["close"])


GOOG = date(2015, 12, 24)
# Name, legs (C or P with strike, contracts), shares, net paid per share at the touch of 10:00 (negative: got),
# and what it is worth at the official close of 748.40 in dollars.
STRUCTURES = [
    ("bull call, between", {"C740": 1, "C750": -1}, 0, "8.75", "840.00"),  # 748.40 - 740
    ("bull call, both in", {"C740": 1, "C745": -1}, 0, "6.65", "500.00"),  # the width
    ("bear call, between", {"C745": -1, "C755": 1}, 0, "-2.25", "-340.00"),  # 745 - 748.40
    ("put credit, between", {"P750": -1, "P740": 1}, 0, "-2.35", "-160.00"),  # 748.40 - 750
    ("put credit, out", {"P745": -1, "P735": 1}, 0, "-0.45", "0.00"),
    ("bear put, both in", {"P755": 1, "P750": -1}, 0, "6.40", "500.00"),  # 6.60 - 1.60
    ("iron condor, untouched", {"P735": 1, "P740": -1, "C755": -1, "C760": 1}, 0, "0.10", "0.00"),
    ("iron condor, call side", {"P735": 1, "P740": -1, "C747.5": -1, "C752.5": 1}, 0, "-0.75", "-90.00"),
    ("short strangle, out", {"P740": -1, "C755": -1}, 0, "-0.15", "0.00"),
    ("short strangle, put in", {"P750": -1, "C755": -1}, 0, "-2.65", "-160.00"),
    ("long straddle", {"C747.5": 1, "P747.5": 1}, 0, "4.10", "90.00"),  # 748.40 - 747.50
    ("call butterfly", {"C745": 1, "C750": -2, "C755": 1}, 0, "4.20", "340.00"),  # 3.40 - 0 + 0
    ("put butterfly", {"P755": 1, "P750": -2, "P745": 1}, 0, "4.80", "340.00"),  # 6.60 - 2 x 1.60
    ("iron butterfly", {"P740": 1, "P750": -1, "C750": -1, "C760": 1}, 0, "-2.50", "-160.00"),
    ("call condor", {"C740": 1, "C745": -1, "C750": -1, "C755": 1}, 0, "6.50", "500.00"),  # 8.40 - 3.40
    ("long box", {"C740": 1, "C750": -1, "P750": 1, "P740": -1}, 0, "12.45", "1000.00"),  # 8.40 + 1.60
    ("covered call, kept", {"C750": -1}, 100, "747.26", "74840.00"),  # 747.51 - 0.25; the shares
    ("covered call, called", {"C745": -1}, 100, "745.16", "74500.00"),  # 747.51 - 2.35; the strike
    ("collar", {"C755": -1, "P740": 1}, 100, "747.71", "74840.00"),  # 747.51 - 0.05 + 0.25
]


@pytest.mark.tapes
@pytest.mark.parametrize(
    ("name", "legs", "shares", "paid", "worth"), STRUCTURES, ids=[s[0] for s in STRUCTURES]
)
def test_goog_on_christmas_eve(
    tapes: Path, goog: dict[str, tuple[int, int]], name: str, legs: dict[str, int], shares: int, paid: str, worth: str
) -> None:  # fmt: skip
    """Opened at the touch of 10:00, settled at the last trade of the half day. Ten of each."""
    close_ns = at("2015-12-24 13:00")
    official = _last_price(tapes / "trade_bars_1min_GOOG_201512.csv.gz", "GOOG", close_ns)
    assert official == D("748.40")
    book: dict[str, Position] = {}
    for leg, ratio in legs.items():
        symbol = osi("GOOG", GOOG, Right(leg[0]), ticks(leg[1:]))
        bid, ask = goog[symbol]
        book[symbol] = Position(D(10 * ratio), D(10 * ratio * (ask if ratio > 0 else bid)) / 100)
    if shares:
        book["GOOG"] = Position(D(10 * shares), D(10 * shares * goog["GOOG"][1]) / 10_000)
    opened = sum(held.cost for held in book.values())
    assert opened == D(paid) * 1000
    done = settle(book, {"GOOG": official}, at_ns=close_ns)
    left = after(book, done.postings)
    assert set(left) <= {"GOOG"}
    value = cash_of(done) + left.get("GOOG", Position()).qty * official
    assert value == D(worth) * 10
    assert {outcome.price for outcome in done.outcomes} == {7_484_000}
    # Equity: what it is worth less what it cost is what was realized and what the shares gained.
    shares_gain = sum(held.qty * official - held.cost for held in left.values())
    assert value - opened == sum(p.realized for p in done.postings) + shares_gain


@pytest.fixture(scope="session")
def goog(tapes: Path) -> dict[str, tuple[int, int]]:
    morning = at("2015-12-24 10:00")
    options = _quotes(tapes / "quotes_1min_options_GOOG_20151224.csv.gz", morning)
    return options | _quotes(tapes / "quotes_1min_GOOG_201512.csv.gz", morning)


@pytest.mark.tapes
def test_every_goog_contract_of_that_day(goog: dict[str, tuple[int, int]]) -> None:
    """176 contracts, long and short in turn: what is settled is the sum of what each is worth by itself."""
    expiring = [s for s in sorted(goog) if "151224" in s]
    book = {s: position(1 if n % 3 else -2, 0) for n, s in enumerate(expiring)}
    done = settle(book, {"GOOG": "748.40"}, at_ns=at("2015-12-24 13:00"))
    worth = D(0)
    for symbol, held in book.items():
        strike = D(symbol[-8:]) / 1000
        in_by = D("748.40") - strike if symbol[10] == "C" else strike - D("748.40")
        worth += held.qty * 100 * max(in_by, D(0))
    left = after(book, done.postings)
    assert cash_of(done) + left.get("GOOG", Position()).qty * D("748.40") == worth
    assert len(expiring) == len(done.outcomes) > 150


@pytest.mark.tapes
@pytest.mark.parametrize(
    ("legs", "paid", "worth"),
    [
        # Touch at 10:00: 3700C 47.60/51.70, 3800C 0.10/0.20, 3700P 0.85/0.95, 3800P 49.30/53.30.
        pytest.param({"C3700": 1, "C3800": -1}, "5160.00", "65.00", id="bull call"),  # 51.70 - 0.10
        pytest.param({"P3800": 1, "P3700": -1}, "5245.00", "9935.00", id="bear put"),  # 53.30 - 0.85; 99.35
        pytest.param({"C3700": -1, "P3700": -1}, "-4845.00", "-65.00", id="short straddle"),
        pytest.param({"C3700": 1, "C3800": -1, "P3800": 1, "P3700": -1}, "10405.00", "10000.00", id="box"),
    ],
)
def test_spxw_is_settled_in_cash(tapes: Path, legs: dict[str, int], paid: str, worth: str) -> None:
    quotes = _quotes(tapes / "quotes_1min_options_SPXW_20210104.csv.gz", at("2021-01-04 10:00"))
    official = _last_price(tapes / "index_bars_1min_SPX_20210104.csv.gz", "SPX", at("2021-01-04 16:05"))
    book = {}
    for leg, ratio in legs.items():
        symbol = osi("SPXW", date(2021, 1, 4), Right(leg[0]), ticks(leg[1:]))
        bid, ask = quotes[symbol]
        book[symbol] = Position(D(ratio), D(ratio * (ask if ratio > 0 else bid)) / 100)
    assert sum(held.cost for held in book.values()) == D(paid)
    done = settle(book, {"SPX": official}, at_ns=at("2021-01-04 16:00"))
    assert after(book, done.postings) == {}
    assert cash_of(done) == D(worth)
    assert sum(p.realized for p in done.postings) == D(worth) - D(paid)
    assert {o.fate for o in done.outcomes} <= {Fate.CASH_SETTLED, Fate.WORTHLESS}


# Laws.

strikes = st.integers(40, 60)
cents = st.integers(3_000, 7_000).map(lambda n: D(n) / 100)
means_of_any_kind = st.builds(
    Means,
    st.integers(-5_000, 60_000).map(D),
    st.sampled_from([D(1), D("0.5")]),
    st.sampled_from([None, D("0.5")]),
)


@given(
    st.tuples(strikes, strikes).filter(lambda pair: pair[0] < pair[1]), st.booleans(), st.booleans(),
    st.integers(1, 20), cents, means_of_any_kind, st.integers(0, 500),
)  # fmt: skip
@settings(max_examples=3_000 if SOAK else 300, deadline=None)
def test_a_vertical_settles_between_nothing_and_its_width(
    pair: tuple[int, int], calls: bool, debit: bool, qty: int, price: D, means: Means, shares: int
) -> None:
    """Whatever the account can pay for, whatever else it holds."""
    name = call if calls else put
    near, far = pair if calls else pair[::-1]
    long, short = (near, far) if debit else (far, near)
    book = {name(str(long)): position(qty, 0), name(str(short)): position(-qty, 0)}
    if shares:
        book["XYZ"] = position(shares, shares * 50)
    done = settle(book, {"XYZ": price}, means)
    left = after(book, done.postings)
    value = cash_of(done) + (left.get("XYZ", Position()).qty - shares) * price
    width = D(100 * qty * (pair[1] - pair[0]))
    assert (0 <= value <= width) if debit else (-width <= value <= 0)
    assert balances(done.postings)


legs_of_a_book = st.dictionaries(
    st.tuples(st.sampled_from("CP"), strikes, st.sampled_from(["XYZ", "ABC"])),
    st.tuples(st.integers(-9, 9).filter(bool), st.integers(0, 900_00)),
    min_size=1,
    max_size=8,
)


def _book(legs: Mapping[tuple[str, int, str], tuple[int, int]], shares: int) -> dict[str, Position]:
    book = {
        osi(root, FRIDAY, Right(right), strike * 10_000): Position(
            D(qty), D(cost if qty > 0 else -cost) / 100
        )
        for (right, strike, root), (qty, cost) in legs.items()
    }
    if shares:
        book["XYZ"] = Position(D(shares), D(shares * 50))
    return book


@given(legs_of_a_book, st.integers(-300, 300), cents, cents)
@settings(max_examples=2_000 if SOAK else 200, deadline=None)
def test_an_account_that_can_pay_gets_the_intrinsic_value_of_all_legs(
    legs: dict[tuple[str, int, str], tuple[int, int]], shares: int, xyz: D, abc: D
) -> None:
    """Against the plain sum, which knows no shares, no order of legs and no costs."""
    book = _book(legs, shares)
    price = {"XYZ": xyz, "ABC": abc}
    done = settle(book, price)
    worth = D(0)
    for (right, strike, root), (qty, _) in legs.items():
        in_by = price[root] - strike if right == "C" else strike - price[root]
        worth += qty * 100 * max(in_by, D(0))
    left = after(book, done.postings)
    moved = sum(held.qty * price[symbol] for symbol, held in left.items()) - shares * xyz
    assert cash_of(done) + moved == worth
    assert set(left) <= {"XYZ", "ABC"}
    assert balances(done.postings)
    for outcome in done.outcomes:
        assert outcome.price == ticks(price[parse_symbol(outcome.symbol).underlying])


@given(legs_of_a_book, st.integers(0, 300), cents, cents, st.integers(0, 80_000))
@settings(max_examples=2_000 if SOAK else 200, deadline=None)
def test_a_cash_account_never_exercises_what_it_cannot_pay_for(
    legs: dict[tuple[str, int, str], tuple[int, int]], shares: int, xyz: D, abc: D, cash: int
) -> None:
    long = {key: (abs(qty), cost) for key, (qty, cost) in legs.items()}
    book = _book(long, shares)
    price = {"XYZ": xyz, "ABC": abc}
    done = settle(book, price, Means(D(cash)))
    left = after(book, done.postings)
    assert cash + cash_of(done) >= 0
    assert all(held.qty >= 0 for held in left.values())
    # Nor less than it must: one contract more of those forgone last would be too much.
    forgone = [o for o in done.outcomes if o.fate is Fate.NOT_EXERCISED_UNAFFORDABLE]
    for outcome in forgone:
        contract = parse_symbol(outcome.symbol)
        held = left.get(contract.underlying, Position()).qty
        if contract.right is Right.PUT:
            assert held < 100
        elif outcome is max(forgone, key=lambda o: (o.amount / o.qty, o.symbol)):
            assert cash + cash_of(done) < D(contract.strike) / 100


def test_the_order_of_a_book_does_not_matter() -> None:
    legs = [call("50"), call("55"), put("60"), put("52"), "XYZ"]
    book = {s: position(n - 2 or 7, 10 * n) for n, s in enumerate(legs)}
    backwards = dict(reversed(book.items()))
    assert settle(book, {"XYZ": "54"}, Means(D(900))) == settle(backwards, {"XYZ": "54"}, Means(D(900)))


# Before the close.


@pytest.mark.parametrize(
    ("symbol", "no_opening", "close"),
    [
        ("IBM131018C00180000", "2013-10-18 15:15", "2013-10-18 15:30"),
        ("SPY131018C00170000", "2013-10-18 15:30", "2013-10-18 15:45"),
        ("GOOG151224C00750000", "2015-12-24 12:15", "2015-12-24 12:30"),
        ("SPY151224C00205000", "2015-12-24 12:30", "2015-12-24 12:45"),
    ],
)
def test_the_hours_of_expiration_day(symbol: str, no_opening: str, close: str) -> None:
    contract = terms_for([symbol])[symbol]
    assert no_opening_ns(contract) == at(no_opening)
    assert risk_close_ns(contract) == at(close)


HALF_PAST_THREE = at("2026-12-18 15:30")
MARGIN = D("0.5")


def intents(
    book: Mapping[str, Position], price: str, means: Means, now_ns: int = HALF_PAST_THREE,
    declared: Iterable[Structure] = (), do_not_exercise: Mapping[str, D] | None = None,
) -> list[dict[str, D]]:  # fmt: skip
    closed = risk_close(
        book, terms=terms_for(book), marks={"XYZ": ticks(price)}, means=means, now_ns=now_ns, declared=declared,
        instructions=Instructions(do_not_exercise=do_not_exercise or {}),
    )  # fmt: skip
    return [dict(intent.trades) for intent in closed]


BEAR_CALL = {call("100"): position(-10, "-2000.00"), call("105"): position(10, "500.00")}


def test_a_spread_that_cannot_be_assigned_is_closed_as_a_spread() -> None:
    # At 102, 1,000 shares would be sold short for 100,000; shorting them takes 150 % of 102,000: 53,000 more.
    poor = Means(D("8000.00"), MARGIN, MARGIN)
    assert intents(BEAR_CALL, "102", poor) == [{call("100"): D(10), call("105"): D(-10)}]
    assert intents(BEAR_CALL, "102", poor, now_ns=HALF_PAST_THREE - 1) == []
    assert intents(BEAR_CALL, "102", poor, now_ns=CLOSE) == []
    # 0.5 % higher: 1.5 x 102,510 - 100,000 = 53,765.
    assert intents(BEAR_CALL, "102", Means(D("53765.00"), MARGIN, MARGIN)) == []
    assert intents(BEAR_CALL, "102", Means(D("53764.99"), MARGIN, MARGIN)) != []


def test_the_reason_names_price_need_and_means() -> None:
    (intent,) = risk_close(
        BEAR_CALL, terms=terms_for(BEAR_CALL), marks={"XYZ": ticks("102")}, now_ns=HALF_PAST_THREE,
        means=Means(D("8000.00"), MARGIN, MARGIN),
    )  # fmt: skip
    assert intent.qty == 10
    assert [(leg.symbol, leg.side, leg.ratio) for leg in intent.legs] == [
        (call("100"), "buy", 1),
        (call("105"), "sell", 1),
    ]
    assert intent.reason == (
        "With XYZ at 102.51, expiration could take $53,765.00; $8,000.00 is available. "
        "Closed as a whole before the close."
    )


def test_near_the_strike_what_could_be_assigned_counts_and_what_could_be_left_alone_does_not() -> None:
    poor = Means(D("8000.00"), MARGIN, MARGIN)
    assert intents(BEAR_CALL, "99.80", poor) != []  # 100.00 is within half a per cent
    assert intents(BEAR_CALL, "99.40", poor) == []
    assert intents({call("100"): position(10, "500.00")}, "99.80", poor) == []


def test_both_legs_in_the_money_need_nothing() -> None:
    assert intents(BEAR_CALL, "120", Means(D("5000.00"), MARGIN, MARGIN)) == []


def test_a_long_call_that_cannot_be_paid_for_is_sold_before_it_is_lost() -> None:
    book = {call("100"): position(2, "900.00")}
    assert intents(book, "110", Means(D("19999.00"))) == [{call("100"): D(-2)}]
    assert intents(book, "110", Means(D("20000.00"))) == []
    assert intents(book, "110", Means(D(0)), do_not_exercise={call("100"): D(2)}) == []


def test_a_covered_call_and_a_secured_put_stay() -> None:
    book = {
        "XYZ": position(100, "9000.00"),
        call("100"): position(-1, "-200.00"),
        put("110"): position(-1, "-900"),
    }
    assert intents(book, "104", Means(D("11000.00"))) == []
    assert intents(book, "104", Means(D("900.00"))) == [{put("110"): D(1)}]


def test_a_condor_opened_as_one_is_closed_as_one() -> None:
    book = {
        put("90"): position(2, 20), put("95"): position(-2, -90),
        call("105"): position(-2, -90), call("110"): position(2, 20),
    }  # fmt: skip
    condor = Structure("iron condor", tuple((symbol, held.qty) for symbol, held in book.items()))
    broke = Means(D("1000.00"))
    whole = {symbol: -held.qty for symbol, held in book.items()}
    assert intents(book, "93", broke, declared=[condor]) == [whole]
    # Not declared, its put side is a spread of its own, and goes as a spread.
    assert intents(book, "93", broke) == [{put("90"): D(-2), put("95"): D(2)}]


def test_a_calendar_takes_its_later_leg_along() -> None:
    book = {put("100"): position(-1, "-300"), put("100", expiry=NEXT_MONTH): position(1, "500")}
    assert intents(book, "95", Means(D("1000.00"))) == [
        {put("100"): D(1), put("100", expiry=NEXT_MONTH): D(-1)}
    ]


def test_two_that_offset_each_other_go_together_and_nothing_else_does() -> None:
    # At 98.85, 900 shares are put to the account at 100 and 800 called from it at 97.50. Closing the calendar
    # alone would leave it short 800 shares, closing the vertical alone would leave it 900 to pay for.
    book = {
        put("100"): position(-9, 0), put("100", expiry=NEXT_MONTH): position(9, 0),
        call("97.5"): position(-8, 0), call("107.5"): position(8, 0), put("80"): position(-1, 0),
    }  # fmt: skip
    calendar = Structure("calendar", ((put("100"), D(-9)), (put("100", expiry=NEXT_MONTH), D(9))))
    vertical = Structure("vertical", ((call("97.5"), D(-8)), (call("107.5"), D(8))))
    closed = intents(book, "98.85", Means(D(2_200), MARGIN, MARGIN), declared=[calendar, vertical])
    assert {frozenset(trades) for trades in closed} == {
        frozenset({put("100"), put("100", expiry=NEXT_MONTH)}), frozenset({call("97.5"), call("107.5")}),
    }  # fmt: skip


def test_structures_of_a_book() -> None:
    book = {
        call("100"): position(-3, 0), call("105"): position(2, 0), call("110"): position(2, 0),
        put("90", expiry=NEXT_MONTH): position(-1, 0), put("80"): position(1, 0), "XYZ": position(100, 0),
    }  # fmt: skip
    found = structures(book, terms=terms_for(book))
    assert [(s.name, {symbol: int(qty) for symbol, qty in s.legs}) for s in found] == [
        ("spread", {call("100"): -2, call("105"): 2}),
        ("spread", {call("100"): -1, call("110"): 1}),
        ("single", {call("110"): 1}),
        ("single", {put("80"): 1}),  # it expires before the short put, so it does not cover it
        ("single", {put("90", expiry=NEXT_MONTH): -1}),
    ]
    # One leg of the declared condor is gone: it is no condor any more.
    broken = Structure("condor", ((call("100"), D(-3)), (call("120"), D(3))))
    assert structures(book, terms=terms_for(book), declared=[broken]) == found


def test_pin_risk_is_within_half_a_per_cent_of_the_strike() -> None:
    strikes_near = {
        "740": False,
        "745": True,
        "750": True,
        "752.5": False,
    }  # 3.725, 3.75 and 3.7625 around 748.40
    book = {call(strike, "GOOG", GOOG): position(1, 0) for strike in strikes_near}
    flagged = pin_risks(book, terms=terms_for(book), marks={"GOOG": ticks("748.40")}, day=GOOG)
    assert {f.symbol for f in flagged} == {call(k, "GOOG", GOOG) for k, near in strikes_near.items() if near}
    assert flagged[1].distance == D(160) / 75_000
    assert pin_risks(book, terms=terms_for(book), marks={"GOOG": ticks("748.40")}, day=FRIDAY) == ()


# No orphan legs: 10,000 books with RAXX_SOAK=1.


def _structure(draw: random.Random, number: int) -> Structure:
    """One structure around 100, on strikes that no other structure of the book uses."""
    root = draw.choice(["XYZ", "ABC", "SPY"])
    qty = draw.randint(1, 10)
    low = D(draw.randint(170, 215)) / 2 + D(number) / 1000
    wide, wider = D(draw.choice([1, 5, 10])), D(draw.choice([1, 5, 10]))
    name = draw.choice([call, put])
    other = put if name is call else call
    sign = draw.choice([1, -1])
    shape = draw.choice(["vertical", "condor", "butterfly", "strangle", "calendar", "single", "ratio"])
    legs: dict[str, int]
    match shape:
        case "vertical":
            legs = {name(str(low), root): sign, name(str(low + wide), root): -sign}
        case "condor":
            legs = {
                put(str(low), root): 1, put(str(low + wide), root): -1,
                call(str(low + wide + 2), root): -1, call(str(low + wide + 2 + wider), root): 1,
            }  # fmt: skip
        case "butterfly":
            legs = {
                name(str(low), root): sign, name(str(low + wide), root): -2 * sign, name(str(low + 2 * wide), root): sign
            }  # fmt: skip
        case "strangle":
            legs = {name(str(low), root): sign, other(str(low + wide), root): sign}
        case "calendar":
            legs = {name(str(low), root): -1, name(str(low), root, NEXT_MONTH): 1}
        case "ratio":
            legs = {name(str(low), root): 1, name(str(low + wide), root): -2}
        case _:
            legs = {name(str(low), root): sign}
    return Structure(shape, tuple((symbol, D(qty * ratio)) for symbol, ratio in legs.items()))


_TERMS: dict[str, OptionTerms] = {}


def _known(symbols: Iterable[str]) -> dict[str, OptionTerms]:
    _TERMS.update(terms_for(s for s in symbols if s not in _TERMS))
    return {s: _TERMS[s] for s in symbols if s in _TERMS}


@pytest.mark.parametrize("declare", [True, False], ids=["opened as structures", "leg by leg"])
def test_no_orphan_legs(declare: bool) -> None:
    closings = 0
    for seed in range(10_000 if SOAK else 400):
        draw = random.Random(seed)
        built = [_structure(draw, n) for n in range(draw.randint(1, 6))]
        book = {s: Position(qty) for structure in built for s, qty in structure.legs}
        for stock in ("XYZ", "ABC", "SPY"):
            if draw.random() < 0.4:
                book[stock] = position(draw.randint(1, 8) * 100, 0)
        terms = _known(book)
        marks = {stock: ticks(str(draw.randint(88_00, 112_00) / 100)) for stock in ("XYZ", "ABC", "SPY")}
        # What the structures themselves could cost is there: it was reserved for them.
        alone = [Structure("leg", (leg,)) for structure in built for leg in structure.legs]
        reserved = sum((_largest_loss(s, terms, marks) for s in (built if declare else alone)), D(0))
        means = Means(
            reserved + draw.choice([0, 2_000, 20_000, 200_000]),
            draw.choice([D(1), MARGIN]),
            draw.choice([None, MARGIN]),
        )
        now_ns = draw.choice([HALF_PAST_THREE, at("2026-12-18 15:45")])
        closed = risk_close(
            book, terms=terms, marks=marks, means=means, now_ns=now_ns, declared=built if declare else ()
        )
        closings += len(closed)
        left = {symbol: held.qty for symbol, held in book.items()}
        for intent in closed:
            for symbol, qty in intent.trades:
                left[symbol] += qty
        if declare:
            for structure in built:
                fates = {(left[symbol] == qty, left[symbol] == 0) for symbol, qty in structure.legs}
                assert fates in ({(True, False)}, {(False, True)}), f"seed {seed}: {structure} became {left}"
        for symbol, qty in left.items():
            assert qty * book[symbol].qty >= 0, f"seed {seed}: {symbol} was turned around"
            assert abs(qty) <= abs(book[symbol].qty), f"seed {seed}: {symbol} was opened"
        if not declare:
            before = {symbol: held.qty for symbol, held in book.items()}
            assert not _naked(left, terms) - _naked(before, terms), f"seed {seed}"
        _stands(seed, book, left, closed, terms, marks, means, now_ns)
    assert closings > 100


def _largest_loss(structure: Structure, terms: Mapping[str, OptionTerms], marks: Mapping[str, int]) -> D:
    """What settling or closing it costs at the mark or at the ends of the band, at most."""
    values = [D(0)]
    for shift in (D(1), D("0.995"), D("1.005")):
        prices = {symbol: int(price * shift) for symbol, price in marks.items()}
        values.append(sum((qty * max(D(0), terms[s].intrinsic(prices)) for s, qty in structure.legs), D(0)))
    return -min(values)


def _naked(held: Mapping[str, D], terms: Mapping[str, OptionTerms]) -> set[tuple[str, Right]]:
    """Where short contracts outnumber the long ones that live at least as long."""
    net: dict[tuple[str, Right], D] = defaultdict(D)
    for symbol, contract in terms.items():
        net[contract.underlying, contract.right] += held[symbol]
    return {key for key, qty in net.items() if qty < 0}


def _stands(
    seed: int, book: Mapping[str, Position], left: Mapping[str, D], closed: Iterable[object],
    terms: Mapping[str, OptionTerms], marks: Mapping[str, int], means: Means, now_ns: int,
) -> None:  # fmt: skip
    """What stays can be paid for at the mark, and at the ends of the band around it."""
    due = {
        s
        for s, contract in terms.items()
        if risk_close_ns(contract) <= now_ns and contract.expires_ns < at("2027-01-01 00:00")
    }
    value = sum(
        ((book[s].qty - left[s]) * max(D(0), contract.intrinsic(marks)) for s, contract in terms.items()),
        D(0),
    )
    means = Means(means.excess + value, means.long_rate, means.short_rate)
    rest = {s: Position(qty) for s, qty in left.items() if qty and (s in due or s not in terms)}
    for shift in (D(1), D("0.995"), D("1.005")):
        prices = {s: int(price * shift) for s, price in marks.items()}
        done = expire(rest, terms=terms, prices=prices, means=means, at_ns=at("2026-12-18 16:15"))
        assert done.deficit == 0, f"seed {seed}: short of {done.deficit} at {prices}"
        if means.short_rate is None:
            assert all(held.qty >= 0 for held in after(rest, done.postings).values()), f"seed {seed}"
        if shift == 1:
            unpaid = [o for o in done.outcomes if o.fate is Fate.NOT_EXERCISED_UNAFFORDABLE]
            assert not unpaid, f"seed {seed}: {unpaid}"
