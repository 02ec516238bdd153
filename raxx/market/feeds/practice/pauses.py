"""Pauses of the practice market: five minutes of one stock, as if it had left its price bands.

Prices of the practice market do not know of them; they are there so that somebody can see what orders do meanwhile.
"""

from collections.abc import Sequence

from raxx.kernel.clock import SECOND_NS
from raxx.market.feeds.practice.exact import key
from raxx.market.sessions import Session, Sessions
from raxx.market.status import Reason, TradingStatus

PAUSE_NS = 300 * SECOND_NS


class Pauses:
    """`a_day` pauses in each session, of stocks and at instants that follow from the seed. `symbols`: every stock of
    the market, whichever of them a feed keeps."""

    def __init__(self, *, seed: int, symbols: Sequence[str], sessions: Sessions, a_day: int) -> None:
        self._seed, self._symbols, self._sessions, self._a_day = seed, tuple(symbols), sessions, a_day

    def between(self, after_ns: int, until_ns: int) -> list[TradingStatus]:
        """Those that begin in after_ns < t <= until_ns, in the order of their instants."""
        if not self._a_day or until_ns <= after_ns:
            return []
        found = []
        session = self._sessions.last_opened(after_ns) or self._sessions.current_or_next(after_ns)
        while session.open_ns <= until_ns:
            found += [each for each in self._of(session) if after_ns < each.ts <= until_ns]
            try:
                session = self._sessions.current_or_next(session.close_ns)
            except LookupError:
                break
        return sorted(found, key=lambda each: (each.ts, each.symbol))

    def in_force(self, at_ns: int) -> list[TradingStatus]:
        """Those that began by `at_ns` and last beyond it."""
        return [each for each in self.between(at_ns - PAUSE_NS, at_ns) if at_ns < (each.until_ns or 0)]

    def _of(self, session: Session) -> list[TradingStatus]:
        found = []
        whole_s = (session.close_ns - session.open_ns - PAUSE_NS) // SECOND_NS
        for number in range(self._a_day):
            bits = key("pause", self._seed, session.open_ns // SECOND_NS, number)
            from_ns = session.open_ns + bits // len(self._symbols) % whole_s * SECOND_NS
            symbol = self._symbols[bits % len(self._symbols)]
            found.append(TradingStatus(symbol, from_ns, Reason.PRICE_BAND, from_ns + PAUSE_NS))
        return found
