"""The real engine process on PostgreSQL: equal to the in-memory replay, whatever is done to it."""

import random
import signal
import time
from pathlib import Path

import msgspec
import pytest

from mbt import selectors
from mbt.engine.ledger import Ledger, digest
from mbt.models import EngineState, Fill
from tests.conftest import Database
from tests.mbt.engine_tools import start_engine, stocked
from tests.oracle.sample_orders import sample
from tests.patience import eventually

SEED = 20131007


@pytest.mark.tapes
@pytest.mark.parametrize("tape", ["quotes_tick_IBM_20131007", "quotes_tick_AIG_20131007"])
def test_engine_process_and_in_memory_replay_agree_fill_for_fill(
    fresh_db: Database, tapes: Path, tape: str
) -> None:
    path = tapes / f"{tape}.csv.gz"
    account = stocked(path, sample(path, SEED, 500), f"replay:{tape}")

    engine = start_engine(path, account.feed.name, fresh_db.url)
    output, _ = engine.communicate(timeout=120)

    assert engine.returncode == 0, output
    live, memory = selectors.ledger(account.account.id), account.in_memory()
    assert sorted(live.fills, key=str) == sorted(memory.fills, key=str)
    assert sorted(live.orders, key=str) == sorted(memory.orders, key=str)
    assert len(live.fills) > 300
    assert {p.symbol: p for p in live.positions} == {p.symbol: p for p in memory.positions}
    assert live.cash == memory.cash


@pytest.mark.tapes
def test_twenty_kills_lose_nothing_and_double_nothing(fresh_db: Database, tapes: Path) -> None:
    path = tapes / "quotes_tick_IBM_20131007.csv.gz"
    account = stocked(path, sample(path, SEED, 500), "replay:killed")
    dice = random.Random(7)
    kills = 0
    while kills < 20:
        # At this speed the day takes about 50 s; each life of the engine is short.
        engine = start_engine(path, account.feed.name, fresh_db.url, speed="1200")
        before = _position(account.feed.name)
        eventually(lambda: _position(account.feed.name) != before or engine.poll() is not None)  # noqa: B023
        time.sleep(dice.uniform(0, 0.6))
        engine.send_signal(signal.SIGKILL)
        engine.communicate()
        kills += 1
    assert 0 < _position(account.feed.name) < account.end_ns, "the last kill came in the middle of the day"
    engine = start_engine(path, account.feed.name, fresh_db.url)
    output, _ = engine.communicate(timeout=120)

    assert engine.returncode == 0, output
    live, memory = selectors.ledger(account.account.id), account.in_memory()
    assert sorted(live.fills, key=str) == sorted(memory.fills, key=str)
    assert Fill.objects.values("order").distinct().count() == Fill.objects.count()
    assert digest(_without_opening(live)) == digest(memory)


def _without_opening(ledger: Ledger) -> Ledger:
    """The replay begins with the cash; the database has the activity that put it there."""
    return msgspec.structs.replace(
        ledger, activities=[a for a in ledger.activities if a.type != "adjustment"]
    )


def _position(feed: str) -> int:
    state = EngineState.objects.filter(pk=feed).first()
    return state.position_ns if state else 0
