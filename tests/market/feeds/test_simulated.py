import hashlib
import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import groupby, pairwise

import msgspec
import pytest

from raxx.kernel import clock
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.errors import InvalidInput
from raxx.market.contracts import Instrument, Right, parse_symbol, price_step
from raxx.market.feeds.base import Batch
from raxx.market.feeds.simulated import SimulatedFeed
from raxx.market.quotes import Quote

MINUTE_NS = 60 * SECOND_NS
FEW = ("KO", "F", "BLK")


def utc(text: str) -> int:
    return clock.to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


NOON_NS = utc("2026-11-18T17:00")  # a Wednesday, 12:00 in New York


def driven(start_ns: int = NOON_NS, symbols: tuple[str, ...] | None = FEW, seed: int = 1) -> SimulatedFeed:
    return SimulatedFeed(seed=seed, start_ns=start_ns, symbols=symbols)


@pytest.fixture(scope="module")
def whole_market() -> list[Quote]:
    """Every symbol of the full market, and 20 seconds of changes."""
    return driven(symbols=None).advance_to(NOON_NS + 20 * SECOND_NS).quotes


# One market for one seed


def digest(quotes: list[Quote]) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(quotes)).hexdigest()


PINNED = """
import sys
from tests.market.feeds.test_simulated import NOON_NS, SECOND_NS, digest, driven
sys.stdout.write(digest(driven().advance_to(NOON_NS + 90 * SECOND_NS).quotes))
"""


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param({"PYTHONHASHSEED": "4711"}, id="another process"),
        # numpy's own exp and power give other bits with these switched off.
        pytest.param({"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"}, id="an older processor"),
    ],
)
def test_the_market_is_the_same_in_every_process_and_on_every_machine(elsewhere: dict[str, str]) -> None:
    """The digest is pinned: it changes only when the market is made differently, on purpose."""
    result = subprocess.run(
        [sys.executable, "-c", PINNED],
        env={**os.environ, "PYTHONPATH": os.getcwd(), **elsewhere},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "97c7a5b903f4983923e990965926c8b51a437e90d8947587dc512d38f967eb37"


def test_another_seed_is_another_market() -> None:
    assert driven(seed=1).advance_to(NOON_NS).quotes != driven(seed=2).advance_to(NOON_NS).quotes


def test_steps_of_any_length_bring_the_same_quotes() -> None:
    end = NOON_NS + 30 * SECOND_NS
    whole = driven().advance_to(end).quotes
    feed, parts = driven(), []
    at = NOON_NS
    for step_ms in (0, 1, 3_700, 49, 1_000, 251, 20_000, 4_999):
        at += step_ms * 1_000_000
        batch = feed.advance_to(at)
        assert batch.now_ns == at
        assert all(quote.ts <= at for quote in batch.quotes)
        parts += batch.quotes
    parts += feed.advance_to(end).quotes
    assert parts == whole


def test_polling_brings_the_same_quotes_a_second_at_a_time() -> None:
    whole = driven().advance_to(NOON_NS + 5 * SECOND_NS).quotes
    feed = driven()
    batches = [feed.poll(60.0) for _ in range(5)]
    assert [b.now_ns - NOON_NS for b in batches if b] == [n * SECOND_NS for n in range(1, 6)]
    assert [q for b in batches if b for q in b.quotes] == whole


def test_a_restart_continues_the_same_market() -> None:
    middle = NOON_NS + 100 * SECOND_NS + 123_000_000
    undisturbed, restarted = driven(), driven()
    before = undisturbed.advance_to(middle).quotes
    assert restarted.start(middle) == {quote.symbol: quote for quote in before}
    end = middle + 10 * SECOND_NS
    assert restarted.advance_to(end) == undisturbed.advance_to(end)


def test_leaving_stocks_out_changes_no_quote(whole_market: list[Quote]) -> None:
    few = driven().advance_to(NOON_NS + 20 * SECOND_NS).quotes
    assert [q for q in whole_market if parse_symbol(q.symbol).underlying in FEW] == few


def test_a_stock_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInput, match="symbols"):
        SimulatedFeed(seed=1, symbols=["SPY", "ENRON"])


# What a listener can rely on


def test_every_instrument_is_quoted_from_the_beginning() -> None:
    feed = driven(symbols=None)
    instruments = feed.instruments()
    assert feed.start(None) == {}
    first = feed.advance_to(NOON_NS)
    assert {quote.symbol for quote in first.quotes} == {instrument.symbol for instrument in instruments}
    assert sum(not instrument.expiry for instrument in instruments) == 30
    assert 10_000 < len(instruments) < 25_000
    assert {i.underlying for i in instruments if i.expiry} == {i.symbol for i in instruments if not i.expiry}


