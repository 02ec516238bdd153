"""An order's end: found, locked, closed."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import F

from audit import log
from mbt import events
from mbt.engine.orders import OPEN_STATUSES, OrderStatus
from mbt.models import Account, Order, Position
from raxx.kernel import outbox
from raxx.kernel.errors import NotFound, RaxxError


class OrderNotOpen(RaxxError):
    """The order is over, so it can be neither canceled nor replaced."""

    code = "ORDER_NOT_OPEN"
    http_status = 409


def lock_order(account_id: UUID, order_id: UUID) -> tuple[Account, Order]:
    """Account first, then order: everybody locks in this order."""
    account = Account.objects.select_for_update().filter(pk=account_id).first()
    order = Order.objects.select_for_update().filter(pk=order_id, account_id=account_id).first()
    if account is None or order is None:
        raise NotFound(
            f"There is no order {order_id}.", field="id", value=order_id, remedy="List your orders."
        )
    return account, order


def require_open(order: Order) -> None:
    if OrderStatus(order.status) not in OPEN_STATUSES:
        raise not_open(order, order.status, since=order.closed_at)


def not_open(order: Order, status: str, *, since: datetime | None) -> OrderNotOpen:
    return OrderNotOpen(
        f"The order is {status} since {since:%Y-%m-%d %H:%M:%S} UTC; it can no longer change.",
        rule="only an open order can change",
        value=status,
        remedy="Send a new order.",
        order_id=order.pk,
    )


def end(
    order: Order, status: OrderStatus, *, at: datetime, action: str, actor: str, reason: str = ""
) -> None:
    """Close an open order whose account is locked: holds released, recorded, announced."""
    before = order.status
    if order.cash_hold:
        Account.objects.filter(pk=order.account_id).update(cash_held=F("cash_held") - order.cash_hold)
    for symbol, qty in order.position_holds.items():
        Position.objects.filter(account_id=order.account_id, symbol=symbol, closed_at__isnull=True).update(
            qty_held=F("qty_held") - Decimal(qty)
        )
    order.status, order.closed_at, order.cash_hold, order.position_holds = status, at, Decimal(0), {}
    order.reason = reason
    order.save(update_fields=["status", "closed_at", "cash_hold", "position_holds", "reason"])
    log.record(
        action,
        actor=actor,
        object_type="mbt.order",
        object_id=order.pk,
        at=at,
        changes={"status": [before, status]},
    )
    outbox.add(topic=events.ORDERS_TOPIC, key=str(order.pk), payload={"order_id": order.pk, "event": status})


def not_before(order: Order, at: datetime | None) -> datetime:
    """Nothing ends before it began, whatever a clock says."""
    began = order.working_at or order.accepted_at
    return max(began, at) if at else began
