"""Booking fills: amounts by hand, and identities that hold for any sequence."""

from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.account import Part, Position, Posting, Unbookable, book_fill, post, trade
from mbt.engine.orders import Side
from raxx.market.quotes import Quote

PLENTY = D("1000000000")


def booked(
    side: Side, qty: str, price: int, before: Position, spendable: D, *, multiplier: int = 1
) -> Posting | Unbookable:
    quote = Quote("AA", 0, price, 1, price, 1)
    part = Part(symbol="AA", side=side, qty=D(qty), multiplier=multiplier, price=price, quote=quote)
    made = book_fill([part], positions={"AA": before}, spendable=spendable)
    return made if isinstance(made, Unbookable) else made[0]


@pytest.mark.parametrize(
    ("side", "qty", "multiplier", "price", "before", "booking"),
    [
        pytest.param(
            Side.BUY, "100", 1, 1_821_000, Position(), (D("-18210.00"), Position(D(100), D("18210.00")), D(0)),
            id="100 shares at 182.10",
        ),
        pytest.param(
            Side.BUY, "0.5", 1, 1_826_700, Position(), (D("-91.34"), Position(D("0.5"), D("91.34")), D(0)),
            id="half a share at 182.67: 91.335 rounds half-even to 91.34",
        ),
        pytest.param(
            Side.BUY, "0.5", 1, 1_826_900, Position(), (D("-91.34"), Position(D("0.5"), D("91.34")), D(0)),
            id="half a share at 182.69: 91.345 rounds half-even to 91.34",
        ),
        pytest.param(
            Side.BUY, "2", 100, 15_500, Position(), (D("-310.00"), Position(D(2), D("310.00")), D(0)),
            id="2 contracts at 1.55",
        ),
        pytest.param(
            Side.SELL, "1", 100, 20_000, Position(D(2), D("310.00")),
            (D("200.00"), Position(D(1), D("155.00")), D("45.00")), id="half of a position, with profit",
        ),
        pytest.param(
            Side.SELL, "3", 1, 100_000, Position(D(3), D("40.00")), (D("30.00"), Position(D(0), D("0.00")), D("-10.00")),
            id="all of it, with loss",
        ),
        pytest.param(
            Side.SELL, "1", 1, 100_000, Position(D(3), D("10.00")),
            (D("10.00"), Position(D(2), D("6.67")), D("6.67")), id="a third of 10.00 is 3.33, the rest stays",
        ),
    ],
)  # fmt: skip
def test_booking(
    side: Side, qty: str, multiplier: int, price: int, before: Position, booking: tuple[D, Position, D]
) -> None:
    posting = booked(side, qty, price, before, PLENTY, multiplier=multiplier)
    assert isinstance(posting, Posting)
    assert (posting.cash, post(before, posting), posting.realized) == booking


def test_what_cannot_be_paid_or_delivered_is_not_booked() -> None:
    assert booked(Side.BUY, "1", 100_100, Position(), D("10.00")) is Unbookable.INSUFFICIENT_CASH
    assert isinstance(booked(Side.BUY, "1", 100_000, Position(), D("10.00")), Posting)
    held = Position(D("0.5"), D("5.00"))
    assert booked(Side.SELL, "1", 100_000, held, D(0)) is Unbookable.INSUFFICIENT_QUANTITY


SHORT = Position(D(-2), D("-310.00"))  # two contracts sold for 1.55


@pytest.mark.parametrize(
    ("before", "qty", "cash", "after", "realized"),
    [
        pytest.param(Position(), "-2", "310.00", SHORT, "0", id="opened: the proceeds are the negative cost"),
        pytest.param(SHORT, "1", "-100.00", Position(D(-1), D("-155.00")), "55.00", id="half bought back at 1.00"),
        pytest.param(SHORT, "2", "-400.00", Position(), "-90.00", id="all bought back at 2.00"),
        pytest.param(
            SHORT, "3", "-300.00", Position(D(1), D("100.00")), "110.00", id="through zero: 200 closes, 100 opens"
        ),
        pytest.param(
            Position(D(1), D("100.00")), "-3", "330.00", Position(D(-2), D("-220.00")), "10.00",
            id="through zero the other way",
        ),
    ],
)  # fmt: skip
def test_a_trade_through_a_short_position(
    before: Position, qty: str, cash: str, after: Position, realized: str
) -> None:
    posting = trade(before, symbol="AA", qty=D(qty), cash=D(cash))
    assert post(before, posting) == after
    assert posting.realized == D(realized)


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
        posting = booked(side, f"{qty:f}", price, position, cash)
        if isinstance(posting, Unbookable):
            continue
        cash, realized, position = cash + posting.cash, realized + posting.realized, post(position, posting)
        # What left the pocket is either still in the position or was realized, to the cent.
        assert PLENTY - cash == position.cost - realized
        assert cash >= 0
        assert position.qty >= 0
        assert position.qty or not position.cost


