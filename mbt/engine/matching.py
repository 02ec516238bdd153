"""Orders meet quotes in time: arrival, resting, expiry. The same code runs live, in replays and in tests."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from operator import is_, length_hint
from typing import TypeAlias
from uuid import UUID

import msgspec

from mbt.engine.book import Guard, SymbolBook, list_of
from mbt.engine.fills import Fill, Market, Why, decide, usable
from mbt.engine.nearest import Moment, Nearest, nearest_at, waits_for_stop
from mbt.engine.orders import FRESH, NEVER_NS, Order, OrderStatus, Progress, Side
from mbt.engine.packages import PackageQuote, package_quote
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Session, Sessions
from raxx.market.status import EVERYTHING


class Filled(msgspec.Struct, frozen=True, gc=False):
    """The order fills at `at_ns`. `leaves` is what it still works for; 0: it is done."""

    order: Order
    at_ns: int
    fill: Fill
    leaves: Decimal


class Rested(msgspec.Struct, frozen=True, gc=False):
    """The order met its first usable quote, was not filled by it, and works from now on."""

    order: Order
    at_ns: int
    quote: Market


class Advanced(msgspec.Struct, frozen=True, gc=False):
    """A quote moved a stop, triggered it, or told something else that the order must remember."""

    order: Order
    at_ns: int
    progress: Progress
    quote: Market


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The order ends, CANCELED or EXPIRED; `why` says what stood in the way, `nearest` how near the market came."""

    order: Order
    at_ns: int
    status: OrderStatus
    why: Why | None = None
    quote: Market | None = None
    nearest: Nearest | None = None


class Refused(msgspec.Struct, frozen=True, gc=False):
    """A quote that would have acted on the order could not be used. Told once per order and reason."""

    order: Order
    at_ns: int
    why: Why
    quote: Market | None


class Activated(msgspec.Struct, frozen=True, gc=False):
    """A fill of its entry lets this exit work, for `qty` more."""

    order: Order
    at_ns: int
    qty: Decimal


class Resized(msgspec.Struct, frozen=True, gc=False):
    """The exit is for less, `order.qty`: its sibling took some, or its entry ended and will fill no more.
    `taken` is what the sibling took of that for which it was at work."""

    order: Order
    at_ns: int
    taken: Decimal


Decision: TypeAlias = Filled | Rested | Advanced | Closed | Refused | Activated | Resized


