"""Submit, cancel and replace. Each: lock, gate, decide, record; announced after the commit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from audit import log
from console import switches
from mbt import events
from mbt.engine import intake
from mbt.engine.orders import NEVER_NS, OPEN_STATUSES, OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from mbt.models import Account, Order, Position
from mbt.selectors import AccountRef
from mbt.services import order_store
from raxx.kernel import outbox
from raxx.kernel.clock import from_ns
from raxx.kernel.errors import InvalidInput, NotFound, RaxxError
from raxx.kernel.ids import new_id
from raxx.market import calendar
from raxx.market.contracts import UnknownSymbolForm
from raxx.market.quotes import Quote


class ClientOrderIdReused(RaxxError):
    """The id already names an order with other terms."""

    code = "CLIENT_ORDER_ID_REUSED"
    http_status = 422


class AccountNotActive(RaxxError):
    code = "ACCOUNT_NOT_ACTIVE"
    http_status = 403


class OrderNotOpen(RaxxError):
    """The order is over, so it can be neither canceled nor replaced."""

    code = "ORDER_NOT_OPEN"
    http_status = 409


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` False: the same ticket had been taken before, and this is that order."""

    order: Order
    created: bool


def submit(*, account: AccountRef, ticket: Ticket, now_ns: int, quote: Quote | None, actor: str) -> Submitted:
    """Take an order, or deny it and store nothing but the denial.

    `now_ns` is the instant of the account's feed, `quote` the NBBO in force then. Submitting the same
    ticket again gives the order it gave the first time. Raises InvalidInput or a denial.
    """
    try:
        with transaction.atomic():
            order = _take(account=account, ticket=ticket, now_ns=now_ns, quote=quote, actor=actor)
    except RaxxError as denial:
        known = resubmitted(account=account, ticket=ticket)
        if known is not None:
            return Submitted(known, created=False)
        terms = {
            "symbol": ticket.symbol, "side": ticket.side, "qty": ticket.qty, "limit_price": ticket.limit_price,
        }  # fmt: skip
        _record_denial(denial, "mbt.account", account.id, at=from_ns(now_ns), actor=actor, changes=terms)
        raise
    if order is None:
        known = resubmitted(account=account, ticket=ticket)
        if known is None:
            raise RuntimeError("an order was refused by its client_order_id, which names no order")
        return Submitted(known, created=False)
    return Submitted(order, created=True)


def resubmitted(*, account: AccountRef, ticket: Ticket) -> Order | None:
    """The order that `ticket.client_order_id` names, if there is one. Raises ClientOrderIdReused."""
    known = Order.objects.filter(account_id=account.id, client_order_id=ticket.client_order_id).first()
    if known is None:
        return None
    terms = (known.symbol, known.side, known.qty, known.order_type, known.limit_price, known.time_in_force)
    asked = (
        ticket.symbol,
        ticket.side,
        ticket.qty,
        ticket.order_type,
        ticket.limit_price,
        ticket.time_in_force,
    )
    if terms != asked:
        raise ClientOrderIdReused(
            f"client_order_id {ticket.client_order_id!r} already names an order with other terms. Choose a new one.",
            field="client_order_id",
            rule="names one order for ever",
            value=ticket.client_order_id,
            remedy="Choose a new client_order_id.",
            order_id=known.pk,
        )
    return known


@transaction.atomic
def cancel(*, account: AccountRef, order_id: UUID, at: datetime | None, actor: str) -> Order:
    """Cancel an open order; canceling a canceled one changes nothing. Works under every kill switch.

    `at`: the instant of the account's feed, None when it cannot be told (the order's own last instant
    then stands in). Raises NotFound, OrderNotOpen.
    """
    _, order = _lock_order(account.id, order_id)
    if order.status == OrderStatus.CANCELED:
        return order
    _require_open(order)
    _end(order, OrderStatus.CANCELED, at=_not_before(order, at), action=events.ORDER_CANCELED, actor=actor)
    return order


