"""What options are worth: an arbitrage-free volatility surface and Black-Scholes, without interest.

Surface: SSVI of Gatheral and Jacquier, "Arbitrage-free SVI volatility surfaces" (2014), equation
(4.1) with φ(θ) = η / sqrt(θ (1 + θ)). Total variance w at log-moneyness k = ln(K/S) is
θ/2 · (1 + ρφk + sqrt((φk + ρ)² + 1 − ρ²)); θ is the variance at the money until expiry.
"""

from typing import NamedTuple

import numpy as np

from raxx.market.feeds.practice import exact
from raxx.market.feeds.practice.exact import Floats

_REVERSION = 6.0  # a year's worth: today's volatility fades into the usual one within about two months


class CallsAndPuts(NamedTuple):
    calls: Floats
    puts: Floats


def variance_at_the_money(years: Floats, now: Floats, usual: Floats) -> Floats:
    """θ: total variance to expiry when volatility is `now` today and `usual` in the long run.

    It grows with time for any pair of volatilities, so calendars cannot be arbitraged.
    """
    return usual**2 * years + (now**2 - usual**2) * years / (1.0 + _REVERSION * years)


def total_variance(log_moneyness: Floats, at_the_money: Floats, skew: Floats, curvature: Floats) -> Floats:
    """w of the surface, for each option."""
    steepness = curvature / np.sqrt(at_the_money * (1.0 + at_the_money)) * log_moneyness
    bend = np.sqrt((steepness + skew) ** 2 + (1.0 - skew**2))
    return 0.5 * at_the_money * (1.0 + skew * steepness + bend)


def values(spot: Floats, strike: Floats, log_moneyness: Floats, variance: Floats) -> CallsAndPuts:
    """Black-Scholes values of the call and the put, in the unit of `spot` and `strike`.

    What is out of the money is computed, the other follows by parity: no small difference of
    large numbers, and neither is ever below intrinsic value.
    """
    deviation = np.sqrt(variance)
    out = np.where(log_moneyness >= 0, 1.0, -1.0)  # +1 where the call is out of the money
    d1 = deviation * 0.5 - log_moneyness / deviation
    stock = spot * exact.normal_cdf(out * d1)
    cash = strike * exact.normal_cdf(out * (d1 - deviation))
    outside = np.maximum(out * (stock - cash), 0.0)
    inside = outside + np.abs(spot - strike)
    call_is_out = out > 0
    return CallsAndPuts(np.where(call_is_out, outside, inside), np.where(call_is_out, inside, outside))
