"""Orders as they are, as tickets, and as the engine's values."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from sys import intern
from typing import TypeVar
from uuid import UUID

from django.db.models import Q, QuerySet

from mbt.engine.intake import Role
from mbt.engine.orders import (
    FRESH,
    NEVER_NS,
    FillPreference,
    Leg,
    OrderClass,
    OrderStatus,
    OrderType,
    Progress,
    Side,
    TimeInForce,
)
from mbt.engine.orders import Order as EngineOrder
from mbt.engine.strategies import called
from mbt.engine.tickets import LegTicket, Ticket
from mbt.models import Order
from mbt.selectors.markets import ticker
from raxx.kernel.clock import to_ns
from raxx.kernel.errors import NotFound
from raxx.kernel.money import to_ticks
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.sessions import Hours


def structure_of(asked: Ticket | Order) -> str | None:
    """What a package is called: `SPY 18 Dec 2026 635/640 put credit spread`. None for a single instrument."""
    if not asked.legs:
        return None
    if isinstance(asked, Order):
        asked = ticket_of(asked)
    return called(asked.legs, asked.qty or Decimal(1))


def ticket_of(order: Order, exits: Sequence[Order] = ()) -> Ticket:
    """The ticket that would make this order now; `exits` are those that wait for it."""
    by_role = {member.role: member for member in exits}
    profit, loss = by_role.get(Role.TAKE_PROFIT), by_role.get(Role.STOP_LOSS)
    legs = tuple(LegTicket(leg["symbol"], Side(leg["side"]), leg["ratio"]) for leg in order.legs)
    alone = OrderClass.MLEG if legs else OrderClass.SIMPLE
    return Ticket(
        symbol=order.symbol, side=Side(order.side), qty=None if order.notional is not None else order.qty,
        notional=order.notional, order_type=OrderType(order.order_type), time_in_force=TimeInForce(order.time_in_force),
        limit_price=order.limit_price, stop_price=order.stop_price, trail_price=order.trail_price,
        trail_percent=order.trail_percent, order_class=OrderClass(order.order_class) if exits else alone,
        take_profit=profit.limit_price if profit else None, stop_loss=loss.stop_price if loss else None,
        stop_loss_limit=loss.limit_price if loss else None, legs=legs, extended_hours=order.hours == Hours.EXTENDED,
        fill_preference=FillPreference(order.fill_preference) if order.asset_class == AssetClass.OPTION else None,
        client_order_id=order.client_order_id,
    )  # fmt: skip


def to_engine(order: Order) -> EngineOrder:
    """The engine's value of a row. What many working orders have in common they share: a third of their memory."""
    return EngineOrder(
        id=order.pk, number=order.number, account_id=_one(order.account_id), symbol=intern(order.symbol),
        asset_class=AssetClass(order.asset_class), multiplier=order.multiplier, side=Side(order.side),
        type=OrderType(order.order_type), tif=TimeInForce(order.time_in_force), qty=_decimal(str(order.qty)),
        limit=ticks(order.limit_price),
        accepted_ns=to_ns(order.accepted_at),
        expires_ns=_one(to_ns(order.expires_at)) if order.expires_at else NEVER_NS,
        arrives_ns=order.arrives_ns, stop=ticks(order.stop_price), trail=ticks(order.trail_price),
        trail_percent=order.trail_percent, preference=FillPreference(order.fill_preference), hours=Hours(order.hours),
        legs=tuple(Leg(leg["symbol"], Side(leg["side"]), leg["ratio"], leg["multiplier"]) for leg in order.legs),
        underlying=intern(ticker(order.legs[0]["symbol"] if order.legs else order.symbol)),
        size_cap=order.size_cap, notional=order.notional, entry_id=order.entry_id, group_id=order.group_id,
    )  # fmt: skip


_Shared = TypeVar("_Shared", UUID, int)


@lru_cache(maxsize=20_000, typed=True)
def _one(value: _Shared) -> _Shared:
    """The first of equal values."""
    return value


@lru_cache(maxsize=20_000)
def _decimal(text: str) -> Decimal:
    """By its text: equal numbers may have different decimals."""
    return Decimal(text)


def progress_of(order: Order) -> Progress:
    """What the record remembers of an open order's way so far."""
    if not order.progress and not order.filled_qty:
        return FRESH
    return Progress(filled=order.filled_qty, **order.progress)


def open_orders(feed: str, ids: Iterable[UUID] | None = None) -> Iterable[Order]:
    """Open orders of a feed that its engine works, in order of acceptance: all, or those among `ids` and those that
    belong with them."""
    rows = _worked().filter(account__feed=feed).order_by("number")
    # A few are read at once: a server-side cursor costs three round trips more.
    if ids is None:
        return rows.iterator()
    wanted = list(ids)
    groups = Order.objects.filter(pk__in=wanted, group_id__isnull=False).values("group_id")
    return rows.filter(Q(pk__in=wanted) | Q(entry_id__in=wanted) | Q(group_id__in=groups))


def open_of(account_id: UUID) -> list[Order]:
    """The open orders of an account in order of acceptance."""
    return list(Order.objects.filter(account_id=account_id, closed_at__isnull=True).order_by("number"))


def waiting_order_ids(feed: str) -> set[UUID]:
    """Orders of a feed that no usable quote has met yet."""
    rows = _worked().filter(status=OrderStatus.ACCEPTED, account__feed=feed)
    return set(rows.values_list("pk", flat=True))


def open_order_ids(ids: Iterable[UUID]) -> set[UUID]:
    """Those of `ids` that are still open, and the engine's to work."""
    return set(_worked().filter(pk__in=list(ids)).values_list("pk", flat=True))


def _worked() -> QuerySet[Order]:
    """Open orders but those of accounts that are set aside."""
    return Order.objects.filter(closed_at__isnull=True, account__set_aside_at__isnull=True)


def orders(account_id: UUID, *, openness: str | None = None, symbol: str | None = None) -> QuerySet[Order]:
    """The account's orders; `openness` is open, closed or all."""
    rows = Order.objects.filter(account_id=account_id)
    if openness in ("open", "closed"):
        rows = rows.filter(closed_at__isnull=openness == "open")
    return rows.filter(symbol=parse_symbol(symbol).symbol) if symbol else rows


def order(account_id: UUID, order_id: UUID) -> Order:
    """Raises NotFound, for somebody else's order as for none."""
    found = Order.objects.filter(pk=order_id, account_id=account_id).first()
    if found is None:
        raise NotFound(
            f"There is no order {order_id}.", field="id", value=order_id, remedy="List your orders."
        )
    return found


def ticks(price: Decimal | None) -> int | None:
    return None if price is None else to_ticks(price)
