"""Looking, and remembering in this process what was seen last.

The page is made from memory, so it can be shown while PostgreSQL, Valkey or the engine is gone. Where PostgreSQL
answers, history and incidents come from there and every look is noted there; where it does not, the page keeps
what it knew of them.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

import structlog
from django.db import Error as DatabaseProblem

from console.models import Incident
from console.status import Probe, Reading, State, probes, store, surfaces, worst
from console.status.store import Day, IncidentView
from console.status.surfaces import Surface

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 15
HISTORY_DAYS = 90
_FRESH_FOR = timedelta(seconds=10)
_HISTORY_EVERY_S = 60.0
_IMPACTS = {
    Incident.Impact.MAINTENANCE: State.MAINTENANCE,
    Incident.Impact.DEGRADED: State.DEGRADED,
    Incident.Impact.DOWN: State.DOWN,
}


@dataclass(frozen=True, slots=True)
class SurfaceView:
    """`since` None: not known. `days` has one entry for each of the last 90 days, oldest first."""

    surface: Surface
    state: State
    since: datetime | None
    days: tuple[Day, ...]

    @property
    def uptime_percent(self) -> float | None:
        """Of the time in which somebody looked; degraded counts as up. None: nobody ever did."""
        looked = sum(day.looked_s for day in self.days)
        return 100 * (looked - sum(day.down_s for day in self.days)) / looked if looked else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`history_known` is False where days and incidents could never be read."""

    checked_at: datetime
    surfaces: tuple[SurfaceView, ...]
    incidents: tuple[IncidentView, ...]
    history_known: bool

    @property
    def state(self) -> State:
        return worst([view.state for view in self.surfaces])

    def age(self, now: datetime) -> timedelta:
        return max(now - self.checked_at, timedelta(0))


@dataclass
class _Memory:
    snapshot: Snapshot | None = None
    history: store.History | None = None
    history_read_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


_memory = _Memory()


def forget() -> None:
    """As if this process had just begun."""
    _memory.snapshot = _memory.history = None


def current(now: datetime, *, poller_runs: bool) -> Snapshot:
    """What is known. Where no poller keeps it fresh, this looks by itself, one caller at a time."""
    known = _memory.snapshot
    if known is not None and (poller_runs or known.age(now) < _FRESH_FOR):
        return known
    with _memory.lock:
        known = _memory.snapshot
        if known is not None and known.age(now) < _FRESH_FOR:
            return known
        return look(now)


def look(now: datetime) -> Snapshot:
    """Ask all probes, note what they say, and remember it. Never raises."""
    readings = ask(now)
    has_database = readings["database"].state is not State.DOWN
    seen = {surface.id: _seen(surface, readings) for surface in surfaces.all_surfaces()}
    if has_database:
        try:
            store.note(seen, now)
            if time.monotonic() - _memory.history_read_at > _HISTORY_EVERY_S or _memory.history is None:
                _memory.history = store.read_history(now.date(), HISTORY_DAYS)
                _memory.history_read_at = time.monotonic()
            _memory.history = replace(
                _memory.history,
                now=store.read_now(),
                incidents=store.read_incidents(now),
                flags_on=store.read_flags_on(now),
            )
        except DatabaseProblem as problem:
            log.warning("status not noted", problem=type(problem).__name__)
    _memory.snapshot = _snapshot(seen, now)
    return _memory.snapshot


def ask(now: datetime) -> dict[str, Reading]:
    """Every probe's reading; `database` first, without which some are not asked."""
    readings = {"database": _reading(probes["database"], "database", now)}
    for name, probe in probes:
        if name == "database":
            continue
        if probe.needs_database and readings["database"].state is State.DOWN:
            readings[name] = Reading(State.UNKNOWN, "not asked: the database does not answer")
        else:
            readings[name] = _reading(probe, name, now)
    return readings


def _reading(probe: Probe, name: str, now: datetime) -> Reading:
    try:
        return probe.look(now)
    except Exception as problem:  # a probe that breaks must not take the page along
        log.exception("a status probe broke", probe=name)
        return Reading(State.UNKNOWN, f"the probe broke: {type(problem).__name__}")


def _seen(surface: Surface, readings: dict[str, Reading]) -> Reading:
    told = [readings[name] for name in surface.probes]
    state = worst([reading.state for reading in told])
    return Reading(
        state, "; ".join(reading.note for reading in told if reading.state is not State.OPERATIONAL)
    )


def _snapshot(seen: dict[str, Reading], now: datetime) -> Snapshot:
    history = _memory.history or store.NO_HISTORY
    open_incidents = [incident for incident in history.incidents if incident.resolved_at is None]
    views = []
    for surface in surfaces.shown(history.flags_on):
        said = [_IMPACTS[Incident.Impact(i.impact)] for i in open_incidents if surface.id in i.surfaces]
        state = worst([seen[surface.id].state, *said])
        noted = history.now.get(surface.id)
        since = (
            noted.since if noted is not None and noted.state == seen[surface.id].state and not said else None
        )
        views.append(
            SurfaceView(surface, state, since, tuple(_days(history.days.get(surface.id, {}), now.date())))
        )
    return Snapshot(now, tuple(views), history.incidents, _memory.history is not None)


def _days(known: dict[date, Day], today: date) -> Iterator[Day]:
    for back in range(HISTORY_DAYS - 1, -1, -1):
        day = today - timedelta(days=back)
        yield known.get(day, Day(day))
