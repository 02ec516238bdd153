"""One account's whole life in memory: orders, cancels, quotes and events in; cash, positions, history out. Pure.

`Account` keeps the record: it is told what was accepted, decided and posted, and does with it what the live
engine does in the database. `Life` adds what stands before it: the rules by which an order is taken, and the
matcher that works it. The same calls always give the same record.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from uuid import UUID

import msgspec

from mbt.engine import buying_power, intake, margin, tickets
from mbt.engine.account import Kind, Part, Position, Posting, Unbookable, book_fill, parts_of, post
from mbt.engine.buying_power import AccountType, AccountView, Holding
from mbt.engine.corporate import Action, OrderChange
from mbt.engine.cost import Trade
from mbt.engine.fills import Fill, Why
from mbt.engine.holds import NOTHING, Reserved, after_fill, after_resize, closed_by, closes, without_cover
from mbt.engine.intake import Draft, Role
from mbt.engine.ledger import ActivityLine, FillLine, Ledger, OrderLine, PositionLine, whole_us
from mbt.engine.margin import OptionClass
from mbt.engine.matching import (
    Activated,
    Advanced,
    Closed,
    Decision,
    Filled,
    Matcher,
    Refused,
    Resized,
    Rested,
)
from mbt.engine.orders import (
    FRESH,
    OPEN_STATUSES,
    FillPreference,
    Order,
    OrderClass,
    OrderStatus,
    Progress,
    Side,
)
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.clock import exchange_date
from raxx.kernel.errors import InvalidInput, NotFound, RaxxError
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market import listing
from raxx.market.contracts import AssetClass, Instrument, parse_symbol
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Sessions

ZERO = Decimal(0)
EMPTY = Position()


class NotOpen(RaxxError):
    """The order is over or partly filled, so it cannot change as asked."""

    code = "ORDER_NOT_OPEN"
    http_status = 409


# -- the record -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Working:
    """An order of the account, open or over. `carries`: it reserves the position for its group, or stands alone."""

    order: Order
    name: str
    status: OrderStatus
    reserved: Reserved = NOTHING
    role: Role = Role.NONE
    order_class: OrderClass = OrderClass.SIMPLE
    carries: bool = True
    filled: Decimal = ZERO
    progress: Progress = FRESH
    closed_ns: int | None = None
    reason: str = ""

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES


class Entry(msgspec.Struct, frozen=True):
    """A posting in the account's history. Those of one `event` number took effect together."""

    event: int
    at_ns: int
    posting: Posting
    name: str  # of the order that caused it, "" for an event


class Move(msgspec.Struct, frozen=True):
    """A change of status. `before` None: the order was taken."""

    order_id: UUID
    before: OrderStatus | None
    after: OrderStatus


class Execution(msgspec.Struct, frozen=True):
    """A fill with the order as it was, as the account booked it, and what it held `before`."""

    order: Order
    at_ns: int
    fill: Fill
    parts: tuple[Part, ...]
    before: Mapping[str, Decimal]


