"""Fees by hand: the rule sheet's tables and its example, and sums that no way of splitting changes."""

from datetime import date
from decimal import ROUND_CEILING
from decimal import Decimal as D
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine import fees
from mbt.engine.account import Kind
from mbt.engine.fees import (
    FREE,
    NOTHING,
    PASSED_ON,
    PASSED_ON_WITH_HOLIDAY,
    PER_ORDER,
    PER_UNIT,
    Commission,
    Fee,
    Item,
    Limits,
    Schedule,
    charge,
    of_fill,
    of_order,
    rate_on,
)  # fmt: skip
from mbt.engine.orders import Side
from raxx.market.contracts import Instrument, parse_symbol

STOCK = parse_symbol("XYZ")
OPTION = parse_symbol("XYZ261218C00042500")
INDEX_OPTION = parse_symbol("SPXW261218C05000000")
JUNE_2026 = date(2026, 6, 15)


def fill(
    side: Side, qty: str, price: int, *, symbol: str = "XYZ", day: date = JUNE_2026, schedule: Schedule = PASSED_ON,
    order_id: str = "1",
) -> tuple[Item, ...]:  # fmt: skip
    return of_fill(
        order_id=order_id, instrument=parse_symbol(symbol), side=side, qty=D(qty), price=price, day=day, schedule=schedule,
    )  # fmt: skip


def exact(items: tuple[Item, ...]) -> dict[Fee, D]:
    return {item.fee: item.amount for item in items}


def charged(items: tuple[Item, ...]) -> list[D]:
    return [-posting.cash for posting in charge(items)]


def test_the_example_of_the_rule_sheet() -> None:
    # Sell 1,000 at 50.00 in 2026, before the holiday: 50,000 x 20.60e-6 = 1.03; 1,000 x 0.000195 = 0.195.
    items = fill(Side.SELL, "1000", 500_000)
    assert exact(items) == {Fee.SEC: D("1.03"), Fee.TAF: D("0.195"), Fee.CAT: D("0.003")}
    sec, taf, cat = charge(items)
    assert (sec.cash, taf.cash, cat.cash) == (D("-1.03"), D("-0.20"), D("-0.01"))
    assert {p.kind for p in (sec, taf, cat)} == {Kind.FEE}
    assert all(p.cash + p.cost == p.realized and p.symbol == "" for p in (sec, taf, cat))
    assert sec.note == "SEC fee on what was sold: 50,000 dollars sold × 0.0000206 = 1.03."
    assert "1,000 shares sold × 0.000195 = 0.195" in taf.note
    assert taf.note.endswith("rounded up to 0.20.")


@pytest.mark.parametrize(
    ("day", "rate"),
    [
        pytest.param(date(2025, 5, 13), "0.0000278", id="the last day of 27.80 per million"),
        pytest.param(date(2025, 5, 14), "0", id="nothing"),
        pytest.param(date(2026, 4, 3), "0", id="the last day of nothing"),
        pytest.param(date(2026, 4, 4), "0.0000206", id="20.60 per million"),
        pytest.param(date(2013, 10, 7), "0.0000174", id="the day of a tape"),
    ],
)
def test_the_sec_fee_goes_by_the_trade_date(day: date, rate: str) -> None:
    # 1,000 x 100.00 sold.
    assert exact(fill(Side.SELL, "1000", 1_000_000, day=day))[Fee.SEC] == D("100000") * D(rate)


@pytest.mark.parametrize(
    ("day", "shares", "taf"),
    [
        pytest.param(date(2024, 7, 1), "1000", "0.166", id="2024"),
        pytest.param(date(2025, 12, 31), "50000", "8.30", id="2025: exactly at the cap"),
        pytest.param(date(2025, 12, 31), "60000", "8.30", id="2025: capped"),
        pytest.param(date(2026, 1, 2), "60000", "9.79", id="2026: 11.70 capped"),
        pytest.param(date(2027, 1, 4), "10000", "2.32", id="2027"),
        pytest.param(date(2027, 1, 4), "100000", "11.61", id="2027: capped"),
    ],
)
def test_the_taf_of_stock_and_its_cap(day: date, shares: str, taf: str) -> None:
    items = fill(Side.SELL, shares, 100_000, day=day)
    assert of_order(i for i in items if i.fee is Fee.TAF) == D(taf)


def test_the_cap_is_one_for_all_fills_of_an_order_and_one_for_each_order() -> None:
    # Two fills of 40,000 shares: 2 x 7.80. One order pays 9.79 for both, two orders pay 15.60.
    one = [i for n in "11" for i in fill(Side.SELL, "40000", 10_000, order_id=n) if i.fee is Fee.TAF]
    two = [i for n in "12" for i in fill(Side.SELL, "40000", 10_000, order_id=n) if i.fee is Fee.TAF]
    assert charged(tuple(one)) == [D("9.79")]
    assert charged(tuple(two)) == [D("15.60")]


