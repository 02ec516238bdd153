"""From values to quotes: prices on the legal increment, sizes, and when a quote is sent again."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market.contracts import parse_symbol, price_step
from raxx.market.feeds.columns import Ints
from raxx.market.feeds.practice import exact
from raxx.market.feeds.practice.exact import Bits, Floats

Rows: TypeAlias = list[NDArray[np.int64]]  # ts, symbol index, bid, bid size, ask, ask size

REFRESH_S = 60  # every symbol is quoted at least this often, changed or not


@dataclass(frozen=True, slots=True, eq=False)
class Increments:
    """Legal increments in ticks, one pair for each symbol: below the threshold price and from it on."""

    threshold: int
    below: Floats
    above: Floats

    @classmethod
    def of(cls, symbols: list[str], threshold: int) -> "Increments":
        instruments = [parse_symbol(symbol) for symbol in symbols]
        return cls(
            threshold,
            np.array([float(price_step(i, threshold - 1)) for i in instruments]),
            np.array([float(price_step(i, threshold)) for i in instruments]),
        )

    def pick(self, which: NDArray[np.intp]) -> "Increments":
        return Increments(self.threshold, self.below[which], self.above[which])

    def down(self, price: Floats) -> Ints:
        """The highest legal price that is not above; 0 when there is none."""
        step = np.where(price >= self.threshold, self.above, self.below)
        legal: Ints = np.maximum(np.floor(price / step) * step, 0.0).astype(np.int64)
        return legal

    def up(self, price: Floats) -> Ints:
        """The lowest legal price that is not below."""
        step = np.where(price > self.threshold, self.above, self.below)
        return (np.ceil(price / step) * step).astype(np.int64)


STOCK_THRESHOLD, OPTION_THRESHOLD = 1 * TICKS_PER_DOLLAR, 3 * TICKS_PER_DOLLAR


def sizes(keys: Bits, counter: Ints, usual: Floats) -> Ints:
    """Sizes up to about three times the usual one, small ones more often, at least 1."""
    luck = exact.uniform(exact.draw(keys, counter))
    return np.maximum(np.rint(usual * (0.05 + 2.85 * luck * luck)), 1.0).astype(np.int64)


def phases(keys: Bits) -> Ints:
    """The second of the minute in which each symbol is quoted in any case."""
    return (keys % np.uint64(REFRESH_S)).astype(np.int64)