def test_quotes_come_in_order_and_only_when_something_changed(whole_market: list[Quote]) -> None:
    assert all(one.ts <= two.ts for one, two in pairwise(whole_market))
    last: dict[str, Quote] = {}
    repeated = 0
    for quote in whole_market:
        before = last.get(quote.symbol)
        if before:
            assert quote.ts > before.ts
            repeated += (quote.bid, quote.ask) == (before.bid, before.ask) and parse_symbol(
                quote.symbol
            ).expiry is not None
        last[quote.symbol] = quote
    # Each option is repeated once in 60 seconds: about a third of them in 20.
    assert repeated < 0.4 * len(last)


def test_every_symbol_is_quoted_within_any_minute() -> None:
    feed = driven()
    feed.start(NOON_NS)
    assert {q.symbol for q in feed.advance_to(NOON_NS + MINUTE_NS + SECOND_NS).quotes} == {
        i.symbol for i in feed.instruments()
    }


def test_stocks_tick_a_few_times_a_second(whole_market: list[Quote]) -> None:
    ticks: dict[str, int] = defaultdict(int)
    for quote in whole_market:
        if quote.ts > NOON_NS and not parse_symbol(quote.symbol).expiry:
            ticks[quote.symbol] += 1
    assert ticks["SPY"] > 60
    assert all(10 <= count <= 80 for count in ticks.values())


def test_prices_are_legal_and_never_locked_or_crossed(whole_market: list[Quote]) -> None:
    instruments = {quote.symbol: parse_symbol(quote.symbol) for quote in whole_market}
    for quote in whole_market:
        instrument = instruments[quote.symbol]
        assert quote.ask > quote.bid >= 0
        assert (quote.bid == 0) == (quote.bid_size == 0)
        assert quote.ask_size > 0
        for price in (quote.bid, quote.ask):
            assert price % price_step(instrument, price) == 0
        if instrument.expiry is None:
            assert quote.bid > 0
            assert quote.bid_size % 100 == quote.ask_size % 100 == 0


# What makes it look like a market

Chain = list[tuple[Instrument, Quote]]


@pytest.fixture(scope="module")
def in_force() -> dict[str, Quote]:
    return driven(symbols=None).start(NOON_NS)


def chains(in_force: dict[str, Quote], right: Right) -> Iterator[tuple[Quote, Chain]]:
    """The quote of the stock, and one expiry of calls or puts by strike."""
    options = [(i, q) for i, q in ((parse_symbol(s), q) for s, q in in_force.items()) if i.right is right]
    options.sort(key=lambda o: (o[0].underlying, o[0].expiry or date.min, o[0].strike))
    for (underlying, _), chain in groupby(options, key=lambda o: (o[0].underlying, o[0].expiry)):
        yield in_force[underlying], list(chain)


@pytest.mark.parametrize("right", list(Right))
def test_options_are_ordered_by_strike(in_force: dict[str, Quote], right: Right) -> None:
    sign = -1 if right is Right.CALL else 1
    for _, chain in chains(in_force, right):
        for (_, one), (_, two) in pairwise(chain):
            assert sign * (two.bid - one.bid) >= 0
            assert sign * (two.ask - one.ask) >= 0


@pytest.mark.parametrize("right", list(Right))
def test_nobody_gives_intrinsic_value_away(in_force: dict[str, Quote], right: Right) -> None:
    """Stock and chain are quoted up to a second apart: allow a twentieth of a percent of the price."""
    for stock, chain in chains(in_force, right):
        slack = stock.bid / 2_000
        for option, quote in chain:
            exercised = stock.bid - option.strike if right is Right.CALL else option.strike - stock.ask
            assert quote.ask >= exercised - slack


def test_calls_and_puts_agree_with_the_stock(in_force: dict[str, Quote]) -> None:
    """Neither conversion (buy stock and put, sell call) nor reversal earns more than the slack."""
    puts = {
        (o.underlying, o.expiry, o.strike): q for _, chain in chains(in_force, Right.PUT) for o, q in chain
    }
    for stock, chain in chains(in_force, Right.CALL):
        slack = stock.bid / 2_000
        for option, call in chain:
            put = puts[option.underlying, option.expiry, option.strike]
            assert call.bid - put.ask - stock.ask + option.strike <= slack
            assert put.bid - call.ask + stock.bid - option.strike <= slack


