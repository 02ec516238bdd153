from datetime import UTC, date, datetime, timedelta

import pytest

from console.models import SurfaceDay, SurfaceNow
from console.status import Reading, State, store

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def note(state: State, *, after_s: int, note: str = "") -> bool:
    return store.note({"website": Reading(state, note)}, NOON + timedelta(seconds=after_s))


@pytest.mark.django_db
def test_seconds_are_added_up_by_state_and_day() -> None:
    assert note(State.OPERATIONAL, after_s=0)
    assert note(State.OPERATIONAL, after_s=15)
    assert note(State.DOWN, after_s=30, note="PostgreSQL does not answer")
    assert note(State.DOWN, after_s=50)
    assert note(State.OPERATIONAL, after_s=60)
    day = SurfaceDay.objects.get()
    # 0 to 15 operational, 15 to 50 down, 50 to 60 operational.
    assert (day.operational_s, day.degraded_s, day.down_s) == (25, 0, 35)
    now = SurfaceNow.objects.get()
    assert (now.state, now.since) == ("operational", NOON + timedelta(seconds=60))


@pytest.mark.django_db
def test_a_pause_counts_for_a_minute_at_most() -> None:
    note(State.OPERATIONAL, after_s=0)
    note(State.OPERATIONAL, after_s=3 * 3600)
    assert SurfaceDay.objects.get().operational_s == 60


@pytest.mark.django_db
def test_one_of_several_processes_notes() -> None:
    assert note(State.OPERATIONAL, after_s=0)
    assert not note(State.DOWN, after_s=9)
    assert SurfaceNow.objects.get().state == "operational"


@pytest.mark.django_db
def test_what_nobody_could_see_is_in_no_state() -> None:
    note(State.UNKNOWN, after_s=0)
    note(State.UNKNOWN, after_s=15)
    assert not SurfaceDay.objects.exists()


@pytest.mark.django_db
def test_history_is_read_and_purged() -> None:
    today = NOON.date()
    for back, down in ((0, 0), (89, 5), (90, 7), (401, 9)):
        SurfaceDay.objects.create(
            surface="website", day=today - timedelta(days=back), operational_s=100, down_s=down
        )
    days = store.read_history(today, 90).days["website"]
    assert {day: known.down_s for day, known in days.items()} == {today: 0, date(2026, 8, 23): 5}
    assert store.purge(today, apply=False) == 1
    assert store.purge(today, apply=True) == 1
    assert store.purge(today, apply=True) == 0
