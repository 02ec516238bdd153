"""A desk on a market written by hand."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mbt.services.events.schedule import NOTHING_KNOWN, Calendar
from raxx.market.feeds.replay import ReplayFeed
from tests.conftest import Database
from tests.mbt.services.desk import Desk, Rows, tape


@pytest.fixture
def desk(fresh_db: Database, tmp_path: Path) -> Callable[..., Desk]:
    def opened(rows: Rows, known: Calendar = NOTHING_KNOWN, name: str = "replay:hand") -> Desk:
        path = tape(tmp_path / "quotes_hand.csv", rows)
        return Desk(ReplayFeed([path], name=name), known)

    return opened