def implied_volatility(spot: float, strike: float, years: float, call: float) -> float:
    """By bisection of the textbook formula."""
    low, high = 0.01, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        deviation = middle * math.sqrt(years)
        d1 = math.log(spot / strike) / deviation + deviation / 2
        value = spot * 0.5 * math.erfc(-d1 / math.sqrt(2)) - strike * 0.5 * math.erfc(
            (deviation - d1) / math.sqrt(2)
        )
        low, high = (low, middle) if value > call else (middle, high)
    return low


def smile(in_force: dict[str, Quote], symbol: str, expiry: date) -> dict[float, float]:
    """Moneyness to implied volatility, from the middle of puts below the stock and of calls above."""
    found = {}
    close_ns = clock.to_ns(
        datetime.combine(expiry, datetime.min.time().replace(hour=16), clock.EXCHANGE_ZONE)
    )
    for right in Right:
        for stock, chain in chains(in_force, right):
            spot = (stock.bid + stock.ask) / 2
            for option, quote in chain:
                wanted = option.strike < spot if right is Right.PUT else option.strike >= spot
                if (option.underlying, option.expiry) == (symbol, expiry) and wanted and quote.bid:
                    middle = (quote.bid + quote.ask) / 2
                    call = middle if right is Right.CALL else middle + spot - option.strike
                    years = (close_ns - NOON_NS) / SECOND_NS / 86_400 / 365
                    found[option.strike / spot] = implied_volatility(spot, option.strike, years, call)
    return found


def near(smile: dict[float, float], moneyness: float) -> float:
    return smile[min(smile, key=lambda m: abs(m - moneyness))]


def test_the_smile_of_an_index_fund(in_force: dict[str, Quote]) -> None:
    month = smile(in_force, "SPY", date(2026, 12, 18))
    at_the_money = near(month, 1.0)
    assert 0.08 < at_the_money < 0.30
    assert near(month, 0.9) > at_the_money + 0.05
    assert near(month, 1.04) < at_the_money
    quarter = smile(in_force, "SPY", date(2027, 3, 19))
    assert near(month, 0.92) - near(month, 1.0) > near(quarter, 0.92) - near(quarter, 1.0) > 0


def test_stocks_differ_in_volatility(in_force: dict[str, Quote]) -> None:
    levels = {s: near(smile(in_force, s, date(2026, 12, 18)), 1.0) for s in ("KO", "AAPL", "TSLA")}
    assert levels["KO"] < levels["AAPL"] < levels["TSLA"]


def test_spreads_are_wider_away_from_the_money_and_in_thin_names(in_force: dict[str, Quote]) -> None:
    def relative(quote: Quote) -> float:
        return (quote.ask - quote.bid) / (quote.ask + quote.bid)

    at_the_money = {}
    for stock, chain in chains(in_force, Right.CALL):
        middle = min(range(len(chain)), key=lambda n: abs(chain[n][0].strike - stock.bid))
        at_the_money[chain[middle][0].underlying] = relative(chain[middle][1])
        far = [quote for _, quote in chain[middle:] if quote.bid][-1]
        assert relative(far) >= relative(chain[middle][1])
        assert chain[0][1].ask - chain[0][1].bid >= chain[middle][1].ask - chain[middle][1].bid
    assert at_the_money["SPY"] < at_the_money["AAPL"] < at_the_money["BLK"]


def test_worthless_options_have_no_bid(in_force: dict[str, Quote]) -> None:
    one_sided = [quote for quote in in_force.values() if not quote.bid]
    assert len(one_sided) > 100
    assert all(quote.ask <= 5_000 for quote in one_sided)


# Days and hours


def test_an_expired_option_is_withdrawn_at_the_close_and_gone_the_next_day() -> None:
    friday = date(2026, 11, 20)
    close_ns = utc("2026-11-20T21:00")  # 16:00 in New York
    feed = driven(close_ns - 2 * SECOND_NS)
    quotes = feed.advance_to(close_ns + 90 * SECOND_NS).quotes
    expiring = [q for q in quotes if parse_symbol(q.symbol).expiry == friday]
    assert all(q.ask > 0 for q in expiring if q.ts < close_ns)
    withdrawn = {q.symbol for q in expiring if q.ts >= close_ns}
    assert withdrawn == {i.symbol for i in feed.instruments() if i.expiry == friday}
    assert all((q.bid, q.bid_size, q.ask, q.ask_size) == (0, 0, 0, 0) for q in expiring if q.ts >= close_ns)
    assert driven().start(close_ns + 90 * SECOND_NS) == {q.symbol: q for q in quotes}
    feed.start(utc("2026-11-21T05:00"))  # midnight
    assert friday not in {i.expiry for i in feed.instruments()}


