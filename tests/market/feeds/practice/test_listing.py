from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from raxx.market import calendar
from raxx.market.contracts import parse_symbol
from raxx.market.feeds.practice.listing import expiries, list_chain
from raxx.market.feeds.practice.underlyings import UNDERLYINGS
from raxx.market.feeds.practice.world import World


def dates(day: str) -> list[str]:
    return [f"{e.session.date:%m-%d}" for e in expiries(date.fromisoformat(day), calendar.xnys())]


def test_five_weeks_and_the_next_months() -> None:
    """A Wednesday: Fridays to 18 Dec, then the third Fridays of January to March 2027."""
    assert dates("2026-11-18") == ["11-20", "11-27", "12-04", "12-11", "12-18", "01-15", "02-19", "03-19"]


def test_an_expiry_is_listed_on_its_own_day_and_gone_on_the_next() -> None:
    assert dates("2026-11-20")[0] == "11-20"
    assert dates("2026-11-21")[0] == "11-27"


@pytest.mark.parametrize(
    ("day", "expiry"),
    [
        pytest.param("2026-03-30", "04-02", id="Good Friday is closed: Thursday"),
        pytest.param("2027-06-14", "06-17", id="Juneteenth observed on a third Friday"),
        pytest.param("2026-12-21", "12-24", id="Christmas on a Friday: the half day before"),
    ],
)
def test_a_closed_friday_moves_the_expiry_to_the_session_before(day: str, expiry: str) -> None:
    assert dates(day)[0] == expiry


def test_after_an_expiry_moved_to_thursday_friday_has_none_of_its_own() -> None:
    assert dates("2026-04-03")[0] == "04-10"


@pytest.fixture(scope="module")
def world() -> World:
    return World(1, [u for u in UNDERLYINGS if u.symbol in ("SPY", "AAPL", "F")])


def chain_symbols(world: World, day: date) -> tuple[str, ...]:
    chain = list_chain(day=day, world=world, exchange=calendar.xnys(), days=calendar.always())
    assert len(chain.symbols) == 2 * len(chain.pair_strike)
    return chain.symbols


def test_a_listed_contract_stays_until_it_expires(world: World) -> None:
    day = date(2026, 11, 2)
    listed = [set(chain_symbols(world, day + timedelta(days=n))) for n in range(40)]
    for n, (one, two) in enumerate(pairwise(listed)):
        gone = {parse_symbol(symbol).expiry for symbol in one - two}
        assert all(expiry is not None and expiry <= day + timedelta(days=n) for expiry in gone)


def test_contracts_are_calls_and_puts_on_even_strikes_around_the_price(world: World) -> None:
    day = date(2026, 11, 18)
    midnight = calendar.always().on(day)
    assert midnight is not None
    now = np.full(3, midnight.open_ns)
    spots = world.spots(np.arange(3), now).price
    options = [parse_symbol(symbol) for symbol in chain_symbols(world, day)]
    assert len({option.symbol for option in options}) == len(options)
    for underlying, spot in zip(world.underlyings, spots, strict=True):
        for expiry in {option.expiry for option in options}:
            chain = [o for o in options if (o.underlying, o.expiry) == (underlying.symbol, expiry)]
            strikes = sorted({option.strike for option in chain})
            assert len(chain) == 2 * len(strikes)
            assert sum(strike < spot for strike in strikes) >= 6
            assert sum(strike > spot for strike in strikes) >= 6
            assert all(strike % 5_000 == 0 for strike in strikes)


@pytest.mark.parametrize(("symbol", "step"), [("SPY", 10_000), ("AAPL", 50_000), ("F", 5_000)])
def test_increments_near_the_money(world: World, symbol: str, step: int) -> None:
    """SPY by the dollar, a stock near 290 by five dollars, one near 13 by half a dollar."""
    options = [parse_symbol(s) for s in chain_symbols(world, date(2026, 11, 18)) if s.startswith(symbol)]
    weekly = sorted({o.strike for o in options if o.expiry == date(2026, 11, 27)})
    assert {two - one for one, two in pairwise(weekly)} == {step}
