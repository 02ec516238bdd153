"""Cancel and replace. Lock, gate, decide, record; announced after the commit."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from audit import log
from console import switches
from mbt import events, selectors
from mbt.engine import replacing, tickets
from mbt.engine.buying_power import Holds
from mbt.engine.fills import Why
from mbt.engine.intake import Role
from mbt.engine.orders import OrderClass, OrderStatus
from mbt.models import Order
from mbt.selectors import AccountRef
from mbt.services.orders.ending import end, lock_order, not_before, not_open, require_open
from mbt.services.orders.taking import Place, Quotes, name_taken, record_denial, take
from raxx.kernel.clock import from_ns
from raxx.kernel.errors import RaxxError


@transaction.atomic
def cancel(*, account: AccountRef, order_id: UUID, at: datetime | None, actor: str) -> Order:
    """Cancel an open order and those that belong with it; canceling a canceled one changes nothing. Works
    under every kill switch.

    An entry takes its waiting exits with it, an exit its sibling and an entry that is still open; the exits of
    what an entry has already filled stay when only the entry is canceled. `at`: the instant of the account's
    feed, None when it cannot be told (the order's own last instant then stands in). Raises NotFound, OrderNotOpen.
    """
    _, order = lock_order(account.id, order_id)
    if order.status == OrderStatus.CANCELED:
        return order
    require_open(order)
    for member in [order, *_canceled_with(order)]:
        reason = ""
        if member is not order:
            reason = Why.PARENT_ENDED if member.entry_id == order.pk else Why.GROUP_CANCELED
        end(
            member,
            OrderStatus.CANCELED,
            at=not_before(member, at),
            action=events.ORDER_CANCELED,
            actor=actor,
            reason=reason,
        )
    if order.role == Role.ENTRY:
        _settle_exits(order, at, actor)
    return order


def _settle_exits(entry: Order, at: datetime | None, actor: str) -> None:
    """Its entry was canceled: an exit at work is for what has been bought, or over when all of that is sold."""
    unbought = entry.qty - entry.filled_qty
    for member in entry.exits.select_for_update().filter(closed_at__isnull=True).order_by("number"):
        qty = member.qty - unbought
        if qty > member.filled_qty:
            member.qty = qty
            member.save(update_fields=["qty"])
            log.record(
                events.ORDER_RESIZED, actor=actor, object_type="mbt.order", object_id=member.pk,
                at=not_before(member, at), changes={"qty": qty},
            )  # fmt: skip
            continue
        status, action, reason = OrderStatus.CANCELED, events.ORDER_CANCELED, str(Why.OCO_SIBLING_FILLED)
        if member.filled_qty:
            status, action, reason = OrderStatus.FILLED, events.ORDER_FILLED, ""
            member.qty = qty
            member.save(update_fields=["qty"])
        end(member, status, at=not_before(member, at), action=action, actor=actor, reason=reason)


def _place_of(order: Order, qty: Decimal) -> Place:
    """Where an exit stands, for `qty`."""
    reserved = {symbol: Decimal(held) for symbol, held in order.position_holds.items()}
    return Place(
        Role(order.role), OrderClass(order.order_class), order.status == OrderStatus.HELD,
        Holds(order.cash_hold, reserved, qty),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Changes:
    """What a replacement changes; None: as it was. Prices in dollars."""

    qty: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None

    def given(self) -> dict[str, Decimal]:
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in named.items() if value is not None}


def replace(
    *,
    account: AccountRef,
    order_id: UUID,
    changes: Changes,
    client_order_id: str,
    now_ns: int,
    quotes: Quotes,
    actor: str,
) -> Order:
    """End an open order and take another in its place with changed terms, both or neither.

    The new order arrives anew: it has its own id and number, and `replaces` names the old one; the exits of an entry are
    taken anew with it. The old one keeps what it has filled, and the new one is for the rest of the quantity. Replacing
    again with the same client_order_id and terms gives the order it gave the first time. Raises NotFound, OrderNotOpen,
    InvalidInput or a denial; the old order then stands as it was.
    """
    try:
        with transaction.atomic():
            return _replace(
                account=account, order_id=order_id, changes=changes, client_order_id=client_order_id, now_ns=now_ns,
                quotes=quotes, actor=actor,
            )  # fmt: skip
    except RaxxError as denial:
        record_denial(denial, "mbt.order", order_id, at=from_ns(now_ns), actor=actor, changes=changes.given())
        raise


def _replace(
    *,
    account: AccountRef,
    order_id: UUID,
    changes: Changes,
    client_order_id: str,
    now_ns: int,
    quotes: Quotes,
    actor: str,
) -> Order:
    # The gate comes before the row locks, as in a submission: else the two could wait for each other.
    switches.require_open(switches.enter([switches.EVERYTHING, switches.PAPER]), reduces=True)
    _, old = lock_order(account.id, order_id)
    exits = list(old.exits.select_for_update().filter(closed_at__isnull=True).order_by("number"))
    before = selectors.ticket_of(old, exits)
    ticket = replacing.ticket_for(before, changes.given(), filled=old.filled_qty, name=client_order_id)
    if old.status == OrderStatus.REPLACED:
        known = Order.objects.filter(replaces=old, client_order_id=client_order_id).first()
        if known is not None and known.fingerprint == tickets.fingerprint(ticket):
            return known
    at = from_ns(now_ns)
    require_open(old)
    if old.expires_at is not None and at >= old.expires_at:  # the engine has not come to it yet
        raise not_open(old, "expired", since=old.expires_at)
    is_exit = old.role not in (Role.NONE, Role.ENTRY)
    replacing.check(before, ticket, filled=old.filled_qty, is_exit=is_exit)
    place = _place_of(old, old.qty - old.filled_qty) if is_exit else None
    exits_at_work = {
        Role(exit_.role): _place_of(
            exit_, replacing.at_work(exit_.qty - exit_.filled_qty, old.qty - old.filled_qty)
        )
        for exit_ in exits
    }
    for member in [old, *exits]:
        end(
            member,
            OrderStatus.REPLACED,
            at=not_before(member, at),
            action=events.ORDER_REPLACED,
            actor=actor,
        )
    order = take(
        account=account, ticket=ticket, now_ns=now_ns, quotes=quotes, actor=actor, replaces=old, place=place,
        exits_at_work=exits_at_work,
    )  # fmt: skip
    if order is None:
        raise name_taken(client_order_id)
    return order


def _canceled_with(order: Order) -> list[Order]:
    """The open orders that end with this one when its owner cancels it."""
    rows = Order.objects.select_for_update().filter(account_id=order.account_id, closed_at__isnull=True)
    if order.role == Role.ENTRY:
        return list(rows.filter(entry_id=order.pk, status=OrderStatus.HELD).order_by("number"))
    if order.role == Role.NONE:
        return []
    kin = Q(group_id=order.group_id) if order.group_id else Q(pk=order.pk)
    if order.entry_id:
        kin |= Q(pk=order.entry_id) | Q(entry_id=order.entry_id)
    return list(rows.filter(kin).exclude(pk=order.pk).order_by("number"))
