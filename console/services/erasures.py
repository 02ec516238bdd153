"""Carrying out an erasure, holder by holder, so that it can be killed at any moment and goes on where it stood;
and the erasure list, by which whoever comes back with a restored backup is found and erased again."""

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

import structlog
from django.contrib.auth import get_user_model
from django.db import connection, transaction

from audit import log as record
from audit.pseudonym import OPERATOR_SHELL, actor_ref_for
from console.data_rights import Act, in_order
from console.models import DataExport, DataRequest, ErasedSubject
from raxx.kernel import env
from raxx.kernel.errors import RaxxError
from raxx.kernel.keys import derive

ERASED = "console.data_request.erased"
JOB = "system:data-rights"
# Where a copy of the list goes that does not live in the database: one JSON object a line. The log has it too.
LIST_VARIABLE = "RAXX_ERASURE_LIST"
_LOCK = 0x52415844  # 'RAXD'; the other half is the request's

log = structlog.get_logger(__name__)


class AlreadyErasing(RaxxError):
    """Another process carries this erasure out."""

    code = "ALREADY_ERASING"
    http_status = 409


class ListEntry(NamedTuple):
    mark: str
    erased_at: datetime


def mark_of(user_id: UUID) -> str:
    """The person's line in the erasure list. Nobody without the root key can tell whose it is."""
    return hmac.digest(derive("erasure-list"), user_id.bytes, hashlib.sha256).hex()


def carry_out(*, request_id: UUID, now: datetime) -> DataRequest:
    """Erase. Commits after every holder; called again it does what is left. Raises AlreadyErasing.

    Must be called outside of a transaction.
    """
    if connection.in_atomic_block:
        raise transaction.TransactionManagementError("an erasure commits as it goes")
    with _alone(request_id):
        request = DataRequest.objects.get(pk=request_id)
        if request.status == DataRequest.Status.DONE or request.user_id is None:
            return request
        if request.status != DataRequest.Status.ERASING:
            raise ValueError(f"an erasure in the state {request.status} is not carried out")
        user_id = request.user_id
        # First of all: from here on a restored backup is cleaned, whatever happens to this process.
        _list(user_id, now)
        for name, holder in in_order():
            if name in request.parts_done:
                continue
            counts = dict(holder.erase(Act(user_id=user_id, actor=JOB, now=now)))
            request.parts_done = [*request.parts_done, name]
            request.receipt = {**request.receipt, **{table: n for table, n in counts.items() if n}}
            request.save(update_fields=["parts_done", "receipt"])
        return _close(request, now)


@transaction.atomic
def _close(request: DataRequest, now: datetime) -> DataRequest:
    """The last step: from now on no row says whose the request was."""
    user_id = request.user_id
    others = DataRequest.objects.filter(user_id=user_id).exclude(pk=request.pk)
    DataExport.objects.filter(request__user_id=user_id).delete()
    over = [DataRequest.Status.DONE, DataRequest.Status.CANCELED]
    others.exclude(status__in=over).update(status=DataRequest.Status.DONE, closed_at=now)
    others.update(user_id=None)
    request.status, request.closed_at, request.user_id, request.problem = (
        DataRequest.Status.DONE,
        now,
        None,
        "",
    )
    request.save()
    record.record(
        ERASED, actor=JOB, object_type="data_request", object_id=request.pk, at=now,
        changes={"rows": sum(int(n) for n in request.receipt.values())},
    )  # fmt: skip
    return request


def _list(user_id: UUID, now: datetime) -> None:
    """Put the person on the list, in the database and outside of it. Once: the first instant stays."""
    mark = mark_of(user_id)
    _, new = ErasedSubject.objects.get_or_create(mark=mark, defaults={"erased_at": now})
    if not new:
        return
    line = json.dumps({"mark": mark, "erased_at": now.astimezone(UTC).isoformat()})
    log.info("erasure list", line=line)
    path = env.given(LIST_VARIABLE)
    if path:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def stored_list() -> Iterator[ListEntry]:
    for row in ErasedSubject.objects.order_by("erased_at", "mark"):
        yield ListEntry(row.mark, row.erased_at)


def read_list(lines: Iterable[str]) -> Iterator[ListEntry]:
    """From a copy of the list, or from a log that has its lines in it; other lines are passed over."""
    for line in lines:
        start = line.find('{"mark"') if '{"mark"' in line else line.find("{")
        try:
            told = json.loads(line[start:]) if start >= 0 else {}
            told = json.loads(told["line"]) if "line" in told else told
            yield ListEntry(str(told["mark"]), datetime.fromisoformat(str(told["erased_at"])))
        except (ValueError, KeyError, TypeError):
            continue


def reapply(*, entries: Iterable[ListEntry], now: datetime, apply: bool) -> list[UUID]:
    """Erase whoever is on the list and in the database again. Without `apply` only tells who.

    Must be called outside of a transaction. Safe to run twice.
    """
    marks = {entry.mark: entry.erased_at for entry in entries}
    back = [user_id for user_id in _all_user_ids() if mark_of(user_id) in marks]
    if apply:
        for user_id in back:
            carry_out(request_id=_reopened(user_id, now), now=now)
        known = set(ErasedSubject.objects.values_list("mark", flat=True))
        ErasedSubject.objects.bulk_create(
            [ErasedSubject(mark=mark, erased_at=at) for mark, at in marks.items() if mark not in known],
            ignore_conflicts=True,
        )
    return back


def _all_user_ids() -> Iterator[UUID]:
    """Everybody of whom anything is there: a backup of only some tables may have data without its user."""
    seen: set[UUID] = set()
    for user_id in get_user_model().objects.values_list("pk", flat=True).iterator():
        seen.add(user_id)
        yield user_id
    for known in DataRequest.objects.exclude(user_id=None).values_list("user_id", flat=True).iterator():
        if known is not None and known not in seen:
            seen.add(known)
            yield known


def _reopened(user_id: UUID, now: datetime) -> UUID:
    """An erasure request for somebody who came back; the one that the backup brought along, where it did."""
    with transaction.atomic():
        open_ones = DataRequest.objects.select_for_update().filter(
            user_id=user_id, kind=DataRequest.Kind.ERASURE, status__in=["cooling", "erasing"]
        )
        request = open_ones.first()
        if request is None:
            request = DataRequest.objects.create(
                kind=DataRequest.Kind.ERASURE, status=DataRequest.Status.ERASING, user_id=user_id,
                subject_ref=actor_ref_for(user_id), received_at=now, due_at=now, cooling_until=now,
            )  # fmt: skip
            record.record(
                "console.data_request.received", actor=OPERATOR_SHELL, object_type="data_request",
                object_id=request.pk, at=now, changes={"kind": "erasure"}, reason="restored from a backup", subject=user_id,
            )  # fmt: skip
        else:
            # What the backup says was done is not done in this database.
            request.status, request.parts_done = DataRequest.Status.ERASING, []
            request.save(update_fields=["status", "parts_done"])
        return request.pk


@contextmanager
def _alone(request_id: UUID) -> Iterator[None]:
    """A session lock: it is gone as soon as this process or its connection is."""
    key = [_LOCK, int.from_bytes(request_id.bytes[-4:], signed=True)]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        if not cursor.fetchone()[0]:
            raise AlreadyErasing("Another process is erasing this person.", remedy="Wait for it to finish.")
    try:
        yield
    finally:
        if connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
