"""Closing positions: one, a structure as one order, or everything; and rolling a structure as one order."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from mbt import selectors
from mbt.engine import closing
from mbt.engine.buying_power import Holding
from mbt.engine.closing import Asked, Cost, Terms
from mbt.engine.margin import Group, NoMark
from mbt.engine.strategies import Leg, Structure
from mbt.engine.tickets import Ticket
from mbt.models import Order
from mbt.selectors import AccountRef
from mbt.selectors.accounts import open_positions
from mbt.selectors.markets import view_of
from mbt.services import orders
from raxx.kernel.clock import from_ns
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.kernel.ids import new_id
from raxx.market.quotes import Quote

Quotes = Mapping[str, Quote]
ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Closed:
    """What became of one closing: the order, or why there is none."""

    what: str
    order: Order | None
    denial: RaxxError | None


@dataclass(frozen=True, slots=True)
class Held:
    """A structure that an account holds. `cost`: of closing it now; None where a leg has no two-sided quote."""

    id: str
    structure: Structure
    cost: Cost | None

    @property
    def is_one_order(self) -> bool:
        return closing.is_one_order(self.structure.legs)


@dataclass(frozen=True, slots=True)
class Into:
    """What a structure is rolled to: see `mbt.engine.closing.targets`."""

    expiration: date | None = None
    strike_shift: Decimal | None = None
    to: Sequence[str] = ()


def close_position(
    *, account: AccountRef, symbol: str, qty: Decimal | None, now_ns: int, quotes: Quotes, actor: str
) -> Order:
    """Send a market order that closes `qty` of a position, or all of it. Raises NotFound or a denial."""
    holding, _ = selectors.holding(account, symbol)
    ticket = closing.close_single(holding.position.symbol, holding.position.qty, qty)
    return _send(account, ticket, now_ns, quotes, actor)


def structures(account: AccountRef) -> tuple[list[Held], datetime | None]:
    """What the account holds, structure by structure, and the instant of the quotes. Raises NoMark where what belongs
    together cannot be told."""
    found, marked_at = _recognised(account)
    rows = open_positions(account.id)
    view = view_of(account.feed, [row.symbol for row in rows])
    multipliers = {row.symbol: row.multiplier for row in rows}
    return [
        Held(
            closing.id_of(each.legs), each,
            closing.cost(each.legs, each.quantity, view.quotes if view else {}, multipliers=multipliers),
        )
        for each in found
    ], marked_at  # fmt: skip


def to_close(account: AccountRef, structure: str, qty: Decimal | None, terms: Terms) -> Asked:
    """The order that closes `qty` of a structure, or all of it; sent before under the same client_order_id, the
    same. Raises InvalidInput, NothingToClose, NoMark, NotOneOrder."""
    legs = closing.legs_of(structure)
    return _asked(account, structure, qty, terms, lambda count: closing.close(legs, count, terms))


def to_roll(account: AccountRef, structure: str, qty: Decimal | None, into: Into, terms: Terms) -> Asked:
    """The order that closes `qty` of a structure and opens the same in other contracts. Raises InvalidInput,
    NothingToClose, NoMark, NotOneOrder."""
    legs = closing.legs_of(structure)
    coming = closing.targets(legs, expiration=into.expiration, strike_shift=into.strike_shift, to=into.to)
    return _asked(account, structure, qty, terms, lambda count: closing.roll(legs, coming, count, terms))


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
    found = []
    for each in closing.close_all(_groups(account)[0]):
        try:
            found.append(Closed(each.what, _send(account, each.ticket, now_ns, quotes, actor), None))
        except RaxxError as denial:
            found.append(Closed(each.what, None, denial))
    return found


def _send(account: AccountRef, ticket: Ticket, now_ns: int, quotes: Quotes, actor: str) -> Order:
    named = msgspec.structs.replace(ticket, client_order_id=str(new_id()))
    return orders.submit(
        account=account, ticket=named, now_ns=now_ns, quotes=quotes, actor=actor, closes=named.symbols
    ).order  # fmt: skip


def _asked(
    account: AccountRef, structure: str, qty: Decimal | None, terms: Terms, order_for: Callable[[Decimal], Asked]
) -> Asked:  # fmt: skip
    one = order_for(ONE)
    if qty is None:
        known = Order.objects.filter(account_id=account.id, client_order_id=terms.client_order_id).first()
        # Sent again: it means as many as it meant then, whatever is held by now.
        qty = known.qty / (one.ticket.qty or ONE) if known else _all_of(account, structure, one)
    return order_for(qty)


def _all_of(account: AccountRef, structure: str, one: Asked) -> Decimal:
    """How many of it there are. `one`: the order for one."""
    wanted = _by_symbol(closing.legs_of(structure))
    for found in _recognised(account)[0]:
        if _by_symbol(found.legs) == wanted:
            return found.quantity
    held = {row.symbol: Holding(row.qty, row.qty_held) for row in open_positions(account.id)}
    closing.check_closes(one.ticket, one.closes, held)
    raise InvalidInput(
        field="qty", rule="a structure that the account is not made of needs one", value="nothing",
        remedy="Send qty, or the id of one that GET structures lists.",
    )  # fmt: skip


def _by_symbol(legs: Sequence[Leg]) -> dict[str, Decimal]:
    return {leg.instrument.symbol: leg.ratio for leg in legs}


def _recognised(account: AccountRef) -> tuple[list[Structure], datetime | None]:
    groups, marked_at = _groups(account)
    return closing.structures(groups), marked_at


def _groups(account: AccountRef) -> tuple[Collection[Group], datetime | None]:
    summary = selectors.margin_summary(account)
    if summary.standing is None:
        raise NoMark(
            "Something that is held has no price now, so what belongs together cannot be told. Close it by symbol.",
            rule="structures are recognised at current marks", remedy="Close the positions one by one.",
        )  # fmt: skip
    return summary.standing.requirement.groups, summary.marked_at


def _open_orders(account: AccountRef) -> list[UUID]:
    return list(selectors.orders(account.id, openness="open").order_by("number").values_list("pk", flat=True))