class Matcher:
    """Working orders of any number of accounts against one stream of quotes.

    `accept` and `remove` orders, `advance` through quotes in tape order, `take` the decisions. Time
    is the stream's. At one instant things happen in this order: expiry, the opening of hours, quotes,
    then the orders that arrive at that instant (they see all of its quotes).
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        now_ns: int,
        in_force: Mapping[str, Quote] | None = None,
        keeps_nearest: bool = False,
    ) -> None:
        """`in_force`: the quotes in force at `now_ns`, when the stream is joined in its middle. `keeps_nearest`: it
        remembers how near the market came to its orders, which needs all quotes to be shown."""
        self.now_ns = now_ns
        self._keeps_nearest = keeps_nearest
        self._nearest: dict[int, Nearest] = {}  # by number: of orders that must see every quote, and of exits
        self._open_hours: frozenset[Hours] = frozenset()
        self._turns: Moment = 2 * NEVER_NS  # when hours open or close next
        self._sessions = sessions
        self._current: dict[Hours, Session] = {}
        self._books: dict[str, SymbolBook] = {}
        self._orders: dict[UUID, Order] = {}
        self._progress: dict[int, Progress] = {}  # of orders that have any, by number
        self._exits: dict[UUID, list[UUID]] = {}  # by the entry that activates them
        self._groups: dict[UUID, set[UUID]] = {}  # exits that share their quantity
        self._held: set[UUID] = set()
        self._coming: dict[UUID, Decimal] = {}  # what exits get at the end of this instant
        self._drawn: dict[
            UUID, tuple[tuple[Quote, ...], Decimal]
        ] = {}  # what a capped exit took of which quote
        self._halted: dict[str, int] = {}  # by symbol: until when it is, or was
        self._arrivals: list[tuple[Moment, int, Order]] = []  # heap
        self._expiries: list[int] = []  # heap of instants; day orders share theirs
        self._expiring: dict[int, list[UUID]] = {}  # by instant
        self._told: dict[int, set[Why]] = {}  # by number
        self._decisions: list[Decision] = []
        if keeps_nearest:
            self._turn(now_ns)
        self.skip_to((in_force or {}).values())

    def __contains__(self, order_id: UUID) -> bool:
        return order_id in self._orders

    def __len__(self) -> int:
        return len(self._orders)

    def order_ids(self) -> set[UUID]:
        return set(self._orders)

    def last_quote(self, symbol: str) -> Quote | None:
        book = self._books.get(symbol)
        return book.last if book else None

    def quotes(self) -> dict[str, Quote]:
        """All quotes in force, by symbol."""
        return {symbol: book.last for symbol, book in self._books.items() if book.last is not None}

    # -- orders --------------------------------------------------------------------------------

    def accept(
        self, order: Order, *, resting: bool = False, held: bool = False, progress: Progress = FRESH
    ) -> None:
        """Take an order in. It acts when it arrives, or now if that has passed.

        `resting`: it already met its first usable quote (known from the record after a restart).
        `held`: an exit that waits for a fill of its entry. Taking the same order in twice is harmless.
        """
        count = len(self._orders)
        self._orders.setdefault(order.id, order)
        if len(self._orders) == count:
            return
        if resting and _remembers_arrival(order):
            progress = msgspec.structs.replace(progress, arrived=True)
        if progress is not FRESH:
            self._progress[order.number] = progress
        if order.expires_ns != NEVER_NS:
            self._expire_at(order.expires_ns, order.id)
        if order.entry_id is not None:
            self._exits.setdefault(order.entry_id, []).append(order.id)
        if order.group_id is not None:
            self._groups.setdefault(order.group_id, set()).add(order.id)
        if held:
            self._held.add(order.id)
        elif resting:
            self._put_in(order, waits=False)
        else:
            self._arrive_at(2 * max(order.arrives_ns, order.accepted_ns) + 1, order)

    def remove(self, order_id: UUID) -> bool:
        """Forget an order that its owner canceled or replaced. Whether it was here.

        The exits of an entry are then for what it has filled; those that wait for its first fill must be
        removed as well.
        """
        if order_id not in self._orders:
            return False
        order = self._orders[order_id]
        self._take_out(order)  # its arrival or expiry still to come is skipped
        leaves = self._leaves(order)
        self._forget(order_id)
        self._settle_exits(order_id, leaves, self.now_ns)
        return True

    def remove_all(self, order_ids: Iterable[UUID]) -> None:
        """Forget these, exits before their entries: what the record says of them counts, not what entries that are
        over leave to them here."""
        for order_id in sorted(self._orders.keys() & set(order_ids), key=self._number_of, reverse=True):
            self.remove(order_id)

    def canceled_with(self, order_id: UUID) -> list[UUID]:
        """What else ends when the owner cancels this order, in order of acceptance: with an entry the exits that wait
        for its first fill, with an exit its sibling and an entry that still works."""
        order = self._orders[order_id]
        found = [exit_id for exit_id in self._exits.get(order_id, ()) if exit_id in self._held]
        found += self._groups.get(order.group_id, ()) if order.group_id is not None else ()
        if order.entry_id is not None and order.entry_id in self._orders:
            found += [order.entry_id, *self._exits[order.entry_id]]
        return sorted(set(found) - {order_id}, key=self._number_of)

    def halt(self, symbol: str, *, until_ns: int = NEVER_NS) -> None:
        """Nothing of that stock, its options included, trades before a quote stamped after `until_ns`; or nothing of
        that option; or, for EVERYTHING, nothing at all."""
        self._halted[symbol] = until_ns

    # -- nearest misses, if they are kept --------------------------------------------------------

    def nearest(self, order_id: UUID) -> Nearest | None:
        """How near the market came to an open order while it worked here; None where nothing is known of that."""
        order = self._orders.get(order_id)
        return self._nearest_of(order) if order is not None else None

    def nearest_since(self, at_ns: int) -> dict[UUID, Nearest]:
        """The nearest misses of open orders that came about at or after an instant."""
        orders = [order for book in self._books.values() for order in book.nearer_since(2 * at_ns)]
        orders += (
            [order for order in self._orders.values() if order.number in self._nearest]
            if self._nearest
            else ()
        )
        found = ((order.id, self._nearest_of(order)) for order in orders)
        return {
            order_id: nearest for order_id, nearest in found if nearest is not None and nearest.at_ns >= at_ns
        }

    # -- time ----------------------------------------------------------------------------------

    def advance(self, quotes: Sequence[Quote], now_ns: int) -> None:
        """Go through `quotes`: in tape order, all that there are after the last call and up to `now_ns`."""
        end: Moment = 2 * now_ns + 1
        seen = 0
        while True:
            due = self._next_due()
            stop = len(quotes) if due > end else bisect_left(quotes, (due + 1) // 2, lo=seen, key=_ts)
            if seen < stop:
                if self._turns <= 2 * quotes[stop - 1].ts:
                    stop = self._turn_before(quotes, seen, stop)
                seen = self._see(quotes, seen, stop)
            elif due <= end:
                self.now_ns = max(self.now_ns, due // 2)
                self._pass(due)
            else:
                break
        self.now_ns = max(self.now_ns, now_ns)

    def skip_to(self, in_force: Iterable[Quote]) -> None:
        """Take these for the last quotes of their symbols. They and those before them concern no order."""
        for quote in in_force:
            book = self._book(quote.symbol)
            if book.last != quote:  # else it may be the very update that an order has just taken size of
                book.last = quote

    def take(self) -> list[Decision]:
        """The decisions since the last call, in the order in which they fell."""
        taken, self._decisions = self._decisions, []
        return taken

    # -- for who shows it only the quotes that can matter ---------------------------------------

    def guard(self, symbol: str) -> Guard:
        """Until something else happens, quotes inside of it concern no order."""
        return self._book(symbol).guard

    def due_ns(self) -> int:
        """When something other than a quote happens next."""
        return self._next_due() // 2

    def arriving(self, until_ns: int) -> set[str]:
        """The symbols whose quotes in force the orders that arrive until then will be judged by."""
        found: set[str] = set()
        places = [0]
        for place in places:  # down the heap, no further than needed
            if place < len(self._arrivals) and self._arrivals[place][0] <= 2 * until_ns + 1:
                found.update(_symbols(self._arrivals[place][2]))
                places += (2 * place + 1, 2 * place + 2)
        return found

    # -- the calendar of arrivals and expiries --------------------------------------------------

    def _next_due(self) -> Moment:
        """When something other than a quote happens next."""
        due = 2 * self._expiries[0] if self._expiries else 2 * NEVER_NS
        if self._arrivals:
            due = min(due, max(self._arrivals[0][0], 2 * self.now_ns))
        return due

    def _turn_before(self, quotes: Sequence[Quote], start: int, stop: int) -> int:
        """Make ready for quotes[start:], and say how many of them lie before hours open or close next."""
        if self._turns <= 2 * quotes[start].ts:
            self._turn(quotes[start].ts)
        return bisect_left(quotes, self._turns // 2, lo=start, hi=stop, key=_ts)

    def _turn(self, at_ns: int) -> None:
        """Hours opened or closed: what quotes count for changes."""
        opens: set[Hours] = set()
        self._turns = 2 * NEVER_NS
        for hours in Hours:
            try:
                session = self._session(hours, at_ns)
            except LookupError:  # the calendar ends here
                continue
            is_open = session.is_open(at_ns, hours)
            self._turns = min(
                self._turns, 2 * (session.closes_ns(hours) if is_open else session.opens_ns(hours))
            )
            if is_open:
                opens.add(hours)
        if opens != self._open_hours:
            self._open_hours = frozenset(opens)
            for book in self._books.values():
                book.turn(self._open_hours)

    def _pass(self, due: Moment) -> None:
        while self._expiries and 2 * self._expiries[0] <= due:
            self._expire(heappop(self._expiries))
        if self._turns <= due:
            self._turn(due // 2)
        while self._arrivals and self._arrivals[0][0] <= due:
            moment, _, order = heappop(self._arrivals)
            if order.id in self._orders:
                self._come(self._orders[order.id], before_quotes=moment % 2 == 0)

    def _arrive_at(self, moment: Moment, order: Order) -> None:
        heappush(self._arrivals, (moment, order.number, order))

    def _expire_at(self, at_ns: int, order_id: UUID) -> None:
        same = self._expiring.get(at_ns)
        if same is None:
            same = self._expiring[at_ns] = []
            heappush(self._expiries, at_ns)
        same.append(order_id)

    def _expire(self, at_ns: int) -> None:
        """End the orders of that instant that are still here, in order of acceptance."""
        over = [self._orders[i] for i in self._expiring.pop(at_ns) if i in self._orders]
        for order_id in [order.id for order in sorted(over, key=_number)]:
            order = self._orders.get(order_id)
            if order is not None:  # else its entry took it along
                nearest = self._nearest_of(order)
                self._take_out(order)
                self._end(Closed(order, at_ns, OrderStatus.EXPIRED, nearest=nearest))

    def _session(self, hours: Hours, at_ns: int) -> Session:
        """The session whose `hours` are in progress at `at_ns`, or the next."""
        known = self._current.get(hours)
        if known is None or at_ns >= known.closes_ns(hours):
            known = self._current[hours] = self._sessions.current_or_next(at_ns, hours)
        return known

    # -- quotes --------------------------------------------------------------------------------

    def _see(self, quotes: Sequence[Quote], start: int, stop: int) -> int:
        """Go through quotes[start:stop], or to the end of the instant in which a fill lets an exit in, which
        arrives before later quotes. How far it went."""
        books, halted = self._books, self._halted
        ahead = iter(quotes[start:stop] if stop - start < len(quotes) else quotes)
        # The hot path: one look-up, one store, two chained comparisons per quote.
        for quote in ahead:
            try:
                book = books[quote.symbol]
            except KeyError:
                book = self._book(quote.symbol)
            book.last = quote
            if book.ask_low < quote.ask < book.ask_high and book.bid_low < quote.bid < book.bid_high:
                continue
            if halted and self._is_halted(book, quote):
                pass  # it comes near to nothing, and is told of
            elif not book.note(quote):
                continue
            self._touch(book, quote)
            if self._arrivals and self._arrivals[0][0] <= 2 * quote.ts + 1:
                end = bisect_right(quotes, quote.ts, lo=start, hi=stop, key=_ts)
                if end < stop:
                    here = stop - length_hint(ahead)
                    return self._see(quotes, here, end) if here < end else end
        self.now_ns = max(self.now_ns, quotes[stop - 1].ts)
        return stop

    def _touch(self, book: SymbolBook, quote: Quote) -> None:
        """A quote that may concern orders of its symbol."""
        if not book.waiting and not book.watching and self._hit(book, quote):
            return
        now_ns, cuts = quote.ts, book.cuts(quote)
        waiting, reached, watching = (
            list(book.waiting.values()),
            [entry[2] for entries, count in cuts for entry in entries[:count]],
            list(book.watching.values()),
        )
        verdicts: dict[tuple[Hours, str], Why | None] = {}
        due: list[tuple[Order, Market]] = []
        for order in waiting + reached + watching:
            market: Market | None = quote
            if order.legs:
                market, why = self._package(order, now_ns)
            else:
                key = (order.hours, order.underlying)
                if key not in verdicts:
                    verdicts[key] = self._unusable(order, quote, now_ns)
                why = verdicts[key]
            if why is None and market is not None:
                due.append((order, market))
            elif why is not None and why is not Why.OUTSIDE_SESSION:
                self._tell(order, now_ns, why, market)
        if len(due) == len(waiting) + len(reached) + len(watching) and not watching:
            book.waiting.clear()
            book.cut(cuts)
        else:
            for order, _ in due:
                self._take_out(order)
        arriving = {order.number for order in waiting}
        due.sort(key=_by_number)
        for order, market in due:
            current = self._orders.get(order.id)
            if current is None:
                continue  # its sibling has just filled
            is_first = order.number in arriving
            if order.legs:
                is_first = not self._progress.get(order.number, FRESH).arrived
            self._judge(current, market, arriving=is_first, now_ns=now_ns)
        book.set_guard()

    def _hit(self, book: SymbolBook, quote: Quote) -> bool:
        """Act on the resting orders that a quote reaches, when it concerns no others and they all trade in the
        same hours. Whether that was so."""
        cuts = book.cuts(quote)
        reached = [entry[2] for entries, count in cuts for entry in entries[:count]]
        if not reached:
            return True  # a missing side looks like a price of 0 to the guard
        now_ns, hours = quote.ts, reached[0].hours
        if len(reached) > 1:
            if any(order.hours is not hours for order in reached):
                return False
            reached.sort(key=_number)
        why = self._unusable(reached[0], quote, now_ns)
        if why is None:
            book.cut(cuts)
            for order in reached:
                current = order if order is reached[0] else self._orders.get(order.id)
                if current is not None:  # else its sibling has just filled
                    self._judge(current, quote, arriving=False, now_ns=now_ns)
        elif why is not Why.OUTSIDE_SESSION:
            for order in reached:
                self._tell(order, now_ns, why, quote)
        book.set_guard()  # whatever became of them: for others it may be the nearest so far
        return True

    def _come(self, order: Order, *, before_quotes: bool) -> None:
        """The instant of an arrival. An exit comes again whenever its entry fills more."""
        self._coming.pop(order.id, None)
        if order.entry_id is not None:
            if self._keeps_nearest and (nearest := self._nearest_of(order)) is not None:
                self._nearest[order.number] = nearest
            self._take_out(order)
        if self._room(order) > 0:
            self._arrive(order, before_quotes=before_quotes)

    def _arrive(self, order: Order, *, before_quotes: bool) -> None:
        """`before_quotes`: its hours open at this instant, and it waits for what they bring."""
        now_ns = self.now_ns
        market, why = self._in_force(order, now_ns)
        if why is None and market is not None and not before_quotes:
            self._judge(order, market, arriving=True, now_ns=now_ns, after_quotes=True)
            return
        if order.is_immediate:
            self._end(Closed(order, now_ns, order.unfilled, why, market))
            return
        session = self._session(order.hours, now_ns)
        if not session.is_open(now_ns, order.hours):
            self._arrive_at(2 * session.opens_ns(order.hours), order)
            return
        if why is not None and why is not Why.OUTSIDE_SESSION:
            self._tell(order, now_ns, why, market)
        self._put_in(order, waits=not self._progress.get(order.number, FRESH).arrived)

    def _judge(
        self, order: Order, market: Market, *, arriving: bool, now_ns: int, after_quotes: bool = False
    ) -> None:
        """Act on a usable quote. The order is in no list of a book at this moment. `after_quotes`: all of this
        instant are in."""
        before = self._progress.get(order.number, FRESH)
        asked = order
        if order.entry_id is not None:
            room = self._room(order)
            if room <= 0:
                return  # it has sold all that was bought so far, and sees nothing until its entry fills more
            drawn = self._drawn_of(order, market)
            if drawn:
                room = min(room, (market.ask_size if order.side is Side.BUY else market.bid_size) - drawn)
                if room <= 0:
                    self._put_in(order, waits=False)
                    return
            asked = msgspec.structs.replace(order, qty=before.filled + room)
        outcome, after = decide(asked, market, before, arriving=arriving)
        if _remembers_arrival(order) and not after.arrived:
            after = msgspec.structs.replace(after, arrived=True)
        if isinstance(outcome, Fill):
            leaves = order.qty - after.filled if order.notional is None else Decimal(0)
            if leaves and not order.fills_once:
                self._note(order, before, after, market, now_ns)  # it goes on, and must not forget
            self._filled(order, outcome, after, leaves, now_ns)
        elif order.fills_once:
            self._end(Closed(order, now_ns, order.unfilled, outcome.why, market))
        else:
            self._note(order, before, after, market, now_ns)
            if arriving and not before.arrived:
                self._decisions.append(Rested(order, now_ns, market))
            self._put_in(order, waits=False, market=market, since=2 * now_ns + after_quotes)

    def _filled(self, order: Order, fill: Fill, after: Progress, leaves: Decimal, now_ns: int) -> None:
        self._decisions.append(Filled(order, now_ns, fill, leaves))
        if leaves:
            self._progress[order.number] = after
        if order.entry_id is not None and order.size_cap:
            drawn = self._drawn_of(order, fill.quote) + fill.qty
            self._drawn[order.id] = (_parts(fill.quote), drawn)
        if not leaves:
            self._forget(order.id)
        if order.group_id is not None:
            self._shrink_siblings(order.group_id, order, fill.qty, now_ns)
        if self._exits:
            self._activate_exits(order, fill.qty, now_ns)
        if not leaves:
            return
        if order.fills_once:
            self._end(Closed(order, now_ns, order.unfilled, Why.SIZE_TOO_SMALL, fill.quote))
        else:
            self._put_in(order, waits=False)

    # -- orders that belong together -----------------------------------------------------------

    def _room(self, order: Order) -> Decimal:
        """How much of the order may fill now: of an exit what its entry has bought and its group not sold."""
        leaves = self._leaves(order)
        if order.entry_id is None:
            return leaves
        entry = self._orders.get(order.entry_id)
        unbought = self._leaves(entry) if entry is not None else Decimal(0)
        return leaves - unbought - self._coming.get(order.id, Decimal(0))

    def _drawn_of(self, order: Order, market: Market) -> Decimal:
        """How much of this very quote the exit has taken already."""
        parts, qty = self._drawn.get(order.id, ((), Decimal(0)))
        return qty if len(parts) and all(map(is_, parts, _parts(market))) else Decimal(0)

    def _leaves(self, order: Order) -> Decimal:
        return order.qty - self._progress.get(order.number, FRESH).filled

    def _shrink_siblings(self, group_id: UUID, order: Order, qty: Decimal, now_ns: int) -> None:
        """The group has `qty` less to exit from."""
        for sibling_id in sorted(self._groups.get(group_id, ()), key=self._number_of):
            if sibling_id == order.id:
                continue
            sibling = self._orders[sibling_id]
            if self._leaves(sibling) <= qty:
                nearest = self._nearest_of(sibling)
                self._take_out(sibling)
                why = Why.OCO_SIBLING_FILLED
                self._end(Closed(sibling, now_ns, OrderStatus.CANCELED, why, nearest=nearest))
            else:
                self._resize(sibling, sibling.qty - qty, now_ns, taken=qty)

    def _activate_exits(self, entry: Order, qty: Decimal, now_ns: int) -> None:
        """They arrive once all quotes of this instant have been seen."""
        for exit_id in list(self._exits.get(entry.id, ())):
            order = self._orders[exit_id]
            self._held.discard(exit_id)
            self._decisions.append(Activated(order, now_ns, qty))
            if exit_id not in self._coming:
                self._arrive_at(2 * now_ns + 1, order)
            self._coming[exit_id] = self._coming.get(exit_id, Decimal(0)) + qty

    def _settle_exits(self, entry_id: UUID, unbought: Decimal, now_ns: int) -> None:
        """Their entry ended: those at work are for what it has bought, or over when all of that is sold already."""
        for exit_id in [i for i in self._exits.get(entry_id, ()) if i not in self._held]:
            order = self._orders[exit_id]
            filled = self._progress.get(order.number, FRESH).filled
            qty = order.qty - unbought
            if qty > 0:
                order = self._resize(order, qty, now_ns, taken=Decimal(0))
            if qty > filled:
                continue
            nearest = self._nearest_of(order)
            self._take_out(order)
            if filled:
                self._end(Closed(order, now_ns, OrderStatus.FILLED))
            else:
                why = Why.OCO_SIBLING_FILLED
                self._end(Closed(order, now_ns, OrderStatus.CANCELED, why, nearest=nearest))

    def _resize(self, order: Order, qty: Decimal, now_ns: int, *, taken: Decimal) -> Order:
        """Change the quantity of an order, wherever it stands."""
        resized = msgspec.structs.replace(order, qty=qty)
        self._decisions.append(Resized(resized, now_ns, taken))
        self._orders[order.id] = resized
        triggered = self._progress.get(order.number, FRESH).triggered
        for symbol in _symbols(order):
            book = self._book(symbol)
            was_waiting = order.number in book.waiting
            if book.remove(order, triggered=triggered) and self._room(resized) > 0:
                book.wait(resized) if was_waiting else book.rest(resized, triggered=triggered)
        return resized

    # -- the parts -----------------------------------------------------------------------------

    def _in_force(self, order: Order, now_ns: int) -> tuple[Market | None, Why | None]:
        if order.legs:
            return self._package(order, now_ns)
        quote = self._book(order.symbol).last
        return quote, self._unusable(order, quote, now_ns)

    def _package(self, order: Order, now_ns: int) -> tuple[Market | None, Why | None]:
        """The package's market now, or the first leg's quote that makes it unusable, and why."""
        quotes = []
        for leg in order.legs:
            quote = self._book(leg.symbol).last
            why = self._unusable(order, quote, now_ns)
            if why is not None or quote is None:
                return quote, why or Why.NO_QUOTE
            quotes.append(quote)
        return package_quote(order.legs, quotes), None

    def _unusable(self, order: Order, quote: Quote | None, now_ns: int) -> Why | None:
        session = self._session(order.hours, now_ns)
        until_ns = self._halted_until(order, quote.symbol if quote else order.symbol) if self._halted else -1
        if until_ns >= 0 and session.is_open(now_ns, order.hours):
            seen = quote is not None and session.is_open(quote.ts, order.hours)
            if now_ns < until_ns or (seen and quote is not None and quote.ts <= until_ns):
                return Why.HALTED
        return usable(quote, order, session=session, now_ns=now_ns)

    def _put_in(
        self, order: Order, *, waits: bool, market: Market | None = None, since: Moment | None = None
    ) -> None:
        """Into the books. `waits`: for its first usable quote. `market`: what it was judged by just now, and did not
        fill on; quotes `since` then count for its nearest miss."""
        progress = self._progress.get(order.number, FRESH)
        if order.entry_id is not None and self._room(order) <= 0:
            return
        if market is not None and since is not None and self._keeps_nearest:
            self._miss(order, market, progress, since // 2)
        if order.legs:
            for leg in order.legs:
                self._book(leg.symbol).watch(order)
        elif waits:
            self._book(order.symbol).wait(order)
        else:
            quote = market if isinstance(market, Quote) else None
            self._book(order.symbol).rest(order, triggered=progress.triggered, since=since, quote=quote)

    # -- nearest misses ------------------------------------------------------------------------

    def _miss(self, order: Order, market: Market, progress: Progress, at_ns: int) -> None:
        """Remember how near the market is to an order that must see every quote. The books do so for the others."""
        if not _sees_all(order, progress):
            return
        nearest = nearest_at(order, market, progress, at_ns)
        known = self._nearest.get(order.number)
        if nearest is not None and (known is None or _is_nearer(nearest, known)):
            self._nearest[order.number] = nearest

    def _nearest_of(self, order: Order) -> Nearest | None:
        if not self._keeps_nearest:
            return None
        progress = self._progress.get(order.number, FRESH)
        known = self._nearest.get(order.number)
        if known is not None and known.to_stop != waits_for_stop(order, progress):
            known = None  # it was on its way to its stop, and now is to its limit
        found = None
        if not order.legs:
            found = self._book(order.symbol).nearest(order, triggered=progress.triggered)
        if found is None:
            return known
        since, quote = found
        nearest = nearest_at(order, quote, progress, max(quote.ts, since // 2))
        return known if nearest is None or (known is not None and not _is_nearer(nearest, known)) else nearest

    def _is_halted(self, book: SymbolBook, quote: Quote) -> bool:
        order = book.anyone()
        return order is not None and quote.ts <= self._halted_until(order, quote.symbol)

    def _halted_until(self, order: Order, symbol: str) -> int:
        """Until when `symbol`, which the order trades, is halted or was; -1: never."""
        halted = self._halted
        return max(halted.get(order.underlying, -1), halted.get(symbol, -1), halted.get(EVERYTHING, -1))

    # -- in and out ----------------------------------------------------------------------------

    def _take_out(self, order: Order) -> None:
        """Out of every list of every book, if it is in any."""
        triggered = self._progress.get(order.number, FRESH).triggered
        for symbol in _symbols(order):
            self._book(symbol).remove(order, triggered=triggered)

    def _end(self, decision: Closed) -> None:
        """End an order; its exits end with it, or are for what it filled."""
        order = decision.order
        leaves = self._leaves(order)
        held = [self._orders[i] for i in self._exits.get(order.id, ()) if i in self._held]
        self._forget(order.id)
        self._decisions.append(decision)
        self._settle_exits(order.id, leaves, decision.at_ns)
        for waiting in held:
            self._end(Closed(waiting, decision.at_ns, OrderStatus.CANCELED, Why.PARENT_ENDED))

    def _forget(self, order_id: UUID) -> None:
        order = self._orders.pop(order_id)
        self._told.pop(order.number, None)
        self._progress.pop(order.number, None)
        self._nearest.pop(order.number, None)
        if order.group_id is not None and (group := self._groups.get(order.group_id)) is not None:
            group.discard(order_id)
            if not group:
                del self._groups[order.group_id]
        if order.entry_id is not None:
            self._held.discard(order_id)
            self._coming.pop(order_id, None)
            self._drawn.pop(order_id, None)
            if (exits := self._exits.get(order.entry_id)) is not None:
                exits.remove(order_id)
                if not exits:
                    del self._exits[order.entry_id]

    def _note(self, order: Order, before: Progress, after: Progress, market: Market, now_ns: int) -> None:
        if after is before:
            return
        self._progress[order.number] = after
        if (after.triggered, after.mark, after.joined) != (before.triggered, before.mark, before.joined):
            self._decisions.append(Advanced(order, now_ns, after, market))

    def _tell(self, order: Order, at_ns: int, why: Why, quote: Market | None) -> None:
        told = self._told.setdefault(order.number, set())
        if why not in told:
            told.add(why)
            self._decisions.append(Refused(order, at_ns, why, quote))

    def _number_of(self, order_id: UUID) -> int:
        return self._orders[order_id].number

    def _book(self, symbol: str) -> SymbolBook:
        book = self._books.get(symbol)
        if book is None:
            book = self._books[symbol] = SymbolBook(self._open_hours)
        return book


def _symbols(order: Order) -> tuple[str, ...]:
    return tuple(leg.symbol for leg in order.legs) if order.legs else (order.symbol,)


def _remembers_arrival(order: Order) -> bool:
    """Whether its progress says that it met its first usable quote; of other orders their place in the book does."""
    return bool(order.legs) or order.entry_id is not None


def _sees_all(order: Order, progress: Progress) -> bool:
    """Whether no price says which quotes can act on it."""
    return list_of(order, triggered=progress.triggered) is None


def _is_nearer(one: Nearest, other: Nearest) -> bool:
    return one.to_stop is not other.to_stop or (one.away, one.at_ns) < (other.away, other.at_ns)


def _parts(market: Market) -> tuple[Quote, ...]:
    return market.legs if isinstance(market, PackageQuote) else (market,)


def _ts(quote: Quote) -> int:
    return quote.ts


def _number(order: Order) -> int:
    return order.number


def _by_number(due: tuple[Order, Market]) -> int:
    return due[0].number