@dataclass(slots=True)
class Account:
    """The record of one account. `offered`: what open orders reserve of each position."""

    cash_account: bool = True
    cash: Decimal = ZERO
    held: Decimal = ZERO
    positions: dict[str, Position] = field(default_factory=dict)
    offered: dict[str, Decimal] = field(default_factory=dict)
    realized: dict[str, Decimal] = field(default_factory=dict)
    orders: dict[UUID, Working] = field(default_factory=dict)
    open: dict[UUID, Working] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    dropped: list[UUID] = field(default_factory=list)
    events: int = 0

    def take(self, working: Working) -> None:
        """An order was accepted, and reserves what `working` says."""
        self.orders[working.order.id] = self.open[working.order.id] = working
        reserved, working.reserved = working.reserved, NOTHING
        self._reserve(working, reserved)
        self.moves.append(Move(working.order.id, None, working.status))

    def end(self, order_id: UUID, status: OrderStatus, at_ns: int, reason: str = "") -> None:
        """An open order is over: what it still reserves is free again."""
        working = self.open.pop(order_id)
        self._reserve(working, NOTHING)
        working.closed_ns, working.reason = at_ns, reason
        self._move(working, status)

    def settle(self, decisions: Iterable[Decision]) -> None:
        """Do what the matcher decided. A decision about an order that is over meanwhile changes nothing.

        `dropped` then names the orders that the account ended by itself, for the matcher to forget.
        """
        for decision in decisions:
            working = self.open.get(decision.order.id)
            if working is None:
                continue
            match decision:
                case Filled():
                    self._fill(working, decision)
                case Rested():
                    self._move(working, OrderStatus.NEW)
                case Advanced(progress=progress):
                    working.progress = progress
                case Closed(status=status, why=why, at_ns=at_ns):
                    self.end(decision.order.id, status, at_ns, why or "")
                case Activated(order=order, qty=more):
                    self._resize(working, order, more)
                    if working.status is OrderStatus.HELD:
                        self._move(working, OrderStatus.ACCEPTED)
                case Resized(order=order, taken=taken):
                    self._resize(working, order, -taken)
                case Refused():
                    pass  # a note for the receipt; no state

    def enter(self, postings: Iterable[Posting], *, at_ns: int, name: str = "") -> None:
        """Postings that take effect together. Orders that would close what is gone then are canceled."""
        self.events += 1
        for posting in postings:
            self.entries.append(Entry(self.events, at_ns, posting, name))
            self.cash += posting.cash
            if posting.symbol and (posting.qty or posting.cost):
                self.positions[posting.symbol] = post(self.positions.get(posting.symbol, EMPTY), posting)
                if not self.positions[posting.symbol].qty:
                    del self.positions[posting.symbol]
            if posting.realized:
                self.realized[posting.symbol] = self.realized.get(posting.symbol, ZERO) + posting.realized

    def drop_uncovered(self, at_ns: int) -> None:
        """Cancel the newest orders that reserve of a position, or of a cash account's cash, more than there is left."""
        for symbol in sorted(self.offered):
            held = self.positions.get(symbol, EMPTY).qty
            holders = [w for w in self.open.values() if symbol in w.reserved.positions]
            for working in [w for w in holders if closes(w.order, symbol) * held <= 0]:
                self._drop_all(working, at_ns, Why.POSITION_GONE)
            reserved = [(w, w.reserved) for w in holders if w.is_open]
            for working in without_cover(reserved, symbol=symbol, held=held):
                self._drop_all(working, at_ns, Why.POSITION_GONE)
        for working in reversed(list(self.open.values())) if self.cash_account else ():
            if self.held > max(self.cash, ZERO) and working.reserved.cash:
                self._drop_all(working, at_ns, Why.CASH_GONE)

    def group_of(self, working: Working) -> list[Working]:
        """The other open orders that share its quantity."""
        group = working.order.group_id
        return [w for w in self.open.values() if group and w.order.group_id == group and w is not working]

    def ledger(self) -> Ledger:
        """The whole record as plain lines."""
        return Ledger(
            cash=self.cash,
            orders=[
                OrderLine.of(w.order, w.name, w.status, w.closed_ns, w.reason) for w in self.orders.values()
            ],
            fills=[
                FillLine.of(self.orders[execution.order.id].name, part, execution.fill, execution.at_ns)
                for execution in self.executions
                for part in execution.parts
            ],
            activities=[
                ActivityLine(e.posting.kind, e.posting.symbol, e.posting.cash, whole_us(e.at_ns), e.name)
                for e in self.entries
            ],
            positions=[
                PositionLine(symbol, held.qty, held.cost, self.realized.get(symbol, ZERO))
                for symbol in sorted({*self.positions, *self.realized} - {""})
                for held in (self.positions.get(symbol, EMPTY),)
            ],
        )

    # -- the parts ---------------------------------------------------------------------------------

    def _fill(self, working: Working, decision: Filled) -> None:
        fill, order = decision.fill, decision.order
        spendable = self.cash - self.held + working.reserved.cash
        parts = parts_of(order, fill)
        booked = book_fill(
            parts, positions=self.positions, spendable=spendable, cash_account=self.cash_account,
            closes_only=order.is_exit,
        )  # fmt: skip
        if isinstance(booked, Unbookable):
            self._drop(working, OrderStatus.REJECTED, decision.at_ns, booked)
            for sibling in self.group_of(working):  # one group is one decision
                self._drop(sibling, OrderStatus.CANCELED, decision.at_ns, Why.GROUP_CANCELED)
            return
        before = {part.symbol: self.positions.get(part.symbol, EMPTY).qty for part in parts}
        self.enter(booked, at_ns=decision.at_ns, name=working.name)
        self.executions.append(Execution(order, decision.at_ns, fill, parts, before))
        self._reserve(
            working, after_fill(working.reserved, qty=fill.qty, leaves=decision.leaves, parts=parts)
        )
        working.filled += fill.qty
        working.progress = msgspec.structs.replace(working.progress, filled=working.filled)
        if order.notional is not None:
            working.order = msgspec.structs.replace(order, qty=working.filled)
        if decision.leaves:
            self._move(working, OrderStatus.PARTIALLY_FILLED)
        else:
            self.end(order.id, OrderStatus.FILLED, decision.at_ns)
        self.drop_uncovered(decision.at_ns)

    def _drop(self, working: Working, status: OrderStatus, at_ns: int, reason: str) -> None:
        """The account ends an order by itself; exits that wait for it end with it."""
        self.end(working.order.id, status, at_ns, reason)
        self.dropped.append(working.order.id)
        if working.filled:
            return
        for waiting in [w for w in self.open.values() if w.order.entry_id == working.order.id]:
            if waiting.status is OrderStatus.HELD:
                self._drop(waiting, OrderStatus.CANCELED, at_ns, Why.PARENT_ENDED)

    def _drop_all(self, working: Working, at_ns: int, why: Why) -> None:
        for member in [working, *self.group_of(working)]:
            if member.is_open:
                self._drop(member, OrderStatus.CANCELED, at_ns, why)

    def _resize(self, working: Working, order: Order, more: Decimal) -> None:
        working.order = order
        if working.carries:
            # Only what it closes: an exit of an entry that closed something itself has nothing to reserve.
            free = {
                symbol: self.positions.get(symbol, EMPTY).qty * closes(order, symbol)
                - self.offered.get(symbol, ZERO)
                for symbol, _ in closed_by(order)
            }
            self._reserve(working, after_resize(working.reserved, order, more=more, free=free))

    def _reserve(self, working: Working, after: Reserved) -> None:
        """The totals follow what an order reserves."""
        change = after - working.reserved
        working.reserved = after
        self.held += change.cash
        for symbol, qty in change.positions.items():
            total = self.offered.get(symbol, ZERO) + qty
            if total:
                self.offered[symbol] = total
            else:
                self.offered.pop(symbol, None)

    def _move(self, working: Working, status: OrderStatus) -> None:
        if status is not working.status:
            self.moves.append(Move(working.order.id, working.status, status))
            working.status = status


