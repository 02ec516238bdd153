"""Halts, price bands and breakers by hand arithmetic from the published tables."""

from datetime import date, datetime
from decimal import Decimal as D

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt.engine.halts import (
    EVERYTHING,
    TRADING,
    Bands,
    Halt,
    Phase,
    Reason,
    State,
    Tier,
    as_halt,
    bands,
    halted_by,
    is_halted,
    luld_rules,
    market_halt,
    next_reference,
    next_state,
)  # fmt: skip
from raxx.kernel.clock import EXCHANGE_ZONE, SECOND_NS, to_ns
from raxx.market.calendar import xnys
from raxx.market.contracts import parse_symbol
from raxx.market.quotes import Quote
from raxx.market.sessions import Session

ABC, CALL, OTHER = parse_symbol("ABC"), parse_symbol("ABC261218C00050000"), parse_symbol("XYZ")
TODAY = date(2026, 6, 15)
MINUTE = 60 * SECOND_NS


def session(day: date = TODAY) -> Session:
    found = xnys().on(day)
    assert found
    return found


def at(clock: str, day: date = TODAY) -> int:
    return to_ns(datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=EXCHANGE_ZONE))


def test_a_halt_holds_from_its_start_until_its_end() -> None:
    halt = Halt(symbol="ABC", from_ns=100, until_ns=200, reason=Reason.NEWS_PENDING)
    assert [is_halted(ABC, [halt], t) for t in (99, 100, 199, 200)] == [False, True, True, False]
    assert not is_halted(OTHER, [halt], 150)
    endless = Halt(symbol="ABC", from_ns=150, until_ns=None, reason=Reason.SEC_SUSPENSION)
    assert is_halted(ABC, [endless], 2**62)


def test_options_stand_still_with_their_stock_but_not_the_other_way_round() -> None:
    of_stock = Halt(symbol="ABC", from_ns=0, until_ns=None, reason=Reason.NEWS_PENDING)
    of_option = Halt(symbol=CALL.symbol, from_ns=0, until_ns=None, reason=Reason.OPERATIONAL)
    assert (is_halted(CALL, [of_stock], 1), is_halted(ABC, [of_option], 1)) == (True, False)
    adjusted = parse_symbol("ABC1261218C00050000")
    assert (is_halted(adjusted, [of_stock], 1), is_halted(adjusted, [of_option], 1)) == (True, False)
    index = Halt(symbol="SPX", from_ns=0, until_ns=None, reason=Reason.MARKET_7)
    assert is_halted(parse_symbol("SPXW261218C06000000"), [index], 1)


def test_the_longest_halt_is_the_one_told() -> None:
    short = Halt(symbol="ABC", from_ns=0, until_ns=10, reason=Reason.PRICE_BAND)
    market = Halt(symbol=EVERYTHING, from_ns=0, until_ns=20, reason=Reason.MARKET_7)
    endless = Halt(symbol="ABC", from_ns=0, until_ns=None, reason=Reason.NEWS_PENDING)
    assert halted_by(ABC, [short, market], 5) == market
    assert halted_by(ABC, [short, endless, market], 5) == endless
    assert halted_by(OTHER, [short, endless, market], 5) == market
    assert halted_by(ABC, [], 5) is None


