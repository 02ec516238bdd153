"""Play a recorded tape. Its clock is the clock of everything above it."""

import math
import time
from bisect import bisect_right
from collections.abc import Callable

import numpy as np

from raxx.kernel.clock import SECOND_NS
from raxx.kernel.errors import InvalidInput
from raxx.market import calendar
from raxx.market.contracts import Instrument, parse_symbol
from raxx.market.feeds.base import Batch
from raxx.market.feeds.tape import Paths, Tape, read_tape
from raxx.market.quotes import Quote
from raxx.market.sessions import Sessions
from raxx.market.status import TradingStatus


class ReplayFeed:
    """A tape as a feed.

    `speed` is tape seconds per second; None plays as fast as it is polled. After the last row the
    clock runs on to the close of the last session, so that day orders can expire, and then the
    feed is over. `batch` is how many quotes a poll gives at most, but for quotes with equal stamps,
    which stay together. Raises BadTape and InvalidInput.
    """

    def __init__(
        self,
        tape: Tape | Paths,
        *,
        speed: float | None = None,
        sessions: Sessions | None = None,
        name: str | None = None,
        batch: int = 2_048,
        now_monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise InvalidInput(
                field="speed",
                rule="is a number above 0",
                value=speed,
                remedy="Leave it out to play as fast as possible.",
            )
        self.tape = tape if isinstance(tape, Tape) else read_tape(tape)
        self.name = name or f"replay:{self.tape.name}"
        self.sessions = calendar.xnys() if sessions is None else sessions
        self._speed, self._batch = speed, batch
        self._monotonic, self._sleep = now_monotonic, sleep
        self._end_ns = self._find_end()
        self.start(None)

    def instruments(self) -> list[Instrument]:
        return [parse_symbol(symbol) for symbol in self.tape.symbols]

    def start(self, after_ns: int | None) -> dict[str, Quote]:
        self._over = False
        if after_ns is None:
            self._next, self._now_ns, self._told = 0, 0, 0
            self._pace_from(int(self.tape.ts[0]))
            return {}
        self._next, self._now_ns = self.tape.until(after_ns), after_ns
        self._told = bisect_right(self.tape.halts, after_ns, key=_instant)
        self._pace_from(after_ns)
        latest = np.full(len(self.tape.symbols), -1, np.intp)
        # Where an index repeats, numpy keeps what was assigned last: the latest row of that symbol.
        latest[self.tape.symbol_index[: self._next]] = np.arange(self._next)
        return {quote.symbol: quote for quote in self.tape.pick(np.sort(latest[latest >= 0]))}

    def poll(self, wait_s: float) -> Batch | None:
        if self._over:
            return None
        reach_ns = self._batch_end_ns()
        if self._speed is not None:
            reach_ns = min(reach_ns, self._wait(wait_s, self._speed))
        return self._deliver(reach_ns)

    def advance_to(self, at_ns: int) -> Batch:
        """Everything up to `at_ns` that was not delivered yet, also beyond the end of the tape."""
        if at_ns < self._now_ns:
            raise ValueError(f"{self.name} stands at {self._now_ns} and does not go back to {at_ns}")
        self._pace_from(at_ns)
        return self._deliver(at_ns)

    def close(self) -> None:
        self._over = True

    def _deliver(self, at_ns: int) -> Batch:
        # The feed is over once the end was reached by a batch of its own, after the last rows.
        self._over = self._next == len(self.tape) and at_ns >= self._end_ns
        stop = self.tape.until(at_ns)
        quotes = self.tape.rows(self._next, stop)
        halts = self.tape.halts
        told = bisect_right(halts, at_ns, lo=self._told, key=_instant)
        statuses, self._told = halts[self._told : told], told
        self._next, self._now_ns = stop, at_ns
        return Batch(quotes, at_ns, statuses)

    def _batch_end_ns(self) -> int:
        """How far the clock may run with the next batch: to its last row, or to the end after all rows."""
        if self._next == len(self.tape):
            return max(self._end_ns, self._now_ns)
        return int(self.tape.ts[min(self._next + self._batch, len(self.tape)) - 1])

    def _wait(self, wait_s: float, speed: float) -> int:
        """Tape time on the paced clock, after waiting for the next row at most `wait_s`."""
        due_ns = self._end_ns if self._next == len(self.tape) else int(self.tape.ts[self._next])
        deadline = self._monotonic() + wait_s
        while True:
            now = self._monotonic()
            reached_ns = self._origin_ns + int((now - self._origin) * speed * SECOND_NS)
            if reached_ns >= due_ns or now >= deadline:
                return max(reached_ns, self._now_ns)
            self._sleep(min(deadline - now, (due_ns - reached_ns) / SECOND_NS / speed))

    def _pace_from(self, at_ns: int) -> None:
        self._origin_ns, self._origin = at_ns, self._monotonic()

    def _find_end(self) -> int:
        last_ns = int(self.tape.ts[-1])
        session = self.sessions.last_opened(last_ns)
        return max(last_ns, session.close_ns) if session else last_ns


def _instant(status: TradingStatus) -> int:
    return status.ts
