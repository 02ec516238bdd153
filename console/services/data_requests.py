"""What people ask about their data: received, answered in time, or taken back."""

import calendar
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import structlog
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction

from audit import log as record
from audit.pseudonym import actor_ref_for
from console.data_rights import Act, holders
from console.models import DataExport, DataRequest
from console.services import erasures, exports
from raxx.kernel.errors import InvalidInput, NotFound, RaxxError

COOLING = timedelta(days=30)
# How long before it is due a request counts as urgent.
ALARM_BEFORE = timedelta(days=7)
_AT_ONCE_MAX = 50

RECEIVED = "console.data_request.received"
CANCELED = "console.data_request.canceled"
WAIVED = "console.data_request.waived"
LIFTED = "console.data_request.lifted"
ANSWERED = "console.data_request.answered"
DOWNLOADED = "console.data_request.downloaded"
EXPORTED = "console.data_request.exported"
EXPIRED = "console.data_request.expired"

Kind, Status = DataRequest.Kind, DataRequest.Status
_OVER = (Status.DONE, Status.CANCELED)
# A copy that can be downloaded has been answered; a restriction is in force from the first moment.
_UNANSWERED = (Status.OPEN, Status.COOLING, Status.ERASING)

log = structlog.get_logger(__name__)


class AlreadyAsked(RaxxError):
    """The same was asked before and is under way."""

    code = "ALREADY_ASKED"
    http_status = 409


class TooLate(RaxxError):
    """What is done cannot be taken back."""

    code = "DATA_REQUEST_TOO_LATE"
    http_status = 409


class ExportExpired(RaxxError):
    """The copy was kept for seven days. Ask for another one."""

    code = "EXPORT_EXPIRED"
    http_status = 410


class Ran(NamedTuple):
    """What one round of the job did. `failed` are tried again in the next one."""

    exported: int
    erased: int
    failed: int
    expired: int


def due_of(received_at: datetime) -> datetime:
    """One month later: the same day of the next month, or its last day. Source: GDPR art. 12(3)."""
    year, month = divmod(received_at.month, 12)
    year, month = received_at.year + year, month + 1
    return received_at.replace(
        year=year, month=month, day=min(received_at.day, calendar.monthrange(year, month)[1])
    )


@transaction.atomic
def receive(*, user_id: UUID, kind: str, actor: str, now: datetime, reason: str = "") -> DataRequest:
    """Take a request and say by when it is answered. Raises InvalidInput, NotFound, AlreadyAsked.

    Whoever calls has made sure that it is the person: by step-up, or, for the operator, by other means.
    An erasure ends all access at once, stops what the account does, and waits for 30 days; a restriction does so
    without an end.
    """
    if kind not in Kind.values:
        raise InvalidInput(
            field="kind",
            rule="must be one of " + ", ".join(Kind.values),
            value=kind,
            remedy="Send one of them.",
        )
    if not get_user_model().objects.filter(pk=user_id).exists():
        raise NotFound("There is no such user.", remedy="Check the id.")
    if kind in (Kind.ACCESS, Kind.PORTABILITY) and DataRequest.objects.filter(
        user_id=user_id, kind=kind, status=Status.OPEN
    ):
        raise _already()
    cooling_until = now + COOLING if kind == Kind.ERASURE else None
    status = {Kind.ERASURE: Status.COOLING, Kind.RESTRICTION: Status.IN_FORCE}.get(Kind(kind), Status.OPEN)
    try:
        with transaction.atomic():
            request = DataRequest.objects.create(
                kind=kind, status=status, user_id=user_id, subject_ref=actor_ref_for(user_id), received_at=now,
                # The month never ends before the cooling-off time, which the person may waive.
                due_at=max(due_of(now), cooling_until + timedelta(days=1)) if cooling_until else due_of(now),
                cooling_until=cooling_until,
            )  # fmt: skip
    except IntegrityError as known:
        raise _already() from known
    _record(RECEIVED, request, actor, now, reason, kind=kind, due_at=request.due_at)
    act = Act(user_id=user_id, actor=actor, now=now)
    if kind == Kind.ERASURE:
        for _, holder in holders:
            if holder.revoke is not None:
                holder.revoke(act)
    if kind in (Kind.ERASURE, Kind.RESTRICTION):
        for _, holder in holders:
            if holder.hold is not None:
                holder.hold(act)
    return request


