"""The practice market as a feed: real tickers, made-up prices, open day and night."""

import time
from collections.abc import Callable, Collection

from raxx.kernel import clock
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.errors import InvalidInput
from raxx.market import calendar
from raxx.market.contracts import Instrument, parse_symbol
from raxx.market.feeds.base import Batch
from raxx.market.feeds.columns import Columns
from raxx.market.feeds.practice.grid import REFRESH_S
from raxx.market.feeds.practice.market import PracticeMarket
from raxx.market.feeds.practice.pauses import Pauses
from raxx.market.feeds.practice.underlyings import UNDERLYINGS, Underlying
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions
from raxx.market.status import TradingStatus

_BEAT_NS = SECOND_NS // 20  # the live clock moves in steps of 50 ms, so that a batch is worth its overhead


class SimulatedFeed:
    """A market made up from a seed. The same seed and instants give the same quotes, bit for bit.

    Live, without `start_ns`: the clock is the wall clock. When it falls behind, by a stop or by a
    slow listener, it delivers what it missed, a second of market a batch; beyond `catch_up_s` it
    leaves the gap out and goes on with the quotes in force now, as any live feed does after an outage.

    Driven, with `start_ns`: the clock begins there and moves only by `advance_to`, or a second with
    each `poll`. Nothing waits.

    `sessions` are the hours that hold on this feed, round the clock unless given; quotes come at all
    hours. `symbols` keeps only these stocks and their options; it changes no quote of those kept. `pauses_a_day`: so
    many times a day one stock of the market is paused for five minutes, for those who want to see that.
    """

    def __init__(
        self,
        *,
        seed: int,
        name: str = "simulated",
        sessions: Sessions | None = None,
        start_ns: int | None = None,
        symbols: Collection[str] | None = None,
        catch_up_s: int = 600,
        pauses_a_day: int = 0,
        now_ns: Callable[[], int] = clock.now_ns,
        now_monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.sessions = calendar.always() if sessions is None else sessions
        self._start_ns, self._catch_up_ns = start_ns, catch_up_s * SECOND_NS
        self._wall_ns, self._monotonic, self._sleep = now_ns, now_monotonic, sleep
        self._market = PracticeMarket(
            seed=seed, underlyings=_choose(symbols), exchange=calendar.xnys(), days=calendar.always()
        )
        self._pauses = Pauses(
            seed=seed, symbols=[u.symbol for u in UNDERLYINGS], sessions=self.sessions, a_day=pauses_a_day
        )
        self._kept = frozenset(u.symbol for u in _choose(symbols))
        self._now_ns = self._beginning()
        self._waiting: list[Quote] = []
        self._statuses: list[TradingStatus] = []
        self._second: Columns  # the current second of the market, of which `_next` rows are delivered
        self._next = 0
        self._started = False
        self._over = False

    def instruments(self) -> list[Instrument]:
        """Stocks and the options listed on the day of the feed's clock; a new day lists new ones."""
        return [parse_symbol(symbol) for symbol in self._market.symbols(self._now_ns // SECOND_NS)]

    def start(self, after_ns: int | None) -> dict[str, Quote]:
        """Begin after that instant; from the beginning, the first batch has a quote of every symbol.

        Every symbol has a quote in force; those new on a day get it within the first second of the day.
        """
        self._over = False
        self._statuses = []
        if after_ns is not None:
            self._waiting = []
            return self._seek(after_ns)
        self._waiting = _in_order(self._seek(self._beginning()))
        self._statuses = self._pauses.in_force(self._now_ns)
        return {}

    def poll(self, wait_s: float) -> Batch | None:
        if self._over:
            return None
        if not self._started:
            self.start(None)
        if self._start_ns is not None:
            return self._deliver(self._now_ns + SECOND_NS)
        deadline = self._monotonic() + wait_s
        while True:
            wall_ns = self._wall_ns()
            live_ns = max(wall_ns // _BEAT_NS * _BEAT_NS, self._now_ns)
            if live_ns - self._now_ns > self._catch_up_ns:
                self._waiting = _in_order(self._seek(live_ns))
                self._statuses = self._pauses.in_force(live_ns)
            batch = self._deliver(min(live_ns, self._now_ns + SECOND_NS))
            left_s = deadline - self._monotonic()
            if batch.quotes or batch.now_ns < live_ns or left_s <= 0:
                return batch
            self._sleep(min(left_s, (_BEAT_NS - wall_ns % _BEAT_NS) / SECOND_NS))

    def advance_to(self, at_ns: int) -> Batch:
        """Everything up to `at_ns` that was not delivered yet: some 4,000 quotes for each second.

        For a driven feed. Raises ValueError when `at_ns` lies before its clock.
        """
        if self._start_ns is None:
            raise ValueError(f"{self.name} is live: its clock is the wall clock")
        if not self._started:
            self.start(None)
        if at_ns < self._now_ns:
            raise ValueError(f"{self.name} stands at {self._now_ns} and does not go back to {at_ns}")
        return self._deliver(at_ns)

    def close(self) -> None:
        self._over = True

    def _beginning(self) -> int:
        return self._wall_ns() // _BEAT_NS * _BEAT_NS if self._start_ns is None else self._start_ns

    def _seek(self, at_ns: int) -> dict[str, Quote]:
        """Set the clock; returns the quotes in force then, by symbol."""
        self._market.forget()
        second = at_ns // SECOND_NS
        in_force: dict[str, Quote] = {}
        # Every symbol is sent within any 60 seconds, so what these leave is what any longer run leaves.
        for number in range(second - REFRESH_S, second):
            columns = self._market.quotes(number)
            in_force.update((quote.symbol, quote) for quote in columns.rows(0, len(columns)))
        self._second = self._market.quotes(second)
        self._next = self._second.until(at_ns)
        in_force.update((quote.symbol, quote) for quote in self._second.rows(0, self._next))
        self._now_ns, self._started = at_ns, True
        # Of what is listed now: not what expired yesterday.
        return {symbol: in_force[symbol] for symbol in self._second.symbols if symbol in in_force}

    def _deliver(self, at_ns: int) -> Batch:
        quotes, self._waiting = self._waiting, []
        statuses = [
            each
            for each in [*self._statuses, *self._pauses.between(self._now_ns, at_ns)]
            if each.symbol in self._kept
        ]
        self._statuses = []
        for number in range(self._now_ns // SECOND_NS, at_ns // SECOND_NS + 1):
            if number > self._now_ns // SECOND_NS:
                self._second, self._next = self._market.quotes(number), 0
            stop = self._second.until(at_ns)
            quotes += self._second.rows(self._next, stop)
            self._next = stop
        self._now_ns = at_ns
        return Batch(quotes, at_ns, tuple(statuses))


def _choose(symbols: Collection[str] | None) -> list[Underlying]:
    if symbols is None:
        return list(UNDERLYINGS)
    known = {u.symbol: u for u in UNDERLYINGS}
    for symbol in symbols:
        if symbol not in known:
            raise InvalidInput(
                field="symbols",
                rule="names stocks of the practice market",
                value=symbol,
                remedy="Choose from " + ", ".join(known) + ".",
            )
    return [u for u in UNDERLYINGS if u.symbol in symbols]


def _in_order(quotes: dict[str, Quote]) -> list[Quote]:
    return sorted(quotes.values(), key=lambda quote: quote.ts)
