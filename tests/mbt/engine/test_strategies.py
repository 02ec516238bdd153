"""Every row of docs/rules/structures.md, its opposite, and what must not matter."""

import random
from datetime import date
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.strategies import Direction, Name, recognise
from raxx.kernel.errors import InvalidInput
from raxx.market.contracts import Instrument, Right, osi, parse_symbol

NEAR, FAR = date(2026, 12, 18), date(2027, 1, 15)
STOCK = parse_symbol("SPY")
LONG, SHORT = Direction.LONG, Direction.SHORT


def option(text: str) -> Instrument:
    """`640C` expires in December, `640C+` in January."""
    right = Right(text.rstrip("+")[-1])
    strike = int(D(text.rstrip("+")[:-1]) * 10_000)
    return parse_symbol(osi("SPY", FAR if text.endswith("+") else NEAR, right, strike))


def legs(text: str) -> list[tuple[Instrument, D]]:
    """`-1 640C +1 645C +100 stock`."""
    words = text.split()
    return [
        (STOCK if name == "stock" else option(name), D(qty))
        for qty, name in zip(words[::2], words[1::2], strict=True)
    ]


# Legs, name, direction, and the name of the same with all signs turned round.
SHAPES = [
    ("+1 640C", Name.CALL, LONG, Name.CALL),
    ("+1 640P", Name.PUT, LONG, Name.PUT),
    ("+1 640C -1 645C", Name.CALL_DEBIT_SPREAD, LONG, Name.CALL_CREDIT_SPREAD),
    ("+1 645P -1 640P", Name.PUT_DEBIT_SPREAD, LONG, Name.PUT_CREDIT_SPREAD),
    ("-2 645C +1 640C", Name.CALL_RATIO_SPREAD, SHORT, Name.CALL_BACKSPREAD),
    ("-3 640P +2 645P", Name.PUT_RATIO_SPREAD, SHORT, Name.PUT_BACKSPREAD),
    ("+1 640C +1 640P", Name.STRADDLE, LONG, Name.STRADDLE),
    ("+1 650C +1 640P", Name.STRANGLE, LONG, Name.STRANGLE),
    ("+1 640C +1 650P", Name.GUTS, LONG, Name.GUTS),
    ("+1 640C -1 640P", Name.SYNTHETIC, LONG, Name.SYNTHETIC),
    ("+1 650C -1 640P", Name.RISK_REVERSAL, LONG, Name.RISK_REVERSAL),
    ("+1 640C -1 650P", Name.RISK_REVERSAL, LONG, Name.RISK_REVERSAL),
    ("+1 635C -2 640C +1 645C", Name.CALL_BUTTERFLY, LONG, Name.CALL_BUTTERFLY),
    ("+1 635P -2 640P +1 655P", Name.PUT_BUTTERFLY, LONG, Name.PUT_BUTTERFLY),
    ("+1 635C -1 640C -1 645C +1 650C", Name.CALL_CONDOR, LONG, Name.CALL_CONDOR),
    ("+1 635P -1 640P -1 645P +1 650P", Name.PUT_CONDOR, LONG, Name.PUT_CONDOR),
    ("+1 635P -1 640P -1 640C +1 645C", Name.IRON_BUTTERFLY, SHORT, Name.IRON_BUTTERFLY),
    ("+1 630P -1 635P -1 645C +1 650C", Name.IRON_CONDOR, SHORT, Name.IRON_CONDOR),
    ("+1 640C -1 650C -1 640P +1 650P", Name.BOX, LONG, Name.BOX),
    ("-1 630P -1 645C +1 650C", Name.JADE_LIZARD, SHORT, Name.JADE_LIZARD),
    ("+1 630P -1 635P -1 650C", Name.REVERSE_JADE_LIZARD, SHORT, Name.REVERSE_JADE_LIZARD),
    ("-1 640C +1 640C+", Name.CALL_CALENDAR, LONG, Name.CALL_CALENDAR),
    ("-1 640P +1 640P+", Name.PUT_CALENDAR, LONG, Name.PUT_CALENDAR),
    ("-1 645C +1 640C+", Name.CALL_DIAGONAL, LONG, Name.CALL_DIAGONAL),
    ("-1 640C +1 645C+", Name.CALL_DIAGONAL, LONG, Name.CALL_DIAGONAL),
    ("-1 645P +1 640P+", Name.PUT_DIAGONAL, LONG, Name.PUT_DIAGONAL),
    ("-1 640P +1 645P+", Name.PUT_DIAGONAL, LONG, Name.PUT_DIAGONAL),
    ("-1 630P -1 650C +1 630P+ +1 650C+", Name.DOUBLE_CALENDAR, LONG, Name.DOUBLE_CALENDAR),
    ("-1 640P -1 640C +1 640P+ +1 640C+", Name.DOUBLE_CALENDAR, LONG, Name.DOUBLE_CALENDAR),
    ("-1 635P -1 645C +1 630P+ +1 650C+", Name.DOUBLE_DIAGONAL, LONG, Name.DOUBLE_DIAGONAL),
    ("+100 stock -1 645C", Name.COVERED_CALL, LONG, Name.PROTECTIVE_CALL),
    ("-100 stock -1 635P", Name.COVERED_PUT, SHORT, Name.PROTECTIVE_PUT),
    ("+100 stock -1 640C -1 640P", Name.COVERED_STRADDLE, LONG, Name.CUSTOM),
    ("+100 stock -1 645C -1 630P", Name.COVERED_STRANGLE, LONG, Name.CUSTOM),
    ("+100 stock +1 630P -1 650C", Name.COLLAR, LONG, Name.SHORT_COLLAR),
    ("-100 stock +1 640C -1 650P", Name.SHORT_COLLAR, SHORT, Name.CUSTOM),
    ("+100 stock +1 640P -1 640C", Name.CONVERSION, LONG, Name.REVERSAL),
    ("+7 stock", Name.STOCK, LONG, Name.STOCK),
]


