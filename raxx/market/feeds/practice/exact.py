"""Arithmetic that gives the same bits on every machine.

The practice market must come out alike everywhere, because its fills end up in digests. numpy's
own exp and log may differ in the last bit between processors, so everything here is built from
integer operations and from + - * / and square root, which IEEE 754 rounds in one way only.
"""

import hashlib
from decimal import Decimal
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Bits: TypeAlias = NDArray[np.uint64]

_LOG2_E = 1.4426950408889634
_LN2_HIGH = 0.6931471803691238  # ln 2 in two parts, the first short enough to be multiplied without rounding
_LN2_LOW = 1.9082149292705877e-10
_EXP_TERMS = 13
_SQRT_3 = 1.7320508075688772

# Hart (1968), algorithm 5666, as quoted by West, "Better approximations to cumulative normal
# functions" (2005): the lower tail is exp(-x²/2) times the ratio of these, highest power first.
_TAIL_TOP = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
_TAIL_BOTTOM = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)
_TAIL_END = 7.0  # beyond it the tail is below 1.3e-12


def key(*parts: object) -> int:
    """64 bits that depend on all parts and on nothing else."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def keys(*parts: object, count: int) -> Bits:
    return np.array([key(*parts, number) for number in range(count)], np.uint64)


def mix(bits: Bits) -> Bits:
    """Scramble each value, so that neighbours have nothing in common (the finalizer of splitmix64)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def draw(key_bits: Bits, counter: NDArray[np.int64]) -> Bits:
    """The random bits number `counter` of each key."""
    return mix(key_bits + counter.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def uniform(bits: Bits) -> Floats:
    """In [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def bell(bits: Bits) -> Floats:
    """Nearly normal, mean 0 and variance 1, within ±3.47: the sum of four uniform 16-bit numbers."""
    lane = np.uint64(0xFFFF)
    total = (
        (bits & lane)
        + (bits >> np.uint64(16) & lane)
        + (bits >> np.uint64(32) & lane)
        + (bits >> np.uint64(48))
    )
    normal: Floats = (total.astype(np.float64) * 2.0**-16 - 2.0) * _SQRT_3
    return normal


def log(number: int) -> float:
    """Natural logarithm, correctly rounded."""
    return float(Decimal(number).ln())


def exp(x: Floats) -> Floats:
    """For -700 <= x <= 700, to 1 part in 10**15."""
    power = np.rint(x * _LOG2_E)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    total = np.ones_like(x)
    for term in range(_EXP_TERMS, 0, -1):
        total = total * rest / term + 1.0
    scaled: Floats = np.ldexp(total, power.astype(np.int32))
    return scaled


def normal_cdf(x: Floats) -> Floats:
    """The standard normal distribution function, to 1 part in 10**12 absolute."""
    size = np.minimum(np.abs(x), _TAIL_END)
    tail: Floats = exp(size * size * -0.5) * _horner(size, _TAIL_TOP) / _horner(size, _TAIL_BOTTOM)
    tail = np.where(np.abs(x) < _TAIL_END, tail, 0.0)
    return tail + (x > 0) * (1.0 - 2.0 * tail)


def _horner(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total
