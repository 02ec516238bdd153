"""Instants. Inside the product an instant is an aware UTC datetime, or, where ticks are handled,
an integer of nanoseconds since 1970-01-01 UTC (`_ns`). Only the shell asks what time it is."""

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

EXCHANGE_ZONE = ZoneInfo("America/New_York")
SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The wall clock. For views, tasks and commands; services take the time as an argument."""
    return datetime.now(UTC)


def now_ns() -> int:
    return time.time_ns()


def to_ns(instant: datetime) -> int:
    """Exact to the microsecond: no float is involved."""
    delta = instant - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND_NS + delta.microseconds * 1_000


def from_ns(ns: int) -> datetime:
    """Truncates to the microsecond, which is what PostgreSQL keeps."""
    return _EPOCH + timedelta(microseconds=ns // 1_000)


def exchange_date(ns: int) -> date:
    """The day in New York."""
    return from_ns(ns).astimezone(EXCHANGE_ZONE).date()


def show_exchange_time(ns: int) -> str:
    """`10:31:07.120 ET`: time of day in New York, with milliseconds."""
    local = from_ns(ns).astimezone(EXCHANGE_ZONE)
    return f"{local:%H:%M:%S}.{local.microsecond // 1_000:03d} ET"


def show_exchange_moment(ns: int) -> str:
    """`2013-10-07 10:31:07.120 ET`."""
    return f"{from_ns(ns).astimezone(EXCHANGE_ZONE):%Y-%m-%d} {show_exchange_time(ns)}"
