"""Which options exist on a day.

Expiries are Fridays, or the session before when the exchange is closed on Friday: listed 35 days
ahead, the third Friday of a month 126 days ahead. On its first day an expiry gets strikes around
the price; each later day adds those around the price of that midnight and takes none away, so a
contract once listed is quoted until it expires. A monthly expiry starts with strikes farther apart
and gets those of the weeklies as well in its last 35 days.
"""

import math
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market.contracts import Right, osi
from raxx.market.feeds.columns import Ints
from raxx.market.feeds.practice import exact
from raxx.market.feeds.practice.exact import Floats
from raxx.market.feeds.practice.underlyings import INDEX_FUND, Underlying
from raxx.market.feeds.practice.world import World
from raxx.market.sessions import Session, Sessions

WEEKLY_DAYS, MONTHLY_DAYS = 35, 126
_FRIDAY = 4

# Strike increments in dollars: the first whose limit the price stays below; months ahead, the next wider.
_INCREMENTS = ((25.0, 0.5), (100.0, 1.0), (250.0, 2.5), (600.0, 5.0), (2_000.0, 10.0), (float("inf"), 20.0))
_INDEX_INCREMENTS = (1.0, 5.0)
_DEVIATIONS = 2.2  # strikes reach this many standard deviations of the price until expiry …
_STRIKES_MIN = 6  # … but at least so many and at most so many steps to each side:
_STRIKES_MAX = (10, 12)
_INDEX_STRIKES_MAX = (25, 28)


class Expiry(NamedTuple):
    """One expiration date: contracts trade until `session` closes.

    `ages` says for how many days it has been listed: as a weekly (0: not yet), as a monthly (0: it is none).
    """

    session: Session
    ages: tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Chain:
    """All options of one day. A *series* is one expiry of one underlying, a *pair* the two at one strike.

    Contract 2p is the call of pair p, contract 2p + 1 its put; `symbols` lists contracts in that
    order. Strikes are in ticks.
    """

    series_underlying: NDArray[np.intp]
    series_close_ns: Ints
    pair_series: NDArray[np.intp]
    pair_strike: Floats
    pair_log_strike: Floats
    symbols: tuple[str, ...]


def expiries(day: date, exchange: Sessions) -> list[Expiry]:
    """What is listed on `day`, nearest first."""
    found = []
    friday = day + timedelta(days=(_FRIDAY - day.weekday()) % 7)
    while friday < day + timedelta(days=MONTHLY_DAYS):
        ahead = (friday - day).days
        third = 15 <= friday.day <= 21
        ages = (max(WEEKLY_DAYS - ahead, 0), max(MONTHLY_DAYS - ahead, 0) if third else 0)
        session = _session_until(friday, exchange)
        if any(ages) and day <= session.date:
            found.append(Expiry(session, ages))
        friday += timedelta(days=7)
    return found


def list_chain(*, day: date, world: World, exchange: Sessions, days: Sessions) -> Chain:
    """The chain of `day`. `days` is the market's own calendar, whose midnights count for listing."""
    listed = expiries(day, exchange)
    past = [day - timedelta(days=back) for back in range(MONTHLY_DAYS - 1, -1, -1)]
    midnights = np.array([session.open_ns for session in map(days.on, past) if session], np.int64)
    series_underlying: list[int] = []
    series_close: list[int] = []
    pair_series: list[int] = []
    strikes: list[int] = []
    symbols: list[str] = []
    for number, underlying in enumerate(world.underlyings):
        history = world.spots(np.full(len(midnights), number), midnights).price / TICKS_PER_DOLLAR
        for expiry in listed:
            grids = [_strikes(underlying, history[-age:], far) for far, age in enumerate(expiry.ages) if age]
            row = sorted(set().union(*grids))
            pair_series += [len(series_close)] * len(row)
            strikes += row
            series_underlying.append(number)
            series_close.append(expiry.session.close_ns)
            symbols += [osi(underlying.symbol, expiry.session.date, right, k) for k in row for right in Right]
    return Chain(
        series_underlying=np.array(series_underlying, np.intp),
        series_close_ns=np.array(series_close, np.int64),
        pair_series=np.array(pair_series, np.intp),
        pair_strike=np.array(strikes, np.float64),
        pair_log_strike=np.array([_log(strike) for strike in strikes]),
        symbols=tuple(symbols),
    )


def _strikes(underlying: Underlying, history: Floats, far: int) -> set[int]:
    """Strikes in ticks for an expiry that has seen these midnight prices, weekly (far = 0) or monthly (1)."""
    first_price = float(history[0])
    step = _increment(underlying, first_price, far)
    years = (WEEKLY_DAYS, MONTHLY_DAYS)[far] / 365
    reach = _DEVIATIONS * underlying.volatility * math.sqrt(years) * first_price / step
    most = (_INDEX_STRIKES_MAX if underlying.style is INDEX_FUND else _STRIKES_MAX)[far]
    width = min(max(round(reach), _STRIKES_MIN), most)
    lowest = max(round(float(history.min()) / step) - width, 1)
    highest = round(float(history.max()) / step) + width
    step_ticks = round(step * TICKS_PER_DOLLAR)
    return {count * step_ticks for count in range(lowest, highest + 1)}


def _increment(underlying: Underlying, price: float, far: int) -> float:
    if underlying.style is INDEX_FUND:
        return _INDEX_INCREMENTS[far]
    place = next(n for n, (limit, _) in enumerate(_INCREMENTS) if price < limit)
    return _INCREMENTS[min(place + far, len(_INCREMENTS) - 1)][1]


def _session_until(friday: date, exchange: Sessions) -> Session:
    for back in range(7):
        if session := exchange.on(friday - timedelta(days=back)):
            return session
    raise LookupError(f"calendar {exchange.name} knows no session in the week to {friday}")


@cache
def _log(strike: int) -> float:
    return exact.log(strike)
