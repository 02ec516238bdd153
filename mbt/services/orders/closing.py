"""Closing positions: one, or all of them structure by structure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import msgspec

from mbt import selectors
from mbt.engine import closing
from mbt.engine.margin import NoMark
from mbt.engine.tickets import Ticket
from mbt.models import Order
from mbt.selectors import AccountRef
from mbt.services import orders
from raxx.kernel.clock import from_ns
from raxx.kernel.errors import RaxxError
from raxx.kernel.ids import new_id
from raxx.market.quotes import Quote

Quotes = Mapping[str, Quote]


@dataclass(frozen=True, slots=True)
class Closed:
    """What became of one closing: the order, or why there is none."""

    what: str
    order: Order | None
    denial: RaxxError | None


def close_position(
    *, account: AccountRef, symbol: str, qty: Decimal | None, now_ns: int, quotes: Quotes, actor: str
) -> Order:
    """Send a market order that closes `qty` of a position, or all of it. Raises NotFound or a denial."""
    holding, _ = selectors.holding(account, symbol)
    ticket = closing.close_single(holding.position.symbol, holding.position.qty, qty)
    return _send(account, ticket, now_ns, quotes, actor)


def close_all(
    *, account: AccountRef, cancel_orders: bool, now_ns: int, quotes: Quotes, actor: str
) -> list[Closed]:
    """Close everything, each structure as one order; `cancel_orders`: after canceling every open order.

    Each closing is an order of its own: one that is denied does not stop the others. Raises NoMark where what
    belongs together cannot be told.
    """
    if cancel_orders:
        for order_id in _open_orders(account):
            try:
                orders.cancel(account=account, order_id=order_id, at=from_ns(now_ns), actor=actor)
            except orders.OrderNotOpen:
                continue  # it ended with another, or just filled
    standing = selectors.margin_summary(account).standing
    if standing is None:
        raise NoMark(
            "Something that is held has no price now, so what belongs together cannot be told. Close it by symbol.",
            rule="structures are recognised at current marks", remedy="Close the positions one by one.",
        )  # fmt: skip
    found = []
    for each in closing.close_all(standing.requirement.groups):
        try:
            found.append(Closed(each.what, _send(account, each.ticket, now_ns, quotes, actor), None))
        except RaxxError as denial:
            found.append(Closed(each.what, None, denial))
    return found


def _send(account: AccountRef, ticket: Ticket, now_ns: int, quotes: Quotes, actor: str) -> Order:
    named = msgspec.structs.replace(ticket, client_order_id=str(new_id()))
    return orders.submit(account=account, ticket=named, now_ns=now_ns, quotes=quotes, actor=actor).order


def _open_orders(account: AccountRef) -> list[UUID]:
    return list(selectors.orders(account.id, openness="open").order_by("number").values_list("pk", flat=True))
