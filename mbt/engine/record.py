"""The record of one account in memory: what was taken, decided and posted, and what stands after it. Pure.

It does with decisions what the live engine does in the database. `life` puts the rules before it by which orders are
taken, `replay` recorded commands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

import msgspec

from mbt.engine.account import Part, Position, Posting, Unbookable, book_fill, parts_of, post
from mbt.engine.fills import Fill, Why
from mbt.engine.holds import (
    NOTHING,
    Reserved,
    after_fill,
    after_resize,
    after_sibling,
    closed_by,
    closes,
    uncovered,
)
from mbt.engine.intake import Role
from mbt.engine.ledger import ActivityLine, FillLine, Ledger, OrderLine, PositionLine, whole_us
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
    Order,
    OrderClass,
    OrderStatus,
    Progress,
)
from raxx.market.listing import OptionClass

ZERO = Decimal(0)
EMPTY = Position()


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
    replaces: UUID | None = None

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATUSES

    @property
    def leaves(self) -> Decimal:
        """What it still works for."""
        return self.order.qty - self.filled


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
    """The record of one account. `offered`: what open orders reserve of each position. `adjusted`: the option classes
    that corporate actions have changed."""

    cash_account: bool = True
    adjusted: Mapping[str, OptionClass] = field(default_factory=dict)
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

    def restate(self, working: Working, order: Order, reserved: Reserved) -> None:
        """An open order goes on with other terms, and reserves what these need."""
        working.order = order
        self._reserve(working, reserved)

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
                self.realized[posting.symbol] = self.realized.get(posting.symbol, ZERO) + posting.realized
                self.positions[posting.symbol] = post(self.positions.get(posting.symbol, EMPTY), posting)
                if not self.positions[posting.symbol].qty:
                    del self.positions[posting.symbol]

    def drop_uncovered(self, at_ns: int, *, by: Execution | None = None) -> None:
        """Cancel the newest orders that reserve of a position, or of a cash account's cash, more than there is left. `by`:
        the fill that took it; exits that share its quantity are told of that by themselves."""
        for symbol in sorted(self.offered):
            held = self.positions.get(symbol, EMPTY).qty
            reserved = [
                (
                    w,
                    w.order,
                    after_sibling(w.reserved, by.parts) if by and _shares(w.order, by.order) else w.reserved,
                )
                for w in self.open.values()
            ]
            for working in uncovered(reserved, symbol=symbol, held=held):
                self._drop_all(working, at_ns, Why.POSITION_GONE)
        if not self.cash_account:
            return
        for newest in reversed(list(self.open.values())):
            if self.held <= max(self.cash, ZERO):
                return
            if newest.reserved.cash:
                self._drop_all(newest, at_ns, Why.CASH_GONE)

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
            closes_only=order.is_exit, adjusted=self.adjusted,
        )  # fmt: skip
        if isinstance(booked, Unbookable):
            self._drop(working, OrderStatus.REJECTED, decision.at_ns, booked)
            for sibling in self.group_of(working):  # one group is one decision
                self._drop(sibling, OrderStatus.CANCELED, decision.at_ns, Why.GROUP_CANCELED)
            return
        before = {part.symbol: self.positions.get(part.symbol, EMPTY).qty for part in parts}
        self.enter(booked, at_ns=decision.at_ns, name=working.name)
        execution = Execution(order, decision.at_ns, fill, parts, before)
        self.executions.append(execution)
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
        self.drop_uncovered(decision.at_ns, by=execution)

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


# -- with the matcher ---------------------------------------------------------------------------------


def give(matcher: Matcher, working: Working) -> None:
    """The matcher works an open order as the record has it."""
    matcher.accept(
        working.order, resting=working.status in _RESTING, held=working.status is OrderStatus.HELD,
        progress=working.progress,
    )  # fmt: skip


def settle(account: Account, matcher: Matcher) -> list[Decision]:
    """What the matcher has decided happens, and it forgets what the account ended by itself."""
    settled: list[Decision] = []
    while decisions := matcher.take():
        settled += decisions
        account.settle(decisions)
        forget_dropped(account, matcher)
    return settled


def forget_dropped(account: Account, matcher: Matcher) -> None:
    for order_id in account.dropped:
        matcher.remove(order_id)
    account.dropped.clear()


def cancel(account: Account, matcher: Matcher, order_id: UUID, at_ns: int) -> list[Working]:
    """End an open order that its owner cancels, and those that end with it."""
    ended = [account.open[order_id], *(account.open[each] for each in matcher.canceled_with(order_id))]
    for member in ended:
        reason = ""
        if member is not ended[0]:
            reason = Why.PARENT_ENDED if member.order.entry_id == order_id else Why.GROUP_CANCELED
        matcher.remove(member.order.id)
        account.end(member.order.id, OrderStatus.CANCELED, at_ns, reason)
    settle(account, matcher)
    return ended


_RESTING = frozenset({OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED})


def _shares(order: Order, other: Order) -> bool:
    """Whether they share one quantity."""
    return order.id != other.id and order.group_id is not None and order.group_id == other.group_id
