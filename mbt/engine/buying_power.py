"""What an order needs before it is accepted: the buying-power effect, and the denial when that is too much.

Cash accounts: a buy is paid in full, a sell delivers what is there. Source: docs/rules/buying-power.md.
"""

from decimal import Decimal

from mbt.engine.orders import OrderType, Side
from mbt.engine.tickets import Ticket
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import down_to, from_ticks, up_to_cents
from raxx.market.contracts import AssetClass, Instrument

# A market buy holds the ask and this much more, because the quote may move before it fills; what is
# not needed is free again with the fill. Peers use 2.5 to 4 %.
MARKET_COLLAR = Decimal("0.03")


class InsufficientBuyingPower(RaxxError):
    code = "INSUFFICIENT_BUYING_POWER"
    http_status = 403


class InsufficientQuantity(RaxxError):
    code = "INSUFFICIENT_QUANTITY"
    http_status = 403


class NoPrice(RaxxError):
    """A market buy cannot be priced, so its cost cannot be held."""

    code = "NO_PRICE"
    http_status = 422


def hold(
    ticket: Ticket, instrument: Instrument, *, ask: int, free_cash: Decimal, free_qty: Decimal
) -> Decimal:
    """Dollars that the order reserves until it is over; a sell reserves what it sells instead.

    `ask` (1/10,000 dollar, 0 for none) prices a market buy. `free_cash` in dollars and `free_qty` are what
    no open order has reserved. Raises NoPrice, InsufficientBuyingPower or InsufficientQuantity.
    """
    if ticket.side is Side.SELL:
        _check_quantity(ticket, free_qty)
        return Decimal(0)
    unit = _unit_cost(ticket, instrument, ask)
    needed = up_to_cents(ticket.qty * unit)
    if needed > free_cash:
        raise _too_expensive(ticket, instrument, unit, needed, free_cash)
    return needed


def _unit_cost(ticket: Ticket, instrument: Instrument, ask: int) -> Decimal:
    if ticket.limit_price is not None:
        return ticket.limit_price * instrument.multiplier
    if not ask:
        raise NoPrice(
            f"{ticket.symbol} has no ask now, so a market order cannot be priced. Send a limit order.",
            field="order_type", rule="a market buy needs an ask to be priced by", value=OrderType.MARKET,
            remedy="Send a limit order.",
        )  # fmt: skip
    return from_ticks(ask) * (1 + MARKET_COLLAR) * instrument.multiplier


def _too_expensive(
    ticket: Ticket, instrument: Instrument, unit: Decimal, needed: Decimal, available: Decimal
) -> InsufficientBuyingPower:
    """The denial, with the largest quantity that would be accepted."""
    step = Decimal("0.000001") if ticket.qty % 1 else Decimal(1)
    most = max(Decimal(0), down_to(available / unit, step))
    name = "share" if instrument.asset_class is AssetClass.EQUITY else "contract"
    remedy = (
        f"Reduce to {_plain(most)} {name}{'' if most == 1 else 's'}." if most
        else "Cancel a working order or sell something first."
    )  # fmt: skip
    return InsufficientBuyingPower(
        f"This order needs ${needed:,.2f}; ${available:,.2f} is available. {remedy}",
        field="qty", rule="the cost, held in full, may not exceed the buying power", value=_plain(ticket.qty),
        remedy=remedy, needed=f"{needed:.2f}", available=f"{available:.2f}", qty_max=_plain(most),
    )  # fmt: skip


def _check_quantity(ticket: Ticket, available: Decimal) -> None:
    """A cash account sells only what it holds and has not offered yet."""
    if ticket.qty <= available:
        return
    remedy = (
        f"Reduce to {_plain(available)}." if available else "A cash account cannot sell short; buy it first."
    )
    raise InsufficientQuantity(
        f"{_plain(available)} {ticket.symbol} can be sold; the order is for {_plain(ticket.qty)}. {remedy}",
        field="qty", rule="a sell may not exceed the position less what open orders already sell",
        value=_plain(ticket.qty), remedy=remedy, available=_plain(available),
    )  # fmt: skip


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"
