"""Trading sessions as plain values, so that the engine can ask about time without a calendar library."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Hours(StrEnum):
    """Which part of a day something trades in."""

    REGULAR = "regular"
    LATE = "late"  # a quarter of an hour longer: some classes of index and fund options
    EXTENDED = "extended"  # from early morning to evening


_REGULAR = (
    Hours.REGULAR
)  # every quote asks for it, and Python 3.11 looks a member up at twenty times the cost of a name


@dataclass(frozen=True, slots=True)
class Session:
    """One session. Its regular hours are open_ns <= t < close_ns (nanoseconds UTC).

    A calendar without longer hours leaves the last three 0: they are then those of the regular session.
    """

    date: date
    open_ns: int
    close_ns: int
    early_close: bool = False
    late_close_ns: int = 0
    extended_open_ns: int = 0
    extended_close_ns: int = 0

    def opens_ns(self, hours: Hours = Hours.REGULAR) -> int:
        return (self.extended_open_ns or self.open_ns) if hours is Hours.EXTENDED else self.open_ns

    def closes_ns(self, hours: Hours = Hours.REGULAR) -> int:
        if hours is _REGULAR:
            return self.close_ns
        return (self.late_close_ns if hours is Hours.LATE else self.extended_close_ns) or self.close_ns

    def is_open(self, at_ns: int, hours: Hours = Hours.REGULAR) -> bool:
        if hours is _REGULAR:  # what nearly every fill asks
            return self.open_ns <= at_ns < self.close_ns
        return self.opens_ns(hours) <= at_ns < self.closes_ns(hours)


class Sessions:
    """An ordered run of sessions of one calendar; no two share a date or overlap.

    `name` says which ("XNYS", "ALWAYS"). Asking beyond the last one raises LookupError: an
    unknown future is not a closed market.
    """

    def __init__(self, name: str, sessions: Iterable[Session]) -> None:
        self.name = name
        self._all = sorted(sessions, key=lambda s: s.open_ns)
        self._opens = [s.open_ns for s in self._all]
        self._closes = {hours: [s.closes_ns(hours) for s in self._all] for hours in Hours}
        self._by_date = {s.date: s for s in self._all}

    def __iter__(self) -> Iterator[Session]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def current_or_next(self, at_ns: int, hours: Hours = Hours.REGULAR) -> Session:
        """The session whose `hours` are in progress at `at_ns`, else the first one to come."""
        index = bisect_right(self._closes[hours], at_ns)
        if index == len(self._all):
            raise LookupError(f"calendar {self.name} knows no session after {at_ns}")
        return self._all[index]

    def last_opened(self, at_ns: int) -> Session | None:
        """The session in progress at `at_ns`, else the latest one before; None before the first."""
        index = bisect_right(self._opens, at_ns)
        return self._all[index - 1] if index else None

    def is_open(self, at_ns: int) -> bool:
        return self.current_or_next(at_ns).is_open(at_ns)

    def on(self, day: date) -> Session | None:
        """The session of that date, or None when the market is closed all day."""
        return self._by_date.get(day)
