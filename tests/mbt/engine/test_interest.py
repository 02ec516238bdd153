"""Interest by hand: the rule sheet's examples, weekends, holidays, tiers, months."""

from datetime import date, timedelta
from decimal import Decimal as D
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.account import Kind
from mbt.engine.interest import (
    Accrual,
    Accrues,
    Rates,
    Terms,
    Tier,
    days_covered,
    flat,
    lots,
    on_cash,
    on_short,
    post_month,
)  # fmt: skip
from raxx.market.calendar import always, xnys

WEDNESDAY, FRIDAY = date(2026, 5, 6), date(2026, 5, 8)
PENNY_TENTHS = D("0.0001")


def test_margin_interest_of_the_rule_sheet() -> None:
    # 12,400 x 6.25 % / 360 = 775 / 360 = 2.15277...
    (day,) = on_cash(D("-12400"), day=WEDNESDAY, sessions=xnys())
    assert (day.kind, day.day, day.balance) == (Accrues.MARGIN, WEDNESDAY, D("12400"))
    assert day.amount.quantize(PENNY_TENTHS) == D("2.1528")


def test_the_borrow_fee_of_the_rule_sheet() -> None:
    # 250 short at 20.00: charged as 300; 300 x 20 x 3 % / 360 = 180 / 360.
    (day,) = on_short("XYZ", D(250), 200_000, day=WEDNESDAY, sessions=xnys())
    assert (day.kind, day.symbol, day.balance, day.amount) == (Accrues.BORROW, "XYZ", D(6000), D("0.5"))


@pytest.mark.parametrize(
    ("shares", "charged"), [("1", "100"), ("100", "100"), ("101", "200"), ("250", "300"), ("0.5", "100")]
)
def test_shares_are_lent_in_lots(shares: str, charged: str) -> None:
    assert lots(D(shares)) == D(charged)


@pytest.mark.parametrize(
    ("day", "count"),
    [
        pytest.param(WEDNESDAY, 1, id="a weekday"),
        pytest.param(FRIDAY, 3, id="Friday counts three days"),
        pytest.param(date(2026, 4, 2), 4, id="the Thursday before Good Friday counts four"),
        pytest.param(date(2026, 5, 22), 4, id="the Friday before Memorial Day counts four"),
        pytest.param(date(2026, 11, 25), 2, id="the Wednesday before Thanksgiving counts two"),
    ],
)
def test_a_session_counts_until_the_next(day: date, count: int) -> None:
    assert days_covered(day, xnys()) == tuple(day + timedelta(days=n) for n in range(count))


def test_the_market_that_never_closes_counts_each_day_by_itself() -> None:
    assert days_covered(FRIDAY, always()) == (FRIDAY,)


def test_a_day_without_a_session_accrues_nothing_by_itself() -> None:
    with pytest.raises(ValueError, match="no session"):
        days_covered(date(2026, 5, 9), xnys())


def test_friday_in_dollars() -> None:
    # 3 x 2.152777... = 6.458333...
    accruals = on_cash(D("-12400"), day=FRIDAY, sessions=xnys())
    assert sum((a.amount for a in accruals), D(0)).quantize(PENNY_TENTHS) == D("6.4583")


def test_cash_earns_and_an_empty_account_does_neither() -> None:
    # 36,000 x 1 % / 360 = 1.00.
    (day,) = on_cash(D(36_000), day=WEDNESDAY, sessions=xnys(), credit=flat("1 %", "0.01"))
    assert (day.kind, day.amount) == (Accrues.CASH, D(1))
    assert on_cash(D(0), day=WEDNESDAY, sessions=xnys()) == ()
    assert on_short("XYZ", D(0), 10_000, day=WEDNESDAY, sessions=xnys()) == ()


TIERS = (Tier(D(0), D("0.08")), Tier(D(10_000), D("0.06")), Tier(D(50_000), D("0.05")))


@pytest.mark.parametrize(
    ("balance", "graduated", "per_year"),
    [
        pytest.param("10000", False, "800", id="at the edge: the lower tier"),
        pytest.param("20000", False, "1200", id="6 % on all of it"),
        pytest.param("60000", False, "3000", id="5 % on all of it"),
        pytest.param("10000", True, "800", id="graduated, one tier"),
        pytest.param("20000", True, "1400", id="800 + 10,000 x 6 %"),
        pytest.param("60000", True, "3700", id="800 + 40,000 x 6 % + 10,000 x 5 %"),
    ],
)
def test_tiers(balance: str, graduated: bool, per_year: str) -> None:
    terms = Terms(name="tiers", table=(Rates(date.min, TIERS),), graduated=graduated)
    (day,) = on_cash(-D(balance), day=WEDNESDAY, sessions=xnys(), debit=terms)
    assert day.amount == D(per_year) / 360


def test_a_rate_that_changes_over_the_weekend_holds_from_its_own_day() -> None:
    sunday = date(2026, 5, 10)
    terms = Terms(
        name="t", table=(Rates(date.min, (Tier(D(0), D("0.036")),)), Rates(sunday, (Tier(D(0), D("0.072")),)))
    )
    friday, saturday, last = on_cash(D(-10_000), day=FRIDAY, sessions=xnys(), debit=terms)
    # 10,000 x 3.6 % / 360 = 1.00, then twice that.
    assert (friday.amount, saturday.amount, last.amount) == (D(1), D(1), D(2))
    assert last.day == sunday


