"""The engine of one feed: the only thing that fills its orders.

It takes orders in, shows each quote once to the pure `Matcher`, and settles what the matcher decided.
PostgreSQL is the truth: after any crash `start` rebuilds everything from there and goes on from the last
settled instant. `run` is the live loop; a driver of recorded or simulated time calls `advance` itself.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec
import structlog
from django.db import DatabaseError, connection, connections

from mbt import selectors
from mbt.engine.matching import Decision, Matcher
from mbt.engine.nearest import Nearest
from mbt.engine.orders import NEVER_NS, OrderStatus
from mbt.models import EngineState
from mbt.services import fills
from mbt.services.engine import halts
from mbt.services.engine.bell import Bell
from mbt.services.events import corporate_actions, schedule
from mbt.services.events.schedule import Calendar, Moment
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError
from raxx.market.board import Board, MarketDataUnavailable
from raxx.market.feeds.base import Batch, Feed
from raxx.market.quotes import Quote
from raxx.market.services import instruments
from raxx.market.status import TradingStatus

log = structlog.get_logger(__name__)

IDLE_S = 0.005  # how long a quiet loop sleeps: the feed's clock moves in such steps
PUBLISH_EVERY_NS = 50_000_000
SWEEP_EVERY_S = 1.0  # finds orders whose bell was lost
RECONCILE_EVERY_S = 30.0  # finds everything else that was lost
POSITION_EVERY_S = 1.0
NOTE_EVERY_NS = 60 * clock.SECOND_NS  # of the feed's time


# An order in these states has met its first usable quote.
_RESTING = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


class EngineAlreadyRunning(RaxxError):
    """Another process holds the engine's lock for this feed."""

    code = "ENGINE_ALREADY_RUNNING"
    http_status = 409


