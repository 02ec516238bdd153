"""What the console puts into its own registries when it starts, on the same terms as the apps above it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.core.checks import CheckMessage, Error
from django.core.checks import register as register_check

from audit import data_rights as record_rights
from audit.events import EventType
from audit.events import register as register_events
from audit.services import retention
from console import data_rights, doctor, doctor_checks, operators, own_data, status, work_queue
from console.data_rights import Act, CarveOut, Holder, holders
from console.models import DataExport
from console.purging import Purge, purges
from console.services import data_requests, erasures, incidents, jobs
from console.status import State, store


def register_all() -> None:
    _events()
    doctor_checks.register_all()
    doctor.register("jobs", doctor_checks.jobs_run, needs=("database", "migrations"))
    doctor.register(
        "data-requests", doctor_checks.data_requests_are_answered, needs=("database", "migrations")
    )
    _probes()
    _data_rights()
    _purges()
    jobs.watch()
    work_queue.register_own()
    _confirmed_actions()


def _events() -> None:
    register_events(
        EventType(incidents.OPENED, "2y", "An incident was published on the status page."),
        EventType(incidents.UPDATED, "2y", "A message was added to an incident."),
        EventType(incidents.RESOLVED, "2y", "An incident was declared over."),
        EventType(
            data_requests.RECEIVED,
            "7y",
            "A person asked for a copy, an erasure or a restriction.",
            ("reason",),
        ),
        EventType(data_requests.CANCELED, "7y", "A person took such a request back.", ("reason",)),
        EventType(
            data_requests.WAIVED, "7y", "A person did not want to wait for their erasure.", ("reason",)
        ),
        EventType(data_requests.LIFTED, "7y", "A restriction was ended.", ("reason",)),
        EventType(data_requests.ANSWERED, "7y", "The copy that a person asked for was made."),
        EventType(data_requests.DOWNLOADED, "7y", "A person downloaded their copy."),
        EventType(data_requests.EXPIRED, "2y", "A copy was deleted after seven days."),
        EventType(
            data_requests.EXPORTED,
            "7y",
            "An operator took a person's copy, at the shell or on the operator site.",
            ("reason",),
        ),
        EventType(erasures.ERASED, "7y", "A person was erased."),
        EventType(jobs.ACKNOWLEDGED, "2y", "An operator has looked at the failures of a job."),
    )


def _confirmed_actions() -> None:
    """By the names that the pages of console/admin have."""
    whole = "every field of the form, as text"
    for name, what in {
        "console.switch.release": "Make a kill switch less strict",
        "console.flag.set": "Set a feature flag",
        "console.data_request.decide": "Take in, change or hand out what a person asked about their data",
    }.items():
        operators.confirmed_actions.register(name, f"{what} (operators): {whole}.")


def _probes() -> None:
    probe, late = status.from_check, State.DEGRADED
    status.register("database", probe(doctor_checks.database_answers))
    status.register("redis", probe(doctor_checks.redis_answers))
    status.register("outbox", probe(doctor_checks.outbox_is_announced, failing=late), needs_database=True)
    status.register("jobs", probe(doctor_checks.jobs_run, failing=late), needs_database=True)


def _data_rights() -> None:
    holders.register("console", own_data.holder())
    # The record lies below the console and cannot register by itself.
    holders.register(
        "audit",
        Holder(
            covers=record_rights.COVERS,
            export=record_rights.export,
            erase=_forget_in_record,
            keeps=(CarveOut(*record_rights.KEEPS),),
            rank=20,  # last: until then the record says whose data were erased
        ),
    )


@register_check(deploy=True)
def nothing_personal_is_forgotten(app_configs: object, **_: object) -> Sequence[CheckMessage]:
    """A release that could neither export nor erase a table is not deployed."""
    hint = "Name it in `covers` of its app's holder, and export and erase its rows: docs/data-rights.md."
    return [
        Error(f"{label} leads to a person and no holder covers it.", hint=hint, id="console.E001")
        for label in data_rights.uncovered()
    ]


def _forget_in_record(act: Act) -> Mapping[str, int]:
    return record_rights.erase(user_id=act.user_id, actor=act.actor, now=act.now)


_REQUESTS_KEPT = timedelta(days=3 * 365)


def _purges() -> None:
    purges.register("rows of the audit record", Purge("2 or 7 years, by the kind of event", _purge_record))
    purges.register("copies that people asked for", Purge("7 days", _purge_copies))
    purges.register("answered requests about data", Purge("3 years", _purge_requests))
    purges.register("days of the status page", Purge(f"{store.KEEP_DAYS} days", _purge_status))


def _purge_record(now: datetime, apply: bool) -> int:
    return retention.purge(now=now, apply=apply).rows


def _purge_copies(now: datetime, apply: bool) -> int:
    return data_requests.expire(now) if apply else DataExport.objects.filter(expires_at__lte=now).count()


def _purge_requests(now: datetime, apply: bool) -> int:
    return data_requests.purge(now, _REQUESTS_KEPT, apply=apply)


def _purge_status(now: datetime, apply: bool) -> int:
    return store.purge(now.date(), apply=apply)
