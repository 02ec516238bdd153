"""What an order needs before it is accepted: the buying-power effect, and the denial when that is too much.

Cash accounts: a buy is paid in full, a sell delivers what is there. Source: docs/rules/buying-power.md.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.fills import SHARE_STEP
from mbt.engine.orders import FillPreference, OrderType, Side
from mbt.engine.tickets import Ticket
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import down_to, from_ticks, up_to_cents
from raxx.market.contracts import AssetClass, Instrument
from raxx.market.quotes import Quote

# A market buy holds the ask and this much more, because the quote may move before it fills; what is
# not needed is free again with the fill. Peers use 2.5 to 4 %.
MARKET_COLLAR = Decimal("0.03")
# Less than this a fractional buy may not cost: below, its cost would round to nothing.
COST_MIN = Decimal("1.00")


class AccountType(StrEnum):
    CASH = "cash"
    MARGIN = "margin"


class Holding(msgspec.Struct, frozen=True):
    """An open position (negative: short), and how much of it open orders already close."""

    qty: Decimal
    held: Decimal

    @property
    def free(self) -> Decimal:
        """What one more order may close: positive, of a long as of a short position."""
        return abs(self.qty) - self.held


NOTHING = Holding(Decimal(0), Decimal(0))


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as an order meets it. Dollars; `holdings` are its open positions by symbol."""

    type: AccountType = AccountType.CASH
    cash: Decimal
    cash_held: Decimal
    holdings: Mapping[str, Holding]
    fill_preference: FillPreference = FillPreference.CONSERVATIVE
    size_cap: bool = False
    latency_ns: int = 0


class Holds(msgspec.Struct, frozen=True):
    """What an order reserves until it is over: dollars, and quantities of positions that it closes. `qty` is its
    quantity; of an amount of money, what that buys at the quote now."""

    cash: Decimal
    positions: dict[str, Decimal]
    qty: Decimal


class InsufficientBuyingPower(RaxxError):
    code = "INSUFFICIENT_BUYING_POWER"
    http_status = 403


class InsufficientQuantity(RaxxError):
    code = "INSUFFICIENT_QUANTITY"
    http_status = 403


class NotInCashAccount(RaxxError):
    """A cash account does not trade this; a margin account may."""

    code = "NOT_IN_CASH_ACCOUNT"
    http_status = 403


class OrderTooSmall(RaxxError):
    code = "ORDER_TOO_SMALL"
    http_status = 422


class NoPrice(RaxxError):
    """The order cannot be priced, so its cost cannot be held."""

    code = "NO_PRICE"
    http_status = 422


def holds(
    ticket: Ticket, instruments: Sequence[Instrument], *, account: AccountView, quotes: Mapping[str, Quote]
) -> Holds:
    """What `ticket` reserves. `quotes` price what has no limit.

    Raises NoPrice, InsufficientBuyingPower, InsufficientQuantity, NotInCashAccount or OrderTooSmall.
    """
    if ticket.legs:
        raise NotInCashAccount(
            "Packages of options trade in margin accounts. Trade the legs on their own.",
            field="legs", rule="a cash account trades single instruments", value=f"{len(ticket.legs)} legs",
            remedy="Trade the legs on their own.",
        )  # fmt: skip
    instrument, quote = instruments[0], quotes.get(ticket.symbol)
    if ticket.side is Side.SELL:
        return _sale(ticket, account.holdings.get(ticket.symbol, NOTHING), quote)
    return _purchase(ticket, instrument, quote, free_cash=account.cash - account.cash_held)


def _purchase(ticket: Ticket, instrument: Instrument, quote: Quote | None, *, free_cash: Decimal) -> Holds:
    unit = _unit_cost(ticket, instrument, quote.ask if quote else 0)
    if ticket.notional is not None:
        qty = down_to(ticket.notional / unit * (1 + MARKET_COLLAR), SHARE_STEP)
        needed = ticket.notional
    else:
        qty = ticket.qty or Decimal(0)
        needed = up_to_cents(qty * unit)
    if needed < COST_MIN and instrument.asset_class is AssetClass.EQUITY and qty % 1:
        raise OrderTooSmall(
            f"A fraction of a share is bought from ${COST_MIN} on; this is ${needed:f}. Buy more.",
            field="notional" if ticket.notional is not None else "qty", rule=f"must cost at least {COST_MIN} dollar",
            value=_plain(ticket.notional or qty), remedy="Buy more.",
        )  # fmt: skip
    if needed > free_cash:
        raise _too_expensive(ticket, instrument, unit, needed, free_cash)
    return Holds(needed, {}, qty)