@given(trades)
def test_they_add_up_through_short_positions_too(made: list[tuple[Side, D, int]]) -> None:
    cash, realized, position = D(0), D(0), Position()
    for side, qty, price in made:
        sign = 1 if side is Side.BUY else -1
        amount = (qty * price / 10_000).quantize(D("0.01"))
        posting = trade(position, symbol="AA", qty=sign * qty, cash=-sign * amount)
        cash, realized, position = cash + posting.cash, realized + posting.realized, post(position, posting)
        assert -cash == position.cost - realized
        assert position.qty or not position.cost


def _part(symbol: str, side: Side, qty: str, price: int, *, multiplier: int = 100) -> Part:
    quote = Quote(symbol, 0, price, 1, price, 1)
    return Part(symbol=symbol, side=side, qty=D(qty), multiplier=multiplier, price=price, quote=quote)


PUT, CALL = "KO240308P00050000", "KO240308C00055000"
SHORT_PUT = {PUT: Position(D(-2), D("-300.00"))}  # 2 × 50 × 100: 10,000 set aside


@pytest.mark.parametrize(
    ("part", "spendable", "is_booked"),
    [
        pytest.param(_part(CALL, Side.BUY, "1", 20_000), "10200.00", True, id="200 of the 200 that are free"),
        pytest.param(_part(CALL, Side.BUY, "1", 20_000), "10199.99", False, id="a cent less"),
        pytest.param(_part(PUT, Side.BUY, "1", 510_000), "10100.00", True, id="5,100 buys back what frees 5,000"),
        pytest.param(_part(PUT, Side.BUY, "1", 510_000), "10099.99", False, id="and not a cent less"),
        pytest.param(_part(PUT, Side.SELL, "1", 10_000), "14900.00", True, id="a third put: 5,000 less 100 received"),
        pytest.param(_part(PUT, Side.SELL, "1", 10_000), "14899.99", False, id="the third put, a cent short"),
        pytest.param(_part("AA", Side.SELL, "1", 10_000, multiplier=1), "-5.00", True, id="a sale for 1 in the red"),
    ],
)  # fmt: skip
def test_short_puts_keep_their_cash(part: Part, spendable: str, is_booked: bool) -> None:
    """What a market order pays when the price jumps is not taken from what secures a short put."""
    held = {**SHORT_PUT, "AA": Position(D(1), D("1.00"))}
    made = book_fill([part], positions=held, spendable=D(spendable))
    assert isinstance(made, tuple) is is_booked
    assert is_booked or made is Unbookable.INSUFFICIENT_CASH


@pytest.mark.parametrize(
    ("side", "qty", "held", "is_booked"),
    [
        (Side.SELL, "5", "5", True), (Side.SELL, "6", "5", False), (Side.SELL, "1", "-5", False), (Side.SELL, "1", "0", False),
        (Side.BUY, "5", "-5", True), (Side.BUY, "6", "-5", False), (Side.BUY, "1", "5", False), (Side.BUY, "1", "0", False),
    ],
)  # fmt: skip
def test_an_exit_opens_nothing(side: Side, qty: str, held: str, is_booked: bool) -> None:
    part = _part("AA", side, qty, 10_000, multiplier=1)
    positions = {"AA": Position(D(held), D(held))}
    made = book_fill([part], positions=positions, spendable=PLENTY, cash_account=False, closes_only=True)
    assert isinstance(made, tuple) is is_booked
    assert is_booked or made is Unbookable.INSUFFICIENT_QUANTITY
    assert isinstance(book_fill([part], positions=positions, spendable=PLENTY, cash_account=False), tuple)


def test_no_position_outgrows_its_column() -> None:
    """A thousand million are one too many, bought or sold short."""
    many = Position(D("999999998"), D("999999998.00"))
    assert not isinstance(booked(Side.BUY, "1", 10_000, many, D("10.00")), Unbookable)
    assert booked(Side.BUY, "2", 10_000, many, D("10.00")) is Unbookable.POSITION_TOO_LARGE
    assert booked(Side.SELL, "2", 10_000, many, D("10.00")) is not Unbookable.POSITION_TOO_LARGE
