"""What a trader asks for, and whether it is a possible order at all."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import msgspec

from mbt.engine.orders import NEVER_NS, OrderType, Side, TimeInForce
from raxx.kernel.clock import EXCHANGE_ZONE, show_exchange_moment, to_ns
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.kernel.money import from_ticks, show_price, to_ticks
from raxx.market.contracts import AssetClass, Instrument, price_step
from raxx.market.sessions import Session, Sessions


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """An order as asked for. `limit_price` in dollars; `client_order_id` is the owner's name for it."""

    symbol: str
    side: Side
    qty: Decimal
    order_type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    client_order_id: str


class OutsideSession(RaxxError):
    """The order would have to act now, and the market is closed."""

    code = "OUTSIDE_SESSION"
    http_status = 422


class ContractExpired(RaxxError):
    code = "CONTRACT_EXPIRED"
    http_status = 422


def check_terms(ticket: Ticket, instrument: Instrument) -> None:
    """Whether the terms go together. Raises InvalidInput. Source: docs/rules/numbers.md, Rule 612."""
    if ticket.order_type is OrderType.LIMIT and ticket.limit_price is None:
        raise InvalidInput(
            field="limit_price",
            rule="a limit order needs a limit price",
            value="nothing",
            remedy="Send limit_price, or order_type market.",
        )
    if ticket.order_type is OrderType.MARKET and ticket.limit_price is not None:
        raise InvalidInput(
            field="limit_price",
            rule="a market order has no limit price",
            value=f"{ticket.limit_price:f}",
            remedy="Leave limit_price out, or send order_type limit.",
        )
    if ticket.qty % 1:
        _check_fraction(ticket, instrument)
    if ticket.limit_price is not None:
        _check_step(ticket.limit_price, instrument)


def check_moment(
    ticket: Ticket, instrument: Instrument, *, session: Session, sessions: Sessions, now_ns: int
) -> None:
    """Whether it can be sent now. `session` is the one in progress or the next.

    Raises OutsideSession or ContractExpired.
    """
    if instrument.expiry is not None and now_ns >= _last_close(instrument.expiry, sessions):
        raise ContractExpired(
            f"{instrument.symbol} expired on {instrument.expiry}. Choose a later expiration.",
            field="symbol",
            rule="the contract must not have expired",
            value=instrument.symbol,
            remedy="Choose a later expiration.",
        )
    if session.is_open(now_ns):
        return
    immediate = ticket.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    option_market = instrument.asset_class is AssetClass.OPTION and ticket.order_type is OrderType.MARKET
    if immediate or option_market:
        what = f"{ticket.time_in_force.upper()} orders" if immediate else "Option market orders"
        remedy = f"Send it after {show_exchange_moment(session.open_ns)[:16]} ET, or send a limit order with day or gtc."
        raise OutsideSession(
            f"{what} are taken only while the market is open. {remedy}",
            field="time_in_force" if immediate else "order_type",
            rule="the market must be open",
            value=ticket.time_in_force if immediate else ticket.order_type,
            remedy=remedy,
        )


def expires_ns(ticket: Ticket, instrument: Instrument, *, session: Session, sessions: Sessions) -> int:
    """When the order is over: DAY at the close of `session`; none outlives its contract."""
    end = NEVER_NS if ticket.time_in_force is TimeInForce.GTC else session.close_ns
    return end if instrument.expiry is None else min(end, _last_close(instrument.expiry, sessions))


def _check_fraction(ticket: Ticket, instrument: Instrument) -> None:
    shown = f"{ticket.qty:f}"
    if instrument.asset_class is AssetClass.OPTION:
        raise InvalidInput(
            field="qty",
            rule="option contracts are whole",
            value=shown,
            remedy="Send a whole number of contracts.",
        )
    if ticket.order_type is not OrderType.MARKET or ticket.time_in_force is not TimeInForce.DAY:
        raise InvalidInput(
            field="qty",
            rule="fractions of a share trade only as market orders with time_in_force day",
            value=shown,
            remedy="Send a whole number of shares, or a market day order.",
        )


def _check_step(price: Decimal, instrument: Instrument) -> None:
    ticks = to_ticks(price)
    step = price_step(instrument, ticks)
    if ticks % step:
        down = ticks // step * step
        near = " or ".join(show_price(t).replace(",", "") for t in (down, down + step) if t)
        raise InvalidInput(
            field="limit_price",
            rule=f"must be a multiple of {from_ticks(step).normalize():f} at this price",
            value=f"{price:f}",
            remedy=f"Send {near}.",
        )


def _last_close(expiry: date, sessions: Sessions) -> int:
    """The close of the last session on or before the expiry date (older monthlies are dated on a Saturday)."""
    midnight = datetime.combine(expiry + timedelta(days=1), time(), EXCHANGE_ZONE)
    session = sessions.last_opened(to_ns(midnight) - 1)
    return session.close_ns if session else 0
