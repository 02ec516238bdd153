"""The oracle against cases worked out by hand, and against plain facts about the recorded tapes.

The cases are the worked examples of docs/rules/fills.md and the corners around them. Times are New
York, on 2013-10-07 ("2/" is the day after). A dash is a side without a quote. "by 2" is the second
row of the tape.
"""

import gzip
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, cast
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.oracle.brute_force import (
    Order,
    Outcome,
    Row,
    Session,
    Tape,
    current_or_next,
    decide,
    load_sessions,
    load_tape,
    outcomes,
)
from tests.oracle.sample_orders import sample

SECOND = 10**9
MIDNIGHT_NS = 1_381_118_400 * SECOND  # 2013-10-07 00:00 EDT = 04:00 UTC
CALL = "GOOG151224C00750000"


def at(text: str) -> int:
    """'09:30:00.072' or '2/09:30' as nanoseconds UTC."""
    day, _, clock = text.rpartition("/")
    hours, minutes, seconds = (clock + ":00" if clock.count(":") == 1 else clock).split(":")
    of_day = int(hours) * 3_600 * SECOND + int(minutes) * 60 * SECOND + int(Decimal(seconds) * SECOND)
    return MIDNIGHT_NS + (int(day or 1) - 1) * 86_400 * SECOND + of_day


def rows_of(text: str) -> list[Row]:
    """'09:30 10.00 10.02; 09:31 - 10.02' as rows."""
    found = []
    for row in text.split(";"):
        when, bid, ask = row.split()
        found.append(
            Row(at(when), None if bid == "-" else Decimal(bid), None if ask == "-" else Decimal(ask))
        )
    return found


def order_of(text: str, symbol: str = "IBM", number: int = 1) -> Order:
    """'09:30:10 buy market day' or '09:30:10 sell limit 10.02 gtc'."""
    when, side, kind, *price, tif = text.split()
    return Order(
        number=number,
        symbol=symbol,
        submit_ns=at(when),
        side=cast(Literal["buy", "sell"], side),
        type=cast(Literal["market", "limit"], kind),
        tif=cast(Literal["day", "gtc", "ioc", "fok"], tif),
        qty=Decimal(100),
        limit_price=Decimal(price[0]) if price else None,
    )


def outcome_of(text: str, rows: list[Row]) -> Outcome:
    """'filled 09:30:10 10.02 market.touch by 1', 'canceled 09:30 NO_QUOTE', 'expired 16:00', 'working'."""
    words, _, by = text.partition(" by ")
    quote = rows[int(by) - 1] if by else None
    match words.split():
        case ["filled", when, price, rule]:
            return Outcome(kind="filled", at_ns=at(when), price=Decimal(price), rule=rule, quote=quote)
        case ["canceled", when, reason]:
            return Outcome(kind="canceled", at_ns=at(when), reason=reason, quote=quote)
        case ["expired", when]:
            return Outcome(kind="expired", at_ns=at(when))
        case ["working"]:
            return Outcome(kind="working")
    raise ValueError(text)


def sessions(close: str = "16:00") -> list[Session]:
    """Three days from 09:30; the first one closes at `close`."""
    return [
        Session(at("1/09:30"), at(f"1/{close}")),
        Session(at("2/09:30"), at("2/16:00")),
        Session(at("3/09:30"), at("3/16:00")),
    ]


