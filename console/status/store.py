"""The status page's rows: how each surface fares, its days, and the incidents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from console.models import FlagRow, Incident, SurfaceDay, SurfaceNow
from console.status import Reading, State

KEEP_DAYS = 400
RESOLVED_SHOWN_FOR = timedelta(days=14)
_LOCK = (0x52415858, 7)  # 'RAXX', and which of its locks
_NOTE_EVERY = timedelta(seconds=10)
# Of a longer pause only so much counts: nobody knows how the rest of it was.
_GAP_S_MAX = 60
_COLUMNS = {State.OPERATIONAL: "operational_s", State.MAINTENANCE: "degraded_s", State.DEGRADED: "degraded_s",
            State.DOWN: "down_s"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Day:
    """Seconds of one day (UTC) in each state."""

    day: date
    operational_s: int = 0
    degraded_s: int = 0
    down_s: int = 0

    @property
    def looked_s(self) -> int:
        return self.operational_s + self.degraded_s + self.down_s

    @property
    def state(self) -> State:
        """The worst that lasted."""
        if not self.looked_s:
            return State.UNKNOWN
        if self.down_s:
            return State.DOWN
        return State.DEGRADED if self.degraded_s else State.OPERATIONAL


@dataclass(frozen=True, slots=True)
class Noted:
    state: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Message:
    at: datetime
    stage: str
    text: str


@dataclass(frozen=True, slots=True)
class IncidentView:
    title: str
    impact: str
    surfaces: tuple[str, ...]
    started_at: datetime
    resolved_at: datetime | None
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class History:
    days: dict[str, dict[date, Day]] = field(default_factory=dict)
    now: dict[str, Noted] = field(default_factory=dict)
    incidents: tuple[IncidentView, ...] = ()
    flags_on: frozenset[str] = frozenset()


NO_HISTORY = History()


@transaction.atomic
def note(seen: Mapping[str, Reading], now: datetime) -> bool:
    """Note what one process saw. False: another one did so within the last ten seconds, or does right now.

    The time since the last look counts as spent in the state found now, up to a minute of it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s, %s)", _LOCK)
        if not cursor.fetchone()[0]:
            return False
    known = {row.surface: row for row in SurfaceNow.objects.all()}
    if any(now - row.checked_at < _NOTE_EVERY for row in known.values()):
        return False
    for surface, reading in seen.items():
        before = known.get(surface)
        same = before is not None and before.state == reading.state
        SurfaceNow.objects.update_or_create(
            surface=surface,
            defaults={
                "state": reading.state,
                "note": reading.note[:300],
                "since": before.since if before is not None and same else now,
                "checked_at": now,
            },
        )
        column = _COLUMNS.get(reading.state)
        if before is not None and column is not None:
            elapsed_s = min(int((now - before.checked_at).total_seconds()), _GAP_S_MAX)
            _add(surface, now.date(), column, elapsed_s)
    return True


def _add(surface: str, day: date, column: str, seconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO console_status_days AS d (surface, day, operational_s, degraded_s, down_s)"
            " VALUES (%(surface)s, %(day)s, 0, 0, 0) ON CONFLICT DO NOTHING",
            {"surface": surface, "day": day},
        )
        cursor.execute(
            f"UPDATE console_status_days SET {column} = {column} + %s WHERE surface = %s AND day = %s",  # noqa: S608
            [seconds, surface, day],
        )


def read_history(today: date, days: int) -> History:
    found: dict[str, dict[date, Day]] = {}
    rows = SurfaceDay.objects.filter(day__gt=today - timedelta(days=days))
    for row in rows:
        found.setdefault(row.surface, {})[row.day] = Day(
            row.day, row.operational_s, row.degraded_s, row.down_s
        )
    return History(days=found)


def read_now() -> dict[str, Noted]:
    return {row.surface: Noted(row.state, row.since) for row in SurfaceNow.objects.all()}


def read_incidents(now: datetime) -> tuple[IncidentView, ...]:
    """Those that last, and those resolved within two weeks; newest first."""
    rows = Incident.objects.exclude(resolved_at__lt=now - RESOLVED_SHOWN_FOR).prefetch_related("updates")
    return tuple(
        IncidentView(
            row.title,
            row.impact,
            tuple(row.surfaces),
            row.started_at,
            row.resolved_at,
            tuple(
                Message(update.at, update.get_stage_display(), update.text) for update in row.updates.all()
            ),
        )
        for row in rows[:50]
    )


def read_flags_on(now: datetime) -> frozenset[str]:
    """The feature flags that are on for everybody."""
    rows = FlagRow.objects.filter(mode="on", percent=100).exclude(expires_at__lte=now)
    return frozenset(rows.values_list("name", flat=True))


def purge(today: date, *, apply: bool) -> int:
    """Delete days that no page shows any more; or only count them."""
    old = SurfaceDay.objects.filter(day__lt=today - timedelta(days=KEEP_DAYS))
    return old.delete()[0] if apply else old.count()
