"""Where prices go: sums of value noise, a function of seed, name and time alone.

Each path has octaves j = 0..25 of length T_j = 2**(29+j) ns (0.54 s to 208 days). An octave draws a
number of variance 1 at each multiple of T_j (shifted by a phase of its own) and joins them by
straight lines. Weighted by sqrt(T_j) they add up to a path whose variance over a lag grows in
proportion to the lag, as that of a random walk does, up to months; beyond, it stays near its level.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raxx.market.feeds.columns import Ints
from raxx.market.feeds.practice import exact
from raxx.market.feeds.practice.exact import Floats

YEAR_NS = 365 * 86_400 * 1_000_000_000
_FIRST_OCTAVE = 29
_OCTAVES = 26
_SHIFTS = np.arange(_FIRST_OCTAVE, _FIRST_OCTAVE + _OCTAVES, dtype=np.int64)[:, None]
# With weights sqrt(T_j / 4) the variance over a lag comes out as the lag, within 5 % from 5 s to 5 days.
_SCALE = 0.25


class Paths:
    """One path of unit yearly volatility for each name."""

    def __init__(self, seed: int, names: Sequence[str]) -> None:
        streams = [exact.keys(seed, "path", name, count=2 * _OCTAVES) for name in names]
        self._keys = np.stack([s[:_OCTAVES] for s in streams], axis=1)
        lengths = np.int64(1) << _SHIFTS
        self._phases = np.stack([s[_OCTAVES:] for s in streams], axis=1).astype(np.int64) & (lengths - 1)
        self._weights = [math.sqrt(_SCALE * float(length) / YEAR_NS) for length in lengths[:, 0].tolist()]

    def at(self, which: NDArray[np.intp], at_ns: Ints) -> Floats:
        """The value of path `which[i]` at instant `at_ns[i]`, for each i."""
        t = at_ns + self._phases[:, which]
        index = t >> _SHIFTS
        part = (t & ((np.int64(1) << _SHIFTS) - 1)) * np.ldexp(1.0, -_SHIFTS)
        keys = self._keys[:, which]
        here = exact.bell(exact.draw(keys, index))
        there = exact.bell(exact.draw(keys, index + 1))
        octaves = here + (there - here) * part
        total = np.zeros(len(at_ns))
        for weight, octave in zip(self._weights, octaves, strict=True):
            total += octave * weight
        return total