def test_what_options_pay() -> None:
    # Sell 10 contracts at 1.80 in June 2026: 1,800 dollars, 10 contracts, 1,000 equivalent shares.
    sold = exact(fill(Side.SELL, "10", 18_000, symbol=OPTION.symbol))
    assert sold == {
        Fee.SEC: D("0.03708"), Fee.TAF: D("0.0329"), Fee.ORF: D("0.2815"), Fee.CAT: D("0.003"), Fee.OCC: D("0.25"),
    }  # fmt: skip
    bought = exact(fill(Side.BUY, "10", 18_000, symbol=OPTION.symbol))
    assert bought == {Fee.ORF: D("0.2815"), Fee.CAT: D("0.003"), Fee.OCC: D("0.25")}


def test_options_on_broad_indexes_are_exempt_from_sec_and_taf() -> None:
    assert set(exact(fill(Side.SELL, "1", 18_000, symbol=INDEX_OPTION.symbol))) == {Fee.ORF, Fee.CAT, Fee.OCC}


def test_a_stock_purchase_pays_for_the_audit_trail_alone() -> None:
    assert exact(fill(Side.BUY, "1000", 500_000)) == {Fee.CAT: D("0.003")}


@pytest.mark.parametrize(
    ("day", "contracts", "occ"),
    [
        pytest.param(date(2020, 1, 2), "1500", "55", id="0.055, capped at 1,000 contracts"),
        pytest.param(date(2021, 1, 4), "1000", "45", id="0.045"),
        pytest.param(date(2021, 6, 1), "2750", "55", id="0.02, exactly at the cap"),
        pytest.param(date(2025, 2, 14), "4000", "100", id="0.025, no cap any more"),
    ],
)
def test_clearing(day: date, contracts: str, occ: str) -> None:
    items = fill(Side.BUY, contracts, 10_000, symbol=OPTION.symbol, day=day)
    assert of_order(i for i in items if i.fee is Fee.OCC) == D(occ)


def test_a_day_before_a_table_begins_says_so_and_charges_nothing() -> None:
    items = fill(Side.SELL, "1000", 500_000, day=date(2013, 5, 24))
    unknown = {item.fee: item for item in items if not item.known}
    assert set(unknown) == {Fee.SEC, Fee.CAT}
    assert unknown[Fee.SEC].amount == 0
    assert unknown[Fee.SEC].formula == "no rate on record before 2013-05-25, nothing charged"
    assert [p.note.split(" fee")[0] for p in charge(items)] == ["FINRA trading activity"]


@pytest.mark.parametrize(
    ("day", "waived"),
    [
        (date(2026, 9, 30), False), (date(2026, 10, 1), True), (date(2026, 12, 31), True), (date(2027, 1, 4), False),
    ],
)  # fmt: skip
def test_the_taf_holiday_holds_where_it_is_passed_on(day: date, waived: bool) -> None:
    passed_on = next(
        i
        for i in fill(Side.SELL, "1000", 500_000, day=day, schedule=PASSED_ON_WITH_HOLIDAY)
        if i.fee is Fee.TAF
    )
    kept = next(i for i in fill(Side.SELL, "1000", 500_000, day=day) if i.fee is Fee.TAF)
    assert (passed_on.amount == 0) is waived
    assert ("waived" in passed_on.formula) is waived
    assert passed_on.known
    assert kept.amount > 0


@pytest.mark.parametrize(
    ("commission", "symbol", "qty", "price", "cost"),
    [
        pytest.param(FREE, "XYZ", "1000", 500_000, None, id="none"),
        pytest.param(PER_UNIT, "XYZ", "1000", 500_000, "5.00", id="1,000 shares at half a cent"),
        pytest.param(PER_UNIT, "XYZ", "10", 500_000, "1.00", id="0.05 is less than the least"),
        pytest.param(PER_UNIT, "XYZ", "1000", 2_500, "2.50", id="1 % of 250.00 is less than 5.00"),
        pytest.param(PER_UNIT, "XYZ", "10", 10_000, "0.10", id="the most, 1 % of 10.00, wins over the least"),
        pytest.param(PER_UNIT, OPTION.symbol, "4", 500, "2.60", id="four contracts"),
        pytest.param(PER_UNIT, OPTION.symbol, "1", 500, "1.00", id="one contract pays the least"),
        pytest.param(PER_ORDER, "XYZ", "1000", 500_000, "4.95", id="an order"),
    ],
)
def test_commissions(commission: Commission, symbol: str, qty: str, price: int, cost: str | None) -> None:
    schedule = Schedule(name="test", commission=commission)
    items = fill(Side.BUY, qty, price, symbol=symbol, schedule=schedule)
    assert charged(items) == ([D(cost)] if cost else [])


