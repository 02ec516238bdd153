"""What a fill does to an account: cash, position, realised profit or loss. Cash accounts, for now.

Every amount that moves is rounded once, half-even, to the cent. A position carries its cost as a sum of
such amounts, so that cash, cost and realised profit always add up exactly; the average price is derived.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.orders import Order, Side
from raxx.kernel.money import from_ticks, to_cents

ZERO = Decimal(0)


class Position(msgspec.Struct, frozen=True, gc=False):
    """`qty` shares or contracts that cost `cost` dollars in all. An empty position is qty 0, cost 0."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO


class Booking(msgspec.Struct, frozen=True, gc=False):
    """The effect of one fill: `amount` is the change of cash (a buy's is negative)."""

    amount: Decimal
    position: Position
    realized: Decimal


class Unbookable(StrEnum):
    """Why the account cannot carry a fill. The order is then rejected; nothing else changes."""

    INSUFFICIENT_CASH = "INSUFFICIENT_CASH"
    INSUFFICIENT_QUANTITY = "INSUFFICIENT_QUANTITY"


def book_fill(order: Order, price: int, *, position: Position, spendable: Decimal) -> Booking | Unbookable:
    """Book the whole of `order` at `price` (1/10,000 dollar).

    `spendable`: dollars that this order may spend, its own hold included, other orders' holds not.
    """
    amount = to_cents(order.qty * from_ticks(price) * order.multiplier)
    if order.side is Side.BUY:
        if amount > spendable:
            return Unbookable.INSUFFICIENT_CASH
        return Booking(-amount, Position(position.qty + order.qty, position.cost + amount), ZERO)
    left = position.qty - order.qty
    if left < 0:
        return Unbookable.INSUFFICIENT_QUANTITY
    released = to_cents(position.cost * order.qty / position.qty) if left else position.cost
    return Booking(amount, Position(left, position.cost - released), amount - released)


def average_price(position: Position, multiplier: int) -> Decimal | None:
    """Dollars per share or per contract share, unrounded; None when there is no position."""
    return position.cost / (position.qty * multiplier) if position.qty else None


def unrealized(position: Position, multiplier: int, mark: int) -> Decimal:
    """Profit or loss in dollars if the position were closed at `mark` (1/10,000 dollar)."""
    return to_cents(position.qty * from_ticks(mark) * multiplier) - position.cost
