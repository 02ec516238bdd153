"""Submit and preview. Lock, gate, decide, record; announced after the commit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

import msgspec
from django.db import transaction

from audit import log, pseudonym
from console import switches
from mbt import events, selectors
from mbt.engine import buying_power, closing, cost, intake, replacing, tickets
from mbt.engine.buying_power import AccountType, AccountView, Effect, Holds
from mbt.engine.intake import Draft, Role
from mbt.engine.orders import NEVER_NS, OrderClass, OrderStatus, Side
from mbt.engine.restrictions import SettledOnly
from mbt.engine.settlement import Breach, still_due
from mbt.engine.tickets import Ticket
from mbt.models import Account, Order
from mbt.selectors import AccountRef
from mbt.services.orders import store
from mbt.services.orders.ending import OrderNotOpen
from mbt.services.restrictions import day_trading
from raxx.kernel.clock import exchange_date, from_ns
from raxx.kernel.errors import InvalidInput, NotFound, RaxxError
from raxx.kernel.ids import new_id
from raxx.market import calendar
from raxx.market.contracts import Instrument, UnknownSymbolForm
from raxx.market.listing import instrument_of
from raxx.market.quotes import Quote

Quotes = Mapping[str, Quote]


class ClientOrderIdReused(RaxxError):
    """The id already names an order with other terms."""

    code = "CLIENT_ORDER_ID_REUSED"
    http_status = 422


class AccountNotActive(RaxxError):
    code = "ACCOUNT_NOT_ACTIVE"
    http_status = 403


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` False: the same ticket had been taken before, and this is that order."""

    order: Order
    created: bool


def submit(
    *, account: AccountRef, ticket: Ticket, now_ns: int, quotes: Quotes, actor: str, closes: Collection[str] = ()
) -> Submitted:  # fmt: skip
    """Take an order, or deny it and store nothing but the denial.

    `now_ns` is the instant of the account's feed, `quotes` the NBBO in force then. `closes`: symbols in which it is
    there to close a position and must never open one. Submitting the same ticket again gives the order it gave the
    first time. Raises InvalidInput or a denial.
    """
    try:
        with transaction.atomic():
            order = take(
                account=account, ticket=ticket, now_ns=now_ns, quotes=quotes, actor=actor, closes=closes
            )
    except RaxxError as denial:
        known = resubmitted(account=account, ticket=ticket)
        if known is not None:
            return Submitted(known, created=False)
        terms = {
            "symbol": ticket.symbol, "side": ticket.side, "qty": ticket.qty, "notional": ticket.notional,
            "limit_price": ticket.limit_price, "stop_price": ticket.stop_price,
            "legs": msgspec.to_builtins(ticket.legs),
        }  # fmt: skip
        record_denial(
            denial, "mbt.account", account.id, at=from_ns(now_ns), actor=actor, changes=_given(terms)
        )
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
    if known is not None and known.fingerprint != tickets.fingerprint(ticket):
        raise ClientOrderIdReused(
            f"client_order_id {ticket.client_order_id!r} already names an order with other terms. Choose a new one.",
            field="client_order_id",
            rule="names one order for ever",
            value=ticket.client_order_id,
            remedy="Choose a new client_order_id.",
            order_id=known.pk,
        )
    return known


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of an order: `drafts` it makes, or the `denial`; and its effect, where it can be told."""

    drafts: tuple[Draft, ...]
    denial: RaxxError | None
    effect: Effect | None


@transaction.atomic
def preview(*, account: AccountRef, ticket: Ticket, now_ns: int, quotes: Quotes) -> Preview:
    """Judge a ticket as `submit` would, beside everything that is open, and store nothing. Works under every
    kill switch. Raises InvalidInput for what is no order."""
    locked = _lock(account, ticket, gated=False)
    view, instruments = _basis(locked, account, ticket, quotes, now_ns, whole=True)
    drafts: tuple[Draft, ...] = ()
    denial: RaxxError | None = None
    try:
        drafts = intake.accept(
            ticket,
            instruments,
            account=view,
            quotes=quotes,
            sessions=calendar.of_feed(account.feed),
            now_ns=now_ns,
        )
    except InvalidInput:
        raise
    except RaxxError as refused:
        denial = refused
    try:
        qty = cost.quantity(ticket, quotes)
        found = buying_power.effect(ticket, instruments, account=view, quotes=quotes, qty=qty)
    except RaxxError:
        found = None
    return Preview(drafts, denial, found)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an exit stands among the orders that it belongs with: who replaces it stands there too."""

    role: Role
    order_class: OrderClass
    is_held: bool
    reserved: Holds

    def taken_by(self, draft: Draft) -> Draft:
        return msgspec.structs.replace(
            draft, role=self.role, order_class=self.order_class, is_held=self.is_held,
            arrives_ns=0 if self.is_held else draft.arrives_ns,
        )  # fmt: skip