CASES: list[tuple[str, str, str, str]] = [
    # name, tape, order, outcome
    #
    # Arrival: the quote in force, not the next one.
    ("market buy takes the ask", "10:00 10.00 10.02; 10:01 9.90 9.92",
     "10:00:30 buy market day", "filled 10:00:30 10.02 market.touch by 1"),
    ("market sell hits the bid", "10:00 10.00 10.02; 10:01 10.10 10.12",
     "10:00:30 sell market gtc", "filled 10:00:30 10.00 market.touch by 1"),
    ("only the last quote is in force", "10:00 10.00 10.02; 10:00:20 10.05 10.07",
     "10:00:30 buy market ioc", "filled 10:00:30 10.07 market.touch by 2"),
    ("a quote of the same instant is in force", "10:00 10.00 10.02; 10:00:30 10.05 10.07",
     "10:00:30 buy market fok", "filled 10:00:30 10.07 market.touch by 2"),
    ("of several quotes of the same instant the last is in force",
     "10:00:30 10.00 10.02; 10:00:30 10.05 10.07; 10:00:30 10.03 10.04",
     "10:00:30 sell market day", "filled 10:00:30 10.03 market.touch by 3"),
    ("a nanosecond earlier none of them is", "10:00 10.00 10.02; 10:00:30 10.05 10.07",
     "10:00:29.999999999 buy market day", "filled 10:00:29.999999999 10.02 market.touch by 1"),
    ("a sub-penny touch is a fill price", "10:00 10.0001 10.0049",
     "10:00:01 buy market day", "filled 10:00:01 10.0049 market.touch by 1"),
    # Limit, marketable on arrival.
    ("a buy through the market pays the ask", "10:00 10.00 10.02",
     "10:00:01 buy limit 10.50 day", "filled 10:00:01 10.02 limit.marketable by 1"),
    ("a buy at the touch is marketable", "10:00 10.00 10.02",
     "10:00:01 buy limit 10.02 ioc", "filled 10:00:01 10.02 limit.marketable by 1"),
    ("a sell through the market gets the bid", "10:00 10.00 10.02",
     "10:00:01 sell limit 9.00 fok", "filled 10:00:01 10.00 limit.marketable by 1"),
    ("a sell at the touch is marketable", "10:00 10.00 10.02",
     "10:00:01 sell limit 10.00 gtc", "filled 10:00:01 10.00 limit.marketable by 1"),
    ("ioc below the ask is canceled", "10:00 10.00 10.02; 10:00:02 9.99 10.01",
     "10:00:01 buy limit 10.01 ioc", "canceled 10:00:01 LIMIT_NOT_REACHED by 1"),
    ("fok above the bid is canceled", "10:00 10.00 10.02; 10:00:02 10.01 10.02",
     "10:00:01 sell limit 10.01 fok", "canceled 10:00:01 LIMIT_NOT_REACHED by 1"),
    # Limit, resting.
    ("a resting buy fills when the ask comes to it", "10:00 10.00 10.02; 10:01 9.99 10.01; 10:02 9.98 10.00",
     "10:00:01 buy limit 10.00 day", "filled 10:02 10.00 limit.resting by 3"),
    ("a resting buy is filled at its own price however far the ask jumps", "10:00 10.00 10.02; 10:01 9.80 9.81",
     "10:00:01 buy limit 10.01 day", "filled 10:01 10.01 limit.resting by 2"),
    ("a resting sell is filled at its own price however far the bid jumps", "10:00 10.00 10.02; 10:01 10.50 10.52",
     "10:00:01 sell limit 10.02 gtc", "filled 10:01 10.02 limit.resting by 2"),
    ("a bid that joins a resting buy does not fill it", "10:00 10.00 10.02; 10:01 10.01 10.02; 16:00 10.01 10.02",
     "10:00:01 buy limit 10.01 day", "expired 16:00"),
    ("an ask that joins a resting sell does not fill it", "10:00 10.00 10.03; 10:01 10.00 10.02",
     "10:00:01 sell limit 10.02 gtc", "working"),
    ("first in tape order within one instant", "10:00 10.00 10.02; 10:01 9.99 10.01; 10:01 9.98 10.00; 10:01 9.99 10.02",
     "10:00:01 buy limit 10.00 day", "filled 10:01 10.00 limit.resting by 3"),
    ("a resting order does not look back at its arrival instant",
     "10:00 9.98 10.00; 10:00 10.00 10.02; 10:01 9.98 10.00",
     "10:00 buy limit 10.00 day", "filled 10:01 10.00 limit.resting by 3"),
    # Locked, crossed, one-sided.
    ("a locked market fills a market order", "10:00 10.01 10.01",
     "10:00:01 sell market day", "filled 10:00:01 10.01 market.touch by 1"),
    ("a locked market fills a marketable limit", "10:00 10.01 10.01",
     "10:00:01 buy limit 10.01 fok", "filled 10:00:01 10.01 limit.marketable by 1"),
    ("a locked market fills a resting limit", "10:00 10.00 10.02; 10:01 10.01 10.01",
     "10:00:01 buy limit 10.01 day", "filled 10:01 10.01 limit.resting by 2"),
    ("a crossed quote cancels ioc", "10:00 10.02 10.01; 10:00:02 10.00 10.02",
     "10:00:01 buy market ioc", "canceled 10:00:01 CROSSED_QUOTE by 1"),
    ("a crossed quote makes a market order wait", "10:00 10.02 10.01; 10:00:02 10.02 10.01; 10:00:03 10.00 10.02",
     "10:00:01 buy market day", "filled 10:00:03 10.02 market.touch by 3"),
    ("a crossed quote makes a limit wait for its arrival quote", "10:00 10.02 10.01; 10:00:03 10.00 10.02",
     "10:00:01 buy limit 10.05 day", "filled 10:00:03 10.02 limit.marketable by 2"),
    ("the awaited arrival quote may leave a limit resting", "10:00 10.02 10.01; 10:00:03 10.00 10.02; 10:00:04 9.98 9.99",
     "10:00:01 buy limit 10.01 day", "filled 10:00:04 10.01 limit.resting by 3"),
    ("the first usable quote of an instant is the awaited one",
     "10:00 10.02 10.01; 10:00:03 10.02 10.01; 10:00:03 10.00 10.04; 10:00:03 10.00 10.02",
     "10:00:01 buy market gtc", "filled 10:00:03 10.04 market.touch by 3"),
    ("a crossed quote does not fill a resting buy", "10:00 10.00 10.02; 10:01 10.02 10.00; 10:02 10.00 10.02",
     "10:00:01 buy limit 10.01 gtc", "working"),
    ("one side is not a market for a buyer", "10:00 - 10.02; 10:00:02 10.00 10.03",
     "10:00:01 buy market day", "filled 10:00:02 10.03 market.touch by 2"),
    ("one side is not a market for a seller", "10:00 10.00 -",
     "10:00:01 sell market fok", "canceled 10:00:01 ONE_SIDED_QUOTE by 1"),
    ("one side does not fill a resting buy", "10:00 10.00 10.02; 10:01 - 10.00; 10:02 10.00 10.01",
     "10:00:01 buy limit 10.01 day", "filled 10:02 10.01 limit.resting by 3"),
    ("an empty quote is one-sided too", "10:00 - -",
     "10:00:01 buy limit 10.00 ioc", "canceled 10:00:01 ONE_SIDED_QUOTE by 1"),
    # No quote, stale quote.
    ("no quote yet cancels ioc", "10:00:02 10.00 10.02",
     "10:00:01 buy market ioc", "canceled 10:00:01 NO_QUOTE"),
    ("no quote yet makes a market order wait", "10:00:02 10.00 10.02",
     "10:00:01 buy market day", "filled 10:00:02 10.02 market.touch by 1"),
    ("120 seconds old is fresh", "10:00 10.00 10.02",
     "10:02 buy market ioc", "filled 10:02 10.02 market.touch by 1"),
    ("a nanosecond more is stale", "10:00 10.00 10.02",
     "10:02:00.000000001 buy market ioc", "canceled 10:02:00.000000001 STALE_QUOTE by 1"),
    ("a stale quote makes an order wait", "10:00 10.00 10.02; 10:05 10.10 10.12",
     "10:03 sell market day", "filled 10:05 10.10 market.touch by 2"),
    ("a stale quote makes a marketable limit wait", "10:00 10.00 10.02; 10:05 9.90 9.92",
     "10:03 buy limit 10.02 day", "filled 10:05 9.92 limit.marketable by 2"),
    ("age is asked before shape", "10:00 10.02 10.00",
     "10:03 buy market ioc", "canceled 10:03 STALE_QUOTE by 1"),
    ("a quote is fresh at its own instant, however long the silence", "10:00 10.00 10.02; 11:00 9.98 9.99",
     "10:00:01 buy limit 10.00 day", "filled 11:00 10.00 limit.resting by 2"),
    # Session.
    ("before the open a market order waits for the first session quote", "09:00 9.90 9.92; 09:29:59 9.95 9.97; 09:30:01 10.00 10.02",
     "09:00:01 buy market day", "filled 09:30:01 10.02 market.touch by 3"),
    ("before the open a limit waits likewise, and then takes the touch", "09:00 9.90 9.92; 09:30:01 9.85 9.87",
     "09:00:01 buy limit 9.95 gtc", "filled 09:30:01 9.87 limit.marketable by 2"),
    ("before the open ioc is canceled", "09:00 9.90 9.92",
     "09:00:01 buy market ioc", "canceled 09:00:01 OUTSIDE_SESSION by 1"),
    ("before the open, with no quote at all, the session is the reason", "09:30:01 10.00 10.02",
     "09:00:01 sell limit 9.00 fok", "canceled 09:00:01 OUTSIDE_SESSION"),
    ("at the open a quote from before it cannot fill", "09:29:59 9.95 9.97; 09:30:01 10.00 10.02",
     "09:30 buy market day", "filled 09:30:01 10.02 market.touch by 2"),
    ("at the open a quote from before it cancels fok", "09:29:59 9.95 9.97; 09:30:01 10.00 10.02",
     "09:30 buy market fok", "canceled 09:30 OUTSIDE_SESSION by 1"),
    ("a quote stamped at the open is a session quote", "09:29:59 9.95 9.97; 09:30 10.00 10.02",
     "09:30 buy market ioc", "filled 09:30 10.02 market.touch by 2"),
    ("the first session quote must be usable as well", "09:00 9.90 9.92; 09:30 - 10.02; 09:30:02 10.00 10.03",
     "09:00:01 buy market day", "filled 09:30:02 10.03 market.touch by 3"),
    ("the last nanosecond is inside", "15:59 10.00 10.02; 16:00:01 9.00 9.02",
     "15:59:59.999999999 buy market day", "filled 15:59:59.999999999 10.02 market.touch by 1"),
    ("at the close the session is over", "15:59 10.00 10.02; 16:00 10.00 10.02",
     "16:00 buy market ioc", "canceled 16:00 OUTSIDE_SESSION by 2"),
    ("an order at the close belongs to the next session", "15:59 10.00 10.02; 16:01 10.00 10.02; 2/09:31 11.00 11.02",
     "16:00 buy market day", "filled 2/09:31 11.02 market.touch by 3"),
    ("a quote stamped at the close fills nothing", "15:59 10.00 10.02; 16:00 9.98 10.00",
     "15:59:01 buy limit 10.00 day", "expired 16:00"),
    ("nor does one after it", "15:59 10.00 10.02; 16:04 9.98 10.00",
     "15:59:01 buy limit 10.00 gtc", "working"),
    ("gtc rests overnight and keeps its price through a gap", "15:59 10.00 10.02; 2/08:00 9.00 9.02; 2/09:30 9.50 9.52",
     "15:59:01 buy limit 10.00 gtc", "filled 2/09:30 10.00 limit.resting by 3"),
    ("yesterday's quote is not of this session", "15:59 10.00 10.02; 2/09:31 10.10 10.12",
     "2/09:30:30 buy market ioc", "canceled 2/09:30:30 OUTSIDE_SESSION by 1"),
    # Time in force.
    ("a day order placed at night lives until the next close", "15:59 10.00 10.02; 2/09:31 10.10 10.12; 2/16:00 9.00 9.02",
     "17:00 buy limit 10.00 day", "expired 2/16:00"),
    ("a market day order that never meets a usable quote expires", "10:00 10.02 10.00; 11:00 - 10.02; 16:04 10.00 10.02",
     "10:00:01 buy market day", "expired 16:00"),
    ("a day order does not see the next day", "10:00 10.00 10.02; 2/09:30 9.98 10.00",
     "10:00:01 buy limit 10.00 day", "expired 16:00"),
    ("a tape that ends before the close leaves the order working", "10:00 10.00 10.02; 15:59:59 10.00 10.02",
     "10:00:01 buy limit 10.00 day", "working"),
    # The worked examples of docs/rules/fills.md that come from the IBM tape.
    ("ibm: the first quote of the session", "09:29:45.114 181.69 181.90; 09:30:00.072 181.69 181.90; 09:30:00.073 181.69 182.20",
     "09:30 buy market day", "filled 09:30:00.072 181.90 market.touch by 2"),
    ("ibm: crossed twice, then a market",
     "09:31:10.464 182.04 182.19; 09:31:15.716 182.20 182.19; 09:31:15.716 182.20 182.19; 09:31:15.717 182.20 182.23",
     "09:31:15.7165 buy market day", "filled 09:31:15.717 182.23 market.touch by 4"),
    ("ibm: three quotes in one millisecond, met by a resting order",
     "09:42:24.042 182.40 182.44; 09:42:24.044 182.40 182.40; 09:42:24.044 182.37 182.40; 09:42:24.044 182.37 182.40",
     "09:42:24.043 buy limit 182.40 day", "filled 09:42:24.044 182.40 limit.resting by 2"),
    ("ibm: three quotes in one millisecond, met by an arriving order",
     "09:42:24.042 182.40 182.44; 09:42:24.044 182.40 182.40; 09:42:24.044 182.37 182.40; 09:42:24.044 182.37 182.40",
     "09:42:24.044 sell market day", "filled 09:42:24.044 182.37 market.touch by 4"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tape", "order", "expected"), [pytest.param(*case[1:], id=case[0]) for case in CASES]
)
def test_worked_by_hand(tape: str, order: str, expected: str) -> None:
    rows = rows_of(tape)
    assert decide(order_of(order), rows, sessions(), rows[-1].ts_ns) == outcome_of(expected, rows)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param(
            "10:30 buy market ioc", "filled 10:30 10.02 market.touch by 1", id="1,800 seconds old is fresh"
        ),
        pytest.param(
            "10:30:00.000000001 buy market ioc",
            "canceled 10:30:00.000000001 STALE_QUOTE by 1",
            id="more is stale",
        ),
    ],
)
def test_option_quotes_live_longer(order: str, expected: str) -> None:
    rows = rows_of("10:00 10.00 10.02")
    assert decide(order_of(order, CALL), rows, sessions(), rows[-1].ts_ns) == outcome_of(expected, rows)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param("12:59 buy limit 9.99 day", "expired 13:00", id="day orders expire at one"),
        pytest.param(
            "12:59 buy limit 9.99 gtc", "filled 2/09:30 9.99 limit.resting by 4", id="gtc orders do not"
        ),
        pytest.param(
            "12:59:59 sell market day", "filled 12:59:59 10.00 market.touch by 1", id="the last second fills"
        ),
        pytest.param("13:00 sell market fok", "canceled 13:00 OUTSIDE_SESSION by 2", id="at one it is over"),
        pytest.param(
            "13:00 sell market day", "filled 2/09:30 9.90 market.touch by 4", id="at one it is the next day"
        ),
        pytest.param("14:00 buy limit 9.00 day", "expired 2/16:00", id="the afternoon is the next day"),
    ],
)
def test_half_day(order: str, expected: str) -> None:
    rows = rows_of(
        "12:58:30 10.00 10.02; 13:00 9.97 9.98; 13:01 9.95 9.96; 2/09:30 9.90 9.92; 2/16:00:01 9.90 9.92"
    )
    assert decide(order_of(order), rows, sessions(close="13:00"), rows[-1].ts_ns) == outcome_of(
        expected, rows
    )


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param("23:59:59 buy limit 9.99 day", "expired 2/00:00", id="expiry comes before the quote"),
        pytest.param(
            "23:59:59 buy limit 9.99 gtc", "filled 2/00:00 9.99 limit.resting by 2", id="gtc sees the quote"
        ),
        pytest.param(
            "2/00:00 buy market fok", "filled 2/00:00 9.98 market.touch by 2", id="arrival in the new session"
        ),
    ],
)
def test_one_instant_ends_a_session_and_begins_the_next(order: str, expected: str) -> None:
    rows = rows_of("23:59:58 10.00 10.02; 2/00:00 9.97 9.98")
    always = [Session(at(f"{day}/00:00"), at(f"{day + 1}/00:00")) for day in (1, 2, 3)]
    assert decide(order_of(order), rows, always, rows[-1].ts_ns) == outcome_of(expected, rows)