def _unit_cost(ticket: Ticket, instrument: Instrument, ask: int) -> Decimal:
    """The most that one share or contract is expected to cost."""
    if ticket.limit_price is not None:
        return ticket.limit_price * instrument.multiplier
    if not ask:
        raise NoPrice(
            f"{ticket.symbol} has no ask now, so a {ticket.order_type} order cannot be priced. Send a limit order.",
            field="order_type", rule="a buy without a limit needs an ask to be priced by", value=ticket.order_type,
            remedy="Send a limit order.",
        )  # fmt: skip
    price = from_ticks(ask)
    if ticket.order_type in (OrderType.STOP, OrderType.TRAILING_STOP):
        price = max(price, _expected_trigger(ticket, price))
    return price * (1 + MARKET_COLLAR) * instrument.multiplier


def _expected_trigger(ticket: Ticket, price: Decimal) -> Decimal:
    """Where a stop to buy triggers, as things stand."""
    if ticket.stop_price is not None:
        return ticket.stop_price
    if ticket.trail_price is not None:
        return price + ticket.trail_price
    return price * (1 + (ticket.trail_percent or Decimal(0)) / 100)


def _sale(ticket: Ticket, holding: Holding, quote: Quote | None) -> Holds:
    """A cash account sells only what it holds and has not offered yet."""
    available = holding.free if holding.qty > 0 else Decimal(0)
    qty = ticket.qty
    if qty is None:
        if quote is None or not quote.bid:
            raise NoPrice(
                f"{ticket.symbol} has no bid now, so an amount cannot be turned into shares. Send qty.",
                field="notional", rule="a sale by amount needs a bid to be priced by", value=_plain(ticket.notional or 0),
                remedy="Send qty.",
            )  # fmt: skip
        # What it takes at the bid less the collar; the rest is free again with the fill.
        qty = down_to(
            (ticket.notional or Decimal(0)) / (from_ticks(quote.bid) * (1 - MARKET_COLLAR)), SHARE_STEP
        )
    if qty <= available:
        return Holds(Decimal(0), {ticket.symbol: qty}, qty)
    remedy = (
        f"Reduce to {_plain(available)}." if available else "A cash account cannot sell short; buy it first."
    )
    raise InsufficientQuantity(
        f"{_plain(available)} {ticket.symbol} can be sold; the order is for {_plain(qty)}. {remedy}",
        field="notional" if ticket.qty is None else "qty",
        rule="a sell may not exceed the position less what open orders already sell", value=_plain(qty), remedy=remedy,
        available=_plain(available),
    )  # fmt: skip


def _too_expensive(
    ticket: Ticket, instrument: Instrument, unit: Decimal, needed: Decimal, available: Decimal
) -> InsufficientBuyingPower:
    """The denial, with the most that would be accepted."""
    if ticket.notional is not None:
        most, name = max(available, Decimal(0)), "dollars"
        remedy = f"Reduce to ${most:,.2f}." if most else "Cancel a working order or sell something first."
    else:
        step = Decimal("0.000001") if (ticket.qty or Decimal(0)) % 1 else Decimal(1)
        most = max(Decimal(0), down_to(available / unit, step))
        name = "share" if instrument.asset_class is AssetClass.EQUITY else "contract"
        remedy = (
            f"Reduce to {_plain(most)} {name}{'' if most == 1 else 's'}." if most
            else "Cancel a working order or sell something first."
        )  # fmt: skip
    return InsufficientBuyingPower(
        f"This order needs ${needed:,.2f}; ${available:,.2f} is available. {remedy}",
        field="qty" if ticket.notional is None else "notional",
        rule="the cost, held in full, may not exceed the buying power",
        value=_plain(ticket.qty if ticket.qty is not None else needed), remedy=remedy, needed=f"{needed:.2f}",
        available=f"{available:.2f}", qty_max=_plain(most),
    )  # fmt: skip


def _plain(value: Decimal | int) -> str:
    value = Decimal(value)
    return f"{value.normalize():f}" if value else "0"