NO_EXITS: Mapping[Role, Place] = MappingProxyType({})


def take(
    *,
    account: AccountRef,
    ticket: Ticket,
    now_ns: int,
    quotes: Quotes,
    actor: str,
    replaces: Order | None = None,
    place: Place | None = None,
    closes: Collection[str] = (),
    exits_at_work: Mapping[Role, Place] = NO_EXITS,
) -> Order | None:
    """Check, hold and insert: the main order. None: the client_order_id is taken. `exits_at_work`: the exits that an
    entry takes over with the place of another, and for how much each of them works already."""
    locked = _lock(account, ticket, gated=True)
    # What the engine sends by itself keeps an account from worse.
    view, instruments = _basis(locked, account, ticket, quotes, now_ns, day_trades=actor != pseudonym.ENGINE)
    if actor == pseudonym.ENGINE:
        view = msgspec.structs.replace(view, is_forced=True)
    if closes:
        closing.check_closes(ticket, closes, view.holdings)
    drafts = intake.accept(
        ticket,
        instruments,
        account=view,
        quotes=quotes,
        sessions=calendar.of_feed(account.feed),
        now_ns=now_ns,
        reserved=place.reserved if place is not None else None,
    )
    switches.require_open(locked.stop, reduces=drafts[0].only_closes)
    if place is not None:
        drafts = (place.taken_by(drafts[0]),)
    main = _row(drafts[0], account=account, now_ns=now_ns, ticket=ticket, replaces=replaces)
    if not _insert(main, actor):
        return None
    for draft in drafts[1:]:
        if (before := exits_at_work.get(draft.role)) is not None:
            held = before.reserved
            draft = replacing.taken_over(draft, qty=held.qty, cash=held.cash, positions=held.positions)
        member = _row(draft, account=account, now_ns=now_ns, main=main, share=len(drafts) > 2)
        if not _insert(member, actor):
            raise name_taken(member.client_order_id)
    return main


def _lock(account: AccountRef, ticket: Ticket, *, gated: bool) -> store.Locked:
    """Lock the account; `gated`: only while no kill switch is on. Raises AccountNotActive, TradingDisabled,
    UnknownSymbolForm."""
    locked = store.lock(account.id, ticket.symbols)
    if locked is None or locked.status != Account.Status.ACTIVE:
        raise AccountNotActive("This account does not trade. Open a new one.", remedy="Open a new account.")
    if gated:
        switches.require_open(locked.stop, reduces=True)
    for symbol in ticket.symbols:
        if symbol not in locked.instruments:
            raise UnknownSymbolForm(
                field="legs" if ticket.legs else "symbol",
                rule="must be an instrument that this account's feed quotes",
                value=symbol,
                remedy="Check the spelling; options are written like SPY261218C00650000.",
            )
    return locked


def _basis(
    locked: store.Locked, account: AccountRef, ticket: Ticket, quotes: Quotes, now_ns: int, *, whole: bool = False,
    day_trades: bool = True,
) -> tuple[AccountView, list[Instrument]]:  # fmt: skip
    """The locked account as far as this order needs it, or `whole`; and the order's instruments. `day_trades`: whether
    the order is judged by them."""
    view = locked.account
    instruments = [locked.instruments[symbol] for symbol in ticket.symbols]
    adjusted = selectors.adjusted_classes(account.feed, ticket.symbols)
    if adjusted:
        view = msgspec.structs.replace(view, adjusted=adjusted)
        instruments = [instrument_of(symbol, adjusted) for symbol in ticket.symbols]
    if view.type is AccountType.MARGIN or locked.has_shorts or whole:
        view = _whole(view, account, quotes, now_ns)
    elif ticket.side is Side.SELL or ticket.legs:
        view = store.with_book(view, account.id, account.feed)
    if view.type is AccountType.MARGIN:
        return _with_day_trades(view, locked, account, ticket, now_ns) if day_trades else view, instruments
    today = exchange_date(now_ns)
    if locked.restricted_until is not None and today < locked.restricted_until:
        due = still_due(msgspec.json.decode(locked.unsettled, type=dict[str, str]), today)
        restricted = SettledOnly(
            until=locked.restricted_until, breach=Breach(locked.restriction), unsettled=due
        )
        view = msgspec.structs.replace(view, restricted=restricted)
    return view, instruments