def test_at_midnight_yesterdays_quote_is_of_another_session() -> None:
    rows = rows_of("23:59:58 10.00 10.02; 2/00:00:01 9.97 9.98")
    always = [Session(at(f"{day}/00:00"), at(f"{day + 1}/00:00")) for day in (1, 2, 3)]
    found = decide(order_of("2/00:00 buy market day"), rows, always, rows[-1].ts_ns)
    assert found == outcome_of("filled 2/00:00:01 9.98 market.touch by 2", rows)


def test_each_symbol_has_its_own_quotes_and_all_share_the_clock() -> None:
    aig, ibm = rows_of("10:00 49.00 49.01; 16:00 48.00 48.01"), rows_of("10:00 182.00 182.02")
    orders = [
        order_of("10:00:01 buy market day", "AIG"),
        order_of("10:00:01 buy market day", "IBM"),
        order_of("10:00:01 buy limit 182.01 day", "IBM"),
        order_of("10:00:01 buy market ioc", "BAC"),
        order_of("10:00:01 buy market day", "BAC"),
    ]
    assert outcomes(orders, Tape({"AIG": aig, "IBM": ibm}, end_ns=at("16:00")), sessions()) == [
        outcome_of("filled 10:00:01 49.01 market.touch by 1", aig),
        outcome_of("filled 10:00:01 182.02 market.touch by 1", ibm),
        outcome_of("expired 16:00", ibm),
        outcome_of("canceled 10:00:01 NO_QUOTE", []),
        outcome_of("expired 16:00", []),
    ]


