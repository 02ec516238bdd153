"""What waits for an operator: the home page of the operator site. Apps add what only they can tell:

work_queue.register("feeds", stale_feeds)          # in AppConfig.ready
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.urls import reverse

from console import doctor
from console.doctor import Level
from console.models import Incident, Job, Switch
from console.selectors import stops
from console.services import data_requests
from raxx.kernel.registry import Registry

log = structlog.get_logger(__name__)

_CLEAR_FOR_S = 15.0


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One thing to do: what it is, what to know or do about it, and the page where it is done ("": none)."""

    title: str
    detail: str = ""
    url: str = ""
    is_urgent: bool = False


Source = Callable[[datetime], Iterable[WorkItem]]

sources: Registry[Source] = Registry("work queue", required=True)


@dataclass(frozen=True, slots=True)
class Queue:
    items: tuple[WorkItem, ...]
    checked_at: datetime


def register(name: str, source: Source) -> None:
    sources.register(name, source)


class _Clear:
    """The last time that nothing waited: looked at again after a quarter of a minute only."""

    queue: Queue | None = None
    at_s = float("-inf")


def read(now: datetime) -> Queue:
    """Everything that waits, urgent things first. A source that breaks is itself something to do."""
    if _Clear.queue is not None and time.monotonic() - _Clear.at_s < _CLEAR_FOR_S:
        return _Clear.queue
    items: list[WorkItem] = []
    for name, source in sources:
        try:
            items += source(now)
        except Exception as problem:
            log.exception("a source of the work queue broke", source=name)
            detail = f"{type(problem).__name__}; the log has the rest."
            items.append(WorkItem(f"“{name}” cannot be read", detail, is_urgent=True))
    queue = Queue(tuple(sorted(items, key=lambda item: not item.is_urgent)), now)
    _Clear.queue, _Clear.at_s = (queue, time.monotonic()) if not items else (None, float("-inf"))
    return queue


def from_checks(*names: str) -> Source:
    """What these checks of the doctor find, with their remedies."""

    def source(now: datetime) -> Iterable[WorkItem]:
        for result in doctor.examine(now, names):
            if result.name in names and result.finding.level is not Level.OK:
                title = f"{result.name.capitalize()}: {result.finding.message}"
                yield WorkItem(title, result.finding.remedy, is_urgent=result.finding.level is Level.FAIL)

    return source


def data_requests_due(now: datetime) -> Iterable[WorkItem]:
    for request in data_requests.urgent(now):
        words = data_requests.due_in_words(request.due_at, now)
        problem = (
            f" The last try ended with {request.problem}; the log has the rest." if request.problem else ""
        )
        yield WorkItem(
            f"{request.get_kind_display()}: {words}",
            f"Received {request.received_at:%d %b %Y}.{problem}",
            reverse("admin:console_datarequest_changelist") + f"?q={request.pk}",
            is_urgent=request.due_at < now or bool(problem),
        )


def active_switches(now: datetime) -> Iterable[WorkItem]:
    page = reverse(f"admin:console_{Switch._meta.model_name}_changelist")
    for state in stops():
        since = f" since {state.since:%d %b, %H:%M} UTC" if state.since else ""
        yield WorkItem(f"Kill switch {state.name}: {state.mode}{since}", state.reason, page)


def failed_jobs(now: datetime) -> Iterable[WorkItem]:
    page = reverse("admin:console_job_set")
    for job in Job.objects.filter(failures__gt=0).order_by("name"):
        when = f", the last time on {job.failed_at:%d %b, %H:%M} UTC" if job.failed_at else ""
        yield WorkItem(
            f"{job.name} failed {job.failures} times", f"By {job.problem}{when}.", f"{page}?name={job.pk}"
        )


def open_incidents(now: datetime) -> Iterable[WorkItem]:
    """An incident that says nothing new for an hour leaves visitors alone."""
    for incident in Incident.objects.filter(resolved_at=None).prefetch_related("updates"):
        said = max((update.at for update in incident.updates.all()), default=incident.started_at)
        url = reverse("admin:console_incident_change", args=[incident.pk])
        yield WorkItem(
            f"Incident: {incident.title}", f"Last message {said:%d %b, %H:%M} UTC.", url,
            is_urgent=now - said > timedelta(hours=1),
        )  # fmt: skip


def register_own() -> None:
    register("data requests", data_requests_due)
    register("failed jobs", failed_jobs)
    register("incidents", open_incidents)
    register("kill switches", active_switches)
    register("servers", from_checks("database", "redis", "outbox", "jobs", "migrations", "clock"))
