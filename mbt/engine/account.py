"""What an event does to an account: postings, and the position and cash that they add up to.

Whatever moves money or positions (a fill, a fee, a dividend, an expiration) is a few postings that take
effect together or not at all. Amounts are rounded once, half-even, to the cent. A position carries its
cost as a sum of such amounts, so cash, cost and realised profit always add up exactly: over the postings
of a trade, cash + cost = realized. The average price is derived.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.orders import Order, Side
from raxx.kernel.money import from_ticks, to_cents

ZERO = Decimal(0)


class Kind(StrEnum):
    """What caused a posting: the type of the activity that it becomes."""

    FILL = "fill"
    FEE = "fee"
    DIVIDEND = "dividend"
    INTEREST = "interest"
    EXPIRATION = "expiration"
    EXERCISE = "exercise"
    ASSIGNMENT = "assignment"
    CORPORATE_ACTION = "corporate_action"
    ADJUSTMENT = "adjustment"


class Position(msgspec.Struct, frozen=True, gc=False):
    """`qty` shares or contracts, negative when short. `cost`: dollars paid in all; of a short position
    the proceeds, negative. An empty position is qty 0, cost 0."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO


class Posting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One line of an account's history: changes, all signed, in units of the position and in dollars.

    `symbol` is the position that changes, or what the money is about; "" for cash alone. `price` in
    1/10,000 dollar where there is one. `note`: one clause for people, from the facts of the event.
    """

    kind: Kind
    symbol: str = ""
    qty: Decimal = ZERO
    cost: Decimal = ZERO
    cash: Decimal = ZERO
    realized: Decimal = ZERO
    price: int = 0
    note: str = ""


class Unbookable(StrEnum):
    """Why the account cannot carry a fill. The order is then rejected; nothing else changes."""

    INSUFFICIENT_CASH = "INSUFFICIENT_CASH"
    INSUFFICIENT_QUANTITY = "INSUFFICIENT_QUANTITY"


def trade(
    before: Position, *, symbol: str, qty: Decimal, cash: Decimal, price: int = 0, kind: Kind = Kind.FILL,
    note: str = "",
) -> Posting:  # fmt: skip
    """A change of `qty` (negative: sold) for `cash` dollars (negative: paid), against the position `before`.

    What it closes releases its share of the cost, rounded to the cent, the last of it exactly; what goes
    beyond opens the other side.
    """
    closing = min(abs(qty), abs(before.qty)) if qty * before.qty < 0 else ZERO
    if not closing:
        return Posting(kind=kind, symbol=symbol, qty=qty, cost=-cash, cash=cash, price=price, note=note)
    whole = closing == abs(before.qty)
    released = before.cost if whole else to_cents(before.cost * closing / abs(before.qty))
    closing_cash = cash if closing == abs(qty) else to_cents(cash * closing / abs(qty))
    realized = closing_cash - released
    return Posting(
        kind=kind, symbol=symbol, qty=qty, cost=realized - cash, cash=cash, realized=realized, price=price, note=note,
    )  # fmt: skip


def post(before: Position, posting: Posting) -> Position:
    """The position after a posting to it."""
    return Position(before.qty + posting.qty, before.cost + posting.cost)


def book_fill(order: Order, price: int, *, position: Position, spendable: Decimal) -> Posting | Unbookable:
    """Book the whole of `order` at `price` (1/10,000 dollar) in a cash account.

    `spendable`: dollars that this order may spend, its own hold included, other orders' holds not.
    """
    amount = to_cents(order.qty * from_ticks(price) * order.multiplier)
    buys = order.side is Side.BUY
    if buys and amount > spendable:
        return Unbookable.INSUFFICIENT_CASH
    if not buys and order.qty > position.qty:
        return Unbookable.INSUFFICIENT_QUANTITY
    qty, cash = (order.qty, -amount) if buys else (-order.qty, amount)
    return trade(position, symbol=order.symbol, qty=qty, cash=cash, price=price)


def average_price(position: Position, multiplier: int) -> Decimal | None:
    """Dollars per share or per contract share, unrounded; None when there is no position."""
    return position.cost / (position.qty * multiplier) if position.qty else None


def unrealized(position: Position, multiplier: int, mark: int) -> Decimal:
    """Profit or loss in dollars if the position were closed at `mark` (1/10,000 dollar)."""
    return to_cents(position.qty * from_ticks(mark) * multiplier) - position.cost