def _with_day_trades(
    view: AccountView, locked: store.Locked, account: AccountRef, ticket: Ticket, now_ns: int
) -> AccountView:
    sides = [(leg.symbol, leg.side) for leg in ticket.legs] or [(ticket.symbol, ticket.side)]
    closes = any(
        (view.holdings[symbol].qty > 0) is (side is Side.SELL)
        for symbol, side in sides
        if symbol in view.holdings
    )
    trading = day_trading.limits(
        account.id, account.feed, locked.day_trades, now_ns=now_ns, cash=view.cash, closes=closes,
        held={symbol: holding.qty for symbol, holding in view.holdings.items()},
    )  # fmt: skip
    return msgspec.structs.replace(view, day_trading=trading)


def _whole(view: AccountView, account: AccountRef, quotes: Quotes, now_ns: int) -> AccountView:
    """The locked account with what it holds, what its orders would sell, and the marks."""
    view = store.with_book(view, account.id, account.feed)
    rules = selectors.margin_rules(now_ns, view.rules.model)
    return msgspec.structs.replace(view, marks=selectors.marks(quotes), rules=rules)


def _row(
    draft: Draft, *, account: AccountRef, now_ns: int, ticket: Ticket | None = None, replaces: Order | None = None,
    main: Order | None = None, share: bool = False,
) -> Order:  # fmt: skip
    """The row of a draft. `main`: the order it belongs to; `share`: with another exit, whose quantity it shares."""
    order = Order(
        id=new_id(), number=0, account_id=account.id, client_order_id=draft.client_order_id,
        fingerprint=tickets.fingerprint(ticket) if ticket else "", symbol=draft.symbol, asset_class=draft.asset_class,
        multiplier=draft.multiplier, side=draft.side, qty=draft.qty, notional=draft.notional, order_type=draft.order_type,
        limit_price=draft.limit_price, stop_price=draft.stop_price, trail_price=draft.trail_price,
        trail_percent=draft.trail_percent, time_in_force=draft.time_in_force, hours=draft.hours,
        fill_preference=draft.fill_preference, size_cap=draft.size_cap, legs=_legs(draft),
        order_class=draft.order_class, role=draft.role, status=OrderStatus.HELD if draft.is_held else OrderStatus.ACCEPTED,
        cash_hold=draft.cash_hold, position_holds=msgspec.to_builtins(draft.position_holds), replaces=replaces,
        accepted_at=from_ns(now_ns), arrives_ns=draft.arrives_ns,
        expires_at=None if draft.expires_ns == NEVER_NS else from_ns(draft.expires_ns),
    )  # fmt: skip
    if main is None:
        # An OCO's take-profit lends its id to the pair; so does the entry of two exits.
        order.group_id = order.pk if draft.order_class is OrderClass.OCO else None
        if replaces is not None and draft.role not in (Role.NONE, Role.ENTRY):
            order.group_id, order.entry_id = replaces.group_id, replaces.entry_id
    else:
        order.entry_id = main.pk if main.role == Role.ENTRY else None
        order.group_id = main.pk if share or main.role != Role.ENTRY else None
    return order


def _legs(draft: Draft) -> list[dict[str, object]]:
    """The legs of a package, each with what it does to the position in it: `open` or `close`."""
    is_exit = draft.role in (Role.TAKE_PROFIT, Role.STOP_LOSS)
    return [
        {
            **msgspec.to_builtins(leg),
            "effect": "close" if is_exit or leg.symbol in draft.position_holds else "open",
        }
        for leg in draft.legs
    ]


def _given(terms: Mapping[str, object]) -> dict[str, object]:
    """Those that say something."""
    return {name: value for name, value in terms.items() if value not in (None, "", [], ())}


def _insert(order: Order, actor: str) -> bool:
    """Whether it was written; False: its client_order_id is taken."""
    terms = {
        "symbol": order.symbol, "side": order.side, "qty": order.qty, "notional": order.notional,
        "order_type": order.order_type, "limit_price": order.limit_price, "stop_price": order.stop_price,
        "time_in_force": order.time_in_force, "role": order.role, "legs": order.legs, "cash_hold": order.cash_hold,
    }  # fmt: skip
    entry = log.Entry(
        action=events.ORDER_ACCEPTED, actor=actor, object_type="mbt.order", object_id=order.pk, at=order.accepted_at,
        changes=_given(terms),
    )  # fmt: skip
    number = store.insert(order, entry=entry)
    order.number = number or 0
    return number is not None


def name_taken(client_order_id: str) -> ClientOrderIdReused:
    return ClientOrderIdReused(
        f"client_order_id {client_order_id!r} already names an order. Choose a new one.",
        field="client_order_id", rule="names one order for ever", value=client_order_id,
        remedy="Choose a new client_order_id.",
    )  # fmt: skip


# Requests that make no sense are answered and forgotten; what the account may not do is a denial.
_MISTAKES = (InvalidInput, NotFound, OrderNotOpen, ClientOrderIdReused)


@transaction.atomic
def record_denial(
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