def replace(
    *,
    account: AccountRef,
    order_id: UUID,
    qty: Decimal | None,
    limit_price: Decimal | None,
    client_order_id: str,
    now_ns: int,
    quote: Quote | None,
    actor: str,
) -> Order:
    """End an open order and take another in its place with changed terms, both or neither.

    The new order arrives anew: it has its own id and number, and `replaces` names the old one. Replacing
    again with the same client_order_id and terms gives the order it gave the first time. Raises
    NotFound, OrderNotOpen, InvalidInput or a denial; the old order then stands as it was.
    """
    try:
        with transaction.atomic():
            return _replace(
                account=account, order_id=order_id, qty=qty, limit_price=limit_price, client_order_id=client_order_id,
                now_ns=now_ns, quote=quote, actor=actor,
            )  # fmt: skip
    except RaxxError as denial:
        terms = {"qty": qty, "limit_price": limit_price}
        _record_denial(denial, "mbt.order", order_id, at=from_ns(now_ns), actor=actor, changes=terms)
        raise


# -- the parts --------------------------------------------------------------------------------------


def _replace(
    *,
    account: AccountRef,
    order_id: UUID,
    qty: Decimal | None,
    limit_price: Decimal | None,
    client_order_id: str,
    now_ns: int,
    quote: Quote | None,
    actor: str,
) -> Order:
    # The gate comes before the row locks, as in a submission: else the two could wait for each other.
    switches.require_open(switches.enter())
    _, old = _lock_order(account.id, order_id)
    ticket = Ticket(
        symbol=old.symbol, side=Side(old.side), qty=qty if qty is not None else old.qty,
        order_type=OrderType(old.order_type), time_in_force=TimeInForce(old.time_in_force),
        limit_price=limit_price if limit_price is not None else old.limit_price, client_order_id=client_order_id,
    )  # fmt: skip
    if old.status == OrderStatus.REPLACED:
        known = Order.objects.filter(replaces=old, client_order_id=client_order_id).first()
        if known is not None and (known.qty, known.limit_price) == (ticket.qty, ticket.limit_price):
            return known
    at = from_ns(now_ns)
    _require_open(old)
    if old.expires_at is not None and at >= old.expires_at:  # the engine has not come to it yet
        raise _not_open(old, "expired", since=old.expires_at)
    if (ticket.qty, ticket.limit_price) == (old.qty, old.limit_price):
        raise InvalidInput(
            field="(body)",
            rule="must change qty or limit_price",
            value="nothing changed",
            remedy="Send what should change.",
        )
    _end(old, OrderStatus.REPLACED, at=_not_before(old, at), action=events.ORDER_REPLACED, actor=actor)
    order = _take(account=account, ticket=ticket, now_ns=now_ns, quote=quote, actor=actor, replaces=old)
    if order is None:
        raise ClientOrderIdReused(
            f"client_order_id {client_order_id!r} already names an order. Choose a new one.",
            field="client_order_id",
            rule="names one order for ever",
            value=client_order_id,
            remedy="Choose a new client_order_id.",
        )
    return order


