from collections.abc import Iterator

import pytest

from raxx.kernel.ids import new_id
from tests.mbt.api.order_kinds import opened
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market


@pytest.fixture
def chain(_database: None) -> Iterator[Market]:
    """A market that never closes, with SPY at 99.98 / 100.02 and a chain of its options."""
    yield from opened(f"kinds-{new_id().hex}", MORNING)
