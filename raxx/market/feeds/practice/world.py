"""The state of the practice market at any instant: prices, volatilities, how wide it quotes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market.feeds.columns import Ints
from raxx.market.feeds.practice import exact
from raxx.market.feeds.practice.exact import Bits, Floats
from raxx.market.feeds.practice.paths import Paths
from raxx.market.feeds.practice.underlyings import MARKET_VOLATILITY, Underlying

Which: TypeAlias = NDArray[np.intp]

_MOOD = 0.5  # volatility of volatility
_FEAR = 1.5  # by how many percent volatility is higher for each percent that the price is below its level
_MOOD_RANGE = (0.6, 1.8)
_WIDTH = 0.6
_WIDTH_RANGE = (0.7, 1.6)


class Spots(NamedTuple):
    """Stock prices in ticks, their logarithms, and the logarithm of price over usual level."""

    price: Floats
    log_price: Floats
    excess: Floats


class World:
    """Everything is a function of seed, underlying (`which`, its number) and instant (`at_ns`)."""

    def __init__(self, seed: int, underlyings: Sequence[Underlying]) -> None:
        self.seed, self.underlyings = seed, tuple(underlyings)
        self._market = Paths(seed, ["market"])
        self._own, self._moods, self._widths = (
            Paths(seed, [f"{kind} of {u.symbol}" for u in underlyings])
            for kind in ("price", "volatility", "width")
        )
        levels = [round(u.price * TICKS_PER_DOLLAR) for u in underlyings]
        self._level = np.array(levels, np.float64)
        self._log_level = np.array([exact.log(level) for level in levels])
        self._market_share = self.column(lambda u: u.beta * MARKET_VOLATILITY)
        self._own_share = self.column(lambda u: u.own_volatility)
        self.usual_volatility = self.column(lambda u: u.volatility)

    def column(self, of: Callable[[Underlying], float]) -> Floats:
        """One number of every underlying."""
        return np.array([float(of(u)) for u in self.underlyings])

    def keys(self, purpose: str) -> Bits:
        return np.array([exact.key(self.seed, purpose, u.symbol) for u in self.underlyings], np.uint64)

    def spots(self, which: Which, at_ns: Ints) -> Spots:
        market = self._market.at(np.zeros_like(which), at_ns)
        own = self._own.at(which, at_ns)
        excess = self._market_share[which] * market + self._own_share[which] * own
        return Spots(self._level[which] * exact.exp(excess), self._log_level[which] + excess, excess)

    def volatility(self, which: Which, at_ns: Ints, excess: Floats) -> Floats:
        """What options expect of the near future: it wanders slowly, and rises when prices fall."""
        mood = np.clip(1.0 + _MOOD * self._moods.at(which, at_ns) - _FEAR * excess, *_MOOD_RANGE)
        return self.usual_volatility[which] * mood

    def width(self, which: Which, at_ns: Ints) -> Floats:
        """The factor by which spreads are wider than usual."""
        return np.clip(1.0 + _WIDTH * self._widths.at(which, at_ns), *_WIDTH_RANGE)
