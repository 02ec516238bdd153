"""The practice market: what is quoted in one second after another."""

from collections.abc import Sequence

import numpy as np

from raxx.kernel.clock import SECOND_NS
from raxx.market.feeds.columns import Columns
from raxx.market.feeds.practice.listing import list_chain
from raxx.market.feeds.practice.options import OptionQuotes
from raxx.market.feeds.practice.stocks import StockQuotes
from raxx.market.feeds.practice.underlyings import Underlying
from raxx.market.feeds.practice.world import World
from raxx.market.sessions import Session, Sessions


class PracticeMarket:
    """Quotes by the second.

    A quote is sent when it differs from the last one of its symbol, and in one second of every 60
    in any case. Which quote holds at an instant depends on seed, symbol and instant alone; the
    market remembers only what it sent, so 60 seconds after a start it sends what any other run does.
    `exchange` says when options expire, `days` when a day begins and new contracts are listed.
    """

    def __init__(
        self, *, seed: int, underlyings: Sequence[Underlying], exchange: Sessions, days: Sessions
    ) -> None:
        self._world = World(seed, underlyings)
        self._exchange, self._days = exchange, days
        self.forget()

    def forget(self) -> None:
        """Take nothing as sent: the next second quotes every stock that ticks and every option."""
        self._stocks = StockQuotes(self._world)
        self._options: OptionQuotes | None = None
        self._day: Session | None = None
        self._symbols: tuple[str, ...] = ()

    def symbols(self, second: int) -> tuple[str, ...]:
        """Everything quoted on the day of that second: stocks, then options."""
        self._list(second)
        return self._symbols

    def quotes(self, second: int) -> Columns:
        """What is sent in that second (since 1970, UTC). The next call is for the next second."""
        options = self._list(second)
        rows = self._stocks.sent(second)
        chain = options.sent(second)
        chain[1] = chain[1] + len(self._world.underlyings)
        columns = [np.concatenate(pair) for pair in zip(rows, chain, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        ts, symbol_index, bid, bid_size, ask, ask_size = (column[order] for column in columns)
        return Columns(
            symbols=self._symbols,
            ts=ts,
            symbol_index=symbol_index.astype(np.intp, copy=False),
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
        )

    def _list(self, second: int) -> OptionQuotes:
        at_ns = second * SECOND_NS
        if self._options is not None and self._day is not None and self._day.is_open(at_ns):
            return self._options
        self._day = self._days.current_or_next(at_ns)
        if not self._day.is_open(at_ns):
            raise LookupError(f"calendar {self._days.name} knows no day at {at_ns}")
        chain = list_chain(day=self._day.date, world=self._world, exchange=self._exchange, days=self._days)
        options = OptionQuotes(self._world, chain)
        if self._options is not None:
            options.take_over(self._options)
        self._options = options
        self._symbols = (*(u.symbol for u in self._world.underlyings), *chain.symbols)
        return options
