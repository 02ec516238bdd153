"""Day trades as FINRA counts them in its own examples; both regimes by hand."""

from datetime import date, timedelta
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.daytrades import (
    INTRADAY,
    Counting,
    Day,
    Deficit,
    IntradayRules,
    Level,
    Model,
    RoundTrip,
    SmallTest,
    Traded,
    cure_by,
    day_trading_power,
    freeze,
    is_excused,
    is_pattern,
    judge_day_trade,
    judge_intraday,
    model_on,
    of_day,
    pattern_since,
    round_trips,
    window,
)  # fmt: skip
from raxx.market.calendar import xnys

DIRECTION, OPENINGS = Counting.DIRECTION_CHANGES, Counting.OPENING_ORDERS


def day_of(text: str) -> list[Traded]:
    """`+250 ABC, -500 ABC`: one order each, numbered from 1. `3:+5 A` names the order."""
    fills = []
    for number, part in enumerate(text.split(","), start=1):
        order_id, _, rest = part.strip().rpartition(":")
        qty, symbol = rest.split()
        fills.append(Traded(order_id or str(number), symbol, D(qty)))
    return fills


def count(text: str, held: str = "", counting: Counting = DIRECTION) -> int:
    positions = {fill.symbol: fill.qty for fill in day_of(held)} if held else {}
    return len(round_trips(day_of(text), held=positions, counting=counting))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The six examples of FINRA Regulatory Notice 21-13.
        pytest.param("+250 ABC, +250 ABC, -500 ABC", 1, id="A"),
        pytest.param("+100 ABC, -100 ABC, +100 ABC, -100 ABC", 2, id="B"),
        pytest.param("+500 ABC, -100 ABC, -100 ABC, -300 ABC", 1, id="C"),
        pytest.param("+250 ABC, +300 ABC, +100 ABC, -150 ABC, -175 ABC", 1, id="D"),
        pytest.param("+199 ABC, +142 ABC, -1 ABC, +45 ABC, -100 ABC, -200 ABC", 2, id="E"),
        pytest.param("+200 ABC, +100 XYZ, -100 ABC, -100 XYZ", 2, id="F"),
    ],
)
def test_the_examples_of_finra(text: str, expected: int) -> None:
    assert count(text) == expected
    # Short first counts alike.
    mirrored = text.replace("+", "~").replace("-", "+").replace("~", "-")
    assert count(mirrored) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Scottrade's examples of the older way.
        pytest.param("+100 XYZ, -50 XYZ, -50 XYZ", 1, id="one purchase, two sales"),
        pytest.param("+50 XYZ, +50 XYZ, -100 XYZ", 2, id="two purchases, one sale"),
        pytest.param("+50 XYZ, +50 XYZ, -51 XYZ", 2, id="the second in part"),
        pytest.param("+50 XYZ, +50 XYZ, -50 XYZ", 1, id="the second not at all"),
    ],
)
def test_counting_by_opening_orders(text: str, expected: int) -> None:
    assert count(text, counting=OPENINGS) == expected


@pytest.mark.parametrize("counting", Counting)
@pytest.mark.parametrize(
    ("held", "text", "expected"),
    [
        pytest.param("+100 ABC", "-100 ABC", 0, id="held overnight and sold"),
        pytest.param("+100 ABC", "-100 ABC, +100 ABC", 0, id="sold and bought again"),
        pytest.param("+100 ABC", "-100 ABC, +100 ABC, -100 ABC", 1, id="and sold again"),
        pytest.param("+100 ABC", "+10 ABC, -10 ABC", 1, id="a new purchase counts, whatever was held"),
        pytest.param("-100 ABC", "+100 ABC", 0, id="a short position held overnight"),
        pytest.param(
            "+100 ABC", "-150 ABC, +50 ABC", 1, id="through zero: the short part is opened and closed"
        ),
        pytest.param("+1 ABC", "-2 ABC", 0, id="through zero alone is no round trip"),
        pytest.param("+100 ABC", "+100 XYZ", 0, id="another symbol"),
    ],
)
def test_what_was_held_overnight(held: str, text: str, expected: int, counting: Counting) -> None:
    assert count(text, held, counting) == expected


@pytest.mark.parametrize("counting", Counting)
def test_the_fills_of_one_order_count_once(counting: Counting) -> None:
    assert count("1:+30 A, 1:+70 A, 2:-50 A, 2:-50 A", counting=counting) == 1
    # Even when the fills of two orders alternate.
    assert count("1:+30 A, 2:-30 A, 1:+70 A, 2:-70 A", counting=counting) == 1