def turned(text: str) -> str:
    return text.translate(str.maketrans("+-", "-+")).replace("C-", "C+").replace("P-", "P+")


@pytest.mark.parametrize(("text", "name", "direction", "opposite"), SHAPES, ids=[row[0] for row in SHAPES])
def test_every_shape_and_its_opposite(text: str, name: Name, direction: Direction, opposite: Name) -> None:
    found, other = recognise(legs(text)), recognise(legs(turned(text)))
    assert (found.name, found.direction) == (name, direction)
    assert other.name is opposite
    assert other.direction is not direction


@pytest.mark.parametrize(
    ("text", "label", "width"),
    [
        ("-3 640C +3 645C", "SPY 18 Dec 2026 640/645 call credit spread ×3", "5"),
        ("-4 635P +4 630P -4 645C +4 648C", "SPY 18 Dec 2026 630/635/645/648 short iron condor ×4", "5"),
        ("+1 635P -2 640P +1 655P", "SPY 18 Dec 2026 635/640/655 long broken-wing put butterfly", "15"),
        ("-1 42.5P", "SPY 18 Dec 2026 42.50 short put", None),
        ("-1 640C +1 640C+", "SPY 18 Dec 2026/15 Jan 2027 640 long call calendar", None),
        ("-2 645C +2 640C+", "SPY 18 Dec 2026/15 Jan 2027 640/645 long call diagonal ×2", "5"),
        ("+200 stock -2 645C", "SPY 18 Dec 2026 645 covered call ×2", None),
        ("-2 645C +1 640C", "SPY 18 Dec 2026 640/645 call ratio spread", "5"),
        ("-12.5 stock", "SPY short stock ×12.5", None),
        ("+150 stock -1 645C", "SPY 18 Dec 2026 645 custom", None),
        ("+1 640C -1 650C -1 640P +1 650P", "SPY 18 Dec 2026 640/650 long box", "10"),
        ("-1 1250C", "SPY 18 Dec 2026 1250 short call", None),
    ],
)
def test_labels_and_widths(text: str, label: str, width: str | None) -> None:
    found = recognise(legs(text))
    assert found.label == label
    assert found.width == (None if width is None else D(width))