def test_a_tape_is_read_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "quotes_made_up.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        file.write(
            "ts_ns_utc,symbol,bid,bid_size,ask,ask_size\n"
            "1450967460000000000,GOOG  151224C00750000,0.35,2,0.9,1\n"
            "1450967460000000000,GOOG,,0,748.4001,100\n"
            "1450967460000000000,GOOG,748.4,100,748.4,100\n"
            "1450967520000000000,GOOG  151224C00750000,0.4,2,,0\n"
        )
    assert load_tape(path) == Tape(
        rows={
            CALL: [
                Row(1450967460000000000, Decimal("0.35"), Decimal("0.90"), 2, 1, 1),
                Row(1450967520000000000, Decimal("0.40"), None, 2, 0, 4),
            ],
            "GOOG": [
                Row(1450967460000000000, None, Decimal("748.4001"), 0, 100, 2),
                Row(1450967460000000000, Decimal("748.40"), Decimal("748.40"), 100, 100, 3),
            ],
        },
        end_ns=1450967520000000000,
    )


# ---------------------------------------------------------------------------------------------
# Facts about 500 orders on a recorded tape, looked up in the tape by other means than the oracle.


class Columns(NamedTuple):
    """One symbol of a tape: stamps, prices in 1/10,000 dollar (0 = none), and which rows could ever fill."""

    ts: NDArray[np.int64]
    bid: NDArray[np.int64]
    ask: NDArray[np.int64]
    sound: NDArray[np.bool_]