@pytest.mark.parametrize(
    ("clock", "tier", "close", "reference", "lower", "upper"),
    [
        # Prices in dollars; percentages of the rule sheet, class by the previous close.
        pytest.param("11:00", Tier.ONE, "50.00", "50.00", "47.50", "52.50", id="tier 1: 5 %"),
        pytest.param("11:00", Tier.TWO, "50.00", "50.00", "45.00", "55.00", id="tier 2: 10 %"),
        pytest.param("11:00", Tier.ONE, "3.01", "2.90", "2.76", "3.05", id="2.755 and 3.045, half up"),
        pytest.param("11:00", Tier.ONE, "3.00", "3.10", "2.48", "3.72", id="3.00 is not above 3: 20 %"),
        pytest.param("11:00", Tier.TWO, "0.75", "1.00", "0.80", "1.20", id="0.75 belongs to the 20 %"),
        pytest.param("11:00", Tier.TWO, "0.74", "0.74", "0.59", "0.89", id="below: 0.15 is less than 75 %"),
        pytest.param("11:00", Tier.TWO, "0.12", "0.12", "0.03", "0.21", id="75 % of 0.12 is 0.09"),
        pytest.param("15:34:59", Tier.ONE, "50.00", "50.00", "47.50", "52.50", id="before 15:35"),
        pytest.param("15:35", Tier.ONE, "50.00", "50.00", "45.00", "55.00", id="tier 1 doubles at 15:35"),
        pytest.param("15:35", Tier.TWO, "50.00", "50.00", "45.00", "55.00", id="tier 2 above 3 does not"),
        pytest.param("15:35", Tier.TWO, "3.00", "3.00", "1.80", "4.20", id="tier 2 up to 3 does: 40 %"),
        pytest.param("15:35", Tier.TWO, "0.74", "0.74", "0.44", "1.04", id="0.30"),
        pytest.param(
            "15:35", Tier.TWO, "0.12", "0.12", "0.01", "0.30", id="150 %: nothing below, 0.18 above"
        ),
        pytest.param(
            "09:30", Tier.ONE, "50.00", "50.00", "47.50", "52.50", id="the opening is not doubled any more"
        ),
    ],
)
def test_bands(clock: str, tier: Tier, close: str, reference: str, lower: str, upper: str) -> None:
    found = bands(
        int(D(reference) * 10_000),
        previous_close=int(D(close) * 10_000),
        tier=tier,
        at_ns=at(clock),
        session=session(),
    )
    assert found == Bands(int(D(lower) * 10_000), int(D(upper) * 10_000))


@pytest.mark.parametrize(
    ("day", "clock", "tier", "width"),
    [
        pytest.param(
            date(2015, 12, 23), "09:44:59", Tier.TWO, 20, id="doubled in the first quarter of an hour"
        ),
        pytest.param(date(2015, 12, 23), "09:45", Tier.TWO, 10, id="until 09:45"),
        pytest.param(date(2015, 12, 23), "15:35", Tier.TWO, 20, id="and at the close, every tier"),
        pytest.param(date(2015, 12, 24), "12:35", Tier.ONE, 10, id="on a half day from 12:35"),
        pytest.param(date(2015, 12, 24), "12:34", Tier.ONE, 5, id="not before"),
        pytest.param(date(2020, 2, 21), "09:30", Tier.ONE, 10, id="the last day of the old windows"),
        pytest.param(date(2020, 2, 24), "09:30", Tier.ONE, 5, id="the first of the new"),
    ],
)
def test_when_bands_are_doubled(day: date, clock: str, tier: Tier, width: int) -> None:
    found = bands(1_000_000, previous_close=1_000_000, tier=tier, at_ns=at(clock, day), session=session(day))
    assert found == Bands(1_000_000 - width * 10_000, 1_000_000 + width * 10_000)


def test_a_leveraged_fund_of_tier_2_has_wider_bands() -> None:
    found = bands(
        200_000, previous_close=200_000, tier=Tier.TWO, at_ns=at("11:00"), session=session(), leverage=3
    )
    assert found == Bands(140_000, 260_000)


def test_no_bands_outside_the_session_nor_before_the_plan() -> None:
    old = date(2013, 4, 5)
    assert luld_rules(old) is None
    for at_ns, on in ((at("16:00"), session()), (at("11:00", old), session(old))):
        assert bands(500_000, previous_close=500_000, tier=Tier.ONE, at_ns=at_ns, session=on) is None


@given(
    st.integers(100, 5_000_000), st.integers(100, 5_000_000), st.sampled_from(Tier), st.integers(0, 23_399)
)
def test_bands_enclose_the_reference(reference: int, close: int, tier: Tier, second: int) -> None:
    at_ns = session().open_ns + second * SECOND_NS
    found = bands(reference, previous_close=close, tier=tier, at_ns=at_ns, session=session())
    assert found
    assert 0 < found.lower <= found.upper
    assert found.lower % 100 == found.upper % 100 == 0
    assert found.lower - 50 <= reference <= found.upper + 50
    if tier is Tier.ONE:
        wider = bands(reference, previous_close=close, tier=tier, at_ns=at("15:40"), session=session())
        assert wider
        assert wider.lower <= found.lower <= found.upper <= wider.upper