def _take(
    *,
    account: AccountRef,
    ticket: Ticket,
    now_ns: int,
    quote: Quote | None,
    actor: str,
    replaces: Order | None = None,
) -> Order | None:
    """Check, hold and insert. None: the client_order_id is taken."""
    locked = order_store.lock(account.id, ticket.symbol)
    if locked is None or locked.status != Account.Status.ACTIVE:
        raise AccountNotActive("This account does not trade. Open a new one.", remedy="Open a new account.")
    switches.require_open(locked.switches)
    if locked.instrument is None:
        raise UnknownSymbolForm(
            field="symbol",
            rule="must be an instrument that this account's feed quotes",
            value=ticket.symbol,
            remedy="Check the spelling; options are written like SPY261218C00650000.",
        )
    position = order_store.lock_position(account.id, ticket.symbol) if ticket.side is Side.SELL else None
    accepted = intake.accept(
        ticket, locked.instrument, free_cash=locked.cash_balance - locked.cash_held,
        free_qty=position.qty - position.qty_held if position else Decimal(0), quote=quote,
        sessions=calendar.of_feed(account.feed), now_ns=now_ns,
    )  # fmt: skip
    order = Order(
        id=new_id(), number=0, account_id=account.id, client_order_id=ticket.client_order_id, symbol=ticket.symbol,
        asset_class=locked.instrument.asset_class, multiplier=locked.instrument.multiplier, side=ticket.side,
        qty=ticket.qty, order_type=ticket.order_type, limit_price=ticket.limit_price, time_in_force=ticket.time_in_force,
        status=OrderStatus.ACCEPTED, cash_hold=accepted.cash_hold, replaces=replaces, accepted_at=from_ns(now_ns),
        expires_at=None if accepted.expires_ns == NEVER_NS else from_ns(accepted.expires_ns),
    )  # fmt: skip
    entry = log.Entry(
        action=events.ORDER_ACCEPTED, actor=actor, object_type="mbt.order", object_id=order.pk, at=order.accepted_at,
        changes={
            "symbol": order.symbol, "side": order.side, "qty": order.qty, "order_type": order.order_type,
            "limit_price": order.limit_price, "time_in_force": order.time_in_force, "cash_hold": order.cash_hold,
        },
    )  # fmt: skip
    number = order_store.insert(order, position=position, entry=entry)
    if number is None:
        return None
    order.number = number
    return order


def _lock_order(account_id: UUID, order_id: UUID) -> tuple[Account, Order]:
    """Account first, then order: everybody locks in this order."""
    account = Account.objects.select_for_update().filter(pk=account_id).first()
    order = Order.objects.select_for_update().filter(pk=order_id, account_id=account_id).first()
    if account is None or order is None:
        raise NotFound(
            f"There is no order {order_id}.", field="id", value=order_id, remedy="List your orders."
        )
    return account, order


def _require_open(order: Order) -> None:
    if OrderStatus(order.status) not in OPEN_STATUSES:
        raise _not_open(order, order.status, since=order.closed_at)


def _not_open(order: Order, status: str, *, since: datetime | None) -> OrderNotOpen:
    return OrderNotOpen(
        f"The order is {status} since {since:%Y-%m-%d %H:%M:%S} UTC; it can no longer change.",
        rule="only an open order can change",
        value=status,
        remedy="Send a new order.",
        order_id=order.pk,
    )


def _end(order: Order, status: OrderStatus, *, at: datetime, action: str, actor: str) -> None:
    """Close an open order whose account is locked: holds released, recorded, announced."""
    before = order.status
    if order.side == Side.BUY:
        account = Account.objects.get(pk=order.account_id)
        account.cash_held -= order.cash_hold
        account.save(update_fields=["cash_held"])
    else:
        position = Position.objects.select_for_update().get(
            account_id=order.account_id, symbol=order.symbol, closed_at__isnull=True
        )
        position.qty_held -= order.qty - order.filled_qty
        position.save(update_fields=["qty_held"])
    order.status, order.closed_at, order.cash_hold = status, at, Decimal(0)
    order.save(update_fields=["status", "closed_at", "cash_hold"])
    log.record(
        action,
        actor=actor,
        object_type="mbt.order",
        object_id=order.pk,
        at=at,
        changes={"status": [before, status]},
    )
    outbox.add(topic=events.ORDERS_TOPIC, key=str(order.pk), payload={"order_id": order.pk, "event": status})


def _not_before(order: Order, at: datetime | None) -> datetime:
    """Nothing ends before it began, whatever a clock says."""
    began = order.working_at or order.accepted_at
    return max(began, at) if at else began


# Requests that make no sense are answered and forgotten; what the account may not do is a denial.
_MISTAKES = (InvalidInput, NotFound, OrderNotOpen, ClientOrderIdReused)


@transaction.atomic
def _record_denial(
    denial: RaxxError,
    object_type: str,
    object_id: UUID,
    *,
    at: datetime,
    actor: str,
    changes: Mapping[str, object],
) -> None:
    if not isinstance(denial, _MISTAKES):
        log.record(
            events.ORDER_DENIED,
            actor=actor,
            object_type=object_type,
            object_id=object_id,
            at=at,
            reason=denial.code,
            changes=changes,
        )
