"""Booking fills: amounts by hand, and identities that hold for any sequence."""

from decimal import Decimal as D
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.account import Booking, Position, Unbookable, book_fill
from mbt.engine.orders import NEVER_NS, Order, OrderType, Side, TimeInForce
from raxx.market.contracts import AssetClass

PLENTY = D("1000000000")


def order(side: Side, qty: str, *, multiplier: int = 1) -> Order:
    return Order(
        id=UUID(int=1), number=1, account_id=UUID(int=0), symbol="AA", asset_class=AssetClass.EQUITY, multiplier=multiplier,
        side=side, type=OrderType.MARKET, tif=TimeInForce.DAY, qty=D(qty), limit=0, accepted_ns=0, expires_ns=NEVER_NS,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("side", "qty", "multiplier", "price", "before", "booking"),
    [
        pytest.param(
            Side.BUY, "100", 1, 1_821_000, Position(), Booking(D("-18210.00"), Position(D(100), D("18210.00")), D(0)),
            id="100 shares at 182.10",
        ),
        pytest.param(
            Side.BUY, "0.5", 1, 1_826_700, Position(), Booking(D("-91.34"), Position(D("0.5"), D("91.34")), D(0)),
            id="half a share at 182.67: 91.335 rounds half-even to 91.34",
        ),
        pytest.param(
            Side.BUY, "0.5", 1, 1_826_900, Position(), Booking(D("-91.34"), Position(D("0.5"), D("91.34")), D(0)),
            id="half a share at 182.69: 91.345 rounds half-even to 91.34",
        ),
        pytest.param(
            Side.BUY, "2", 100, 15_500, Position(), Booking(D("-310.00"), Position(D(2), D("310.00")), D(0)),
            id="2 contracts at 1.55",
        ),
        pytest.param(
            Side.SELL, "1", 100, 20_000, Position(D(2), D("310.00")),
            Booking(D("200.00"), Position(D(1), D("155.00")), D("45.00")), id="half of a position, with profit",
        ),
        pytest.param(
            Side.SELL, "3", 1, 100_000, Position(D(3), D("40.00")), Booking(D("30.00"), Position(D(0), D("0.00")), D("-10.00")),
            id="all of it, with loss",
        ),
        pytest.param(
            Side.SELL, "1", 1, 100_000, Position(D(3), D("10.00")),
            Booking(D("10.00"), Position(D(2), D("6.67")), D("6.67")), id="a third of 10.00 is 3.33, the rest stays",
        ),
    ],
)  # fmt: skip
def test_booking(
    side: Side, qty: str, multiplier: int, price: int, before: Position, booking: Booking
) -> None:
    assert (
        book_fill(order(side, qty, multiplier=multiplier), price, position=before, spendable=PLENTY)
        == booking
    )


def test_what_cannot_be_paid_or_delivered_is_not_booked() -> None:
    assert (
        book_fill(order(Side.BUY, "1"), 100_100, position=Position(), spendable=D("10.00"))
        is Unbookable.INSUFFICIENT_CASH
    )
    assert book_fill(order(Side.BUY, "1"), 100_000, position=Position(), spendable=D("10.00")) == Booking(
        D("-10.00"), Position(D(1), D("10.00")), D(0)
    )
    held = Position(D("0.5"), D("5.00"))
    assert (
        book_fill(order(Side.SELL, "1"), 100_000, position=held, spendable=D(0))
        is Unbookable.INSUFFICIENT_QUANTITY
    )


trades = st.lists(
    st.tuples(
        st.sampled_from(Side),
        st.one_of(st.integers(1, 1_000).map(D), st.decimals("0.000001", "9.999999", places=6)),
        st.integers(1, 10_000_000),
    ),
    max_size=40,
)


@given(trades)
def test_cash_cost_and_realized_always_add_up(made: list[tuple[Side, D, int]]) -> None:
    cash, realized, position = PLENTY, D(0), Position()
    for side, qty, price in made:
        booking = book_fill(order(side, f"{qty:f}"), price, position=position, spendable=cash)
        if isinstance(booking, Unbookable):
            continue
        cash, realized, position = cash + booking.amount, realized + booking.realized, booking.position
        # What left the pocket is either still in the position or was realized, to the cent.
        assert PLENTY - cash == position.cost - realized
        assert cash >= 0
        assert position.qty >= 0
        assert position.qty or not position.cost
