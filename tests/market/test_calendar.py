import csv
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from raxx.kernel import clock
from raxx.market import calendar
from raxx.market.sessions import Hours, Session


def session(day: str) -> Session:
    found = calendar.xnys().on(date.fromisoformat(day))
    assert found is not None
    return found


def utc(text: str) -> int:
    return clock.to_ns(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.tapes
def test_every_session_of_the_recorded_calendar(tapes: Path) -> None:
    with (tapes / "sessions.csv").open() as file:
        rows = list(csv.DictReader(file))
    expected = [
        Session(
            date=date.fromisoformat(row["date"]),
            open_ns=int(row["open_ts_ns_utc"]),
            close_ns=int(row["close_ts_ns_utc"]),
            early_close=row["early_close"] == "1",
        )
        for row in rows
    ]
    first, last = expected[0].date, expected[-1].date
    assert len(expected) == 5_031
    known = [s for s in calendar.xnys() if first <= s.date <= last]
    assert [Session(s.date, s.open_ns, s.close_ns, s.early_close) for s in known] == expected


@pytest.mark.parametrize(
    ("day", "open_utc", "close_utc", "early"),
    [
        pytest.param("2013-10-07", "2013-10-07T13:30", "2013-10-07T20:00", False, id="summer"),
        pytest.param(
            "2024-03-08", "2024-03-08T14:30", "2024-03-08T21:00", False, id="last day of winter time"
        ),
        pytest.param(
            "2024-03-11", "2024-03-11T13:30", "2024-03-11T20:00", False, id="first day of summer time"
        ),
        pytest.param(
            "2024-11-04", "2024-11-04T14:30", "2024-11-04T21:00", False, id="first day of winter time"
        ),
        pytest.param("2015-12-24", "2015-12-24T14:30", "2015-12-24T18:00", True, id="Christmas Eve"),
        pytest.param("2026-11-27", "2026-11-27T14:30", "2026-11-27T18:00", True, id="day after Thanksgiving"),
        pytest.param(
            "2024-07-03", "2024-07-03T13:30", "2024-07-03T17:00", True, id="eve of Independence Day"
        ),
    ],
)
def test_hours(day: str, open_utc: str, close_utc: str, early: bool) -> None:
    found = session(day)
    assert found is not None
    assert (found.date, found.early_close) == (date.fromisoformat(day), early)
    assert (found.open_ns, found.close_ns) == (utc(open_utc), utc(close_utc))


@pytest.mark.parametrize(
    ("day", "hours", "from_utc", "to_utc"),
    [
        pytest.param("2013-10-07", Hours.EXTENDED, "2013-10-07T08:00", "2013-10-08T00:00", id="04:00 to 20:00 EDT"),
        pytest.param("2015-12-24", Hours.EXTENDED, "2015-12-24T09:00", "2015-12-24T22:00", id="half day: to 17:00 EST"),
        pytest.param("2021-01-04", Hours.LATE, "2021-01-04T14:30", "2021-01-04T21:15", id="to 16:15"),
        pytest.param("2015-12-24", Hours.LATE, "2015-12-24T14:30", "2015-12-24T18:15", id="half day: to 13:15"),
    ],
)  # fmt: skip
def test_longer_hours(day: str, hours: Hours, from_utc: str, to_utc: str) -> None:
    found = session(day)
    assert found is not None
    assert (found.opens_ns(hours), found.closes_ns(hours)) == (utc(from_utc), utc(to_utc))


@pytest.mark.parametrize(
    ("year", "closed", "early"),
    [
        # NYSE Group, holidays and early closings 2026 to 2028.
        (
            2026,
            ["01-01", "01-19", "02-16", "04-03", "05-25", "06-19", "07-03", "09-07", "11-26", "12-25"],
            ["11-27", "12-24"],
        ),
        (
            2027,
            ["01-01", "01-18", "02-15", "03-26", "05-31", "06-18", "07-05", "09-06", "11-25", "12-24"],
            ["11-26"],
        ),
    ],
)
def test_holidays_and_half_days(year: int, closed: list[str], early: list[str]) -> None:
    sessions = {s.date: s for s in calendar.xnys() if s.date.year == year}
    days = [date(year, 1, 1) + timedelta(days=n) for n in range(365)]
    weekdays = [d for d in days if d.weekday() < 5]
    assert [f"{d:%m-%d}" for d in weekdays if d not in sessions] == closed
    assert [f"{d:%m-%d}" for d, s in sessions.items() if s.early_close] == early
    assert all(d.weekday() < 5 for d in sessions)


@pytest.mark.parametrize(
    "day",
    [
        pytest.param("2025-01-09", id="mourning for President Carter"),
        pytest.param("2012-10-29", id="hurricane Sandy"),
        pytest.param("2012-10-30", id="hurricane Sandy, second day"),
        pytest.param("2007-01-02", id="mourning for President Ford"),
    ],
)
def test_unscheduled_closures(day: str) -> None:
    assert calendar.xnys().on(date.fromisoformat(day)) is None


@pytest.mark.parametrize("name", ["XNYS", "ALWAYS"])
def test_calendars_reach_from_2006_to_years_ahead(name: str) -> None:
    sessions = list(calendar.lookup(name))
    assert sessions[0].date < date(2006, 1, 5)
    assert (sessions[-1].date - clock.now().date()).days > 550
    assert all(one.close_ns <= two.open_ns for one, two in pairwise(sessions))


def test_always_is_one_session_a_day_without_a_gap() -> None:
    sessions = list(calendar.always())
    assert all(one.close_ns == two.open_ns for one, two in pairwise(sessions))
    assert all((two.date - one.date).days == 1 for one, two in pairwise(sessions))
    midnight = clock.from_ns(calendar.always().current_or_next(utc("2026-07-04T12:00")).open_ns)
    assert midnight.astimezone(clock.EXCHANGE_ZONE).time() == time()


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-02", 24)])
def test_a_day_that_changes_the_clock_is_longer_or_shorter(day: str, hours: int) -> None:
    found = calendar.always().on(date.fromisoformat(day))
    assert found is not None
    assert found.close_ns - found.open_ns == hours * 3_600 * clock.SECOND_NS


def test_an_unknown_calendar_is_refused() -> None:
    with pytest.raises(calendar.UnknownCalendar) as refusal:
        calendar.lookup("XLON")
    assert "XNYS" in refusal.value.message
