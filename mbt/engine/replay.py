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

from mbt.engine.account import Position, Unbookable, book_fill, post
from mbt.engine.ledger import ActivityLine, FillLine, Ledger, OrderLine, PositionLine
from mbt.engine.matching import Closed, Decision, Filled, Matcher, Refused, Rested
from mbt.engine.orders import Order, OrderStatus
from raxx.kernel.clock import from_ns, to_ns
from raxx.kernel.money import from_ticks
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions


class Submit(msgspec.Struct, frozen=True):
    """An accepted order, with the cash it holds (dollars) until it is over."""

    order: Order
    client_order_id: str
    hold: Decimal

    @property
    def at_ns(self) -> int:
        return self.order.accepted_ns


class Cancel(msgspec.Struct, frozen=True):
    order_id: UUID
    at_ns: int


Command: TypeAlias = Submit | Cancel


@dataclass
class _Account:
    """The account under replay. Mutable, private to one `replay` call."""

    cash: Decimal
    held: Decimal = Decimal(0)
    positions: dict[str, Position] = field(default_factory=dict)
    realized: dict[str, Decimal] = field(default_factory=dict)
    open: dict[UUID, Submit] = field(default_factory=dict)
    working: set[UUID] = field(default_factory=set)
    orders: list[OrderLine] = field(default_factory=list)
    fills: list[FillLine] = field(default_factory=list)
    activities: list[ActivityLine] = field(default_factory=list)

    def submit(self, command: Submit) -> None:
        self.open[command.order.id] = command
        self.held += command.hold

    def close(self, order_id: UUID, status: OrderStatus, at_ns: int | None, reason: str) -> None:
        command = self.open.pop(order_id)
        self.held -= command.hold
        self.working.discard(order_id)
        self.orders.append(_order_line(command, status, at_ns, reason))

    def close_book(self) -> None:
        """Write down what is still open."""
        for order_id in list(self.open):
            self.close(
                order_id, OrderStatus.NEW if order_id in self.working else OrderStatus.ACCEPTED, None, ""
            )

    def settle(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Filled():
                    self._fill(decision)
                case Closed(order=order, status=status, why=why, at_ns=at_ns):
                    self.close(order.id, status, at_ns, why or "")
                case Rested(order=order):
                    self.working.add(order.id)
                case Refused():
                    pass  # a note for the receipt; no state

    def _fill(self, decision: Filled) -> None:
        order, fill = decision.order, decision.fill
        command = self.open[order.id]
        before = self.positions.get(order.symbol, Position())
        posting = book_fill(
            order, fill.price, position=before, spendable=self.cash - self.held + command.hold
        )
        if isinstance(posting, Unbookable):
            self.close(order.id, OrderStatus.REJECTED, decision.at_ns, posting)
            return
        self.close(order.id, OrderStatus.FILLED, decision.at_ns, "")
        self.cash += posting.cash
        self.positions[order.symbol] = post(before, posting)
        self.realized[order.symbol] = self.realized.get(order.symbol, Decimal(0)) + posting.realized
        quote = fill.quote
        self.fills.append(FillLine(
            command.client_order_id, order.symbol, order.side, fill.qty, from_ticks(fill.price), whole_us(decision.at_ns),
            quote.ts, from_ticks(quote.bid), quote.bid_size, from_ticks(quote.ask), quote.ask_size, fill.rule, fill.version,
        ))  # fmt: skip
        self.activities.append(
            ActivityLine(
                "fill", order.symbol, posting.cash, whole_us(decision.at_ns), command.client_order_id
            )
        )


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
            matcher.accept(command.order)
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


def _order_line(command: Submit, status: OrderStatus, closed_ns: int | None, reason: str) -> OrderLine:
    order = command.order
    return OrderLine(
        command.client_order_id, order.symbol, order.side, order.type, order.tif, order.qty,
        from_ticks(order.limit) if order.limit else None, whole_us(order.accepted_ns), status,
        None if closed_ns is None else whole_us(closed_ns), reason,
    )  # fmt: skip


def whole_us(ns: int) -> int:
    """Nanoseconds cut to the microsecond, which is as fine as the database keeps an instant."""
    return to_ns(from_ns(ns))