@pytest.mark.parametrize(
    ("average", "seconds", "reference"),
    [
        pytest.param(504_900, 60, 500_000, id="less than 1 %"),
        pytest.param(505_000, 60, 505_000, id="1 %"),
        pytest.param(495_000, 60, 495_000, id="1 % down"),
        pytest.param(505_000, 29, 500_000, id="it stands for 30 s"),
        pytest.param(505_000, 30, 505_000, id="and then moves"),
    ],
)
def test_the_reference_follows_the_average(average: int, seconds: int, reference: int) -> None:
    assert next_reference(500_000, average, since_ns=0, at_ns=seconds * SECOND_NS) == reference


BAND = Bands(475_000, 525_000)
INSIDE, AT_LOWER, AT_UPPER = (499_000, 501_000), (474_000, 475_000), (525_000, 526_000)


def walk(*steps: tuple[str, tuple[int, int]]) -> list[State]:
    state, seen = TRADING, []
    for clock, (bid, ask) in steps:
        quote = Quote("ABC", at(clock), bid, 100 if bid else 0, ask, 100 if ask else 0)
        state = next_state(state, quote, BAND, at_ns=at(clock), session=session())
        seen.append(state)
    return seen


def test_fifteen_seconds_at_a_band_pause_the_stock_for_five_minutes() -> None:
    limit, still, paused, waiting, after = walk(
        ("11:00:00", AT_LOWER), ("11:00:14", AT_LOWER), ("11:00:15", AT_LOWER), ("11:05:14", INSIDE),
        ("11:05:15", INSIDE),
    )  # fmt: skip
    assert (limit.phase, limit.down, limit.since_ns) == (Phase.LIMIT, True, at("11:00"))
    assert still == limit
    assert (paused.phase, paused.since_ns, paused.until_ns) == (Phase.PAUSED, at("11:00:15"), at("11:05:15"))
    assert waiting == paused
    assert after == TRADING
    assert as_halt("ABC", after) is None
    halt = as_halt("ABC", paused)
    assert halt == Halt(
        symbol="ABC", from_ns=at("11:00:15"), until_ns=at("11:05:15"), reason=Reason.PRICE_BAND
    )
    assert is_halted(CALL, [halt], at("11:05"))


def test_a_quote_that_comes_back_in_time_ends_the_limit_state() -> None:
    *_, back, again, later = walk(
        ("11:00:00", AT_UPPER), ("11:00:14.999", INSIDE), ("11:00:15", AT_UPPER), ("11:00:29", AT_UPPER)
    )
    assert back == TRADING
    assert (again.phase, again.down, again.since_ns) == (Phase.LIMIT, False, at("11:00:15"))
    assert later == again


def test_a_quote_that_comes_back_too_late_does_not() -> None:
    assert walk(("11:00:00", AT_UPPER), ("11:00:20", INSIDE))[-1].phase is Phase.PAUSED


def test_from_one_band_to_the_other_the_seconds_begin_anew() -> None:
    state = walk(("11:00:00", AT_UPPER), ("11:00:10", AT_LOWER), ("11:00:20", AT_LOWER))[-1]
    assert (state.phase, state.down, state.since_ns) == (Phase.LIMIT, True, at("11:00:10"))


def test_a_missing_side_is_not_at_a_band() -> None:
    assert walk(("11:00:00", (499_000, 0)))[-1] == TRADING
    assert walk(("11:00:00", (0, 475_000)))[-1].phase is Phase.LIMIT


@pytest.mark.parametrize(
    ("begins", "now", "ends"),
    [
        pytest.param("15:49:44", "15:49:59", "15:54:59", id="more than ten minutes before the close"),
        pytest.param("15:49:45", "15:50:00", "16:00:00", id="ten minutes: until the close"),
    ],
)
def test_a_late_pause_lasts_until_the_close(begins: str, now: str, ends: str) -> None:
    state = walk((begins, AT_LOWER), (now, AT_LOWER))[-1]
    assert (state.phase, state.until_ns) == (Phase.PAUSED, at(ends))