@transaction.atomic
def cancel(
    *, request_id: UUID, user_id: UUID | None = None, actor: str, now: datetime, reason: str = ""
) -> DataRequest:
    """Take a request back: an erasure while it cools off, a copy before it is made. With `user_id` only their own.

    Raises NotFound, TooLate.
    """
    request = _locked(request_id, user_id)
    if request.status == Status.CANCELED:
        return request
    if request.status not in (Status.COOLING, Status.OPEN):
        raise TooLate("This request cannot be taken back any more.", value=request.status)
    _end(request, Status.CANCELED, now)
    _record(CANCELED, request, actor, now, reason)
    _release(request, actor, now)
    return request


@transaction.atomic
def waive(
    *, request_id: UUID, user_id: UUID | None = None, actor: str, now: datetime, reason: str = ""
) -> DataRequest:
    """Do not wait any longer: erase with the next round of the job. Raises NotFound, TooLate."""
    request = _locked(request_id, user_id)
    if request.kind != Kind.ERASURE or request.status != Status.COOLING:
        raise TooLate("Only an erasure that waits can be hurried.", value=request.status)
    request.cooling_until = now
    request.save(update_fields=["cooling_until"])
    _record(WAIVED, request, actor, now, reason)
    return request


@transaction.atomic
def lift(
    *, request_id: UUID, user_id: UUID | None = None, actor: str, now: datetime, reason: str = ""
) -> DataRequest:
    """End a restriction. Raises NotFound, TooLate."""
    request = _locked(request_id, user_id)
    if request.kind != Kind.RESTRICTION or request.status != Status.IN_FORCE:
        raise TooLate("Only a restriction in force can be lifted.", value=request.status)
    _end(request, Status.DONE, now)
    _record(LIFTED, request, actor, now, reason)
    _release(request, actor, now)
    return request


def run(now: datetime) -> Ran:
    """One round of the job: make the copies that are asked for, erase whose time has come, drop old copies.

    What fails is noted at the request, alarms, and is tried again in the next round.
    """
    exported = erased = failed = 0
    for request_id in list(
        DataRequest.objects.filter(status=Status.OPEN)
        .order_by("due_at")
        .values_list("pk", flat=True)[:_AT_ONCE_MAX]
    ):
        done = _tried(request_id, now, export=True)
        exported, failed = exported + done, failed + (not done)
    ready = DataRequest.objects.filter(status=Status.COOLING, cooling_until__lte=now)
    ready.update(status=Status.ERASING)
    for request_id in list(
        DataRequest.objects.filter(status=Status.ERASING)
        .order_by("due_at")
        .values_list("pk", flat=True)[:_AT_ONCE_MAX]
    ):
        done = _tried(request_id, now, export=False)
        erased, failed = erased + done, failed + (not done)
    return Ran(exported, erased, failed, expire(now))


def _tried(request_id: UUID, now: datetime, *, export: bool) -> bool:
    try:
        if export:
            answer(request_id=request_id, now=now)
        else:
            erasures.carry_out(request_id=request_id, now=now)
    except erasures.AlreadyErasing:
        return True
    except Exception as problem:  # one person's trouble must not keep the others waiting
        log.exception("a data request could not be carried out", request=str(request_id))
        DataRequest.objects.filter(pk=request_id).update(problem=type(problem).__name__[:100])
        return False
    return True


def answer(*, request_id: UUID, now: datetime) -> DataRequest:
    """Make the copy that was asked for."""
    request = DataRequest.objects.get(pk=request_id, status=Status.OPEN)
    with transaction.atomic():
        exports.make(request=request, now=now)
        # Not where it was taken back, or the person erased, in the meantime: then the copy goes too.
        if not DataRequest.objects.filter(pk=request_id, status=Status.OPEN).update(
            status=Status.READY, problem=""
        ):
            transaction.set_rollback(True)
            return request
        _record(ANSWERED, request, erasures.JOB, now, "")
    request.refresh_from_db()
    return request


def download(*, request_id: UUID, user_id: UUID, now: datetime) -> tuple[DataExport, Iterator[bytes]]:
    """The person's own copy. Whoever calls has had it confirmed by step-up. Raises NotFound, ExportExpired."""
    request = DataRequest.objects.filter(pk=request_id, user_id=user_id).first()
    export = _copy_of(request, now)
    with transaction.atomic():
        DataExport.objects.filter(pk=request_id).update(downloaded_at=now)
        _record(DOWNLOADED, export.request, actor_ref_for(user_id), now, "")
    return export, exports.read(export)