def test_two_fills_of_an_order_pay_its_commission_once() -> None:
    schedule = Schedule(name="test", commission=PER_ORDER)
    parts = fill(Side.BUY, "1", 10_000, schedule=schedule) + fill(Side.BUY, "2", 10_000, schedule=schedule)
    assert charged(parts) == [D("4.95")]


def test_a_schedule_without_fees_charges_nothing() -> None:
    assert fill(Side.SELL, "1000", 500_000, schedule=NOTHING) == ()
    assert charge(()) == ()


def test_the_day_is_rounded_once_not_each_fill() -> None:
    # 30 sales of one share at 10.00: each 0.000206 SEC, 0.000195 TAF; 0.00618 and 0.00585 in all.
    items = tuple(i for n in range(30) for i in fill(Side.SELL, "1", 100_000, order_id=str(n)))
    assert charged(items) == [D("0.01"), D("0.01"), D("0.01")]


def test_items_of_two_days_are_two_charges() -> None:
    with pytest.raises(ValueError, match="one day"):
        charge(fill(Side.SELL, "1", 1) + fill(Side.SELL, "1", 1, day=date(2026, 6, 16)))


def test_tables_are_in_order_and_say_where_they_come_from() -> None:
    tables = [
        fees.SEC_RATES, fees.TAF_STOCK_RATES, fees.TAF_OPTION_RATES, fees.ORF_RATES, fees.CAT_RATES, fees.OCC_RATES,
    ]  # fmt: skip
    for table in tables:
        days = [line.since for line in table]
        assert days == sorted(set(days))
        assert all(line.source and line.rate >= 0 for line in table)
        assert rate_on(table, date(1990, 1, 1)) is None
        assert rate_on(table, date(2099, 1, 1)) == table[-1]


SCHEDULES = [
    PASSED_ON,
    Schedule(name="all", fees=PASSED_ON.fees, commission=PER_UNIT),
    Schedule(name="order", fees=PASSED_ON.fees, commission=PER_ORDER),
    Schedule(name="capped", commission=Commission(name="c", per_share=D("0.01"), stock=Limits(most=D(2)))),
]
Made = tuple[str, Instrument, Side, int, int]
fills = st.tuples(
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from([STOCK, OPTION, INDEX_OPTION]),
    st.sampled_from(Side),
    st.integers(1, 200_000),
    st.integers(1, 10_000_000),
)
days = st.dates(date(2011, 1, 1), date(2028, 1, 1))


def items_of(made: Made, day: date, schedule: Schedule) -> tuple[Item, ...]:
    order_id, instrument, side, qty, price = made
    return of_fill(
        order_id=order_id, instrument=instrument, side=side, qty=D(qty), price=price, day=day, schedule=schedule,
    )  # fmt: skip


@given(fills, st.lists(st.integers(1, 50_000), max_size=6), days, st.sampled_from(SCHEDULES), st.randoms())
def test_splitting_a_fill_never_changes_the_charge(
    whole: Made, cuts: list[int], day: date, schedule: Schedule, random: Random
) -> None:
    order_id, instrument, side, left, price = whole
    sizes = []
    for cut in cuts:
        if cut < left:
            sizes.append(cut)
            left -= cut
    sizes.append(left)
    random.shuffle(sizes)
    parts = [i for size in sizes for i in items_of((order_id, instrument, side, size, price), day, schedule)]
    assert charged(tuple(parts)) == charged(items_of(whole, day, schedule))


@given(st.lists(fills, max_size=8), days, st.sampled_from(SCHEDULES), st.randoms())
def test_charges_are_never_negative_and_do_not_depend_on_order(
    made: list[Made], day: date, schedule: Schedule, random: Random
) -> None:
    items = [i for one in made for i in items_of(one, day, schedule)]
    postings = charge(items)
    assert all(p.cash < 0 and p.cash == p.realized and not p.cost for p in postings)
    shuffled = items.copy()
    random.shuffle(shuffled)
    assert [p.cash for p in charge(shuffled)] == [p.cash for p in postings]
    # A fee without limits is the plain sum of its items, rounded up.
    for fee in (Fee.SEC, Fee.ORF, Fee.CAT):
        mine = [i for i in items if i.fee is fee]
        total = sum((i.amount for i in mine), D(0)).quantize(D("0.01"), rounding=ROUND_CEILING)
        assert [-p.cash for p in charge(mine)] == ([total] if total else [])
