"""The end of rows: two or seven years after they were recorded, by the class of their event type.

A purge deletes rows and keeps their seals, so that the chain can still be followed, and writes a signed
manifest of what it deleted. Whoever verifies the record takes a missing row for a purged one only where
such a manifest says so. docs/audit.md
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple

from django.db import connection, transaction

from audit import log, pseudonym
from audit.events import RETENTIONS, EventType, Retention, event_types, register
from audit.models import AuditManifest
from audit.services import sealing
from audit.signing import Signature, Verifier, sign

KIND = "manifest"
PURGED = "audit.rows.purged"
BATCH_ROWS = 10_000
_LOCK = (0x41554449, 3)

Ranges = list[tuple[int, int]]  # of seals, both ends included


def register_events() -> None:
    register(EventType(PURGED, "7y", "Rows whose time was over were deleted; their seals stay."))


class Purged(NamedTuple):
    """Rows deleted, or that would be."""

    rows: int
    manifests: int


def purge(*, now: datetime, batches: int = 100, batch_rows: int = BATCH_ROWS, apply: bool = True) -> Purged:
    """Delete the rows whose time is over, one transaction and one manifest for each batch. Resumable.

    Unknown event types are kept as long as the longest class. The record's own clock, not the one of the
    business, says how old a row is. The database refuses to delete anything younger than two years.
    """
    rows = made = 0
    for retention in RETENTIONS:
        through = 0
        while made < batches:
            found, through = _purge_batch(retention, now, batch_rows, through, apply=apply)
            if not found:
                break
            rows, made = rows + found, made + 1
    return Purged(rows, made if apply else 0)


def cutoff(retention: Retention, now: datetime) -> datetime:
    """Rows of the class that were recorded before this instant go."""
    year = now.year - int(retention[0])
    try:
        return now.replace(year=year)
    except ValueError:  # the 29th of February
        return now.replace(year=year, day=28)


def facts(row: AuditManifest) -> dict[str, object]:
    """What is signed of a manifest."""
    return {
        "made_at": row.made_at.astimezone(UTC).isoformat(),
        "retention": row.retention,
        "cutoff": row.cutoff.astimezone(UTC).isoformat(),
        "through_id": row.through_id,
        "rows": row.rows,
        "seqs": row.seqs,
        "record": str(_record_id()),
    }


def manifests() -> Iterator[AuditManifest]:
    return AuditManifest.objects.order_by("pk").iterator(chunk_size=100)


def is_genuine(row: AuditManifest, verifier: Verifier) -> bool:
    return verifier.accepts(KIND, facts(row), Signature(row.key_id, bytes(row.signature)))


def ranges_of(row: AuditManifest) -> Ranges:
    """The seals that a manifest lists. Raises ValueError on a text that no purge writes."""
    text = row.seqs.removeprefix("{").removesuffix("}")
    parts = [part.strip("[)").split(",") for part in text.split("),")] if text else []
    return [(int(low), int(high) - 1) for low, high in parts]


def _purge_batch(
    retention: Retention, now: datetime, limit: int, through: int, *, apply: bool
) -> tuple[int, int]:
    before = cutoff(retention, now)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", _LOCK)
        last = AuditManifest.objects.filter(retention=retention).order_by("-pk").first()
        found = _due(retention, before, max(through, last.through_id if last else 0), limit)
        if not found:
            return 0, through
        through = found[-1][0]
        if apply:
            _delete(retention, before, now, found)
    return len(found), through


def _due(retention: Retention, before: datetime, after: int, limit: int) -> list[tuple[int, int]]:
    """(row id, seal) of the next rows to go. Ids rise with time, so the first young row is the end; the
    few that a late commit brought out of order go the next time or the one after that."""
    shorter = [code for code, kind in event_types if kind.retention != "7y"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.id, s.seq FROM audit_log l JOIN audit_seal s ON s.entry_id = l.id"
            " WHERE l.id > %s AND l.id < COALESCE((SELECT y.id FROM audit_log y"
            "     WHERE y.id > %s AND y.recorded_at >= %s ORDER BY y.id LIMIT 1), 9223372036854775807)"
            "   AND (l.action = ANY(%s::text[])) = %s"
            " ORDER BY l.id LIMIT %s",
            [after, after, before, shorter, retention == "2y", limit],
        )
        return [(number, seq) for number, seq in cursor.fetchall()]


def _delete(retention: Retention, before: datetime, now: datetime, found: Sequence[tuple[int, int]]) -> None:
    row = AuditManifest(
        made_at=now,
        retention=retention,
        cutoff=before,
        through_id=found[-1][0],
        rows=len(found),
        seqs=_multirange(sorted(seq for _, seq in found)),
    )
    row.key_id, row.signature = sign(KIND, facts(row))
    row.save()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = ANY(%s)", [[number for number, _ in found]])
    log.record(
        PURGED,
        actor=pseudonym.RETENTION,
        object_type="audit.manifest",
        object_id=row.pk,
        at=now,
        changes={"retention": retention, "cutoff": before, "rows": len(found)},
        reason="The time for which such rows are kept was over.",
    )


def _multirange(seqs: Sequence[int]) -> str:
    """As PostgreSQL writes an int8multirange: {[1,4),[7,8)}."""
    runs = []
    for _, run in groupby(enumerate(seqs), key=lambda numbered: numbered[1] - numbered[0]):
        members = [seq for _, seq in run]
        runs.append(f"[{members[0]},{members[-1] + 1})")
    return "{" + ",".join(runs) + "}"


def _record_id() -> object:
    head = sealing.head()
    return head and head.record_id
