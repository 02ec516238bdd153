"""A run of quotes as numpy columns: what tapes and simulated markets hand out by the slice."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raxx.market.quotes import Quote

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Columns:
    """Quotes in time order, as columns of equal length.

    `ts` is nanoseconds UTC and never falls. `symbol_index` points into `symbols` (compact form).
    Prices are ticks of 1/10,000 dollar, 0 for a side without a quote; sizes are shares or contracts.
    """

    symbols: tuple[str, ...]
    ts: Ints
    symbol_index: NDArray[np.intp]
    bid: Ints
    bid_size: Ints
    ask: Ints
    ask_size: Ints

    def __len__(self) -> int:
        return len(self.ts)

    def until(self, at_ns: int) -> int:
        """How many rows have ts <= at_ns."""
        return int(np.searchsorted(self.ts, at_ns, side="right"))

    def rows(self, start: int, stop: int) -> list[Quote]:
        """The quotes of rows start to stop, without stop."""
        return self.pick(slice(start, stop))

    def pick(self, which: slice | NDArray[np.intp]) -> list[Quote]:
        """The quotes of a run of rows or of the given row numbers."""
        symbols = map(self.symbols.__getitem__, self.symbol_index[which].tolist())
        columns = (self.ts, self.bid, self.bid_size, self.ask, self.ask_size)
        return list(map(Quote, symbols, *(column[which].tolist() for column in columns)))
