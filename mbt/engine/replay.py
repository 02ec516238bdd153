"""A whole account's life from recorded inputs: commands and quotes in, ledger out. No database.

What the live engine writes to PostgreSQL and what this computes must be equal to the byte.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from operator import attrgetter
from typing import Protocol, TypeAlias
from uuid import UUID

import msgspec

from mbt.engine.account import Position
from mbt.engine.holds import Reserved
from mbt.engine.ledger import Ledger
from mbt.engine.matching import Matcher
from mbt.engine.orders import Order, OrderStatus
from mbt.engine.record import Account, Working, cancel, give, settle
from mbt.engine.search import NO_ROW, Lookout, TapeIndex
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

    def working(self) -> Working:
        return Working(
            order=self.order, name=self.client_order_id, reserved=Reserved(self.hold), carries=False,
            status=OrderStatus.HELD if self.held else OrderStatus.ACCEPTED,
        )  # fmt: skip


class Cancel(msgspec.Struct, frozen=True):
    order_id: UUID
    at_ns: int


Command: TypeAlias = Submit | Cancel


class Stream(Protocol):
    """Recorded quotes that show a matcher what it must see, up to an instant."""

    def advance(self, matcher: Matcher, now_ns: int) -> None: ...


class EveryQuote:
    """Shows all quotes, which are in tape order."""

    def __init__(self, quotes: Sequence[Quote]) -> None:
        self._quotes = quotes
        self._next = 0

    def advance(self, matcher: Matcher, now_ns: int) -> None:
        stop = bisect_right(self._quotes, now_ns, lo=self._next, key=attrgetter("ts"))
        matcher.advance(self._quotes[self._next : stop], now_ns)
        self._next = stop


class QuotesThatMatter:
    """Shows of a tape the quotes that can trip a guard, and to arriving orders those in force.

    The decisions are those that showing every quote would give. For one matcher, from the tape's beginning on.
    """

    def __init__(self, index: TapeIndex, *, worth_a_search: int = 32) -> None:
        """A search costs about as much as showing `worth_a_search` rows."""
        self._index, self._worth = index, worth_a_search
        self._tape = index.tape
        self._next = 0  # the first row that is still ahead; rows with equal stamps are never parted
        self._lookouts: dict[str, Lookout] = {}
        self._row_of: dict[str, int] = {}  # where each symbol can trip its guard next
        self._rows: list[tuple[int, str]] = []  # the same as a heap, with some that hold no longer
        self._stride = 0

    def advance(self, matcher: Matcher, now_ns: int) -> None:
        stop = self._rows_until(now_ns)
        while True:
            due_ns = matcher.due_ns()
            before = stop if due_ns > now_ns else max(self._next, int(self._tape.ts.searchsorted(due_ns)))
            row = self._soonest()
            if row < before:
                self._show(matcher, row, before)
            elif due_ns <= now_ns:
                self._pass(matcher, due_ns, before)
            else:
                break
        matcher.advance((), now_ns)
        self._next = max(self._next, stop)

    def _show(self, matcher: Matcher, row: int, before: int) -> None:
        """The quote of that row, and all others of its instant."""
        # Where nearly every quote matters, a search for each would cost more than showing some for nothing.
        near = row - self._next < self._worth
        self._stride = min(max(2 * self._stride, self._worth), _LONGEST_STRIDE) if near else 0
        last_ns = int(self._tape.ts[min(row + self._stride, before - 1)])
        self._next = self._rows_until(last_ns)
        quotes = self._tape.rows(row, self._next)
        matcher.advance(quotes, last_ns)
        self._look(matcher, {quote.symbol for quote in quotes})

    def _pass(self, matcher: Matcher, due_ns: int, before: int) -> None:
        """An instant at which orders arrive or expire, with its quotes."""
        arriving = matcher.arriving(due_ns)
        matcher.skip_to(self._in_force(arriving, before))
        self._next = max(self._next, self._rows_until(due_ns))
        quotes = self._tape.rows(before, self._next) if before < self._next else []
        matcher.advance(quotes, due_ns)
        self._look(matcher, arriving.union(quote.symbol for quote in quotes))

    def _in_force(self, symbols: Iterable[str], before: int) -> Iterator[Quote]:
        for symbol in symbols:
            rows = self._index.rows(symbol)
            if rows is not None and (place := rows.places_before(before)):
                yield self._index.quote(rows.row(place - 1))

    def _look(self, matcher: Matcher, symbols: Iterable[str]) -> None:
        """Find where these can trip their guards next."""
        for symbol in symbols:
            lookout = self._lookouts.get(symbol)
            if lookout is None:
                rows = self._index.rows(symbol)
                if rows is None:
                    continue
                lookout = self._lookouts[symbol] = Lookout(rows)
            row = lookout.next(self._next, matcher.guard(symbol))
            if row != self._row_of.get(symbol, NO_ROW):
                self._row_of[symbol] = row
                heappush(self._rows, (row, symbol))

    def _soonest(self) -> int:
        while self._rows and self._row_of[self._rows[0][1]] != self._rows[0][0]:
            heappop(self._rows)
        return self._rows[0][0] if self._rows else NO_ROW

    def _rows_until(self, at_ns: int) -> int:
        return int(self._tape.ts.searchsorted(at_ns, "right"))


_LONGEST_STRIDE = 4_096  # rows


def replay(
    commands: Iterable[Command],
    quotes: Sequence[Quote] | TapeIndex,
    sessions: Sessions,
    *,
    cash: Decimal,
    positions: Mapping[str, Position] | None = None,
    start_ns: int,
    end_ns: int,
) -> Ledger:
    """Run one account from `start_ns` to `end_ns` (nanoseconds UTC).

    `quotes` in tape order; from the index of a tape only those are read that matter, which is many times as
    fast and gives the same. A command acts after all quotes of its instant. `cash` in dollars.
    """
    account = Account(cash=cash, positions=dict(positions or {}))
    matcher = Matcher(sessions, now_ns=start_ns)
    stream: Stream = QuotesThatMatter(quotes) if isinstance(quotes, TapeIndex) else EveryQuote(quotes)
    for command in sorted(commands, key=attrgetter("at_ns")):
        stream.advance(matcher, command.at_ns)
        settle(account, matcher)
        if isinstance(command, Submit):
            working = command.working()
            account.take(working)
            give(matcher, working)
        elif command.order_id in account.open:
            cancel(account, matcher, command.order_id, command.at_ns)
    stream.advance(matcher, end_ns)
    settle(account, matcher)
    return account.ledger()