def test_a_new_day_lists_new_contracts_and_quotes_them_at_once() -> None:
    midnight_ns = utc("2026-11-21T05:00")
    feed = driven(midnight_ns - 5 * SECOND_NS)
    feed.start(None)
    before = {i.symbol for i in feed.instruments()}
    feed.advance_to(midnight_ns - 1)
    quoted = {q.symbol for q in feed.advance_to(midnight_ns + 2 * SECOND_NS).quotes}
    new = {i.symbol for i in feed.instruments()} - before
    assert new
    assert new <= quoted
    restarted = driven()
    in_force = restarted.start(midnight_ns + 2 * SECOND_NS)
    assert {i.symbol for i in restarted.instruments()} == in_force.keys()


def test_it_is_open_day_and_night() -> None:
    assert driven().sessions.is_open(utc("2026-11-22T08:00"))


def test_a_driven_clock_does_not_go_back() -> None:
    feed = driven()
    feed.advance_to(NOON_NS + SECOND_NS)
    with pytest.raises(ValueError, match="does not go back"):
        feed.advance_to(NOON_NS)


def test_closed_is_over() -> None:
    feed = driven()
    feed.close()
    assert feed.poll(0.0) is None


# Live


class Wall:
    """Wall and monotonic clock, moving only when somebody sleeps."""

    def __init__(self) -> None:
        self.ns = NOON_NS + 17_000_000
        self.slept: list[float] = []

    def now_ns(self) -> int:
        return self.ns

    def monotonic(self) -> float:
        return (self.ns - NOON_NS) / SECOND_NS

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.ns += math.ceil(seconds * SECOND_NS)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def live(wall: Wall) -> SimulatedFeed:
    return SimulatedFeed(
        seed=1, symbols=FEW, now_ns=wall.now_ns, now_monotonic=wall.monotonic, sleep=wall.sleep
    )


def polled(feed: SimulatedFeed, wait_s: float = 0.0) -> Batch:
    batch = feed.poll(wait_s)
    assert batch is not None
    return batch


def test_live_quotes_are_those_of_the_wall_clock(live: SimulatedFeed, wall: Wall) -> None:
    live.start(None)
    first = polled(live)
    assert first.now_ns == NOON_NS
    assert {q.symbol for q in first.quotes} == {i.symbol for i in live.instruments()}
    quotes = []
    while wall.ns < NOON_NS + 3 * SECOND_NS:
        before = wall.ns
        batch = polled(live, 0.2)
        assert wall.ns - before <= 0.2 * SECOND_NS + 1
        assert wall.ns - batch.now_ns < 50_000_000
        quotes += batch.quotes
    undisturbed = driven()
    undisturbed.start(NOON_NS)
    assert quotes == undisturbed.advance_to(batch.now_ns).quotes
    assert max(wall.slept) <= 0.05


def test_polling_without_patience_does_not_sleep(live: SimulatedFeed, wall: Wall) -> None:
    live.start(NOON_NS)
    assert polled(live) == Batch([], NOON_NS)
    assert wall.slept == []


def test_what_a_short_stop_missed_is_delivered_a_second_at_a_time(live: SimulatedFeed, wall: Wall) -> None:
    stopped_ns = NOON_NS - 30 * SECOND_NS
    assert live.start(stopped_ns)
    batches = [polled(live) for _ in range(31)]
    assert [b.now_ns for b in batches[:30]] == [stopped_ns + n * SECOND_NS for n in range(1, 31)]
    assert batches[30].now_ns == NOON_NS
    undisturbed = driven()
    undisturbed.start(stopped_ns)
    assert [q for b in batches for q in b.quotes] == undisturbed.advance_to(NOON_NS).quotes


def test_a_long_stop_is_left_out(live: SimulatedFeed) -> None:
    live.start(NOON_NS - 3_600 * SECOND_NS)
    batch = polled(live)
    assert batch.now_ns == NOON_NS
    assert {q.symbol: q for q in batch.quotes} == driven().start(NOON_NS)


def test_a_wall_clock_that_is_set_back_does_not_turn_time_back(live: SimulatedFeed, wall: Wall) -> None:
    live.start(NOON_NS)
    wall.ns -= 10 * SECOND_NS
    assert polled(live) == Batch([], NOON_NS)


def test_the_live_clock_cannot_be_driven(live: SimulatedFeed) -> None:
    with pytest.raises(ValueError, match="wall clock"):
        live.advance_to(NOON_NS)
