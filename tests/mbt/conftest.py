from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.test import Client

from console import flags
from raxx.kernel.clock import to_ns
from raxx.kernel.ids import new_id
from tests.mbt.paper_tools import Market, Trader

# A Friday, 10:30 in New York: the regular session is open.
MORNING = to_ns(datetime(2026, 11, 20, 15, 30, tzinfo=UTC))


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kill switch is set outside of the database, and the rate limit is out of the way."""
    monkeypatch.setattr(settings, "RAXX_RATE_FACTOR", 1_000)  # some tests send thousands of orders
    monkeypatch.delenv("MBT_TRADING_DISABLED", raising=False)
    monkeypatch.delenv("MBT_NEW_ORDERS_DISABLED", raising=False)


@pytest.fixture
def _database(request: pytest.FixtureRequest) -> None:
    """A database of the test's own where the test asks for one, else one that is rolled back."""
    request.getfixturevalue("fresh_db" if "fresh_db" in request.fixturenames else "db")


@pytest.fixture
def market(_database: None) -> Iterator[Market]:
    """A market that never closes, with SPY at 99.98 / 100.02 and AAPL at 200.00 / 200.10."""
    market = Market(f"test-{new_id().hex}", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    market.quote("AAPL", "200.00", "200.10")
    yield market
    market.close()


@pytest.fixture
def exchange(_database: None) -> Iterator[Market]:
    """A market with the hours of New York: a Friday, 10:30, and SPY at 99.98 / 100.02."""
    market = Market(f"replay:test-{new_id().hex}", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    yield market
    market.close()


@pytest.fixture
def trader(market: Market) -> Trader:
    """Alice, with 100,000 dollars."""
    return Trader.opened(feed=market.feed)


@pytest.fixture
def open_trader(market: Market) -> Callable[..., Trader]:
    """Makes more of them: `open_trader(cash="500.00", scopes=["paper:read"])`."""
    return lambda **wishes: Trader.opened(feed=market.feed, **wishes)


@pytest.fixture
def stranger() -> Client:
    """Somebody without credentials."""
    return Client()


@pytest.fixture
def flags_stay_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read anew every second, by whichever request comes next: not while statements are counted."""
    monkeypatch.setattr(flags, "KNOWN_FOR_S", 3_600.0)
