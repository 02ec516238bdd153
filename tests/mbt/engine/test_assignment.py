"""Early assignment and exercise: worked examples by hand, and what every evening has in common."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.account import Kind, Position
from mbt.engine.assignment import (
    AssignmentRules,
    CannotExercise,
    Early,
    Mode,
    dividend_risks,
    draw,
    early_assignments,
    exercise,
)
from mbt.engine.corporate import CashDividend
from mbt.engine.expiry import Fate
from mbt.engine.means import Means
from raxx.kernel.clock import to_ns
from raxx.market.calendar import xnys
from raxx.market.contracts import Right, osi, parse_symbol
from raxx.market.listing import OptionTerms, terms_of

D = Decimal
THURSDAY, FRIDAY = date(2026, 11, 5), date(2026, 11, 6)
EXPIRY = date(2026, 12, 18)
NOON = to_ns(datetime(2026, 11, 5, 12, tzinfo=ZoneInfo("America/New_York")))
DIVIDEND = CashDividend(symbol="XYZ", ex_date=FRIDAY, amount=D("0.55"))
RANDOM = AssignmentRules(effective=date.min, mode=Mode.RANDOM)


def call(strike: str, root: str = "XYZ", expiry: date = EXPIRY) -> str:
    return osi(root, expiry, Right.CALL, int(D(strike) * 10_000))


def put(strike: str, root: str = "XYZ", expiry: date = EXPIRY) -> str:
    return osi(root, expiry, Right.PUT, int(D(strike) * 10_000))


def terms_for(symbols: Iterable[str]) -> dict[str, OptionTerms]:
    return {s: terms_of(parse_symbol(s), xnys()) for s in symbols if any(c.isdigit() for c in s)}


def evening(
    book: Mapping[str, Position], price: str, mids: Mapping[str, str], *, dividends: Iterable[CashDividend] = (),
    rate: str = "0.04", rules: AssignmentRules | None = None, account: str = "a", seed: int = 1,
    day: date = THURSDAY, following: date = FRIDAY,
) -> Early:  # fmt: skip
    return early_assignments(
        book, terms=terms_for(book), marks={"XYZ": int(D(price) * 10_000)},
        mids={s: int(D(mid) * 10_000) for s, mid in mids.items()}, dividends=dividends, rate=D(rate), evening=day,
        next_session=following, account=account, seed=seed, rules=[rules or AssignmentRules(effective=date.min)],
    )  # fmt: skip


def held(qty: int, cost: str = "0") -> Position:
    return Position(D(qty), D(cost))


@pytest.mark.parametrize(
    ("mid", "assigned"),
    [
        pytest.param("8.30", True, id="0.30 of extrinsic value against 0.55"),
        pytest.param("8.5499", True, id="just less than the dividend"),
        pytest.param("8.55", False, id="as much as the dividend"),
        pytest.param("7.90", True, id="a mid below intrinsic value"),
        pytest.param("0", False, id="no quote"),
    ],
)
def test_a_call_is_assigned_for_the_dividend(mid: str, assigned: bool) -> None:
    """The stock at 108: a call at 100 is 8.00 in the money."""
    book = {"XYZ": held(200, "18000.00"), call("100"): held(-2, "-700.00")}
    done = evening(book, "108", {call("100"): mid}, dividends=[DIVIDEND])
    assert bool(done.outcomes) is assigned
    if assigned:
        assert (done.outcomes[0].qty, done.outcomes[0].fate) == (D(-2), Fate.ASSIGNED)
        assert sum(p.cash for p in done.postings) == D("20000.00")
        assert sum(p.realized for p in done.postings) == D("2700.00")  # 20,000 + 700 - 18,000
        assert {p.kind for p in done.postings} == {Kind.ASSIGNMENT}


def test_the_reason_weighs_the_dividend_against_what_is_given_up() -> None:
    done = evening({call("100"): held(-1)}, "108", {call("100"): "8.30"}, dividends=[DIVIDEND])
    assert done.outcomes[0].reason == (
        "assigned early: the dividend of 55.00 per contract, ex 2026-11-06, is worth more than the 30.00 that "
        "exercising gives up"
    )


def test_calls_are_assigned_on_the_evening_before_and_on_no_other() -> None:
    book = {call("100"): held(-1)}
    mids = {call("100"): "8.30"}
    assert not evening(
        book, "108", mids, dividends=[DIVIDEND], day=date(2026, 11, 4), following=THURSDAY
    ).outcomes
    assert not evening(
        book, "108", mids, dividends=[DIVIDEND], day=FRIDAY, following=date(2026, 11, 9)
    ).outcomes


def test_who_is_not_assigned() -> None:
    def quiet(
        symbol: str, qty: int, mid: str, rules: AssignmentRules | None = None, event: CashDividend = DIVIDEND
    ) -> bool:
        return not evening({symbol: held(qty)}, "108", {symbol: mid}, dividends=[event], rules=rules).outcomes

    assert not quiet(call("100"), -1, "8.30")
    assert quiet(call("100"), 1, "8.30")  # long
    assert quiet(call("110"), -1, "0.30")  # out of the money
    assert quiet(call("100", expiry=THURSDAY), -1, "8.01")  # the business of expiration
    assert quiet(call("100", "SPXW"), -1, "8.30")  # European
    assert quiet(call("100"), -1, "8.30", rules=AssignmentRules(effective=date.min, mode=Mode.OFF))
    special = CashDividend(symbol="XYZ", ex_date=FRIDAY, amount=D("2"), special=True)
    assert quiet(call("100"), -1, "8.30", event=special)  # the strike is cut instead


@pytest.mark.parametrize(
    ("price", "mid", "rate", "assigned"),
    [
        # 43 days to 18 December: 100 x 4 % x 43 / 365 = 0.47123 a share.
        pytest.param("80", "20.4712", "0.04", True, id="just less"),
        pytest.param("80", "20.4713", "0.04", False, id="just more"),
        pytest.param("95", "5.10", "0.04", True, id="5 % in the money is deep"),
        pytest.param("95.01", "5.09", "0.04", False, id="less is not"),
        pytest.param("80", "20.00", "0", False, id="without interest nobody hurries"),
    ],
)
def test_a_deep_put_is_assigned_for_the_interest(price: str, mid: str, rate: str, assigned: bool) -> None:
    book = {put("100"): held(-1, "-1500.00")}
    done = evening(book, price, {put("100"): mid}, rate=rate)
    assert bool(done.outcomes) is assigned
    if assigned:
        stock = [p for p in done.postings if p.symbol == "XYZ"]
        assert [(p.qty, p.cost, p.cash) for p in stock] == [(D(100), D("8500.00"), D("-10000.00"))]


def test_a_warning_comes_sessions_before() -> None:
    book = {call("100"): held(-2), call("104"): held(-1), put("120"): held(-1)}
    later = CashDividend(symbol="XYZ", ex_date=date(2026, 12, 10), amount=D("3"))
    after_expiry = CashDividend(symbol="XYZ", ex_date=date(2026, 12, 21), amount=D("30"))
    risks = dividend_risks(
        book, terms=terms_for(book), marks={"XYZ": 1_080_000}, day=date(2026, 11, 2),
        mids={call("100"): 83_000, call("104"): 60_000, put("120"): 120_000},
        dividends=[after_expiry, later, DIVIDEND],
    )  # fmt: skip
    # The 100 is 0.30 above intrinsic value: the first dividend is enough. The 104 is 2.00 above: only the later one.
    assert [(r.symbol, r.ex_date, r.extrinsic, r.dividend) for r in risks] == [
        (call("100"), FRIDAY, D(30), D(55)),
        (call("104"), date(2026, 12, 10), D(200), D(300)),
    ]


def test_random_mode_is_the_same_for_the_same_seed_and_differs_by_account() -> None:
    book = {call("100"): held(-1_000)}
    mids = {call("100"): "8.30"}
    counts = [
        evening(book, "108", mids, dividends=[DIVIDEND], rules=RANDOM, account=account, seed=seed)
        .outcomes[0]
        .qty
        for account, seed in (("a", 1), ("a", 1), ("b", 1), ("a", 2))
    ]
    assert counts[0] == counts[1]
    assert len(set(counts)) == 3
    assert all(-900 < count < -800 for count in counts)  # 85 % of 1,000, four deviations of 11


def test_a_stray_assignment_is_rare() -> None:
    book = {call("100"): held(-20_000)}
    done = evening(book, "108", {call("100"): "9.50"}, rules=RANDOM)
    assert -45 < done.outcomes[0].qty < -5  # one in a thousand of 20,000, about four deviations of 4.5
    assert "reasons of their own" in done.outcomes[0].reason


def test_draws_do_not_depend_on_the_machine() -> None:
    # The first 8 bytes of SHA-256("1|a|X|2026-11-05|0"), as sha256sum prints them, over 2**64.
    assert draw("1|a|X|2026-11-05", 0) == D(int("8ecfcd6031466c0d", 16)) / 2**64


@given(st.text(max_size=20), st.integers(0, 10_000))
def test_a_draw_lies_in_the_unit_interval(key: str, number: int) -> None:
    assert 0 <= draw(key, number) < 1


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("CP"), st.integers(80, 120)),
        st.integers(-9, 9).filter(bool),
        min_size=1,
        max_size=6,
    ),
    st.integers(7_000, 13_000),
    st.integers(0, 300),
    st.sampled_from([Mode.RATIONAL, Mode.RANDOM]),
)
def test_every_evening_balances(
    legs: dict[tuple[str, int], int], cents: int, extrinsic: int, mode: Mode
) -> None:
    price = D(cents) / 100
    book = {
        osi("XYZ", EXPIRY, Right(r), k * 10_000): held(qty, str(100 * qty)) for (r, k), qty in legs.items()
    }
    mids = {}
    for symbol in book:
        strike = D(parse_symbol(symbol).strike) / 10_000
        in_by = price - strike if parse_symbol(symbol).right is Right.CALL else strike - price
        mids[symbol] = str(max(in_by, D(0)) + D(extrinsic) / 100)
    rules = AssignmentRules(effective=date.min, mode=mode)
    done = evening(book, str(price), mids, dividends=[DIVIDEND], rules=rules)
    postings = done.postings
    assert sum(p.cash for p in postings) + sum(p.cost for p in postings) == sum(p.realized for p in postings)
    for outcome in done.outcomes:
        assert book[outcome.symbol].qty <= outcome.qty < 0
        assert outcome.amount < 0


# Exercise on request.


def ask(
    book: Mapping[str, Position], symbol: str, qty: str, price: str, means: Means, now_ns: int = NOON
) -> Early:
    prices = {"XYZ": int(D(price) * 10_000), "SPX": int(D(price) * 10_000), "OEX": int(D(price) * 10_000)}
    return exercise(
        symbol, D(qty), book=book, terms=terms_for(book), prices=prices, means=means, now_ns=now_ns
    )


def test_exercise_on_request() -> None:
    book = {call("100"): held(3, "2400.00")}
    done = ask(book, call("100"), "2", "108", Means(D("20000.00")))
    assert [(p.symbol, p.qty, p.cost, p.cash) for p in done.postings] == [
        (call("100"), D(-2), D("-1600.00"), D(0)),
        ("XYZ", D(200), D("21600.00"), D("-20000.00")),
    ]
    assert done.outcomes[0].fate is Fate.EXERCISED


def test_an_american_index_option_pays_the_difference() -> None:
    symbol = call("100", "OEX")
    done = ask({symbol: held(1, "700.00")}, symbol, "1", "108", Means(D(0)))
    assert [(p.symbol, p.cash, p.realized) for p in done.postings] == [(symbol, D("800.00"), D("100.00"))]


@pytest.mark.parametrize(
    ("symbol", "qty", "cash", "says"),
    [
        (call("100"), "3", "25000.00", "2 can be exercised"),  # 30,000 to pay
        (call("100"), "1", "9999.99", "Sell it instead"),
        (call("100"), "4", "99999.00", "Ask for 1 to 3"),
        (call("100"), "0.5", "99999.00", "Ask for 1 to 3"),
        (put("110"), "1", "99999.00", "Sell it instead"),  # no shares
        (call("90"), "1", "99999.00", "Name an option that the account holds"),  # it is short
        ("XYZ", "1", "99999.00", "Name an option that the account holds"),
        (call("100", "SPXW"), "1", "99999.00", "by itself on 2026-12-18"),
    ],
)
def test_what_cannot_be_exercised(symbol: str, qty: str, cash: str, says: str) -> None:
    book = {
        call("100"): held(3), put("110"): held(1), call("90"): held(-1), call("100", "SPXW"): held(1), "XYZ": held(99),
    }  # fmt: skip
    with pytest.raises(CannotExercise) as denied:
        ask(book, symbol, qty, "108", Means(D(cash)))
    assert says in denied.value.message


def test_an_expired_option_is_not_exercised() -> None:
    book = {call("100"): held(1)}
    expires_ns = terms_for(book)[call("100")].expires_ns
    assert ask(book, call("100"), "1", "108", Means(D(10_000)), expires_ns - 1).outcomes
    with pytest.raises(CannotExercise):
        ask(book, call("100"), "1", "108", Means(D(10_000)), expires_ns)