def test_a_session_begins_without_a_state() -> None:
    tomorrow = session(date(2026, 6, 16))
    paused = State(Phase.PAUSED, at("15:55"), True, at("16:00"))
    quote = Quote("ABC", tomorrow.open_ns, 499_000, 1, 501_000, 1)
    assert next_state(paused, quote, BAND, at_ns=tomorrow.open_ns, session=tomorrow) == TRADING
    limit = State(Phase.LIMIT, at("15:59:50"), True)
    assert next_state(limit, quote, None, at_ns=at("16:00"), session=session()) == TRADING


@given(st.lists(st.tuples(st.integers(1, 20), st.sampled_from([INSIDE, AT_LOWER, AT_UPPER])), max_size=60))
def test_a_pause_always_follows_fifteen_seconds_at_one_band(steps: list[tuple[int, tuple[int, int]]]) -> None:
    state, now = TRADING, at("11:00")
    for wait, prices in steps:
        before, now = state, now + wait * SECOND_NS
        quote = Quote("ABC", now, prices[0], 1, prices[1], 1)
        state = next_state(before, quote, BAND, at_ns=now, session=session())
        if state.phase is Phase.PAUSED:
            assert state.until_ns == state.since_ns + 5 * MINUTE
            assert now < state.until_ns
            if before.phase is Phase.LIMIT:
                assert now - before.since_ns >= 15 * SECOND_NS == state.since_ns - before.since_ns
        elif state.phase is Phase.LIMIT:
            assert prices == (AT_LOWER if state.down else AT_UPPER)
            assert now - state.since_ns < 15 * SECOND_NS
        else:
            assert prices == INSIDE


@pytest.mark.parametrize(
    ("index", "clock", "tripped", "reason", "until"),
    [
        # From a close of 5,000: 7 % is 4,650, 13 % is 4,350, 20 % is 4,000.
        pytest.param("4650.01", "11:00", (), None, "", id="not quite 7 %"),
        pytest.param("4650", "11:00", (), Reason.MARKET_7, "11:15", id="7 %"),
        pytest.param("4600", "11:30", (Reason.MARKET_7,), None, "", id="7 % once a day"),
        pytest.param("4350", "11:30", (Reason.MARKET_7,), Reason.MARKET_13, "11:45", id="13 %"),
        pytest.param("4350", "11:30", (), Reason.MARKET_13, "11:45", id="13 % at one blow"),
        pytest.param("4650", "12:30", (Reason.MARKET_13,), None, "", id="7 % after 13 %"),
        pytest.param("4000", "12:30", (Reason.MARKET_13,), Reason.MARKET_20, "16:00", id="20 %: the day"),
        pytest.param("4650", "15:24:59", (), Reason.MARKET_7, "15:39:59", id="just before 15:25"),
        pytest.param("4350", "15:25", (), None, "", id="from 15:25 on only 20 % counts"),
        pytest.param("4000", "15:59", (), Reason.MARKET_20, "16:00", id="20 % always"),
        pytest.param("4000", "16:00", (), None, "", id="after the close"),
    ],
)
def test_breakers(
    index: str, clock: str, tripped: tuple[Reason, ...], reason: Reason | None, until: str
) -> None:
    halt = market_halt(
        index=D(index), previous_close=D(5000), at_ns=at(clock), session=session(), tripped=frozenset(tripped)
    )
    if reason is None:
        assert halt is None
    else:
        assert halt == Halt(symbol=EVERYTHING, from_ns=at(clock), until_ns=at(until), reason=reason)
        assert is_halted(CALL, [halt], at(clock))


def test_breakers_of_a_half_day_and_before_the_rule() -> None:
    half, old = date(2026, 11, 27), date(2013, 4, 5)
    for clock, trips in (("12:24:59", True), ("12:25", False)):
        halt = market_halt(
            index=D(4650),
            previous_close=D(5000),
            at_ns=at(clock, half),
            session=session(half),
            tripped=frozenset(),
        )
        assert (halt is not None) is trips
    assert not market_halt(
        index=D(1), previous_close=D(5000), at_ns=at("11:00", old), session=session(old), tripped=frozenset()
    )