@transaction.atomic
def hand_out(
    *, request_id: UUID, actor: str, now: datetime, reason: str
) -> tuple[DataExport, Iterator[bytes]]:
    """The copy for an operator, who gives it to a person that cannot come for it. Raises NotFound, ExportExpired."""
    export = _copy_of(DataRequest.objects.filter(pk=request_id).first(), now)
    _record(EXPORTED, export.request, actor, now, reason)
    return export, exports.read(export)


def _copy_of(request: DataRequest | None, now: datetime) -> DataExport:
    if request is None or request.kind not in (Kind.ACCESS, Kind.PORTABILITY):
        raise NotFound("There is no such request for a copy.", remedy="List the requests to see their ids.")
    export = DataExport.objects.select_related("request").filter(pk=request.pk, expires_at__gt=now).first()
    if export is None:
        if request.status == Status.OPEN:
            raise NotFound("The copy is not made yet.", remedy=f"It will be by {request.due_at:%d %b %Y}.")
        raise ExportExpired("The copy was kept for seven days.", remedy="Ask for another one.")
    return export


def expire(now: datetime) -> int:
    """Delete copies that are older than seven days, and close their requests."""
    expired = 0
    for request_id in list(DataExport.objects.filter(expires_at__lte=now).values_list("pk", flat=True)):
        with transaction.atomic():
            request = DataRequest.objects.select_for_update().get(pk=request_id)
            DataExport.objects.filter(pk=request_id).delete()
            if request.status == Status.READY:
                _end(request, Status.DONE, now)
                _record(EXPIRED, request, erasures.JOB, now, "")
            expired += 1
    return expired


def is_restricted(user_id: UUID) -> bool:
    """Whether the person's data are kept and nothing is done with them."""
    return DataRequest.objects.filter(user_id=user_id, status__in=_HOLDING).exists()


def urgent(now: datetime) -> list[DataRequest]:
    """Requests that are not answered and are due within a week, or overdue, or could not be carried out."""
    waiting = DataRequest.objects.filter(status__in=_UNANSWERED)
    # An erasure that waits out its cooling-off time is where it should be.
    waiting = waiting.exclude(status=Status.COOLING, cooling_until__gt=now)
    return [r for r in waiting.order_by("due_at") if r.problem or r.due_at - now < ALARM_BEFORE]


def due_in_words(due_at: datetime, now: datetime) -> str:
    """For people: how long until a request has to be answered."""
    days = (due_at - now).days
    if due_at < now:
        return f"overdue by {-days} day{'s' if days < -1 else ''}"
    return "due in less than a day" if days == 0 else f"due in {days} day{'s' if days > 1 else ''}"


def purge(now: datetime, keep: timedelta, *, apply: bool) -> int:
    """Forget requests that were over long ago, or only count them; the erasure list stays."""
    old = DataRequest.objects.filter(status__in=_OVER, closed_at__lt=now - keep)
    return old.delete()[0] if apply else old.count()


_HOLDING = (Status.COOLING, Status.ERASING, Status.IN_FORCE)


def _release(request: DataRequest, actor: str, now: datetime) -> None:
    """Let the holders go on, unless another request holds the data too."""
    if (
        request.user_id is None
        or request.kind not in (Kind.ERASURE, Kind.RESTRICTION)
        or is_restricted(request.user_id)
    ):
        return
    for _, holder in holders:
        if holder.release is not None:
            holder.release(Act(user_id=request.user_id, actor=actor, now=now))


def _locked(request_id: UUID, user_id: UUID | None) -> DataRequest:
    found = DataRequest.objects.select_for_update().filter(pk=request_id)
    if user_id is not None:
        found = found.filter(user_id=user_id)
    request = found.first()
    if request is None:
        raise NotFound("There is no such request.", remedy="Check the id.")
    return request


def _end(request: DataRequest, status: str, now: datetime) -> None:
    request.status, request.closed_at = status, now
    request.save(update_fields=["status", "closed_at"])


def _already() -> AlreadyAsked:
    return AlreadyAsked(
        "You have asked for this already, and it is under way.", remedy="Wait for its answer."
    )


def _record(
    action: str, request: DataRequest, actor: str, now: datetime, reason: str, **changes: object
) -> None:
    """The reason may tell something about the person: it is kept under their key, which dies with the erasure."""
    record.record(
        action, actor=actor, object_type="data_request", object_id=request.pk, at=now, changes=changes, reason=reason,
        subject=request.user_id,
    )  # fmt: skip