def columns(path: Path, hours: list[Session]) -> dict[str, Columns]:
    found: dict[str, list[tuple[int, int, int]]] = {}
    with gzip.open(path, "rt", encoding="ascii") as lines:
        next(lines)
        for line in lines:
            ts, symbol, bid, _, ask, _ = line.split(",")
            found.setdefault(symbol.replace(" ", ""), []).append((int(ts), ticks(bid), ticks(ask)))
    opens, closes = np.array([session[:2] for session in hours], dtype=np.int64).T
    result = {}
    for symbol, rows in found.items():
        ts, bid, ask = np.array(rows, dtype=np.int64).T
        day = np.searchsorted(opens, ts, side="right") - 1
        inside = (day >= 0) & (ts < closes[day])
        result[symbol] = Columns(ts, bid, ask, inside & (bid > 0) & (ask > 0) & (bid <= ask))
    return result


def ticks(price: str) -> int:
    whole, _, rest = price.partition(".")
    return int(whole or 0) * 10_000 + int(rest.ljust(4, "0"))


def reached(order: Order, tape: Columns, first: int, last: int) -> bool:
    """Did any sound row in first <= index < last have its opposite side at the limit or better?"""
    if order.limit_price is None:
        return bool(tape.sound[first:last].any())
    limit, part = int(order.limit_price * 10_000), slice(first, last)
    side = tape.ask[part] <= limit if order.side == "buy" else tape.bid[part] >= limit
    return bool((side & tape.sound[part]).any())