def test_a_day_before_the_terms_begin_is_not_free() -> None:
    with pytest.raises(LookupError, match="no rate on record"):
        on_cash(D(-1), day=WEDNESDAY, sessions=xnys(), debit=flat("later", "0.05", since=date(2027, 1, 1)))


def month_of_may() -> list[Accrual]:
    sessions = [s.date for s in xnys() if date(2026, 4, 30) <= s.date <= date(2026, 6, 1)]
    return [a for day in sessions for a in on_cash(D("-12400"), day=day, sessions=xnys())]


def test_a_month_is_rounded_once() -> None:
    # 31 days x 2.152777... = 66.7361...; rounding each day to 2.15 would give 66.65.
    (posting,) = post_month(month_of_may(), year=2026, month=5)
    assert (posting.kind, posting.symbol, posting.cash, posting.realized) == (
        Kind.INTEREST, "", D("-66.74"), D("-66.74"),
    )  # fmt: skip
    assert posting.note == (
        "You bought with money of the broker, who asks interest on the loan. "
        "May 2026: 12,400.00 on average over 31 days, at 6.25 % a year of 360 days."
    )


def test_a_weekend_across_two_months_belongs_to_both() -> None:
    # Friday, 30 January 2026, covers Saturday the 31st and Sunday, 1 February.
    accruals = on_cash(D("-36000"), day=date(2026, 1, 30), sessions=xnys(), debit=flat("1 %", "0.01"))
    (january,), (february,) = (post_month(accruals, year=2026, month=m) for m in (1, 2))
    assert (january.cash, february.cash) == (D(-2), D(-1))


def test_the_notes_of_borrowing_and_of_idle_cash() -> None:
    accruals = [
        *on_short("XYZ", D(250), 200_000, day=FRIDAY, sessions=xnys()),
        *on_short("ABC", D(100), 200_000, day=FRIDAY, sessions=xnys()),
        *on_cash(D(36_000), day=FRIDAY, sessions=xnys(), credit=flat("1 %", "0.01")),
    ]
    abc, xyz, cash = post_month(accruals, year=2026, month=5)
    assert (abc.kind, abc.symbol, abc.cash) == (Kind.FEE, "ABC", D("-0.50"))
    # 3 x 0.50
    assert (xyz.kind, xyz.symbol, xyz.cash) == (Kind.FEE, "XYZ", D("-1.50"))
    assert (cash.kind, cash.symbol, cash.cash) == (Kind.INTEREST, "", D("3.00"))
    assert xyz.note == (
        "You sold XYZ that you had to borrow, and the lender asks a fee. May 2026: 6,000.00 on average over 3 days, "
        "at 3 % a year of 360 days. Shares are lent in lots of 100, so 250 counted as 300."
    )
    assert "lots" not in abc.note
    assert cash.note.startswith(
        "Your cash lay idle at the broker, who pays interest on it. May 2026: 36,000.00"
    )


def test_what_rounds_to_nothing_is_not_posted() -> None:
    assert post_month(on_cash(D("-1"), day=WEDNESDAY, sessions=xnys()), year=2026, month=5) == ()


def test_no_day_counts_twice() -> None:
    twice = on_cash(D(-100_000), day=WEDNESDAY, sessions=xnys()) * 2
    with pytest.raises(ValueError, match="once"):
        post_month(twice, year=2026, month=5)


balances = st.decimals("-1000000", "1000000", places=2)


@given(st.lists(balances, min_size=21, max_size=21), st.randoms())
def test_a_month_does_not_depend_on_order_and_is_within_half_a_cent(made: list[D], random: Random) -> None:
    days = [s.date for s in xnys() if date(2026, 6, 1) <= s.date <= date(2026, 6, 30)]
    assert len(days) == 21
    terms = Terms(name="tiers", table=(Rates(date.min, TIERS),), graduated=True)
    accruals = [
        a
        for day, b in zip(days, made, strict=True)
        for a in on_cash(b, day=day, sessions=xnys(), debit=terms, credit=terms)
    ]
    # Every day of the month is covered once, whatever the calendar.
    assert len(accruals) == sum(len(days_covered(d, xnys())) for d, b in zip(days, made, strict=True) if b)
    postings = post_month(accruals, year=2026, month=6)
    shuffled = accruals.copy()
    random.shuffle(shuffled)
    assert [p.cash for p in post_month(shuffled, year=2026, month=6)] == [p.cash for p in postings]
    for kind, sign in ((Accrues.MARGIN, -1), (Accrues.CASH, 1)):
        total = sum((a.amount for a in accruals if a.kind is kind and a.day.month == 6), D(0))
        posted = sum((p.cash for p in postings if p.cash * sign > 0), D(0))
        assert abs(total - posted * sign) <= D("0.005")


@given(st.decimals("0.01", "1000000", places=2), st.decimals("0.01", "1000000", places=2))
def test_more_debt_never_costs_less_when_graduated(a: D, b: D) -> None:
    terms = Terms(name="tiers", table=(Rates(date.min, TIERS),), graduated=True)
    (less,), (more,) = (
        on_cash(-x, day=WEDNESDAY, sessions=xnys(), debit=terms) for x in (min(a, b), max(a, b))
    )
    assert 0 < less.amount <= more.amount
