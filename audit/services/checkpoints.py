"""Signed checkpoints: without them nobody could see that the end of the record was cut off, or all of it
written anew. Each minute one is made, and a copy leaves the database: as a line of the file
RAXX_AUDIT_CHECKPOINTS, and as the field `line` of the log message "audit checkpoint".
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction

from audit.models import AuditCheckpoint, AuditSeal
from audit.services import sealing
from audit.signing import Signature, Verifier, sign

KIND = "checkpoint"
MESSAGE = "audit checkpoint"
_LOCK = (0x41554449, 2)

log = structlog.get_logger(__name__)


class RecordContradicted(Exception):
    """The chain is not what was signed before. Nothing more is signed: run `manage.py audit_verify`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """After seal `seq` of this record the chain was `chain`. `at` is ISO 8601, as it was signed."""

    record_id: UUID
    seq: int
    chain: bytes
    at: str
    signature: Signature

    @property
    def facts(self) -> dict[str, object]:
        """What is signed."""
        return {"record": str(self.record_id), "seq": self.seq, "chain": self.chain.hex(), "at": self.at}

    def is_genuine(self, verifier: Verifier) -> bool:
        return verifier.accepts(KIND, self.facts, self.signature)

    def line(self) -> str:
        """JSON in one line, as it leaves the database."""
        return json.dumps(
            {**self.facts, "key_id": self.signature.key_id, "signature": self.signature.value.hex()}
        )


def make(*, now: datetime) -> Checkpoint | None:
    """Sign where the chain ends. None: there is nothing new since the last one.

    Raises RecordContradicted when the chain no longer agrees with the last checkpoint, here or in the
    file: to sign on would bless whatever happened.
    """
    file, at = Path(settings.RAXX_AUDIT_CHECKPOINTS), now.astimezone(UTC)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", _LOCK)
        head = sealing.head()
        if head is None or head.seq == 0:
            return None
        last = AuditCheckpoint.objects.order_by("-seq").first()
        for seq, chain in _last_signed(head.record_id, last, file):
            _require_agreement(seq, chain)
        if last is not None and last.seq >= head.seq:
            return None
        draft = Checkpoint(head.record_id, head.seq, head.chain, at.isoformat(), Signature("", b""))
        made = replace(draft, signature=sign(KIND, draft.facts))
        AuditCheckpoint.objects.create(
            seq=made.seq,
            chain=made.chain,
            at=at,
            key_id=made.signature.key_id,
            signature=made.signature.value,
        )
    _send_away(made, file)
    return made


def stored(record_id: UUID) -> Iterator[Checkpoint]:
    """Those in the database, in order."""
    for row in AuditCheckpoint.objects.order_by("seq").iterator():
        yield of_row(record_id, row)


def of_row(record_id: UUID, row: AuditCheckpoint) -> Checkpoint:
    signature = Signature(row.key_id, bytes(row.signature))
    return Checkpoint(record_id, row.seq, bytes(row.chain), row.at.astimezone(UTC).isoformat(), signature)


def read(lines: Iterable[str]) -> Iterator[Checkpoint]:
    """Those in a file of checkpoints, or in a JSON log. Other lines are passed over."""
    for line in lines:
        facts = _json(line)
        if facts.get("event") == MESSAGE:
            facts = _json(str(facts.get("line")))
        try:
            yield Checkpoint(
                UUID(str(facts["record"])),
                int(str(facts["seq"])),
                bytes.fromhex(str(facts["chain"])),
                str(facts["at"]),
                Signature(str(facts["key_id"]), bytes.fromhex(str(facts["signature"]))),
            )
        except (KeyError, ValueError):
            continue


def _last_signed(record_id: UUID, last: AuditCheckpoint | None, file: Path) -> Iterator[tuple[int, bytes]]:
    if last is not None:
        yield last.seq, bytes(last.chain)
    for found in _tail(file):
        if found.record_id == record_id:
            yield found.seq, found.chain


def _tail(file: Path) -> list[Checkpoint]:
    """The last few in the file; none where there is no file."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 4_096))
            return list(read(stream.read().decode(errors="replace").splitlines()))
    except OSError:
        return []


def _require_agreement(seq: int, chain: bytes) -> None:
    seal = AuditSeal.objects.filter(seq=seq).first()
    if seal is None or bytes(seal.chain) != chain:
        raise RecordContradicted(
            f"the audit chain {'ends before' if seal is None else 'is not as it was signed at'} seal {seq}: "
            "run `manage.py audit_verify`"
        )


def _send_away(made: Checkpoint, file: Path) -> None:
    """After the commit. What a crash leaves out the next minute's makes up for: the chain covers it."""
    line = made.line()
    log.info(MESSAGE, line=line)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as failure:
        log.warning("audit checkpoint not written to its file", file=str(file), reason=str(failure))


def _json(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