@pytest.mark.parametrize(
    "text",
    [
        "+1 635C -3 640C +2 645C",  # 1-3-2
        "-1 640C -1 650P+",  # two expiries
        "+1 630P -1 645P -1 640C +1 650C",  # short put above the short call
        "+100 stock -1 640C +1 650P",  # the put above the call
        "+100 stock +1 630P+ -1 650C",  # a collar of two expiries
        "+50 stock -1 640C",
        "+1 640C +1 645C",
    ],
)
def test_what_has_no_name_is_custom(text: str) -> None:
    found = recognise(legs(text))
    assert (found.name, found.direction) == (Name.CUSTOM, None)


def test_lowest_terms_and_how_often() -> None:
    found = recognise(legs("-6 640C +3 635C +3 645C"))
    assert [(leg.instrument.strike // 10_000, int(leg.ratio)) for leg in found.legs] == [
        (635, 1),
        (640, -2),
        (645, 1),
    ]
    assert found.quantity == 3
    covered = recognise(legs("+300 stock -3 645C"))
    assert [leg.ratio for leg in covered.legs] == [100, -1]
    assert covered.quantity == 3


def test_decimals_of_a_quantity_do_not_matter() -> None:
    """Quantities come from the record with nine."""
    for text, label in [
        ("-12.5 stock", "SPY short stock ×12.5"), ("+1 635P -2 640P +1 645P", "SPY 18 Dec 2026 635/640/645 long put butterfly"),
        ("+200 stock -2 645C", "SPY 18 Dec 2026 645 covered call ×2"), ("-4 645C +2 640C", "SPY 18 Dec 2026 640/645 call ratio spread ×2"),
    ]:  # fmt: skip
        stored = [(instrument, qty.quantize(D("0.000000001"))) for instrument, qty in legs(text)]
        assert recognise(stored).label == label


def test_identical_contracts_are_netted() -> None:
    assert recognise(legs("+2 640C -1 640C -1 645C")).name is Name.CALL_DEBIT_SPREAD


@pytest.mark.parametrize("nothing", ["", "+1 640C -1 640C"])
def test_no_legs_are_refused(nothing: str) -> None:
    with pytest.raises(InvalidInput, match="at least one leg"):
        recognise(legs(nothing))


def test_two_underlyings_are_refused_unless_they_are_said_to_be_one() -> None:
    weekly, monthly = parse_symbol("SPXW261218C05000000"), parse_symbol("SPX261218C05100000")
    with pytest.raises(InvalidInput, match="one underlying"):
        recognise([(weekly, 1), (monthly, -1)])
    found = recognise([(weekly, 1), (monthly, -1)], underlying="SPX")
    assert found.label == "SPX 18 Dec 2026 5000/5100 call debit spread"


@given(
    st.lists(
        st.tuples(st.sampled_from(["630", "635", "640", "645"]), st.sampled_from(["C", "P", "C+", "P+"]), st.integers(-3, 3)),
        min_size=1, max_size=6,
    ),
    st.integers(2, 9), st.randoms(use_true_random=False),
)  # fmt: skip
def test_neither_order_nor_size_changes_the_name(
    parts: list[tuple[str, str, int]], times: int, chance: random.Random
) -> None:
    held = [(option(strike + right), D(qty)) for strike, right, qty in parts]
    if not any(sum(q for i, q in held if i == one) for one, _ in held):
        return
    found = recognise(held)
    shuffled = [(instrument, qty * times) for instrument, qty in held]
    chance.shuffle(shuffled)
    again = recognise(shuffled)
    assert (again.name, again.direction, again.legs, again.width) == (
        found.name, found.direction, found.legs, found.width,
    )  # fmt: skip
    assert again.quantity == found.quantity * times