SPREAD = "1:-10 P55, 1:+10 P50"


@pytest.mark.parametrize("counting", Counting)
@pytest.mark.parametrize(
    ("held", "text", "expected"),
    [
        pytest.param("", f"{SPREAD}, 2:+10 P55, 2:-10 P50", 1, id="opened and closed as a unit"),
        pytest.param("", f"{SPREAD}, 2:+4 P55, 2:-4 P50, 3:+6 P55, 3:-6 P50", 1, id="closed in two parts"),
        pytest.param("", f"{SPREAD}, 2:+10 P55, 3:-10 P50", 2, id="closed leg by leg"),
        pytest.param(
            "", "1:-10 P55, 2:+10 P50, 3:+10 P55, 3:-10 P50", 2, id="opened leg by leg, closed as a unit"
        ),
        pytest.param("", f"{SPREAD}, 2:+10 P55", 1, id="one leg closed, one kept"),
        pytest.param(
            "", f"{SPREAD}, 2:+4 P55, 3:+6 P55, 3:-6 P50", 2, id="a part by its leg, the rest as a unit"
        ),
        pytest.param("-10 P55, +10 P50", "2:+10 P55, 2:-10 P50", 0, id="held overnight"),
        pytest.param(
            "", f"{SPREAD}, 2:+10 P55, 2:-10 P50, {SPREAD.replace('1:', '3:')}", 1, id="opened once more"
        ),
        pytest.param("", "1:+1 A, 1:-2 B, 1:+1 C, 2:-1 A, 2:+2 B, 2:-1 C", 1, id="a butterfly"),
        pytest.param("", "1:+10 A, 1:-20 B, 2:-5 A, 2:+10 B", 1, id="five units of ten"),
        pytest.param("", f"{SPREAD}, 2:+10 P55, 2:-10 P45", 1, id="rolled: one leg closed, another opened"),
    ],
)
def test_packages(held: str, text: str, expected: int, counting: Counting) -> None:
    assert count(text, held, counting) == expected


def test_two_packages_closed_by_one_differ_between_the_ways_of_counting() -> None:
    text = "1:-1 A, 1:+1 B, 2:-1 A, 2:+1 B, 3:+2 A, 3:-2 B"
    assert (count(text), count(text, counting=OPENINGS)) == (1, 2)


def test_a_round_trip_names_its_orders() -> None:
    assert round_trips(day_of("+250 ABC, +250 ABC, -500 ABC"), held={}) == (
        RoundTrip(("ABC",), ("1", "2"), "3"),
    )
    assert round_trips(day_of(f"{SPREAD}, 2:+10 P55, 2:-10 P50"), held={}) == (
        RoundTrip(("P50", "P55"), ("1",), "2"),
    )


orders = st.lists(
    st.tuples(st.sampled_from(["A", "B"]), st.integers(-9, 9).filter(bool)), max_size=12
)  # fmt: skip


@given(orders, st.integers(-9, 9), st.sampled_from(Counting))
def test_splitting_orders_into_fills_changes_nothing(
    made: list[tuple[str, int]], held: int, counting: Counting
) -> None:
    whole = [Traded(str(n), symbol, D(qty)) for n, (symbol, qty) in enumerate(made)]
    split = [Traded(str(n), symbol, D(qty) / 2) for n, (symbol, qty) in enumerate(made) for _ in range(2)]
    positions = {"A": D(held)}
    assert round_trips(split, held=positions, counting=counting) == round_trips(
        whole, held=positions, counting=counting
    )


@given(orders, st.integers(-9, 9))
def test_bounds_of_the_count(made: list[tuple[str, int]], held: int) -> None:
    fills = [Traded(str(n), symbol, D(qty)) for n, (symbol, qty) in enumerate(made)]
    changes = len(round_trips(fills, held={"A": D(held)}))
    openings = len(round_trips(fills, held={"A": D(held)}, counting=OPENINGS))
    # A day trade takes two orders, and the first of the day only opens (or closes what was held).
    assert max(changes, openings) <= max(0, len(fills) - 1)
    # One side alone is no day trade.
    bought = [f for f in fills if f.qty > 0]
    assert round_trips(bought, held={}) == ()


# --- The regime of the day


@pytest.mark.parametrize(
    ("day", "setting", "model"),
    [
        (date(2026, 6, 3), Model.BY_DATE, Model.LEGACY_PDT),
        (date(2026, 6, 4), Model.BY_DATE, Model.INTRADAY_MARGIN),
        (date(2026, 12, 1), Model.LEGACY_PDT, Model.LEGACY_PDT),
        (date(2020, 1, 2), Model.INTRADAY_MARGIN, Model.INTRADAY_MARGIN),
    ],
)
def test_the_regime_switches_on_4_june_2026(day: date, setting: Model, model: Model) -> None:
    assert model_on(day, setting) is model