def check(order: Order, outcome: Outcome, tape: Columns, hours: list[Session], end_ns: int) -> None:
    own_close_ns = current_or_next(order.submit_ns, hours).close_ns
    later = int(np.searchsorted(tape.ts, order.submit_ns, side="right"))
    immediate = order.tif in ("ioc", "fok")
    now_open = current_or_next(order.submit_ns, hours).open_ns
    max_age_ns = (1_800 if len(order.symbol) > 15 else 120) * SECOND
    on_arrival = (
        now_open <= order.submit_ns
        and later > 0
        and bool(tape.sound[later - 1])
        and tape.ts[later - 1] >= max(now_open, order.submit_ns - max_age_ns)
    )

    if outcome.kind == "filled":
        quote, price, at_ns = outcome.quote, outcome.price, outcome.at_ns
        assert quote is not None
        assert quote.bid is not None
        assert quote.ask is not None
        assert price is not None
        assert at_ns is not None
        touch = quote.ask if order.side == "buy" else quote.bid
        in_session = current_or_next(at_ns, hours)
        assert in_session.open_ns <= quote.ts_ns <= at_ns < in_session.close_ns
        assert at_ns - quote.ts_ns <= max_age_ns
        assert quote.bid <= quote.ask
        assert order.tif != "day" or at_ns < own_close_ns
        row = next(
            i
            for i in range(int(np.searchsorted(tape.ts, quote.ts_ns)), len(tape.ts))
            if (tape.bid[i], tape.ask[i]) == (quote.bid * 10_000, quote.ask * 10_000)
        )
        if on_arrival and outcome.rule != "limit.resting":
            assert at_ns == order.submit_ns
            in_force = (tape.ts[later - 1], tape.bid[later - 1], tape.ask[later - 1])
            assert in_force == (quote.ts_ns, quote.bid * 10_000, quote.ask * 10_000)
        else:
            assert not immediate
            assert at_ns == quote.ts_ns > order.submit_ns
        match outcome.rule:
            case "market.touch":
                assert order.type == "market"
                assert price == touch
                assert on_arrival or not tape.sound[later:row].any()
            case "limit.marketable":
                assert order.limit_price is not None
                assert price == touch
                assert price <= order.limit_price if order.side == "buy" else price >= order.limit_price
                assert on_arrival or not tape.sound[later:row].any()
            case _:
                assert outcome.rule == "limit.resting"
                assert price == order.limit_price
                assert touch <= price if order.side == "buy" else touch >= price
                assert not reached(order, tape, later, row)
                assert on_arrival or tape.sound[later:row].any()
                assert not on_arrival or not reached(order, tape, later - 1, later)
    elif outcome.kind == "canceled":
        assert immediate
        assert outcome.at_ns == order.submit_ns
        assert not on_arrival or not reached(order, tape, later - 1, later)
        assert (outcome.reason == "LIMIT_NOT_REACHED") == on_arrival
    else:
        horizon = own_close_ns if order.tif == "day" else end_ns + 1
        assert not immediate
        assert not reached(order, tape, later, int(np.searchsorted(tape.ts, horizon)))
        assert not on_arrival or not reached(order, tape, later - 1, later)
        expired = order.tif == "day" and own_close_ns <= end_ns
        assert (outcome.kind, outcome.at_ns) == (("expired", own_close_ns) if expired else ("working", None))


