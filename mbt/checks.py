"""What the doctor and the status page ask of paper trading."""

from datetime import datetime, timedelta

from django.conf import settings

from console import doctor, status, work_queue
from console.doctor import Finding, fail, ok
from mbt.models import EngineState
from mbt.selectors import SILENCE_MAX_S
from raxx.kernel import clock, valkey
from raxx.market.board import Board, MarketDataUnavailable

_START = "Start the engine: python manage.py run_engine."


def register_all() -> None:
    doctor.register("feed", feed_is_fresh, needs=("redis",))
    doctor.register("engine", engine_settles, needs=("database", "migrations"))
    work_queue.register("paper trading", work_queue.from_checks("feed", "engine"))
    status.register("feed", status.from_check(feed_is_fresh))
    status.register("engine", status.from_check(engine_settles), needs_database=True)


def feed_is_fresh(now: datetime) -> Finding:
    """Whether somebody publishes the quotes of this installation's feed."""
    feed = settings.RAXX_FEED
    try:
        age_s = Board(valkey.shared(), feed).read([]).age_s(clock.to_ns(now))
    except MarketDataUnavailable:
        return fail(f"nobody publishes quotes of {feed}: new orders are refused", remedy=_START)
    if age_s > SILENCE_MAX_S:
        return fail(f"{feed} is silent for {age_s:.0f} s: new orders are refused", remedy=_START)
    return ok(f"{feed} spoke {max(age_s, 0):.1f} s ago")


def engine_settles(now: datetime) -> Finding:
    """Whether what the engine decides reaches the database: it notes its position about once a second."""
    feed = settings.RAXX_FEED
    state = EngineState.objects.filter(pk=feed).first()
    if state is None:
        return fail(f"no engine has ever run for {feed}", remedy=_START)
    silent = now - state.updated_at
    if silent > timedelta(seconds=SILENCE_MAX_S):
        return fail(
            f"the engine of {feed} has settled nothing for {silent.total_seconds():.0f} s", remedy=_START
        )
    return ok(f"the engine of {feed} settled {max(silent.total_seconds(), 0):.1f} s ago")
