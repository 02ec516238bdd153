"""What an event does to an account: postings, and the position and cash that they add up to.

Whatever moves money or positions (a fill, a fee, a dividend, an expiration) is a few postings that take
effect together or not at all. Amounts are rounded once, half-even, to the cent. A position carries its
cost as a sum of such amounts, so cash, cost and realised profit always add up exactly: over the postings
of a trade, cash + cost = realized. The average price is derived.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.fills import Fill
from mbt.engine.orders import Order, Side
from raxx.kernel.money import from_ticks, to_cents
from raxx.market.contracts import Right
from raxx.market.listing import STANDARD_ONLY, OptionClass, instrument_of
from raxx.market.quotes import Quote

ZERO = Decimal(0)
SHARE = 1  # the multiplier of stock
POSITION_MAX = Decimal(10) ** 9  # shares or contracts: no position reaches it


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
    POSITION_TOO_LARGE = "POSITION_TOO_LARGE"


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


class Part(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a fill trades of one instrument: `qty` at `price` (1/10,000 dollar), on `quote`."""

    symbol: str
    side: Side
    qty: Decimal
    multiplier: int
    price: int
    quote: Quote


def parts_of(order: Order, fill: Fill) -> tuple[Part, ...]:
    """The instruments that a fill trades: one, or the legs of a package."""
    if isinstance(fill.quote, Quote):
        return (Part(
            symbol=order.symbol, side=order.side, qty=fill.qty, multiplier=order.multiplier, price=fill.price,
            quote=fill.quote,
        ),)  # fmt: skip
    return tuple(
        Part(
            symbol=part.leg.symbol, side=part.leg.side, qty=part.qty, multiplier=part.leg.multiplier, price=part.price,
            quote=part.quote,
        )
        for part in fill.legs
    )  # fmt: skip


def book_fill(
    parts: Sequence[Part], *, positions: Mapping[str, Position], spendable: Decimal, cash_account: bool = True,
    closes_only: bool = False, adjusted: Mapping[str, OptionClass] = STANDARD_ONLY,
) -> tuple[Posting, ...] | Unbookable:  # fmt: skip
    """Book all parts of a fill, or none: a posting for each.

    `spendable`: dollars that this order may spend, its own hold included, other orders' holds not. What short puts in
    `positions` have set aside is not spent either. A cash account pays in full and delivers shares that it has; its
    short options were judged when they were taken. A margin account carries what it was allowed to send.
    `closes_only`: an exit, which opens nothing; what it would close may be gone, or its entry may itself have closed
    what another order opened before it. `adjusted`: the option classes that corporate actions changed.
    """
    postings = []
    for part in parts:
        before = positions.get(part.symbol, Position())
        amount = to_cents(part.qty * from_ticks(part.price) * part.multiplier)
        buys = part.side is Side.BUY
        if cash_account and not buys and part.multiplier == SHARE and part.qty > before.qty:
            return Unbookable.INSUFFICIENT_QUANTITY
        if closes_only and part.qty > (-before.qty if buys else before.qty):
            return Unbookable.INSUFFICIENT_QUANTITY
        qty, cash = (part.qty, -amount) if buys else (-part.qty, amount)
        if abs(before.qty + qty) >= POSITION_MAX:
            return Unbookable.POSITION_TOO_LARGE
        postings.append(trade(before, symbol=part.symbol, qty=qty, cash=cash, price=part.price))
    if cash_account:
        aside = _secured(positions, adjusted)
        after = {p.symbol: post(positions.get(p.symbol, Position()), p) for p in postings}
        needed = (
            _secured({**positions, **after}, adjusted) - aside - sum(posting.cash for posting in postings)
        )
        if needed > 0 and needed > spendable - aside:
            return Unbookable.INSUFFICIENT_CASH
    return tuple(postings)


def _secured(positions: Mapping[str, Position], adjusted: Mapping[str, OptionClass]) -> Decimal:
    """Dollars that a cash account has set aside: what short puts pay, and what short calls deliver in cash."""
    aside = ZERO
    for symbol, held in positions.items():
        if held.qty >= 0:
            continue
        short = instrument_of(symbol, adjusted)
        if short.right is Right.PUT:
            aside -= held.qty * from_ticks(short.strike) * short.multiplier
        elif short.underlying in adjusted and short.right is Right.CALL:
            aside -= held.qty * adjusted[short.underlying].deliverable.cash
    return aside


def average_price(position: Position, multiplier: int) -> Decimal | None:
    """Dollars per share or per contract share, unrounded; None when there is no position."""
    return position.cost / (position.qty * multiplier) if position.qty else None


def unrealized(position: Position, multiplier: int, mark: int) -> Decimal:
    """Profit or loss in dollars if the position were closed at `mark` (1/10,000 dollar)."""
    return to_cents(position.qty * from_ticks(mark) * multiplier) - position.cost