@pytest.mark.tapes
@pytest.mark.parametrize(
    ("name", "outside_hours"),
    [
        ("quotes_tick_IBM_20131007", False),
        ("quotes_tick_AIG_20131007", False),
        ("quotes_tick_IBM_20131008", True),
        ("quotes_1min_options_GOOG_20151224", True),
        ("quotes_1min_GOOG_201512", True),
        ("quotes_1min_SPY_IBM_BAC_AIG_201310", True),
    ],
)
def test_facts_about_random_orders(tapes: Path, name: str, outside_hours: bool) -> None:
    path = tapes / f"{name}.csv.gz"
    hours = load_sessions(tapes / "sessions.csv")
    count = 200 if "AIG" in name else 500  # half a million rows
    orders = sample(path, 20131007, count, outside_hours=outside_hours)
    tape = load_tape(path)
    found = outcomes(orders, tape, hours)

    by_symbol = columns(path, hours)
    for order, outcome in zip(orders, found, strict=True):
        check(order, outcome, by_symbol[order.symbol], hours, tape.end_ns)

    kinds = Counter(outcome.kind for outcome in found)
    assert sum(kinds.values()) == count
    assert set(kinds) == {"filled", "canceled", "expired", "working"}
    rules = Counter(outcome.rule for outcome in found if outcome.kind == "filled")
    assert set(rules) == {"market.touch", "limit.marketable", "limit.resting"}
    reasons = Counter(outcome.reason for outcome in found if outcome.kind == "canceled")
    assert reasons["LIMIT_NOT_REACHED"]
    if "tick" in name:
        assert reasons["CROSSED_QUOTE"]
    if "options" in name:
        assert reasons["ONE_SIDED_QUOTE"]
        assert reasons["NO_QUOTE"]
    if outside_hours:
        assert reasons["OUTSIDE_SESSION"]


@pytest.mark.tapes
@pytest.mark.parametrize("name", ["quotes_1min_GOOG_201512", "quotes_1min_options_GOOG_20151224"])
def test_the_half_day_before_christmas_ends_at_one(tapes: Path, name: str) -> None:
    one_pm, next_open = (
        1_450_980_000 * SECOND,
        1_451_313_000 * SECOND,
    )  # 2015-12-24 13:00 and 2015-12-28 09:30 EST
    path = tapes / f"{name}.csv.gz"
    orders = [order for order in sample(path, 24, 300) if order.submit_ns < one_pm]
    found = list(
        zip(orders, outcomes(orders, load_tape(path), load_sessions(tapes / "sessions.csv")), strict=True)
    )
    filled = [outcome.at_ns for _, outcome in found if outcome.kind == "filled" and outcome.at_ns is not None]
    assert filled
    assert all(at_ns < one_pm or at_ns >= next_open for at_ns in filled)
    expired = [(order.tif, outcome.at_ns) for order, outcome in found if outcome.kind == "expired"]
    assert expired
    assert set(expired) == {("day", one_pm)}


IBM = ("tick_IBM_20131007", "IBM")
GOOG = ("1min_GOOG_201512", "GOOG")
GOOG_CALL = ("1min_options_GOOG_20151224", "GOOG151224C00757500")
TWX_CALL = ("1min_options_TWX_20140605", "TWX150117C00023000")