# -- the life ---------------------------------------------------------------------------------------


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is and may do."""

    type: AccountType = AccountType.CASH
    options_level: int = 2
    naked_shorts: bool = False
    size_cap: bool = False
    latency_ns: int = 0
    fill_preference: FillPreference = FillPreference.CONSERVATIVE


class Life:
    """An account, the matcher of its orders, and the rules by which they are taken.

    Time is that of the quotes: every call names an instant not before the last one. Ids count from 1, so that
    equal lives have equal records.
    """

    def __init__(self, *, profile: Profile, cash: Decimal, sessions: Sessions, now_ns: int) -> None:
        self.profile = profile
        self.sessions = sessions
        self.account = Account(cash_account=profile.type is AccountType.CASH)
        self.matcher = Matcher(sessions, now_ns=now_ns)
        self.quotes: dict[str, Quote] = {}
        self.marks: dict[str, int] = {}
        self._halted: dict[str, int] = {}
        self._numbers = count(1)
        self._instruments: dict[str, Instrument] = {}
        self._classes: dict[str, OptionClass] = {}
        self._tickers: dict[str, str] = {}
        self.account.enter([Posting(kind=Kind.ADJUSTMENT, cash=cash, note="opening balance")], at_ns=now_ns)

    # -- time --------------------------------------------------------------------------------------

    def advance(self, quotes: Sequence[Quote], now_ns: int) -> list[Decision]:
        """Go through `quotes` and settle what they decide."""
        self.matcher.advance(quotes, now_ns)
        self.note(quotes)
        return self._settle()

    def note(self, quotes: Iterable[Quote]) -> None:
        """These are the quotes in force, and what things are worth by them."""
        for quote in quotes:
            self.quotes[quote.symbol] = quote
            if quote.bid and quote.ask:
                self.marks[quote.symbol] = (quote.bid + quote.ask) // 2
            elif quote.bid or quote.ask:
                self.marks[quote.symbol] = quote.bid or quote.ask
            else:
                self.marks.pop(quote.symbol, None)

    # -- orders ------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, now_ns: int) -> list[Working]:
        """Take an order, its exits after it. Raises InvalidInput or a denial; then nothing has changed."""
        return self._take(self._accept(ticket, self.view(now_ns), now_ns), now_ns)

    def cancel(self, order_id: UUID, now_ns: int) -> list[Working]:
        """Cancel an open order and those that belong with it. Raises NotFound, NotOpen."""
        working = self._require_open(order_id)
        ended = [working, *(self.account.open[i] for i in self.matcher.canceled_with(order_id))]
        for member in ended:
            self._end(member, OrderStatus.CANCELED, now_ns)
        self._settle()
        return ended

    def replace(
        self, order_id: UUID, changes: Mapping[str, Decimal], *, name: str, now_ns: int
    ) -> list[Working]:
        """End an open order and take another in its place: both, or neither. `changes` are fields of its ticket,
        in dollars. Raises NotFound, NotOpen, InvalidInput or a denial."""
        old = self._require_open(order_id)
        if old.order.expires_ns <= now_ns or old.filled:
            raise NotOpen(
                "The order has expired or is partly filled.", field="id", rule="only an open order", value=old.name
            )  # fmt: skip
        exits = [w for w in self.account.open.values() if w.order.entry_id == old.order.id]
        before = ticket_of(old, exits)
        ticket = msgspec.structs.replace(before, client_order_id=name, **changes)
        if tickets.fingerprint(ticket) == tickets.fingerprint(before):
            raise InvalidInput(
                field="(body)", rule="must change something", value="nothing changed",
                remedy="Send what should change.",
            )  # fmt: skip
        is_exit = old.role not in (Role.NONE, Role.ENTRY)
        if is_exit and ticket.qty != old.order.qty:
            raise InvalidInput(
                field="qty", rule="exits share the quantity of their entry or their sibling", value=str(ticket.qty),
                remedy="Cancel them and send new ones.",
            )  # fmt: skip
        view = self.view(now_ns, without=[old, *exits])
        if is_exit and not old.reserved.positions:
            view = _lent(view, self.account.group_of(old))
        drafts = self._accept(ticket, view, now_ns)
        if is_exit:
            drafts = (_in_place_of(old, drafts[0]),)
        for member in [*reversed(exits), old]:  # the exits first: an entry that ends would end them itself
            self._end(member, OrderStatus.REPLACED, now_ns)
        return self._take(drafts, now_ns, place=old if is_exit else None)

    def adjust(self, change: OrderChange, now_ns: int) -> None:
        """What a corporate action does to an open order."""
        working = self.account.open.get(change.order_id)
        if working is None:
            return
        if change.action is Action.CANCEL:
            self.cancel(change.order_id, now_ns)
            return
        before = working.progress
        working.progress = msgspec.structs.replace(before, mark=max(before.mark - change.lowered, 0))
        working.order = msgspec.structs.replace(working.order, limit=change.limit, stop=change.stop)
        self.restart()

    def halt(self, underlying: str, *, until_ns: int) -> None:
        """Nothing of that stock, its options included, trades before a quote stamped after `until_ns`."""
        self._halted[underlying] = until_ns
        self.matcher.halt(underlying, until_ns=until_ns)

    def restart(self) -> None:
        """Build the matcher anew from the record, as after a crash. Nothing else changes."""
        self.matcher = Matcher(self.sessions, now_ns=self.matcher.now_ns, in_force=self.quotes)
        for underlying, until_ns in self._halted.items():
            self.matcher.halt(underlying, until_ns=until_ns)
        for working in self.account.open.values():
            self._give(working)

    # -- events ------------------------------------------------------------------------------------

    def post(self, postings: Iterable[Posting], now_ns: int) -> None:
        """An event: its postings take effect together, and orders that it leaves without cover end."""
        self.account.enter(postings, at_ns=now_ns)
        self.account.drop_uncovered(now_ns)
        self._forget_dropped()
        self._settle()

    # -- as others see it --------------------------------------------------------------------------

    def view(self, now_ns: int, *, without: Sequence[Working] = ()) -> AccountView:
        """The account as an order meets it; `without` these open orders."""
        gone = {working.order.id for working in without}
        freed = {symbol: qty for w in without for symbol, qty in w.reserved.positions.items()}
        account, profile = self.account, self.profile
        return AccountView(
            type=profile.type, cash=account.cash, cash_held=account.held - sum((w.reserved.cash for w in without), ZERO),
            holdings={
                symbol: Holding(held.qty, account.offered.get(symbol, ZERO) - freed.get(symbol, ZERO))
                for symbol, held in account.positions.items()
            },
            pending=tuple(
                self._trades(w) for w in account.open.values() if w.order.id not in gone and _sells(w)
            ),
            marks=self.marks, rules=margin.rules_on(exchange_date(now_ns)), classes=self.classes(),
            options_level=profile.options_level, naked_shorts=profile.naked_shorts,
            fill_preference=profile.fill_preference, size_cap=profile.size_cap, latency_ns=profile.latency_ns,
        )  # fmt: skip

    def instrument(self, symbol: str) -> Instrument:
        known = self._instruments.get(symbol)
        if known is None:
            known = self._instruments[symbol] = parse_symbol(symbol)
            self._classes |= buying_power.classes_of([known])
        return known

    def classes(self) -> Mapping[str, OptionClass]:
        """What margin must know of every option root that the account has met."""
        for symbol in self.account.positions:
            self.instrument(symbol)
        return self._classes

    # -- the parts ---------------------------------------------------------------------------------

    def _accept(self, ticket: Ticket, view: AccountView, now_ns: int) -> tuple[Draft, ...]:
        instruments = [self.instrument(symbol) for symbol in ticket.symbols]
        return intake.accept(
            ticket, instruments, account=view, quotes=self.quotes, sessions=self.sessions, now_ns=now_ns
        )

    def _take(self, drafts: Sequence[Draft], now_ns: int, place: Working | None = None) -> list[Working]:
        taken: list[Working] = []
        for draft in drafts:
            taken.append(
                self._working(draft, now_ns, taken[0] if taken else None, place, share=len(drafts) > 2)
            )
        for working in taken:
            self.account.take(working)
            self._give(working)
        return taken

    def _working(
        self, draft: Draft, now_ns: int, main: Working | None, place: Working | None, *, share: bool
    ) -> Working:
        number = next(self._numbers)
        entry_id = group_id = None
        if main is not None:
            entry_id = main.order.id if main.role is Role.ENTRY else None
            group_id = main.order.id if share or main.role is not Role.ENTRY else None
        elif place is not None:
            entry_id, group_id = place.order.entry_id, place.order.group_id
        elif draft.order_class is OrderClass.OCO:
            group_id = UUID(int=number)
        order = Order(
            id=UUID(int=number), number=number, account_id=UUID(int=0), symbol=draft.symbol,
            asset_class=draft.asset_class, multiplier=draft.multiplier, side=draft.side, type=draft.order_type,
            tif=draft.time_in_force, qty=draft.qty, limit=_ticks(draft.limit_price), accepted_ns=now_ns,
            expires_ns=draft.expires_ns, arrives_ns=draft.arrives_ns, stop=_ticks(draft.stop_price),
            trail=_ticks(draft.trail_price), trail_percent=draft.trail_percent, preference=draft.fill_preference,
            hours=draft.hours, legs=draft.legs,
            underlying=self._ticker(draft.legs[0].symbol if draft.legs else draft.symbol),
            size_cap=draft.size_cap, notional=draft.notional, entry_id=entry_id, group_id=group_id,
        )  # fmt: skip
        return Working(
            order=order, name=draft.client_order_id,
            status=OrderStatus.HELD if draft.is_held else OrderStatus.ACCEPTED,
            reserved=Reserved(draft.cash_hold, dict(draft.position_holds)), role=draft.role,
            order_class=draft.order_class, carries=group_id is None or draft.role is Role.TAKE_PROFIT,
        )  # fmt: skip

    def _give(self, working: Working) -> None:
        self.matcher.accept(
            working.order, resting=working.status in _RESTING, held=working.status is OrderStatus.HELD,
            progress=working.progress,
        )  # fmt: skip

    def _end(self, working: Working, status: OrderStatus, now_ns: int) -> None:
        self.matcher.remove(working.order.id)
        self.account.end(working.order.id, status, now_ns)

    def _settle(self) -> list[Decision]:
        """What the matcher has decided happens, and it forgets what the account ended by itself."""
        settled: list[Decision] = []
        while decisions := self.matcher.take():
            settled += decisions
            self.account.settle(decisions)
            self._forget_dropped()
        return settled

    def _forget_dropped(self) -> None:
        for order_id in self.account.dropped:
            self.matcher.remove(order_id)
        self.account.dropped.clear()

    def _require_open(self, order_id: UUID) -> Working:
        working = self.account.orders.get(order_id)
        if working is None:
            raise NotFound(
                f"There is no order {order_id}.", field="id", value=order_id, remedy="List your orders."
            )
        if not working.is_open:
            raise NotOpen(
                f"The order is {working.status}.", field="id", rule="only an open order", value=working.name
            )
        return working

    def _trades(self, working: Working) -> tuple[Trade, ...]:
        order, left = working.order, working.order.qty - working.filled
        parts = [(leg.symbol, leg.side, leg.ratio) for leg in order.legs] or [(order.symbol, order.side, 1)]
        return tuple(
            Trade(self.instrument(symbol), (left if side is Side.BUY else -left) * ratio)
            for symbol, side, ratio in parts
        )

    def _ticker(self, symbol: str) -> str:
        """The stock, fund or index that an instrument follows."""
        known = self._tickers.get(symbol)
        if known is None:
            instrument = self.instrument(symbol)
            known = instrument.underlying
            if instrument.asset_class is AssetClass.OPTION:
                with suppress(listing.UnknownDeliverable):
                    known = listing.class_of(known).underlying
            self._tickers[symbol] = known
        return known


_RESTING = frozenset({OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED})


def ticket_of(working: Working, exits: Sequence[Working] = ()) -> Ticket:
    """The ticket that would make this order now; `exits` are those that wait for it."""
    order = working.order
    by_role = {member.role: member.order for member in exits}
    profit, loss = by_role.get(Role.TAKE_PROFIT), by_role.get(Role.STOP_LOSS)
    alone = OrderClass.MLEG if order.legs else OrderClass.SIMPLE
    is_option = order.asset_class is AssetClass.OPTION
    return Ticket(
        symbol=order.symbol, side=order.side, qty=None if order.notional is not None else order.qty,
        notional=order.notional, order_type=order.type, time_in_force=order.tif, limit_price=_dollars(order.limit),
        stop_price=_dollars(order.stop), trail_price=_dollars(order.trail), trail_percent=order.trail_percent,
        order_class=working.order_class if exits else alone, take_profit=_dollars(profit.limit) if profit else None,
        stop_loss=_dollars(loss.stop) if loss else None, stop_loss_limit=_dollars(loss.limit) if loss else None,
        legs=tuple(LegTicket(leg.symbol, leg.side, leg.ratio) for leg in order.legs),
        extended_hours=order.hours is Hours.EXTENDED, fill_preference=order.preference if is_option else None,
        client_order_id=working.name,
    )  # fmt: skip


def _sells(working: Working) -> bool:
    """Whether it would take something away when it fills. Exits that share a quantity count once, those that
    wait not at all."""
    order = working.order
    return (
        working.status is not OrderStatus.HELD
        and (order.side is Side.SELL or bool(order.legs))
        and not (working.role is Role.STOP_LOSS and order.group_id is not None)
    )


def _lent(view: AccountView, siblings: Sequence[Working]) -> AccountView:
    """The account with the group's own reservation free."""
    lent: Mapping[str, Decimal] = siblings[0].reserved.positions if siblings else {}
    freed = {s: Holding(held.qty, held.held - lent.get(s, ZERO)) for s, held in view.holdings.items()}
    return msgspec.structs.replace(view, holdings=freed)


def _in_place_of(old: Working, draft: Draft) -> Draft:
    """An exit stands where the one stood that it replaces. One that waits reserves nothing."""
    is_held = old.status is OrderStatus.HELD
    return msgspec.structs.replace(
        draft, role=old.role, order_class=old.order_class, is_held=is_held,
        cash_hold=ZERO if is_held else draft.cash_hold,
        position_holds=draft.position_holds if old.reserved.positions else {},
    )  # fmt: skip


def _ticks(price: Decimal | None) -> int | None:
    return None if price is None else to_ticks(price)


def _dollars(ticks: int | None) -> Decimal | None:
    return None if ticks is None else from_ticks(ticks)
