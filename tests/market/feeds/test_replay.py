import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from raxx.kernel import clock
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.errors import InvalidInput
from raxx.market.contracts import parse_symbol
from raxx.market.feeds.base import Batch
from raxx.market.feeds.replay import ReplayFeed
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

WriteTape = Callable[..., Path]

SECONDS = [1, 2, 2, 2, 5, 5, 9]
DAY = Sessions("TEST", [Session(date(1970, 1, 1), open_ns=1 * SECOND_NS, close_ns=20 * SECOND_NS)])


def row(second: float, size: int, symbol: str = "A") -> str:
    return f"{int(second * SECOND_NS)},{symbol},1,{size},2,{size}"


@pytest.fixture
def tape(write_tape: WriteTape) -> Path:
    return write_tape(*[row(second, n + 1, "AB"[n % 2]) for n, second in enumerate(SECONDS)])


class Wall:
    """A monotonic clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now_s += seconds


def play(feed: ReplayFeed) -> list[Batch]:
    batches = []
    while batch := feed.poll(0.0):
        batches.append(batch)
    return batches


def sizes(batch: Batch) -> list[int]:
    return [quote.bid_size for quote in batch.quotes]


def test_as_fast_as_possible(tape: Path) -> None:
    batches = play(ReplayFeed(tape, sessions=DAY))
    assert [(sizes(b), b.now_ns // SECOND_NS) for b in batches] == [([1, 2, 3, 4, 5, 6, 7], 9), ([], 20)]


def test_equal_stamps_stay_together(tape: Path) -> None:
    batches = play(ReplayFeed(tape, sessions=DAY, batch=2))
    assert [(sizes(b), b.now_ns // SECOND_NS) for b in batches] == [
        ([1, 2, 3, 4], 2),
        ([5, 6], 5),
        ([7], 9),
        ([], 20),
    ]


def test_the_feed_ends_at_its_last_row_when_that_is_after_the_close(write_tape: WriteTape) -> None:
    batches = play(ReplayFeed(write_tape(row(5, 1), row(30, 2)), sessions=DAY))
    assert [b.now_ns // SECOND_NS for b in batches] == [30, 30]
    assert batches[-1].quotes == []


def test_over_is_over_until_it_is_started_again(tape: Path) -> None:
    feed = ReplayFeed(tape, sessions=DAY)
    first = play(feed)
    assert feed.poll(0.0) is None
    feed.start(None)
    assert play(feed) == first
    feed.close()
    assert feed.poll(0.0) is None


def test_name_and_instruments(tape: Path) -> None:
    feed = ReplayFeed(tape, sessions=DAY)
    assert feed.name == "replay:TEST-20240108"
    assert feed.instruments() == [parse_symbol("A"), parse_symbol("B")]
    assert ReplayFeed(feed.tape, sessions=DAY, name="mine").name == "mine"


def test_hours_are_those_of_new_york_unless_given(tape: Path) -> None:
    assert ReplayFeed(tape).sessions.name == "XNYS"


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 9, 19, 20, 25])
def test_start_in_the_middle(tape: Path, after: int) -> None:
    feed = ReplayFeed(tape, sessions=DAY)
    in_force = feed.start(after * SECOND_NS)
    past = [n for n, second in enumerate(SECONDS) if second <= after]
    assert {s: q.bid_size for s, q in in_force.items()} == {"AB"[n % 2]: n + 1 for n in past}
    batches = play(feed)
    assert [size for b in batches for size in sizes(b)] == list(range(len(past) + 1, 8))
    assert batches[-1] == Batch([], max(after, 20) * SECOND_NS)


def test_start_from_the_beginning_has_nothing_in_force(tape: Path) -> None:
    feed = ReplayFeed(tape, sessions=DAY)
    play(feed)
    assert feed.start(None) == {}


def test_lockstep(tape: Path) -> None:
    feed = ReplayFeed(tape, sessions=DAY)
    steps = [feed.advance_to(int(s * SECOND_NS)) for s in (0.5, 1, 1, 4, 5, 100)]
    assert [sizes(b) for b in steps] == [[], [1], [], [2, 3, 4], [5, 6], [7]]
    assert [b.now_ns / SECOND_NS for b in steps] == [0.5, 1, 1, 4, 5, 100]
    assert feed.poll(0.0) == Batch([], 100 * SECOND_NS)
    assert feed.poll(0.0) is None


def test_lockstep_does_not_go_back(tape: Path) -> None:
    feed = ReplayFeed(tape, sessions=DAY)
    feed.advance_to(3 * SECOND_NS)
    with pytest.raises(ValueError, match="does not go back"):
        feed.advance_to(3 * SECOND_NS - 1)


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_is_a_number_above_zero(tape: Path, speed: float) -> None:
    with pytest.raises(InvalidInput, match="speed"):
        ReplayFeed(tape, sessions=DAY, speed=speed)


def test_paced(tape: Path) -> None:
    """At twice the speed of life the row of second 9 is due 4 s after that of second 1."""
    wall = Wall()
    feed = ReplayFeed(tape, sessions=DAY, speed=2.0, now_monotonic=wall.monotonic, sleep=wall.sleep)
    begun, due = wall.now_s, []
    while batch := feed.poll(0.3):
        assert wall.now_s - begun >= (batch.now_ns / SECOND_NS - 1) / 2 - 1e-6
        due += [(size, round(wall.now_s - begun, 6)) for size in sizes(batch)]
    assert due == [(n + 1, (second - 1) / 2) for n, second in enumerate(SECONDS)]
    assert wall.now_s - begun == pytest.approx((20 - 1) / 2)
    assert max(wall.slept) <= 0.3


def test_paced_never_waits_longer_than_asked(tape: Path) -> None:
    wall = Wall()
    feed = ReplayFeed(tape, sessions=DAY, speed=1.0, now_monotonic=wall.monotonic, sleep=wall.sleep)
    feed.poll(0.0)
    before = wall.now_s
    assert feed.poll(0.25) == Batch([], int(1.25 * SECOND_NS))
    assert wall.now_s == before + 0.25
    assert feed.poll(0.0) == Batch([], int(1.25 * SECOND_NS))


def test_paced_catches_up_in_batches(tape: Path) -> None:
    wall = Wall()
    feed = ReplayFeed(tape, sessions=DAY, speed=1.0, batch=2, now_monotonic=wall.monotonic, sleep=wall.sleep)
    wall.now_s += 7.0
    batches = [feed.poll(0.0) for _ in range(3)]
    assert [(sizes(b), b.now_ns // SECOND_NS) for b in batches if b] == [
        ([1, 2, 3, 4], 2),
        ([5, 6], 5),
        ([], 8),
    ]


@pytest.mark.tapes
def test_a_recorded_day_comes_whole_and_in_order(tapes: Path) -> None:
    feed = ReplayFeed(tapes / "quotes_tick_IBM_20131007.csv.gz")
    batches = play(feed)
    assert [q for b in batches for q in b.quotes] == feed.tape.rows(0, 54_534)
    last = 0
    for batch in batches:
        assert all(last < quote.ts <= batch.now_ns for quote in batch.quotes)
        last = batch.now_ns


@pytest.mark.tapes
def test_quotes_in_force_of_a_recorded_chain(tapes: Path) -> None:
    feed = ReplayFeed(tapes / "quotes_1min_options_GOOG_20151224.csv.gz")
    assert len(feed.tape.symbols) == 2_192
    draw = random.Random(1)
    rows = feed.tape.rows(0, len(feed.tape))
    for after in (rows[0].ts - 1, draw.choice(rows).ts, draw.choice(rows).ts + 1, rows[-1].ts):
        expected: dict[str, Quote] = {quote.symbol: quote for quote in rows if quote.ts <= after}
        assert feed.start(after) == expected


@pytest.mark.tapes
@pytest.mark.parametrize(
    ("name", "end_utc"),
    [
        pytest.param(
            "quotes_1min_options_GOOG_20151228", "2015-12-28T21:00", id="one hour of a day, to its close"
        ),
        pytest.param(
            "quotes_1min_options_GOOG_20151224", "2015-12-24T18:01", id="a half day's last row is later"
        ),
        pytest.param("quotes_tick_IBM_20131007", "2013-10-08T00:00:00.122", id="after-hours quotes"),
    ],
)
def test_where_recorded_days_end(tapes: Path, name: str, end_utc: str) -> None:
    feed = ReplayFeed(tapes / f"{name}.csv.gz")
    feed.start(int(feed.tape.ts[-1]) - 1)
    end_ns = clock.to_ns(datetime.fromisoformat(end_utc).replace(tzinfo=UTC))
    assert play(feed)[-1] == Batch([], end_ns)
