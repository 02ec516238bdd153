"""What an order needs before it is accepted: the buying-power effect, and the denial when that is too much.

Cash accounts: a buy is paid in full, a sell delivers what is there. Source: docs/rules/buying-power.md.
"""

from decimal import Decimal

from mbt.engine.orders import Order, Side
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import down_to, from_ticks, up_to_cents
from raxx.market.contracts import AssetClass

# A market buy holds the ask and this much more, because the quote may move before it fills; what is
# not needed is free again with the fill. Peers use 2.5 to 4 %.
MARKET_COLLAR = Decimal("0.03")


class InsufficientBuyingPower(RaxxError):
    code = "INSUFFICIENT_BUYING_POWER"
    http_status = 403


class InsufficientQuantity(RaxxError):
    code = "INSUFFICIENT_QUANTITY"
    http_status = 403


def cash_to_hold(order: Order, *, ask: int) -> Decimal:
    """Dollars that `order` reserves until it is over. `ask` (1/10,000 dollar) prices a market buy."""
    if order.side is Side.SELL:
        return Decimal(0)
    return up_to_cents(order.qty * _unit_cost(order, ask))


def check_cash(order: Order, *, needed: Decimal, available: Decimal, ask: int) -> None:
    """Raises InsufficientBuyingPower, which names the largest quantity that would be accepted."""
    if needed <= available:
        return
    step = Decimal("0.000001") if order.qty % 1 else Decimal(1)
    most = max(Decimal(0), down_to(available / _unit_cost(order, ask), step))
    unit = "share" if order.asset_class is AssetClass.EQUITY else "contract"
    remedy = (
        f"Reduce to {most.normalize():f} {unit}{'' if most == 1 else 's'}."
        if most
        else "Cancel a working order or sell something first."
    )
    raise InsufficientBuyingPower(
        f"This order needs ${needed:,.2f}; ${available:,.2f} is available. {remedy}",
        field="qty",
        rule="the cost, held in full, may not exceed the buying power",
        value=f"{order.qty.normalize():f}",
        remedy=remedy,
        needed=f"{needed:.2f}",
        available=f"{available:.2f}",
        qty_max=f"{most.normalize():f}",
    )


def check_quantity(order: Order, *, available: Decimal) -> None:
    """For sells. Raises InsufficientQuantity: a cash account sells only what it holds and has not offered yet."""
    if order.side is Side.BUY or order.qty <= available:
        return
    shown = f"{available.normalize():f}"
    remedy = f"Reduce to {shown}." if available else "A cash account cannot sell short; buy it first."
    raise InsufficientQuantity(
        f"{shown} {order.symbol} can be sold; the order is for {order.qty.normalize():f}. {remedy}",
        field="qty",
        rule="a sell may not exceed the position less what open orders already sell",
        value=f"{order.qty.normalize():f}",
        remedy=remedy,
        available=shown,
    )


def _unit_cost(order: Order, ask: int) -> Decimal:
    price = from_ticks(order.limit) if order.limit else from_ticks(ask) * (1 + MARKET_COLLAR)
    return price * order.multiplier
