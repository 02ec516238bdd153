"""A whole account's life from recorded inputs: commands and quotes in, ledger out. No database.

What the live engine writes to PostgreSQL and what this computes must be equal to the byte.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import attrgetter
from typing import TypeAlias
from uuid import UUID

import msgspec

from mbt.engine.account import Part, Position, Posting, Unbookable, book_fill, parts_of, post
from mbt.engine.fills import Fill
from mbt.engine.ledger import ActivityLine, FillLine, Ledger, OrderLine, PositionLine
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
from mbt.engine.orders import Order, OrderStatus
from raxx.kernel.clock import from_ns, to_ns
from raxx.kernel.money import from_ticks, up_to_cents
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions


class Submit(msgspec.Struct, frozen=True):
    """An accepted order, with the cash it holds (dollars) until it is over. `held`: an exit that waits for its
    entry, which is submitted before it at the same instant."""

    order: Order
    client_order_id: str
    hold: Decimal
    held: bool = False

    @property
    def at_ns(self) -> int:
        return self.order.accepted_ns


class Cancel(msgspec.Struct, frozen=True):
    order_id: UUID
    at_ns: int


Command: TypeAlias = Submit | Cancel


@dataclass
class _Open:
    """An order that is not over, as the account sees it."""

    command: Submit
    order: Order
    hold: Decimal
    status: OrderStatus


@dataclass
class _Account:
    """The account under replay. Mutable, private to one `replay` call."""

    cash: Decimal
    held: Decimal = Decimal(0)
    positions: dict[str, Position] = field(default_factory=dict)
    realized: dict[str, Decimal] = field(default_factory=dict)
    open: dict[UUID, _Open] = field(default_factory=dict)
    orders: list[OrderLine] = field(default_factory=list)
    fills: list[FillLine] = field(default_factory=list)
    activities: list[ActivityLine] = field(default_factory=list)

    def submit(self, command: Submit) -> None:
        status = OrderStatus.HELD if command.held else OrderStatus.ACCEPTED
        self.open[command.order.id] = _Open(command, command.order, command.hold, status)
        self.held += command.hold

    def close(self, order_id: UUID, status: OrderStatus, at_ns: int | None, reason: str) -> None:
        over = self.open.pop(order_id)
        self.held -= over.hold
        self.orders.append(_order_line(over, status, at_ns, reason))

    def close_book(self) -> None:
        """Write down what is still open."""
        for order_id, working in list(self.open.items()):
            self.close(order_id, working.status, None, "")

    def settle(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            working = self.open.get(decision.order.id)
            if working is None:
                continue  # rejected by an earlier decision of the same batch
            match decision:
                case Filled():
                    self._fill(working, decision)
                case Closed(order=order, status=status, why=why, at_ns=at_ns):
                    self.close(order.id, status, at_ns, why or "")
                case Rested():
                    working.status = OrderStatus.NEW
                case Activated(order=order):
                    working.status, working.order = OrderStatus.ACCEPTED, order
                case Resized(order=order):
                    working.order = order
                case Refused() | Advanced():
                    pass  # notes for the receipt; no state

    def _fill(self, working: _Open, decision: Filled) -> None:
        order, fill = decision.order, decision.fill
        spendable = self.cash - self.held + working.hold
        parts = parts_of(order, fill)
        booked = book_fill(parts, positions=self.positions, spendable=spendable)
        if isinstance(booked, Unbookable):
            self.close(order.id, OrderStatus.REJECTED, decision.at_ns, booked)
            return
        for part, posting in zip(parts, booked, strict=True):
            self._post(working.command.client_order_id, part, posting, fill, whole_us(decision.at_ns))
        if order.notional is not None:
            working.order = msgspec.structs.replace(order, qty=fill.qty)
        if decision.leaves:
            working.status = OrderStatus.PARTIALLY_FILLED
            kept = up_to_cents(working.hold * decision.leaves / (decision.leaves + fill.qty))
            self.held -= working.hold - kept
            working.hold = kept
        else:
            self.close(order.id, OrderStatus.FILLED, decision.at_ns, "")

    def _post(self, name: str, part: Part, posting: Posting, fill: Fill, at_ns: int) -> None:
        self.cash += posting.cash
        self.positions[part.symbol] = post(self.positions.get(part.symbol, Position()), posting)
        self.realized[part.symbol] = self.realized.get(part.symbol, Decimal(0)) + posting.realized
        quote = part.quote
        self.fills.append(FillLine(
            name, part.symbol, part.side, part.qty, from_ticks(part.price), at_ns, quote.ts, from_ticks(quote.bid),
            quote.bid_size, from_ticks(quote.ask), quote.ask_size, fill.rule, fill.version,
        ))  # fmt: skip
        self.activities.append(ActivityLine("fill", part.symbol, posting.cash, at_ns, name))


def replay(
    commands: Iterable[Command],
    quotes: Sequence[Quote],
    sessions: Sessions,
    *,
    cash: Decimal,
    positions: dict[str, Position] | None = None,
    start_ns: int,
    end_ns: int,
) -> Ledger:
    """Run one account from `start_ns` to `end_ns` (nanoseconds UTC).

    `quotes` in tape order. A command acts after all quotes of its instant. `cash` in dollars.
    """
    account = _Account(cash=cash, positions=dict(positions or {}))
    matcher = Matcher(sessions, now_ns=start_ns)
    cursor = 0
    for command in sorted(commands, key=attrgetter("at_ns")):
        stop = bisect_right(quotes, command.at_ns, lo=cursor, key=attrgetter("ts"))
        matcher.advance(quotes[cursor:stop], command.at_ns)
        cursor = stop
        account.settle(matcher.take())
        if isinstance(command, Submit):
            account.submit(command)
            matcher.accept(command.order, held=command.held)
        elif matcher.remove(command.order_id):
            account.close(command.order_id, OrderStatus.CANCELED, command.at_ns, "")
    matcher.advance(quotes[cursor:], end_ns)
    account.settle(matcher.take())
    account.close_book()
    lines = [
        PositionLine(symbol, position.qty, position.cost, account.realized.get(symbol, Decimal(0)))
        for symbol, position in account.positions.items()
    ]
    return Ledger(
        cash=account.cash,
        orders=account.orders,
        fills=account.fills,
        activities=account.activities,
        positions=lines,
    )


def _order_line(over: _Open, status: OrderStatus, closed_ns: int | None, reason: str) -> OrderLine:
    order = over.order
    return OrderLine(
        over.command.client_order_id, order.symbol, order.side, order.type, order.tif, order.qty,
        from_ticks(order.limit) if order.limit is not None else None, whole_us(order.accepted_ns), status,
        None if closed_ns is None else whole_us(closed_ns), reason,
    )  # fmt: skip


def whole_us(ns: int) -> int:
    """Nanoseconds cut to the microsecond, which is as fine as the database keeps an instant."""
    return to_ns(from_ns(ns))
