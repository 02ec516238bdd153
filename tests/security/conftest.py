from collections.abc import Iterator

import pytest
from django.conf import settings

from raxx.identity import rate_limits
from raxx.kernel.ids import new_id
from tests.conftest import Database
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market


@pytest.fixture
def market(fresh_db: Database) -> Iterator[Market]:
    """A market that never closes, in a database of the test's own."""
    market = Market(f"test-{new_id().hex}", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    market.quote("SPY261218C00100000", "1.20", "1.25")
    yield market
    market.close()


@pytest.fixture
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many requests a minute that the limits hide nothing. What they do is in tests/identity/test_rate_limits.py."""
    monkeypatch.setattr(settings, "RAXX_RATE_FACTOR", 100_000)
    for name in ("STRANGER_PER_MINUTE", "CEREMONY_PER_MINUTE", "REFRESH_PER_MINUTE"):
        monkeypatch.setattr(rate_limits, name, 10_000_000)