class Engine:
    """Use `start`, then either `run` (live) or `advance` (driven); `stop` ends a `run` from a signal handler."""

    def __init__(
        self, feed: Feed, board: Board | None = None, *, known: Calendar = schedule.NOTHING_KNOWN
    ) -> None:
        """`known`: what is known of dividends and interest on this feed."""
        self.feed = feed
        self._board = board
        self._known = known
        self._moment = schedule.UNKNOWN  # the next at which something is due
        self._matcher = Matcher(feed.sessions, now_ns=0)
        self._unpublished: dict[str, Quote] = {}
        self._halts: dict[str, TradingStatus] = {}  # the last of each symbol, also when it is over
        self._published_ns = 0
        self._noted_ns = 0  # nearest misses are recorded up to here
        self._listed_on: date | None = None
        self._stopping = threading.Event()
        self._unsettled: Callable[[], Set[UUID]] = (
            frozenset  # orders with decisions that the record does not have yet
        )

    @property
    def now_ns(self) -> int:
        return self._matcher.now_ns

    def last_quote(self, symbol: str) -> Quote | None:
        return self._matcher.last_quote(symbol)

    def start(self) -> None:
        """Take the lock and rebuild from PostgreSQL. Raises EngineAlreadyRunning."""
        self._lock()
        instruments.load(feed=self.feed.name, found=self.feed.instruments())
        state = EngineState.objects.filter(pk=self.feed.name).first()
        in_force = self.feed.start(state.position_ns if state else None)
        in_force = corporate_actions.in_terms_of_now(self.feed.name, in_force)
        position_ns = state.position_ns if state else 0
        self._matcher = Matcher(self.feed.sessions, now_ns=position_ns, in_force=in_force, keeps_nearest=True)
        self._noted_ns = position_ns
        for status in halts.known_at(self.feed.name, self.now_ns):
            self._halt(status)
        fills.take_back(self.feed.name)
        self._unpublished = dict(in_force)
        taken = self.take_in()
        if state is not None:
            self._wait_after(state.events_ns or state.position_ns, state.position_ns)
        log.info("engine started", feed=self.feed.name, orders=taken, resumed=state is not None)

    # -- one step at a time ------------------------------------------------------------------------

    def take_in(self, ids: Iterable[UUID] | None = None) -> int:
        """Load open orders (all, or these) that the matcher does not have yet. How many."""
        taken = 0
        # Asked before the record is read: an order that ended here may be open there until its end is settled.
        unsettled = self._unsettled()
        for order in selectors.open_orders(self.feed.name, ids):
            if order.pk not in self._matcher and order.pk not in unsettled:
                self._matcher.accept(
                    selectors.to_engine(order), resting=order.status in _RESTING, progress=selectors.progress_of(order),
                    held=order.status == OrderStatus.HELD,
                )  # fmt: skip
                taken += 1
        return taken

    def forget(self, ids: Iterable[UUID]) -> None:
        """Drop orders that their owner ended."""
        gone = set(ids)
        found = ((order_id, self._matcher.nearest(order_id)) for order_id in gone)
        fills.note_nearest({order_id: nearest for order_id, nearest in found if nearest is not None})
        self._matcher.remove_all(gone)

    def _read_anew(self, ids: Collection[UUID]) -> None:
        """Orders that the matcher worked on fills which the record does not have."""
        if ids:
            self.forget(ids)
            self._reconcile()

    def match(self, batch: Batch) -> list[Decision]:
        """Show a batch to the matcher. The decisions are not settled yet."""
        quotes = batch.quotes
        for status in batch.statuses:  # each goes before the quotes of its instant
            cut = bisect_left(quotes, status.ts, key=_ts)
            self._matcher.advance(quotes[:cut], max(self.now_ns, status.ts - 1))
            quotes = quotes[cut:]
            self._hear(status)
        self._matcher.advance(quotes, batch.now_ns)
        if self._board is not None:
            self._unpublished.update({quote.symbol: quote for quote in batch.quotes})
        return self._matcher.take()

    def _hear(self, status: TradingStatus) -> None:
        """Somebody is halted, or trades again. Recorded first: a crash before the next settled instant hears it anew."""
        halts.record(self.feed.name, status)
        if not status.is_halt:
            before = self._halts.get(status.symbol)
            if before is None:
                return
            status = msgspec.structs.replace(before, until_ns=status.ts)
        self._halt(status)
        log.info(
            "halt", feed=self.feed.name, symbol=status.symbol, reason=status.reason, until_ns=status.until_ns
        )

    def _halt(self, status: TradingStatus) -> None:
        self._halts[status.symbol] = status
        self._matcher.halt(status.symbol, until_ns=NEVER_NS if status.until_ns is None else status.until_ns)

    def advance(self, batch: Batch) -> fills.Applied:
        """Match and settle a batch with the events that fall into it, and tell the board: for drivers that own the
        time."""
        effective = too_late = 0
        for part, moment in self._parts(batch):
            decisions = self.match(part)
            applied = fills.apply(decisions, feed=self.feed.name, position_ns=self.now_ns, now=clock.now())
            effective, too_late = effective + applied.effective, too_late + applied.too_late
            self._read_anew(applied.stale)
            if moment is not None:
                self._carry_out(moment)
        if self._must_note():
            self.note_nearest()
        self.publish()
        return fills.Applied(effective, too_late)

    def _parts(self, batch: Batch) -> Iterator[tuple[Batch, Moment | None]]:
        """The batch, cut after every instant at which something is due."""
        if self._moment.at_ns < 0:
            before_ns = batch.quotes[0].ts - 1 if batch.quotes else batch.now_ns
            self._wait_after(before_ns, before_ns)
        while self._moment.at_ns <= batch.now_ns:
            moment = self._moment
            cut = bisect_right(batch.quotes, moment.at_ns, key=_ts)
            told = bisect_right(batch.statuses, moment.at_ns, key=_instant)
            yield Batch(batch.quotes[:cut], moment.at_ns, batch.statuses[:told]), moment
            batch = Batch(batch.quotes[cut:], batch.now_ns, batch.statuses[told:])
        yield batch, None

    def _wait_after(self, events_ns: int, position_ns: int) -> None:
        """Wait for what is due after `events_ns`; what a crash left undone until `position_ns` is done now."""
        schedule.begin(self.feed.name, events_ns, position_ns, clock.now())
        self._moment = schedule.next_moment(self.feed.sessions, events_ns)
        while self._moment.at_ns <= position_ns:
            self._carry_out(self._moment)

    def _carry_out(self, moment: Moment) -> None:
        """What is due now, with everything before it settled. Done twice, after a crash, it changes nothing."""
        effects = schedule.carry_out(
            moment,
            feed=self.feed.name,
            sessions=self.feed.sessions,
            quote_of=self.last_quote,
            known=self._known,
            quotes_of=self._quotes,
        )
        schedule.note(self.feed.name, moment)
        self._moment = schedule.next_moment(self.feed.sessions, moment.at_ns)
        if effects.changed or effects.quotes:
            self._start_over(effects.quotes)
            return
        self.forget(effects.ended)
        if effects.sent:
            self.take_in(effects.sent)

    def _quotes(self) -> dict[str, Quote]:
        """All quotes in force."""
        return self._matcher.quotes()

    def _start_over(self, quotes: Mapping[str, Quote]) -> None:
        """What orders say, or what quotes are of, is something else now: build the matcher from the record, as after
        a crash. Everything before is settled, so nothing is lost."""
        in_force = {**self._quotes(), **quotes}
        self.note_nearest()
        self._matcher = Matcher(self.feed.sessions, now_ns=self.now_ns, in_force=in_force, keeps_nearest=True)
        for status in self._halts.values():
            self._halt(status)
        if self._board is not None:
            self._unpublished.update(quotes)
        self.take_in()

    def note_nearest(self) -> None:
        """Record how near the market came to open orders since the last time. What a crash loses of it is no more
        than a minute's."""
        fills.note_nearest(self._nearer())

    def _must_note(self) -> bool:
        return self.now_ns - self._noted_ns >= NOTE_EVERY_NS

    def _nearer(self) -> dict[UUID, Nearest]:
        found = self._matcher.nearest_since(self._noted_ns)
        self._noted_ns = self.now_ns
        return found

    def publish(self) -> None:
        """Put the latest quotes and the clock on the board. Without Valkey the engine still fills."""
        if self._board is None:
            return
        try:
            halted = [h for h in self._halts.values() if h.until_ns is None or self.now_ns < h.until_ns]
            self._board.publish(
                self._unpublished.values(), now_ns=self.now_ns, wall_ns=clock.now_ns(), halts=halted
            )
        except MarketDataUnavailable as failure:
            log.warning("board not published", feed=self.feed.name, reason=failure.message)
        else:
            self._unpublished.clear()

    # -- live --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until the feed ends or `stop` is called. Leaves only with everything settled, or with an error."""
        settler = _Settler(self.feed.name)
        bell = Bell()
        settler.start()
        self._unsettled = settler.unsettled
        bell.start()
        try:
            self._loop(settler, bell)
        finally:
            bell.stop()
            settler.finish(self.now_ns)
            self._unsettled = frozenset
            self.note_nearest()
            self.publish()
        log.info("engine stopped", feed=self.feed.name, orders=len(self._matcher))

    def stop(self) -> None:
        self._stopping.set()

    def _loop(self, settler: "_Settler", bell: Bell) -> None:
        swept = reconciled = time.monotonic()
        while not self._stopping.is_set():
            settler.check()
            if stale := settler.take_stale():
                settler.drain()
                self._read_anew(stale | settler.take_stale())
            rung = bell.take()
            if rung:
                self.take_in(rung)
                self.forget(set(rung) - selectors.open_order_ids(rung))
            now = time.monotonic()
            if now - swept > SWEEP_EVERY_S:
                swept = now
                self.take_in(selectors.waiting_order_ids(self.feed.name) - self._matcher.order_ids())
            if now - reconciled > RECONCILE_EVERY_S:
                reconciled = now
                self._reconcile()
            batch = self.feed.poll(0.0)
            if batch is None:
                return
            for part, moment in self._parts(batch):
                settler.offer(self.match(part), self.now_ns, at_once=moment is not None)
                if moment is not None:
                    settler.drain()
                    self._carry_out(moment)
            if self._must_note():
                settler.note(self._nearer())
            if clock.now_ns() - self._published_ns > PUBLISH_EVERY_NS:
                self._published_ns = clock.now_ns()
                self.publish()
            if not batch.quotes:
                bell.wait(IDLE_S)

    def _reconcile(self) -> None:
        self._refresh_instruments()
        fills.take_back(self.feed.name)
        ids = self._matcher.order_ids()
        self.forget(ids - selectors.open_order_ids(ids))
        self.take_in()

    def _refresh_instruments(self) -> None:
        """A new session may list new contracts."""
        day = self.feed.sessions.current_or_next(self.now_ns).date
        if day != self._listed_on:
            self._listed_on = day
            instruments.load(feed=self.feed.name, found=self.feed.instruments())

    def _lock(self) -> None:
        """A session lock: it is gone as soon as this process or its connection is."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [f"mbt.engine:{self.feed.name}"]
            )
            if not cursor.fetchone()[0]:
                raise EngineAlreadyRunning(
                    f"An engine for the feed {self.feed.name} is already running.",
                    value=self.feed.name,
                    rule="one engine per feed",
                    remedy="Stop the other one first.",
                )


def _ts(quote: Quote) -> int:
    return quote.ts


def _instant(status: TradingStatus) -> int:
    return status.ts


@dataclass(frozen=True, slots=True)
class _Offer:
    decisions: list[Decision]
    position_ns: int


class _Settler(threading.Thread):
    """Settles in the background, in order. While one batch commits, the next one grows: under load
    batches get large and the cost per fill small."""

    BACKLOG_MAX = 50_000
    TRIES_MAX = 6

    def __init__(self, feed: str) -> None:
        super().__init__(name="settler", daemon=True)
        self._feed = feed
        self._offers: deque[_Offer] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._finishing = False
        self._settling = False
        self._stale: set[UUID] = set()
        self._nearest: dict[UUID, Nearest] = {}
        self._queued: set[UUID] = set()
        self._in_hand: set[UUID] = set()
        self._failure: BaseException | None = None
        self._settled_at = 0.0

    def offer(self, decisions: list[Decision], position_ns: int, *, at_once: bool = False) -> None:
        """Queue decisions; waits while the backlog is full. A bare position is noted about once a second, or
        `at_once`."""
        due = at_once or time.monotonic() - self._settled_at > POSITION_EVERY_S
        if not decisions and not due:
            return
        with self._changed:
            while self._size > self.BACKLOG_MAX and self._failure is None:
                self._changed.wait(1.0)
            self._offers.append(_Offer(decisions, position_ns))
            self._size += len(decisions)
            self._queued.update(decision.order.id for decision in decisions)
            self._changed.notify_all()
        if due:
            self._settled_at = time.monotonic()

    def note(self, nearest: dict[UUID, Nearest]) -> None:
        """Have nearest misses recorded after the next batch, which comes within about a second."""
        with self._changed:
            self._nearest |= nearest

    def drain(self) -> None:
        """Wait until everything offered is settled. Raises what `check` raises."""
        with self._changed:
            while (self._offers or self._settling) and self._failure is None:
                self._changed.wait(1.0)
        self.check()

    def unsettled(self) -> Set[UUID]:
        """Orders about which something was decided that the record does not have yet."""
        with self._changed:
            return self._queued | self._in_hand

    def take_stale(self) -> set[UUID]:
        """Orders that the matcher must read anew, since the last call."""
        if not self._stale:
            return set()
        with self._changed:
            taken, self._stale = self._stale, set()
        return taken

    def check(self) -> None:
        """Raises what made settling impossible: the process then ends, and the next one rebuilds."""
        if self._failure is not None:
            raise self._failure

    def finish(self, position_ns: int) -> None:
        """Settle what is queued, then end. Raises what `check` raises."""
        with self._changed:
            if self._failure is None:
                self._offers.append(_Offer([], position_ns))
            self._finishing = True
            self._changed.notify_all()
        self.join()
        self.check()

    def run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._settle(batch)
                self._note_nearest()
                with self._changed:
                    self._settling, self._in_hand = False, set()
                    self._changed.notify_all()
        except BaseException as failure:
            with self._changed:
                self._failure = failure
                self._changed.notify_all()
        finally:
            connections.close_all()

    def _next(self) -> _Offer | None:
        with self._changed:
            while not self._offers and not self._finishing:
                self._changed.wait()
            if not self._offers:
                return None
            offers = list(self._offers)
            self._offers.clear()
            self._size = 0
            self._in_hand, self._queued = self._queued, set()
            self._settling = True
            self._changed.notify_all()
        return _Offer([d for offer in offers for d in offer.decisions], offers[-1].position_ns)

    def _note_nearest(self) -> None:
        with self._changed:
            nearest, self._nearest = self._nearest, {}
        try:
            fills.note_nearest(nearest)
        except DatabaseError as problem:
            log.warning("nearest misses not recorded", orders=len(nearest), problem=str(problem))
            connection.close()

    def _settle(self, batch: _Offer) -> None:
        """A batch is one transaction, so trying again after a lost connection or a deadlock is safe."""
        for attempt in range(1, self.TRIES_MAX + 1):
            try:
                applied = fills.apply(
                    batch.decisions, feed=self._feed, position_ns=batch.position_ns, now=clock.now()
                )
            except DatabaseError as problem:
                if attempt == self.TRIES_MAX:
                    raise
                log.warning(
                    "settling again", attempt=attempt, decisions=len(batch.decisions), problem=str(problem)
                )
                connection.close()
                time.sleep(0.1 * 2**attempt)
            else:
                if applied.stale:
                    with self._changed:
                        self._stale |= applied.stale
                return
