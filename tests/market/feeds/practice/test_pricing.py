import math

import numpy as np
import pytest

from raxx.market.feeds.practice import pricing
from raxx.market.feeds.practice.exact import Floats


def black_scholes_call(spot: float, strike: float, deviation: float) -> float:
    """Textbook form with the error function, no interest."""
    d1 = math.log(spot / strike) / deviation + deviation / 2
    normal = [0.5 * math.erfc(-d / math.sqrt(2)) for d in (d1, d1 - deviation)]
    return spot * normal[0] - strike * normal[1]


def test_values_agree_with_the_textbook() -> None:
    strikes = np.linspace(40.0, 220.0, 181)
    for deviation in (0.02, 0.1, 0.5):
        calls, puts = pricing.values(
            np.full(181, 100.0), strikes, np.log(strikes / 100.0), np.full(181, deviation**2)
        )
        expected = np.array([black_scholes_call(100.0, k, deviation) for k in strikes])
        assert calls == pytest.approx(expected, abs=1e-9)
        assert puts == pytest.approx(expected - 100.0 + strikes, abs=1e-9)  # put-call parity


def test_a_published_value() -> None:
    """At the money a call is worth nearly 0.4 S σ sqrt(T) (Brenner and Subrahmanyam 1988): 7.9656 here."""
    calls, puts = pricing.values(np.array([100.0]), np.array([100.0]), np.array([0.0]), np.array([0.04]))
    assert calls[0] == pytest.approx(7.965567455405804, rel=1e-12)
    assert puts[0] == calls[0]


def surface(skew: float, curvature: float, volatility: float, years: float, k: Floats) -> Floats:
    volatilities = np.array([volatility])
    theta = pricing.variance_at_the_money(np.array([years]), volatilities, volatilities)
    n = len(k)
    return pricing.total_variance(k, np.repeat(theta, n), np.full(n, skew), np.full(n, curvature))


def test_at_the_money_the_surface_is_the_variance_at_the_money() -> None:
    assert surface(-0.5, 1.0, 0.2, 0.25, np.array([0.0]))[0] == pytest.approx(0.2**2 * 0.25)


@pytest.mark.parametrize(("skew", "curvature"), [(-0.7, 1.15), (-0.42, 0.95), (-0.15, 0.8)])
@pytest.mark.parametrize("days", [0.1, 2, 30, 120])
def test_no_butterfly_loses(skew: float, curvature: float, days: float) -> None:
    """Call values fall and are convex in the strike, within a billionth of a dollar of rounding."""
    strikes = np.linspace(60.0, 160.0, 401)
    k = np.log(strikes / 100.0)
    variance = surface(skew, curvature, 0.3, days / 365, k)
    calls, _ = pricing.values(np.full(401, 100.0), strikes, k, variance)
    assert np.all(np.diff(calls) <= 1e-9)
    assert np.all(np.diff(calls, 2) >= -1e-9)


def test_no_calendar_loses() -> None:
    """Total variance never falls with time, even when volatility is far above its usual level."""
    k = np.linspace(-0.6, 0.6, 121)
    skew, curvature = np.full(121, -0.7), np.full(121, 1.15)
    for now in (0.1, 0.3, 0.9):
        variances = []
        for years in (0.005, 0.02, 0.1, 0.3, 1.0):
            theta = pricing.variance_at_the_money(np.array([years]), np.array([now]), np.array([0.3]))
            variances.append(pricing.total_variance(k, np.repeat(theta, 121), skew, curvature))
        assert np.all(np.diff(variances, axis=0) >= 0)


def test_downside_is_dearer_than_upside() -> None:
    down, middle, up = np.sqrt(surface(-0.7, 1.15, 0.15, 30 / 365, np.array([-0.1, 0.0, 0.1])))
    assert down > 1.4 * middle
    assert up < down


def test_the_example_of_the_document() -> None:
    """docs/rules/market-data.md#options: stock 670.00, strike 650, thirty days, volatility 18 %."""
    k, skew, curvature = np.log(np.array([650.0 / 670.0])), np.array([-0.70]), np.array([1.15])
    theta = pricing.variance_at_the_money(np.array([30 / 365]), np.array([0.18]), np.array([0.15]))
    assert theta[0] == pytest.approx(0.0023943, abs=5e-8)
    variance = pricing.total_variance(k, theta, skew, curvature)
    assert np.sqrt(variance / (30 / 365))[0] == pytest.approx(0.2118, abs=5e-5)
    worth = pricing.values(np.array([670.0]), np.array([650.0]), k, variance)
    assert worth.puts[0] == pytest.approx(7.9350, abs=5e-5)
    assert worth.calls[0] == pytest.approx(27.9350, abs=5e-5)
