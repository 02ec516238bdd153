"""Orders meet quotes in time: arrival, resting, expiry. The same code runs live, in replays and in tests."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from typing import TypeAlias
from uuid import UUID

import msgspec

from mbt.engine.book import SymbolBook
from mbt.engine.fills import Fill, Rest, Why, decide, usable
from mbt.engine.orders import NEVER_NS, Order, OrderStatus
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions


class Filled(msgspec.Struct, frozen=True, gc=False):
    """The order fills, whole, at `at_ns`."""

    order: Order
    at_ns: int
    fill: Fill


class Rested(msgspec.Struct, frozen=True, gc=False):
    """The order met its first usable quote, was not filled by it, and works from now on."""

    order: Order
    at_ns: int
    quote: Quote


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The order ends unfilled: CANCELED (immediate, and `why` says what stood in the way) or EXPIRED."""

    order: Order
    at_ns: int
    status: OrderStatus
    why: Why | None = None
    quote: Quote | None = None


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A quote that would have acted on the order could not be used. Told once per order and reason."""

    order: Order
    at_ns: int
    why: Why
    quote: Quote | None


# A moment on the matcher's own time line: 2t stands for "at t, before the quotes stamped t",
# 2t + 1 for "at t, after them".
Moment: TypeAlias = int

Decision: TypeAlias = Filled | Rested | Closed | Refused


class Matcher:
    """Working orders of any number of accounts against one stream of quotes.

    `accept` and `remove` orders, `advance` through quotes in tape order, `take` the decisions. Time
    is the stream's. At one instant things happen in this order: expiry, open or close of the
    session, quotes, then the orders accepted at that instant (they see all of its quotes).
    """

    def __init__(
        self, sessions: Sessions, *, now_ns: int, in_force: Mapping[str, Quote] | None = None
    ) -> None:
        """`in_force`: the quotes in force at `now_ns`, when the stream is joined in its middle."""
        self.now_ns = now_ns
        self._sessions = sessions
        self._session = sessions.current_or_next(now_ns)
        self._is_open = self._session.is_open(now_ns)
        self._books: dict[str, SymbolBook] = {}
        self._orders: dict[UUID, Order] = {}
        self._arrivals: list[tuple[int, int, Order]] = []  # heap: accepted_ns, number, order
        self._expiries: list[int] = []  # heap of instants; day orders share theirs
        self._expiring: dict[int, list[UUID]] = {}  # by instant
        self._told: dict[UUID, set[Why]] = {}
        self._decisions: list[Decision] = []
        for quote in (in_force or {}).values():
            self._book(quote.symbol).last = quote

    def __contains__(self, order_id: UUID) -> bool:
        return order_id in self._orders

    def __len__(self) -> int:
        return len(self._orders)

    def order_ids(self) -> set[UUID]:
        return set(self._orders)

    def last_quote(self, symbol: str) -> Quote | None:
        book = self._books.get(symbol)
        return book.last if book else None

    def accept(self, order: Order, *, resting: bool = False) -> None:
        """Take an order in. It acts at its acceptance instant, or now if that has passed.

        `resting`: it already met its first usable quote (known from the record after a restart).
        Taking the same order in twice is harmless.
        """
        if order.id in self._orders:
            return
        self._orders[order.id] = order
        if order.expires_ns != NEVER_NS:
            self._expire_at(order.expires_ns, order.id)
        if resting:
            self._book(order.symbol).rest(order)
        else:
            heappush(self._arrivals, (order.accepted_ns, order.number, order))

    def remove(self, order_id: UUID) -> bool:
        """Forget an order that its owner canceled or replaced. Whether it was here."""
        order = self._orders.pop(order_id, None)
        if order is None:
            return False
        self._told.pop(order_id, None)
        self._book(order.symbol).remove(order)  # its arrival or expiry still to come is skipped
        return True

    def advance(self, quotes: Sequence[Quote], now_ns: int) -> None:
        """Go through `quotes`: in tape order, all that there are after the last call and up to `now_ns`."""
        end: Moment = 2 * now_ns + 1
        start = 0
        while (due := self._next_due()) <= end:
            if start < len(quotes):
                stop = bisect_left(quotes, (due + 1) // 2, lo=start, key=_ts)
                self._see(quotes[start:stop])
                start = stop
            self.now_ns = max(self.now_ns, due // 2)
            self._pass(due)
        self._see(quotes[start:] if start else quotes)
        self.now_ns = max(self.now_ns, now_ns)

    def take(self) -> list[Decision]:
        """The decisions since the last call, in the order in which they fell."""
        taken, self._decisions = self._decisions, []
        return taken

    # -- time ----------------------------------------------------------------------------------

    def _next_due(self) -> Moment:
        """When something other than a quote happens next."""
        due = 2 * (self._session.close_ns if self._is_open else self._session.open_ns)
        if self._expiries:
            due = min(due, 2 * self._expiries[0])
        if self._arrivals:
            due = min(due, 2 * max(self._arrivals[0][0], self.now_ns) + 1)
        return due

    def _pass(self, due: Moment) -> None:
        while self._expiries and 2 * self._expiries[0] <= due:
            self._expire(heappop(self._expiries))
        if self._is_open and due >= 2 * self._session.close_ns:
            self._session = self._sessions.current_or_next(self.now_ns)
            self._is_open = False
        elif not self._is_open and due >= 2 * self._session.open_ns:
            self._is_open = True
        while self._arrivals and 2 * max(self._arrivals[0][0], self.now_ns) + 1 <= due:
            order = heappop(self._arrivals)[2]
            if order.id in self._orders:
                self._arrive(order)

    def _expire_at(self, at_ns: int, order_id: UUID) -> None:
        same = self._expiring.get(at_ns)
        if same is None:
            same = self._expiring[at_ns] = []
            heappush(self._expiries, at_ns)
        same.append(order_id)

    def _expire(self, at_ns: int) -> None:
        """End the orders of that instant that are still here, in order of acceptance."""
        over = [self._orders[i] for i in self._expiring.pop(at_ns) if i in self._orders]
        for order in sorted(over, key=_number):
            if self.remove(order.id):
                self._decisions.append(Closed(order, at_ns, OrderStatus.EXPIRED))

    # -- quotes --------------------------------------------------------------------------------

    def _see(self, quotes: Sequence[Quote]) -> None:
        if not quotes:
            return
        books = self._books
        if self._is_open:
            # The hot path: one look-up, one store, two comparisons per quote.
            for quote in quotes:
                try:
                    book = books[quote.symbol]
                except KeyError:
                    book = self._book(quote.symbol)
                book.last = quote
                if book.guard_ask < quote.ask and quote.bid < book.guard_bid:
                    continue
                self._touch(book, quote)
        else:
            for quote in quotes:
                self._book(quote.symbol).last = quote
        self.now_ns = max(self.now_ns, quotes[-1].ts)

    def _touch(self, book: SymbolBook, quote: Quote) -> None:
        """A quote inside the session that may concern orders of its symbol."""
        waiting = list(book.waiting.values())
        reached = book.reached(quote)
        if not waiting and not reached:
            return  # a missing side looks like a price of 0 to the guard
        sample = (waiting or reached)[0]
        problem = usable(quote, asset_class=sample.asset_class, session=self._session, now_ns=quote.ts)
        if problem is not None:
            for order in waiting + reached:
                self._tell(order, quote.ts, problem, quote)
            return
        book.forget(waiting, reached)
        arriving = {order.number for order in waiting}
        for order in sorted(waiting + reached, key=_number):
            is_arriving = order.number in arriving
            outcome = decide(order, quote, arriving=is_arriving, session=self._session, now_ns=quote.ts)
            self._follow(order, outcome, quote, arriving=is_arriving, now_ns=quote.ts)
        book.set_guard()

    def _arrive(self, order: Order) -> None:
        book, now_ns = self._book(order.symbol), self.now_ns
        outcome = decide(order, book.last, arriving=True, session=self._session, now_ns=now_ns)
        if book.last is not None and not (isinstance(outcome, Rest) and outcome.unusable):
            self._follow(order, outcome, book.last, arriving=True, now_ns=now_ns)
        elif isinstance(outcome, Rest) and order.is_immediate:
            self._drop(Closed(order, now_ns, OrderStatus.CANCELED, outcome.why, book.last))
        elif isinstance(outcome, Rest):
            if outcome.why is not Why.OUTSIDE_SESSION:
                self._tell(order, now_ns, outcome.why, book.last)
            book.wait(order)

    def _follow(
        self, order: Order, outcome: Fill | Rest, quote: Quote, *, arriving: bool, now_ns: int
    ) -> None:
        """Act on what a usable quote decided. The order is in no list of its book at this moment."""
        if isinstance(outcome, Fill):
            self._drop(Filled(order, now_ns, outcome))
        elif order.is_immediate:
            self._drop(Closed(order, now_ns, OrderStatus.CANCELED, outcome.why, quote))
        else:
            self._book(order.symbol).rest(order)
            if arriving:
                self._decisions.append(Rested(order, now_ns, quote))

    def _drop(self, decision: Filled | Closed) -> None:
        self._orders.pop(decision.order.id, None)
        self._told.pop(decision.order.id, None)
        self._decisions.append(decision)

    def _tell(self, order: Order, at_ns: int, why: Why, quote: Quote | None) -> None:
        told = self._told.setdefault(order.id, set())
        if why not in told:
            told.add(why)
            self._decisions.append(Refused(order, at_ns, why, quote))

    def _book(self, symbol: str) -> SymbolBook:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = SymbolBook()
        return book


def _ts(quote: Quote) -> int:
    return quote.ts


def _number(order: Order) -> int:
    return order.number
