"""When an order may be sent, when it begins to act, and when it is over. Source: docs/rules/fills.md."""

from collections.abc import Mapping, Sequence
from datetime import datetime, time

from mbt.engine.orders import NEVER_NS, OrderType, TimeInForce
from mbt.engine.tickets import Ticket
from raxx.kernel.clock import EXCHANGE_ZONE, SECOND_NS, show_exchange_moment, to_ns
from raxx.kernel.errors import RaxxError
from raxx.market import listing
from raxx.market.contracts import AssetClass, Instrument
from raxx.market.listing import STANDARD_ONLY, OptionClass
from raxx.market.sessions import Hours, Session, Sessions

# Orders for an auction are taken until so long before it, and again from the evening on.
OPG_UNTIL_NS = 2 * 60 * SECOND_NS
CLS_UNTIL_NS = 10 * 60 * SECOND_NS
EVENING = time(19)


class OutsideSession(RaxxError):
    """The order would have to act at a time when it cannot."""

    code = "OUTSIDE_SESSION"
    http_status = 422


class ContractExpired(RaxxError):
    code = "CONTRACT_EXPIRED"
    http_status = 422


Adjusted = Mapping[str, OptionClass]  # the option classes that corporate actions changed, by root


def hours_of(ticket: Ticket, instruments: Sequence[Instrument], adjusted: Adjusted = STANDARD_ONLY) -> Hours:
    """The part of the day in which the order acts: of a package that of the leg that closes first."""
    if ticket.extended_hours:
        return Hours.EXTENDED
    late = all(
        i.expiry is not None and listing.class_of(i.underlying, adjusted).hours is Hours.LATE
        for i in instruments
    )
    return Hours.LATE if late else Hours.REGULAR


def check_moment(
    ticket: Ticket, instruments: Sequence[Instrument], *, sessions: Sessions, now_ns: int,
    adjusted: Adjusted = STANDARD_ONLY,
) -> None:  # fmt: skip
    """Whether it can be sent now. Raises OutsideSession or ContractExpired."""
    for instrument in instruments:
        _check_not_expired(instrument, sessions, now_ns, adjusted)
    session, hours = sessions.current_or_next(now_ns), hours_of(ticket, instruments, adjusted)
    if ticket.time_in_force is TimeInForce.OPG:
        _check_opg(session, sessions, now_ns)
    elif ticket.time_in_force is TimeInForce.CLS:
        _check_cls(session, sessions, now_ns)
    elif not sessions.current_or_next(now_ns, hours).is_open(now_ns, hours):
        _check_can_wait(ticket, instruments[0], session, hours)


def arrives_ns(ticket: Ticket, *, sessions: Sessions, now_ns: int, latency_ns: int) -> int:
    """The instant from which the order acts; 0: at once."""
    if ticket.time_in_force is TimeInForce.CLS:
        return max(sessions.current_or_next(now_ns).close_ns - 1, now_ns + latency_ns)
    return now_ns + latency_ns if latency_ns else 0


def expires_ns(
    ticket: Ticket, instruments: Sequence[Instrument], *, sessions: Sessions, now_ns: int,
    adjusted: Adjusted = STANDARD_ONLY,
) -> int:  # fmt: skip
    """When the order is over: at the close of its hours, unless it is GTC; none outlives its contracts. IOC and FOK
    end when they arrive, be it after the close."""
    hours = hours_of(ticket, instruments, adjusted)
    end = NEVER_NS
    if ticket.time_in_force not in (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK):
        end = sessions.current_or_next(now_ns, hours).closes_ns(hours)
    options = [i for i in instruments if i.expiry is not None]
    return min([end, *(listing.terms_of(option, sessions, adjusted).last_trade_ns for option in options)])


def _check_not_expired(instrument: Instrument, sessions: Sessions, now_ns: int, adjusted: Adjusted) -> None:
    if instrument.expiry is None:
        return
    if now_ns >= listing.terms_of(instrument, sessions, adjusted).last_trade_ns:
        raise ContractExpired(
            f"{instrument.symbol} expired on {instrument.expiry}. Choose a later expiration.",
            field="symbol", rule="the contract must not have expired", value=instrument.symbol,
            remedy="Choose a later expiration.",
        )  # fmt: skip


def _check_opg(session: Session, sessions: Sessions, now_ns: int) -> None:
    last = sessions.last_opened(now_ns)
    if session.is_open(now_ns) or now_ns >= session.open_ns - OPG_UNTIL_NS or _before_evening(last, now_ns):
        raise _closed(
            "time_in_force",
            "opg",
            "19:00 ET to two minutes before the open",
            "Send it in the evening, or send day.",
        )


def _check_cls(session: Session, sessions: Sessions, now_ns: int) -> None:
    if session.is_open(now_ns):
        too_late = now_ns >= session.close_ns - CLS_UNTIL_NS
    else:
        too_late = _before_evening(sessions.last_opened(now_ns), now_ns)
    if too_late:
        raise _closed(
            "time_in_force",
            "cls",
            "19:00 ET to ten minutes before the close",
            "Send it in the evening, or send day.",
        )


def _check_can_wait(ticket: Ticket, instrument: Instrument, session: Session, hours: Hours) -> None:
    """The market is closed: what must act now or at once is refused."""
    immediate = ticket.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    option_market = instrument.asset_class is AssetClass.OPTION and ticket.order_type is OrderType.MARKET
    if not immediate and not option_market:
        return
    what = f"{ticket.time_in_force.upper()} orders" if immediate else "Option market orders"
    opens = show_exchange_moment(session.opens_ns(hours))[:16]
    remedy = f"Send it after {opens} ET, or send a limit order with day or gtc."
    raise OutsideSession(
        f"{what} are taken only while the market is open. {remedy}",
        field="time_in_force" if immediate else "order_type", rule="the market must be open",
        value=ticket.time_in_force if immediate else ticket.order_type, remedy=remedy,
    )  # fmt: skip


def _closed(field: str, value: str, window: str, remedy: str) -> OutsideSession:
    return OutsideSession(
        f"{value.upper()} orders are taken from {window}. {remedy}",
        field=field, rule=f"is taken from {window}", value=value, remedy=remedy,
    )  # fmt: skip


def _before_evening(last: Session | None, now_ns: int) -> bool:
    """Whether the evening after the last session has not come yet."""
    return last is not None and now_ns < to_ns(datetime.combine(last.date, EVENING, EXCHANGE_ZONE))
