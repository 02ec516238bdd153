"""What the practice market trades. Prices and volatilities are plausible for 2026, not quotations."""

import math
from dataclasses import dataclass

MARKET_VOLATILITY = 0.15  # yearly, of the path that all underlyings share; SPY is that path alone


@dataclass(frozen=True, slots=True)
class Style:
    """How the names of one sort are quoted, and how their volatility surface is bent.

    `half_spread` is dollars around the middle price of the stock per 100 dollars of price,
    `lots` the usual round lots at the touch, `activity` the share of the four ticks a second on
    which the stock is quoted anew. `option_half_spread` is dollars, `option_spread_slope` what is
    added per dollar of option value, `contracts` the usual size. `skew` and `curvature` are ρ and
    η of the surface; η (1 + |ρ|) <= 2 keeps it free of arbitrage.
    """

    half_spread: float
    lots: int
    activity: float
    option_half_spread: float
    option_spread_slope: float
    contracts: int
    skew: float
    curvature: float


INDEX_FUND = Style(0.0004, 9, 1.0, 0.002, 0.0015, 160, -0.70, 1.15)
FUND = Style(0.003, 12, 0.7, 0.008, 0.004, 60, -0.15, 0.80)
GIANT = Style(0.003, 3, 0.95, 0.006, 0.003, 60, -0.42, 0.95)
LARGE = Style(0.008, 4, 0.6, 0.012, 0.006, 25, -0.35, 0.85)
CHEAP = Style(0.02, 80, 0.5, 0.004, 0.010, 250, -0.25, 0.85)
THIN = Style(0.03, 1, 0.35, 0.12, 0.020, 8, -0.35, 0.80)


@dataclass(frozen=True, slots=True)
class Underlying:
    """`price` is the level in dollars around which the path moves, `volatility` is yearly."""

    symbol: str
    price: float
    volatility: float
    beta: float
    style: Style

    @property
    def own_volatility(self) -> float:
        """Of the part that is not the market's."""
        shared = self.beta * MARKET_VOLATILITY
        return math.sqrt(max(self.volatility * self.volatility - shared * shared, 0.0))


UNDERLYINGS = (
    Underlying("SPY", 684.0, 0.15, 1.0, INDEX_FUND),
    Underlying("QQQ", 621.0, 0.20, 1.2, INDEX_FUND),
    Underlying("IWM", 247.0, 0.21, 1.15, INDEX_FUND),
    Underlying("GLD", 388.0, 0.18, 0.05, FUND),
    Underlying("TLT", 89.5, 0.14, -0.15, FUND),
    Underlying("AAPL", 272.0, 0.26, 1.15, GIANT),
    Underlying("MSFT", 512.0, 0.23, 1.05, GIANT),
    Underlying("NVDA", 188.0, 0.42, 1.9, GIANT),
    Underlying("AMZN", 232.0, 0.30, 1.3, GIANT),
    Underlying("GOOGL", 291.0, 0.29, 1.2, GIANT),
    Underlying("META", 641.0, 0.32, 1.3, GIANT),
    Underlying("TSLA", 428.0, 0.55, 2.0, GIANT),
    Underlying("AMD", 236.0, 0.52, 1.9, GIANT),
    Underlying("AVGO", 357.0, 0.44, 1.8, LARGE),
    Underlying("NFLX", 109.0, 0.33, 1.0, LARGE),
    Underlying("PLTR", 178.0, 0.58, 1.8, LARGE),
    Underlying("JPM", 312.0, 0.23, 1.1, LARGE),
    Underlying("BAC", 53.2, 0.25, 1.2, CHEAP),
    Underlying("XOM", 117.0, 0.24, 0.6, LARGE),
    Underlying("CVX", 154.0, 0.24, 0.65, LARGE),
    Underlying("KO", 70.8, 0.15, 0.35, LARGE),
    Underlying("WMT", 103.0, 0.21, 0.6, LARGE),
    Underlying("DIS", 112.0, 0.27, 1.0, LARGE),
    Underlying("BA", 201.0, 0.34, 1.2, LARGE),
    Underlying("UBER", 94.0, 0.37, 1.3, LARGE),
    Underlying("INTC", 37.6, 0.48, 1.3, CHEAP),
    Underlying("PFE", 25.3, 0.24, 0.5, CHEAP),
    Underlying("T", 26.1, 0.21, 0.4, CHEAP),
    Underlying("F", 12.9, 0.33, 1.1, CHEAP),
    Underlying("BLK", 1_085.0, 0.26, 1.25, THIN),
)