MONDAY = date(2026, 5, 11)
WEEK = [MONDAY + timedelta(days=n) for n in range(5)]


def test_the_window_is_five_sessions() -> None:
    assert window(WEEK[4], xnys(), 5) == tuple(WEEK)
    # Over Memorial Day, 25 May 2026: Tuesday looks back to the Tuesday before.
    assert window(date(2026, 5, 26), xnys(), 5)[0] == date(2026, 5, 19)


@pytest.mark.parametrize(
    ("counts", "trades", "pattern"),
    [
        pytest.param((1, 1, 1, 0, 0), 6, False, id="three"),
        pytest.param((1, 1, 1, 1, 0), 8, True, id="four"),
        pytest.param((4, 0, 0, 0, 0), 66, True, id="4 of 66 are 6.06 %"),
        pytest.param((4, 0, 0, 0, 0), 67, False, id="4 of 67 are 5.97 %"),
        pytest.param((3, 0, 0, 0, 3), 100, False, id="6 of 100 are not more than 6 %"),
        pytest.param((3, 0, 0, 0, 3), 99, True, id="6 of 99 are"),
    ],
)
def test_the_pattern(counts: tuple[int, ...], trades: int, pattern: bool) -> None:
    days = [Day(d, n, 0) for d, n in zip(WEEK, counts, strict=True)]
    days.append(Day(WEEK[0], 0, trades))
    assert is_pattern(days, on=WEEK[4], sessions=xnys()) is pattern
    assert (pattern_since(days, sessions=xnys()) is not None) is pattern


def test_a_pattern_falls_into_one_window() -> None:
    # Two on Monday and two on the next Monday are six sessions apart; two on Friday are five.
    next_monday = date(2026, 5, 18)
    assert pattern_since([Day(MONDAY, 2, 4), Day(next_monday, 2, 4)], sessions=xnys()) is None
    assert pattern_since([Day(MONDAY, 2, 4), Day(WEEK[4], 2, 4)], sessions=xnys()) == WEEK[4]
    assert pattern_since([Day(WEEK[1], 2, 4), Day(next_monday, 2, 4)], sessions=xnys()) == next_monday


@pytest.mark.parametrize(
    ("equity", "pattern", "called", "power"),
    [
        pytest.param("30000", True, False, "80000", id="4 x (30,000 - 10,000)"),
        pytest.param("30000", True, True, "40000", id="2 x with a call open"),
        pytest.param("24999.99", True, False, "0", id="below the minimum"),
        pytest.param("24000", False, False, "28000", id="2 x (24,000 - 10,000) without the mark"),
        pytest.param("9000", False, False, "0", id="no excess"),
    ],
)
def test_day_trading_power(equity: str, pattern: bool, called: bool, power: str) -> None:
    assert day_trading_power(equity=D(equity), maintenance=D(10_000), pattern=pattern, called=called) == D(
        power
    )


@pytest.mark.parametrize(
    ("before", "equity", "pattern", "refused"),
    [
        pytest.param(2, "24000", False, False, id="the third"),
        pytest.param(3, "24000", False, True, id="the fourth"),
        pytest.param(3, "25000", False, False, id="the fourth with enough equity"),
        pytest.param(0, "24000", True, True, id="any, of one who has the mark"),
    ],
)
def test_the_fourth_day_trade(before: int, equity: str, pattern: bool, refused: bool) -> None:
    days = [Day(MONDAY, before, before * 2)]
    refusal = judge_day_trade(days, on=WEEK[2], equity=D(equity), pattern=pattern, sessions=xnys())
    assert (refusal is not None) is refused
    if refusal:
        assert (refusal.code, refusal.limit, refusal.value) == ("PATTERN_DAY_TRADER", D(25_000), D(equity))
        assert "24,000.00 at the last close" in refusal.message


# --- Intraday margin


def test_the_deficit_of_a_day_is_the_largest_after_a_trade_that_added_risk() -> None:
    levels = [
        Level(1, D(10_000), D(9_000), adds_risk=True),
        Level(2, D(9_500), D(11_000), adds_risk=True),
        Level(3, D(9_000), D(12_000), adds_risk=False),  # the price fell
        Level(4, D(9_200), D(10_400), adds_risk=True),
    ]
    assert of_day(levels, MONDAY) == Deficit(MONDAY, D(1_500), D(9_500))
    assert of_day(levels[:1], MONDAY) is None
    assert of_day([levels[2]], MONDAY) is None


