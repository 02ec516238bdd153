"""Taking an order: everything that is decided before it is accepted, in one place and from values alone."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

import msgspec

from mbt.engine import buying_power, risk_close, tickets, timing
from mbt.engine.buying_power import AccountView, Holds
from mbt.engine.orders import FillPreference, Leg, OrderClass, OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from raxx.kernel.clock import show_exchange_moment
from raxx.kernel.errors import RaxxError
from raxx.market import listing
from raxx.market.contracts import AssetClass, Instrument
from raxx.market.listing import OptionClass
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Sessions

NAME_MAX = 124  # of an entry, which its exits add to


class Role(StrEnum):
    """What an order is to those that belong with it; NONE for one that stands alone."""

    NONE = ""
    ENTRY = "entry"
    TAKE_PROFIT = "take_profit"
    STOP_LOSS = "stop_loss"


class ClosingOnly(RaxxError):
    """The contract is about to expire, or was adjusted and is not quoted: nothing is opened in it any more."""

    code = "CLOSING_ONLY"
    http_status = 422


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """An order that can be taken, without its identity. Prices and amounts in dollars, instants in nanoseconds
    UTC (`arrives_ns` 0: at once; `expires_ns` NEVER_NS: good till canceled).

    `cash_hold` and `position_holds` (symbol: quantity that it closes) are reserved until it is over.
    `is_held`: an exit that waits for its entry, and reserves nothing before.
    """

    role: Role
    client_order_id: str
    symbol: str
    asset_class: AssetClass
    multiplier: int
    side: Side
    qty: Decimal
    notional: Decimal | None
    order_type: OrderType
    time_in_force: TimeInForce
    limit_price: Decimal | None
    stop_price: Decimal | None
    trail_price: Decimal | None
    trail_percent: Decimal | None
    order_class: OrderClass
    hours: Hours
    fill_preference: FillPreference
    size_cap: bool
    legs: tuple[Leg, ...]
    arrives_ns: int
    expires_ns: int
    cash_hold: Decimal = Decimal(0)
    position_holds: dict[str, Decimal] = {}
    is_held: bool = False

    @property
    def only_closes(self) -> bool:
        """Whether it adds no risk: it closes what is held, or waits to close what an accepted entry will bring."""
        return self.is_held or all(map(self.closes, [leg.symbol for leg in self.legs] or [self.symbol]))

    def closes(self, symbol: str) -> bool:
        """Whether all that it trades of a symbol closes what is held."""
        ratio = next((leg.ratio for leg in self.legs if leg.symbol == symbol), 1)
        return self.position_holds.get(symbol, Decimal(0)) >= self.qty * ratio


def accept(
    ticket: Ticket, instruments: Sequence[Instrument], *, account: AccountView, quotes: Mapping[str, Quote],
    sessions: Sessions, now_ns: int, reserved: Holds | None = None,
) -> tuple[Draft, ...]:  # fmt: skip
    """Judge `ticket` at `now_ns`, with `quotes` the NBBO in force then: the orders that it makes, the main one
    first (an entry before its exits).

    `instruments` are those of `ticket.symbols`. `reserved`: what an exit holds whose place this one takes; only its
    prices have changed, so it needs no more. Raises InvalidInput for terms that make no order, and a denial
    (OutsideSession, ContractExpired, ClosingOnly, NoPrice, InsufficientBuyingPower, InsufficientQuantity) for an order that
    cannot be taken now.
    """
    tickets.check_terms(ticket, instruments, account.adjusted)
    timing.check_moment(ticket, instruments, sessions=sessions, now_ns=now_ns, adjusted=account.adjusted)
    drafts = _drafts(ticket, instruments, account=account, sessions=sessions, now_ns=now_ns)
    main = drafts[0]
    holds = reserved or buying_power.holds(ticket, instruments, account=account, quotes=quotes)
    main = msgspec.structs.replace(main, cash_hold=holds.cash, position_holds=holds.positions, qty=holds.qty)
    for instrument in instruments if reserved is None else ():
        if instrument.expiry is not None and not main.closes(instrument.symbol):
            listed = account.adjusted.get(instrument.underlying)
            if listed is not None:
                _check_still_trades(instrument, listed, quotes.get(instrument.symbol), sessions, now_ns)
            _check_not_closing_only(instrument, sessions, now_ns, account.adjusted)
    return main, *drafts[1:]


def _check_still_trades(
    instrument: Instrument, listed: OptionClass, quote: Quote | None, sessions: Sessions, now_ns: int
) -> None:
    """Of what a corporate action changed only that is opened for which there is a market, and something to trade."""
    session = sessions.last_opened(now_ns)
    if listed.delivers_cash_alone:
        why = f"it delivers ${listed.deliverable.cash:,.2f} in cash and nothing else"
    elif quote is None or not quote.bid or not quote.ask or session is None or quote.ts < session.open_ns:
        why = "nobody has quoted both of its sides in this session"
    else:
        return
    raise ClosingOnly(
        f"{instrument.symbol} was adjusted by a corporate action and can only be closed: {why}."
        f" Trade a standard contract of {listed.underlying}.",
        field="symbol", rule="an adjusted contract is opened only while it is quoted, and delivers shares",
        value=instrument.symbol, remedy=f"Trade a standard contract of {listed.underlying}.",
    )  # fmt: skip


def _check_not_closing_only(
    instrument: Instrument, sessions: Sessions, now_ns: int, adjusted: Mapping[str, OptionClass]
) -> None:
    until_ns = risk_close.no_opening_ns(listing.terms_of(instrument, sessions, adjusted))
    if now_ns >= until_ns:
        raise ClosingOnly(
            f"{instrument.symbol} can only be closed since {show_exchange_moment(until_ns)[:16]} ET: it is about to expire."
            " Choose a later expiration.",
            field="symbol", rule="on its last afternoon a contract can only be closed", value=instrument.symbol,
            remedy="Choose a later expiration.",
        )  # fmt: skip


def _drafts(
    ticket: Ticket,
    instruments: Sequence[Instrument],
    *,
    account: AccountView,
    sessions: Sessions,
    now_ns: int,
) -> list[Draft]:
    asset_class = instruments[0].asset_class
    preference = ticket.fill_preference or account.fill_preference
    main = Draft(
        role=Role.NONE, client_order_id=ticket.client_order_id, symbol=ticket.symbol, asset_class=asset_class,
        multiplier=instruments[0].multiplier, side=ticket.side, qty=ticket.qty or Decimal(0), notional=ticket.notional,
        order_type=ticket.order_type, time_in_force=ticket.time_in_force, limit_price=ticket.limit_price,
        stop_price=ticket.stop_price, trail_price=ticket.trail_price, trail_percent=ticket.trail_percent,
        order_class=ticket.order_class, hours=timing.hours_of(ticket, instruments, account.adjusted),
        fill_preference=preference if asset_class is AssetClass.OPTION else FillPreference.CONSERVATIVE,
        size_cap=account.size_cap,
        legs=tuple(
            Leg(leg.symbol, leg.side, leg.ratio, i.multiplier) for leg, i in zip(ticket.legs, instruments, strict=True)
        ) if ticket.legs else (),
        arrives_ns=timing.arrives_ns(ticket, sessions=sessions, now_ns=now_ns, latency_ns=account.latency_ns),
        expires_ns=timing.expires_ns(
            ticket, instruments, sessions=sessions, now_ns=now_ns, adjusted=account.adjusted
        ),
    )  # fmt: skip
    if not ticket.has_exits:
        return [main]
    if ticket.order_class is OrderClass.OCO:
        # The take-profit is the order itself; both work at once.
        profit = msgspec.structs.replace(main, role=Role.TAKE_PROFIT, limit_price=ticket.take_profit)
        return [profit, _stop_loss(ticket, main, is_held=False)]
    closing = msgspec.structs.replace(
        main, side=main.side if main.legs else main.side.other,
        legs=tuple(msgspec.structs.replace(leg, side=leg.side.other) for leg in main.legs), is_held=True, arrives_ns=0,
    )  # fmt: skip
    entry = msgspec.structs.replace(main, role=Role.ENTRY)
    exits = []
    if ticket.take_profit is not None:
        exits.append(msgspec.structs.replace(
            closing, role=Role.TAKE_PROFIT, client_order_id=_named(ticket, "tp"), order_type=OrderType.LIMIT,
            limit_price=ticket.take_profit,
        ))  # fmt: skip
    if ticket.stop_loss is not None:
        exits.append(_stop_loss(ticket, closing, is_held=True))
    return [entry, *exits]


def _stop_loss(ticket: Ticket, like: Draft, *, is_held: bool) -> Draft:
    limited = ticket.stop_loss_limit is not None
    return msgspec.structs.replace(
        like, role=Role.STOP_LOSS, client_order_id=_named(ticket, "sl"), stop_price=ticket.stop_loss,
        order_type=OrderType.STOP_LIMIT if limited else OrderType.STOP, limit_price=ticket.stop_loss_limit, is_held=is_held,
    )  # fmt: skip


def _named(ticket: Ticket, suffix: str) -> str:
    """A name for an exit, from that of its entry, so that the same ticket gives the same names again."""
    name = ticket.client_order_id
    if len(name) > NAME_MAX:  # two long names may differ in their ends alone
        name = f"{name[: NAME_MAX - 17]}.{sha256(name.encode()).hexdigest()[:16]}"
    return f"{name}:{suffix}"