# Worked examples of docs/rules/fills.md on their own tapes. The expected values were read off the
# tapes by hand, without the oracle.
EXAMPLES: list[tuple[tuple[str, str], str, str, str, str, str]] = [
    # tape, accepted, ticket, at, price, how it ended
    (IBM, "2013-10-07 10:15:00", "sell market day", "2013-10-07 10:15:00", "182.69", "market.touch"),
    (IBM, "2013-10-07 10:15:00", "buy market day", "2013-10-07 10:15:00", "182.74", "market.touch"),
    (IBM, "2013-10-07 10:15:00", "buy limit 182.80 day", "2013-10-07 10:15:00", "182.74", "limit.marketable"),
    (IBM, "2013-10-07 10:15:00", "buy limit 182.74 day", "2013-10-07 10:15:00", "182.74", "limit.marketable"),
    (IBM, "2013-10-07 10:15:00", "buy limit 182.73 ioc", "2013-10-07 10:15:00", "", "LIMIT_NOT_REACHED"),
    (IBM, "2013-10-07 10:15:00", "buy limit 182.30 day", "2013-10-07 12:22:32.635", "182.30", "limit.resting"),
    (IBM, "2013-10-07 09:30:00", "buy market day", "2013-10-07 09:30:00.072", "181.90", "market.touch"),
    (IBM, "2013-10-07 09:41:00.834", "buy limit 182.45 day", "2013-10-07 09:41:00.835", "182.45", "limit.resting"),
    (IBM, "2013-10-07 09:31:15.716500", "buy market day", "2013-10-07 09:31:15.717", "182.23", "market.touch"),
    (IBM, "2013-10-07 09:39:31.828", "buy market day", "2013-10-07 09:39:31.828", "182.50", "market.touch"),
    (IBM, "2013-10-07 09:39:31.828", "sell market day", "2013-10-07 09:39:31.828", "182.50", "market.touch"),
    (IBM, "2013-10-07 09:42:24.043", "buy limit 182.40 day", "2013-10-07 09:42:24.044", "182.40", "limit.resting"),
    (IBM, "2013-10-07 09:42:24.044", "sell market day", "2013-10-07 09:42:24.044", "182.37", "market.touch"),
    (TWX_CALL, "2014-06-05 11:39:00", "buy market day", "2014-06-05 11:39:00", "48.25", "market.touch"),
    (TWX_CALL, "2014-06-05 11:45:00", "buy market day", "2014-06-05 11:53:00", "48.75", "market.touch"),
    (GOOG_CALL, "2015-12-24 09:31:30", "buy market day", "2015-12-24 09:32:00", "0.15", "market.touch"),
    (GOOG, "2015-12-24 12:58:30", "sell limit 748.05 day", "2015-12-24 13:00:00", "", "expired"),
    (GOOG, "2015-12-24 12:58:30", "sell limit 748.05 gtc", "2015-12-28 09:30:00", "748.05", "limit.resting"),
]  # fmt: skip


@pytest.mark.tapes
@pytest.mark.parametrize(("tape", "accepted", "ticket", "ended", "price", "how"), EXAMPLES)
def test_the_examples_of_the_document_on_their_tapes(
    tapes: Path, tape: tuple[str, str], accepted: str, ticket: str, ended: str, price: str, how: str
) -> None:
    name, symbol = tape
    order = replace(order_of(f"00:00 {ticket}", symbol), submit_ns=new_york(accepted))
    found = decide(order, *tape_of(tapes / f"quotes_{name}.csv.gz", symbol))
    assert found.at_ns == new_york(ended)
    assert found.price == (Decimal(price) if price else None)
    assert (found.rule or found.reason or found.kind) == how


def new_york(text: str) -> int:
    """'2013-10-07 10:15:00' as nanoseconds UTC."""
    since = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/New_York")) - datetime(
        1970, 1, 1, tzinfo=UTC
    )
    return since // timedelta(microseconds=1) * 1_000


@cache
def tape_of(path: Path, symbol: str) -> tuple[Sequence[Row], list[Session], int]:
    tape = load_tape(path)
    return tape.rows[symbol], load_sessions(path.parent / "sessions.csv"), tape.end_ns


@pytest.mark.tapes
def test_samples_repeat_and_stay_within_bounds(tapes: Path) -> None:
    path = tapes / "quotes_tick_IBM_20131007.csv.gz"
    orders = sample(path, 1, 500)
    assert orders == sample(path, 1, 500)
    assert orders != sample(path, 2, 500)
    assert [order.number for order in orders] == list(range(1, 501))

    open_ns, close_ns = at("09:30"), at("16:00")
    stamps = [row.ts_ns for row in load_tape(path).rows["IBM"]]
    times = [order.submit_ns for order in orders]
    assert times == sorted(times)
    assert all(open_ns <= t < close_ns and t % 1_000 == 0 for t in times)
    assert open_ns in times
    assert any(t >= close_ns - SECOND for t in times)
    assert sum(bisect_right(stamps, t) > bisect_left(stamps, t) for t in times) >= 100

    assert {(order.side, order.type, order.tif) for order in orders} == {
        (side, kind, tif)
        for side in ("buy", "sell")
        for kind in ("market", "limit")
        for tif in ("day", "gtc", "ioc", "fok")
    }
    for order in orders:
        assert (order.limit_price is not None) == (order.type == "limit")
        assert order.limit_price is None or (
            order.limit_price > 0 and order.limit_price % Decimal("0.01") == 0
        )
        whole = order.qty == order.qty.to_integral_value()
        assert 0 < order.qty <= 500
        assert whole or (order.type == "market" and order.tif == "day" and order.qty % Decimal("1e-9") == 0)
    assert sum(order.qty != order.qty.to_integral_value() for order in orders) >= 5