@pytest.mark.parametrize(
    ("amount", "equity", "lesser", "either"),
    [
        pytest.param("500", "10000", True, True, id="5 % of 10,000"),
        pytest.param("500.01", "10000", False, True, id="a cent more than 5 %"),
        pytest.param("1000", "50000", True, True, id="1,000 of 50,000"),
        pytest.param("1000.01", "50000", False, True, id="2 %, but more than 1,000"),
        pytest.param("1000.01", "20000", False, False, id="more than both"),
    ],
)
def test_small_deficits(amount: str, equity: str, lesser: bool, either: bool) -> None:
    deficit = Deficit(MONDAY, D(amount), D(equity))
    assert is_excused(deficit) is lesser
    assert is_excused(deficit, IntradayRules(small_test=SmallTest.EITHER)) is either


def deficits(*dates: date, cured_after: int | None = None) -> list[Deficit]:
    return [
        Deficit(d, D(5_000), D(10_000), d + timedelta(days=cured_after) if cured_after else None)
        for d in dates
    ]


def test_a_deficit_is_to_be_cured_by_the_fifth_business_day() -> None:
    assert cure_by(Deficit(date(2026, 6, 8), D(1), D(1)), xnys()) == date(2026, 6, 15)
    # Juneteenth does not count.
    assert cure_by(Deficit(date(2026, 6, 15), D(1), D(1)), xnys()) == date(2026, 6, 23)


def test_a_habit_of_not_curing_freezes_debits_for_ninety_days() -> None:
    made = deficits(date(2026, 6, 8), date(2026, 7, 6), date(2026, 8, 3))
    # The third was due on Monday, 10 August.
    assert freeze(made, on=date(2026, 8, 10), sessions=xnys()) is None
    found = freeze(made, on=date(2026, 8, 11), sessions=xnys())
    assert found is not None
    assert (found.since, found.until, found.because) == (date(2026, 8, 11), date(2026, 11, 9), tuple(made))
    assert freeze(made, on=date(2026, 11, 8), sessions=xnys()) == found
    assert freeze(made, on=date(2026, 11, 9), sessions=xnys()) is None
    assert freeze(made[:2], on=date(2026, 8, 11), sessions=xnys()) is None


@pytest.mark.parametrize(("cured_after", "frozen"), [(1, False), (7, False), (8, True)])
def test_what_is_cured_in_time_is_no_failure(cured_after: int, frozen: bool) -> None:
    # Mondays; the fifth business day after each is the Monday a week later.
    made = deficits(date(2026, 6, 8), date(2026, 7, 6), date(2026, 8, 3), cured_after=cured_after)
    assert (freeze(made, on=date(2026, 8, 20), sessions=xnys()) is not None) is frozen


def test_small_deficits_make_no_habit_and_one_is_enough_where_the_firm_says_so() -> None:
    small = [Deficit(d, D(100), D(10_000)) for d in (date(2026, 6, 8), date(2026, 7, 6), date(2026, 8, 3))]
    assert freeze(small, on=date(2026, 8, 20), sessions=xnys()) is None
    (one,) = deficits(date(2026, 6, 8))
    assert freeze([one], on=date(2026, 6, 16), sessions=xnys(), rules=IntradayRules(failures=1)) is not None


@pytest.mark.parametrize(
    ("before", "after", "blocks", "refused"),
    [
        pytest.param("4000", "10000", True, False, id="covered exactly"),
        pytest.param("4000", "10000.01", True, True, id="a cent too little"),
        pytest.param("4000", "12500", False, False, id="the firm calls instead"),
        pytest.param("15000", "12500", True, False, id="reduces the requirement"),
    ],
)
def test_an_order_that_would_make_a_deficit(before: str, after: str, blocks: bool, refused: bool) -> None:
    rules = IntradayRules(blocks=blocks)
    refusal = judge_intraday(equity=D(10_000), before=D(before), after=D(after), rules=rules)
    assert (refusal is not None) is refused
    assert judge_intraday(equity=D(10_000), before=D(4_000), after=D(12_500), rules=INTRADAY) is not None


def test_the_refusal_says_how_much_is_missing() -> None:
    refusal = judge_intraday(equity=D(10_000), before=D(4_000), after=D(12_500))
    assert refusal is not None
    assert refusal.code == "INTRADAY_MARGIN_DEFICIT"
    assert "2,500.00 too little" in refusal.message
    assert "deposit 2,500.00" in refusal.remedy
