"""How the jobs fare: when each kind last came through, and how often it failed since somebody looked."""

from datetime import datetime
from typing import Any

import structlog
from celery.signals import task_failure
from django.db import Error as DatabaseProblem
from django.db import connection, transaction

from audit import log as record
from console.models import Job
from raxx.kernel import clock

ACKNOWLEDGED = "console.job.acknowledged"
HEARTBEAT = "console.heartbeat"

log = structlog.get_logger(__name__)


def succeeded(name: str, now: datetime) -> None:
    Job.objects.update_or_create(name=name[:100], defaults={"succeeded_at": now})


def failed(name: str, problem: str, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO console_jobs AS j (name, failures, failed_at, problem) VALUES (%s, 1, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET failures = j.failures + 1, failed_at = excluded.failed_at,"
            " problem = excluded.problem",
            [name[:100], now, problem[:100]],
        )


@transaction.atomic
def acknowledge(*, name: str, actor: str, now: datetime) -> bool:
    """Somebody has looked at the failures. False: there were none."""
    if not Job.objects.filter(name=name, failures__gt=0).update(failures=0, problem=""):
        return False
    record.record(ACKNOWLEDGED, actor=actor, object_type="job", object_id=name[:64], at=now)
    return True


def watch() -> None:
    """From now on every failure of a Celery task in this process is noted."""
    task_failure.connect(_on_failure, dispatch_uid="console.jobs")


def _on_failure(sender: Any = None, exception: BaseException | None = None, **_: Any) -> None:  # noqa: ANN401 - Celery's
    name = getattr(sender, "name", "unknown")
    try:
        failed(name, type(exception).__name__, clock.now())
    except DatabaseProblem as problem:  # the failure itself is in the log
        log.warning("failure of a job not noted", job=name, problem=type(problem).__name__)
