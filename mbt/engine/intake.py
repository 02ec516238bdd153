"""Taking an order: everything that is decided before it is accepted, in one place and from values alone."""

from decimal import Decimal

import msgspec

from mbt.engine import buying_power, tickets
from mbt.engine.tickets import Ticket
from raxx.market.contracts import Instrument
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions


class Accepted(msgspec.Struct, frozen=True):
    """The order can be taken: when it is over (NEVER_NS: good till canceled), and the dollars it holds till then."""

    expires_ns: int
    cash_hold: Decimal


def accept(
    ticket: Ticket, instrument: Instrument, *, free_cash: Decimal, free_qty: Decimal, quote: Quote | None,
    sessions: Sessions, now_ns: int,
) -> Accepted:  # fmt: skip
    """Judge `ticket` at `now_ns`, with `quote` the NBBO in force then.

    `free_cash` (dollars) and `free_qty` are what the account has and no open order has reserved. Raises
    InvalidInput for terms that make no order, and a denial (OutsideSession, ContractExpired, NoPrice,
    InsufficientBuyingPower, InsufficientQuantity) for an order that cannot be taken now.
    """
    session = sessions.current_or_next(now_ns)
    tickets.check_terms(ticket, instrument)
    tickets.check_moment(ticket, instrument, session=session, sessions=sessions, now_ns=now_ns)
    held = buying_power.hold(
        ticket, instrument, ask=quote.ask if quote else 0, free_cash=free_cash, free_qty=free_qty
    )
    return Accepted(tickets.expires_ns(ticket, instrument, session=session, sessions=sessions), held)
