"""Feeds tell who is halted: recorded halts beside a tape, and the pauses of the practice market."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from raxx.kernel.clock import SECOND_NS, to_ns
from raxx.market.feeds.errors import BadTape
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.feeds.simulated import SimulatedFeed
from raxx.market.feeds.tape import read_tape
from raxx.market.status import Reason, TradingStatus

OPEN = to_ns(datetime(2026, 11, 20, 14, 30, tzinfo=UTC))
HEADER = "from_ns_utc,symbol,until_ns_utc,reason\n"


def at(minutes: float) -> int:
    """So many minutes after the open."""
    return OPEN + round(minutes * 60) * SECOND_NS


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    """SPY once a minute for ten minutes."""
    path = tmp_path / "quotes_SPY_20261120.csv"
    rows = [f"{at(minute)},SPY,100.00,3,100.02,2" for minute in range(10)]
    path.write_text("ts_ns_utc,symbol,bid,bid_size,ask,ask_size\n" + "\n".join(rows) + "\n")
    return path


def halts(tape: Path, *rows: str) -> Path:
    path = tape.with_name("quotes_SPY_20261120.halts.csv")
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def test_a_tape_without_halts_tells_none_and_keeps_its_digest(tape: Path) -> None:
    plain = read_tape(tape)
    assert plain.halts == ()
    halts(tape, f"{at(2)},SPY,{at(7)},LUDP")
    told = read_tape(tape)
    assert (told.digest != plain.digest, len(told.digest)) == (True, 64)
    assert told.name == plain.name


def test_what_the_end_of_a_halt_is_known_of(tape: Path) -> None:
    halts(tape, f"{at(2)},SPY,{at(7)},LUDP", f"{at(1)},AAPL,{at(4)},T1", f"{at(3)},*,,MWC3")
    assert read_tape(tape).halts == (
        TradingStatus("AAPL", at(1), Reason.NEWS_PENDING),  # when it ends is news
        TradingStatus("SPY", at(2), Reason.PRICE_BAND, at(7)),
        TradingStatus("*", at(3), Reason.MARKET_20),
        TradingStatus("AAPL", at(4)),
    )


def test_a_replay_tells_each_once_and_none_that_lies_before_its_start(tape: Path) -> None:
    halts(tape, f"{at(2)},SPY,{at(7)},LUDP", f"{at(4)},AAPL,,T2")
    feed = ReplayFeed(tape)
    feed.start(None)
    assert feed.advance_to(at(1.9)).statuses == ()
    assert [s.symbol for s in feed.advance_to(at(2)).statuses] == ["SPY"]
    assert [s.symbol for s in feed.advance_to(at(9)).statuses] == ["AAPL"]
    feed.start(at(2))
    assert [s.symbol for s in feed.advance_to(at(9)).statuses] == ["AAPL"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (f"{at(2)},SPY,{at(7)}", None),
        ("soon,SPY,,T1", "from_ns_utc"),
        (f"{at(2)},SPY,{at(2)},LUDP", "until_ns_utc"),
        (f"{at(2)},spy,{at(7)},LUDP", "symbol"),
        (f"{at(2)},SPY,{at(7)},WHY", "reason"),
    ],
)
def test_a_bad_row_is_named(tape: Path, row: str, field: str | None) -> None:
    halts(tape, row)
    with pytest.raises(BadTape) as caught:
        read_tape(tape)
    assert (caught.value.details.get("field"), caught.value.details["line"]) == (field, "2")


def test_another_header_is_refused(tape: Path) -> None:
    halts(tape).write_text("from,symbol\n")
    with pytest.raises(BadTape, match="the first line is"):
        read_tape(tape)


# -- the practice market -----------------------------------------------------------------------------------

START = to_ns(datetime(2026, 11, 20, 12, 0, tzinfo=UTC))


def pauses(
    *, seed: int = 1, a_day: int = 200, symbols: tuple[str, ...] | None = None, step_s: int = 7
) -> list[TradingStatus]:
    """What ten minutes bring."""
    feed = SimulatedFeed(seed=seed, start_ns=START, pauses_a_day=a_day, symbols=symbols or ("SPY",))
    feed.start(START)
    found: list[TradingStatus] = []
    for second in range(step_s, 601, step_s):
        found += feed.advance_to(START + second * SECOND_NS).statuses
    return found


def test_the_practice_market_pauses_nothing_unless_asked() -> None:
    assert pauses(a_day=0) == []


def test_pauses_follow_from_the_seed_alone() -> None:
    every = ("SPY", "QQQ", "AAPL", "MSFT", "NVDA", "TSLA")
    found = pauses(a_day=2_000, symbols=every)
    assert found == pauses(a_day=2_000, symbols=every, step_s=50)  # however time is cut
    assert found != pauses(a_day=2_000, symbols=every, seed=2)
    assert found
    for each in found:
        assert (each.reason, each.until_ns) == (Reason.PRICE_BAND, each.ts + 300 * SECOND_NS)
        assert START < each.ts <= START + 600 * SECOND_NS
        assert each.symbol in every
    # Who watches fewer stocks sees the same of them.
    assert [s for s in found if s.symbol == "SPY"] == pauses(a_day=2_000, symbols=("SPY",))


def test_who_begins_in_the_middle_of_a_pause_hears_of_it() -> None:
    [first, *_] = pauses(a_day=5_000)
    feed = SimulatedFeed(seed=1, start_ns=first.ts + 60 * SECOND_NS, pauses_a_day=5_000, symbols=("SPY",))
    feed.start(None)
    assert first in feed.advance_to(first.ts + 61 * SECOND_NS).statuses
