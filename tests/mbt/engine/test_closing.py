"""Structures of a book and the orders that close or roll them, as values."""

from datetime import date
from decimal import Decimal as D

import pytest

from mbt.engine import closing
from mbt.engine.closing import MARKET, NotOneOrder, Terms
from mbt.engine.margin import Group, Part
from mbt.engine.orders import OrderType, Side, TimeInForce
from mbt.engine.strategies import Leg, Name
from mbt.engine.tickets import LegTicket
from raxx.kernel.errors import InvalidInput
from raxx.market.contracts import parse_symbol
from raxx.market.quotes import Quote

P90, P95 = "XYZ261218P00090000", "XYZ261218P00095000"


def group(*parts: tuple[str, str]) -> Group:
    legs = tuple(Part(parse_symbol(symbol), D(qty)) for symbol, qty in parts)
    return Group(
        name=Name.CUSTOM, label="", underlying="XYZ", legs=legs, formula="", initial=D(0), maintenance=D(0)
    )


def quote(symbol: str, bid: int, ask: int) -> Quote:
    return Quote(symbol, 1, bid, 10, ask, 10)


def test_structures_that_are_alike_are_one() -> None:
    found = closing.structures([
        group((P95, "-2.000000000"), (P90, "2.000000000")), group((P90, "1"), (P95, "-1")), group(("XYZ", "7.5")),
    ])  # fmt: skip
    assert [(closing.id_of(each.legs), each.quantity) for each in found] == [
        (f"+1 {P90} -1 {P95}", D(3)), ("+1 XYZ", D("7.5")),
    ]  # fmt: skip


@pytest.mark.parametrize("text", [f"+1 {P90} -1 {P95}", f"-2 {P95}", "+100 BRK.B -1 BRKB261218C00105000"])
def test_an_id_says_its_legs(text: str) -> None:
    assert closing.id_of(closing.legs_of(text)) == text


def test_what_a_penny_and_a_nickel_class_cost_at_mid() -> None:
    """3.47 / 3.60: middle 3.535. Buying a nickel-from-three contract back is on the next step, 3.55; selling it on the
    lower one, 3.50. A package lies on cents: 3.535 - 0.455 = 3.08."""
    short, long = closing.legs_of(f"-1 {P95}"), closing.legs_of(f"+1 {P95}")
    quotes = {P95: quote(P95, 34_700, 36_000), P90: quote(P90, 4_500, 4_600)}
    for legs, natural, mid in (
        (short, "3.60", "3.55"), (long, "-3.47", "-3.50"),
        (closing.legs_of(f"+1 {P90} -1 {P95}"), "3.15", "3.08"),
    ):  # fmt: skip
        cost = closing.cost(legs, D(2), quotes, multipliers={})
        assert cost is not None
        assert (cost.natural_price, cost.mid_price) == (D(natural), D(mid))
        assert cost.natural == D(natural) * 200
    assert closing.cost(short, D(1), {P95: quote(P95, 36_000, 34_700)}, multipliers={}) is None  # crossed
    adjusted = closing.cost(short, D(1), quotes, multipliers={P95: 150})
    assert adjusted is not None
    assert (adjusted.natural, adjusted.natural_price) == (D("540.00"), D("3.60"))


def test_closing_turns_every_leg_around() -> None:
    legs = closing.legs_of(f"+1 {P90} -2 {P95}")
    terms = Terms(
        order_type=OrderType.LIMIT, time_in_force=TimeInForce.GTC, limit_price=D("1.20"), client_order_id="c"
    )
    asked = closing.close(legs, D(3), terms)
    assert asked.ticket.legs == (LegTicket(P90, Side.SELL, 1), LegTicket(P95, Side.BUY, 2))
    assert (asked.ticket.qty, asked.ticket.limit_price, asked.ticket.client_order_id) == (
        D(3),
        D("1.20"),
        "c",
    )
    assert asked.closes == (P90, P95)


def test_rolls_that_net_to_lowest_terms() -> None:
    """Two legs that end in the same contracts: what is left of the trade is one of each, twice."""
    legs = closing.legs_of(f"-2 {P90} +1 {P95}")
    into = closing.targets(legs, to=("XYZ261218P00085000", P95))
    asked = closing.roll(legs, into, D(3), MARKET)
    assert asked.ticket.legs == (LegTicket(P90, Side.BUY, 1), LegTicket("XYZ261218P00085000", Side.SELL, 1))
    assert (asked.ticket.qty, asked.closes) == (D(6), (P90,))


def test_targets() -> None:
    legs = closing.legs_of(f"+100 XYZ -1 {P95}")
    moved = closing.targets(legs, expiration=date(2027, 1, 15), strike_shift=D("-2.5"))
    assert [one.symbol for one in moved] == ["XYZ", "XYZ270115P00092500"]
    with pytest.raises(InvalidInput):
        closing.targets(closing.legs_of("+1 XYZ"), strike_shift=D(1))
    pair = closing.legs_of(f"-1 {P90} -1 {P95}")
    with pytest.raises(InvalidInput):  # each in the place of the other
        closing.roll(pair, closing.targets(pair, to=(P95, P90)), D(1), MARKET)


def test_what_has_many_legs_is_closed_leg_by_leg() -> None:
    calls = " ".join(f"+1 XYZ261218C00{strike}000" for strike in range(101, 107))
    with pytest.raises(NotOneOrder) as refused:
        closing.close(closing.legs_of(calls), D(1), MARKET)
    assert refused.value.details["remedy"] == "Close it leg by leg, what is short first."
    assert all(isinstance(leg, Leg) for leg in closing.legs_of(calls))
