"""Is the record what it was? Reads all of it once, in the order of the seals, and names what is wrong.

Nothing in the database is believed: hashes, MACs and signatures are computed here. Rows are judged by
their seals, seals by the chain, the chain by checkpoints, of which copies lie outside of the database.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.db import connection, transaction

from audit.canonical import ROW, genesis, leaf_of, link, mac_of_line
from audit.log import MAC_KEY
from audit.models import AuditCheckpoint, AuditSeal
from audit.services import checkpoints, retention, sealing
from audit.services.checkpoints import Checkpoint
from audit.signing import Verifier
from raxx.kernel.keys import derive

CHUNK = 20_000
SHOWN_MAX = 20
PATIENCE_S = 12.0  # a running sealer has sealed by then whatever is committed

Progress = Callable[[int, int], None]  # seals done, seals in all

_CHUNK = f"""
COPY (SELECT s.seq, s.entry_id, encode(s.leaf, 'hex'), encode(s.chain, 'hex'), {ROW}
        FROM audit_seal s LEFT JOIN audit_log l ON l.id = s.entry_id
       WHERE s.seq > %s AND s.seq <= %s ORDER BY s.seq) TO STDOUT
"""  # noqa: S608 - a constant
_NO_ROW = b"\\N\t"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `seq` is the seal and `entry_id` the row, where it is about one.

    Codes: row_changed, row_missing, row_not_ours, row_back, row_unsealed, seal_changed, seals_missing,
    tail_missing, rewritten, checkpoint_forged, manifest_forged, other_record, no_beginning.
    """

    code: str
    text: str
    seq: int | None = None
    entry_id: int | None = None


@dataclass(slots=True)
class Findings:
    """`problems` holds the first of them by seal; `count` says how many there are in all."""

    rows: int = 0
    purged: int = 0
    seals: int = 0
    waiting: int = 0
    checkpoints: int = 0
    signed_through: int = 0
    count: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return self.count == 0

    @property
    def first(self) -> Problem | None:
        return self.problems[0] if self.problems else None

    def add(self, code: str, text: str, *, seq: int | None = None, entry_id: int | None = None) -> None:
        self.count += 1
        self.problems.append(Problem(code, text, seq, entry_id))
        if len(self.problems) > 50 * SHOWN_MAX:
            self._keep_first()

    def finish(self) -> None:
        self._keep_first()

    def _keep_first(self) -> None:
        end = 1 << 62
        self.problems.sort(key=lambda problem: end if problem.seq is None else problem.seq)
        del self.problems[SHOWN_MAX:]


def verify(
    *,
    files: Sequence[Path] = (),
    public_keys: Sequence[str] = (),
    patience_s: float = PATIENCE_S,
    progress: Progress = lambda _done, _all: None,
) -> Findings:
    """Check the whole record, together with the checkpoints in the database and in `files`.

    Rows that nobody has sealed yet get `patience_s` seconds to be sealed. Takes memory for one chunk and
    for the checkpoints. Raises OSError for a file that cannot be read, BadPublicKey.
    """
    began, findings, verifier = time.monotonic(), Findings(), Verifier(public_keys)
    outside = [found for file in files for found in _read(file)]
    with _snapshot():
        head = sealing.head()
        if head is None:
            waiting = _unsealed(findings)
            if outside or AuditSeal.objects.exists() or AuditCheckpoint.objects.exists():
                text = "The record's beginning is gone: there are seals or checkpoints of it, and no sealer's row."
                findings.add("no_beginning", text, seq=1)
        else:
            signed = _checkpoints(head, outside, verifier, findings)
            _Walk(findings, head, signed, _purged(verifier, findings), progress).walk()
            waiting = _unsealed(findings)
    _wait_for_seals(waiting, patience_s, findings)
    findings.finish()
    findings.seconds = time.monotonic() - began
    return findings


class _Purged:
    """Which seals have lost their row lawfully. Asked in the order of seals."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        self._ranges, self._next = sorted(ranges), 0

    def __contains__(self, seq: object) -> bool:
        assert isinstance(seq, int)  # noqa: S101 - for the type checker
        while self._next < len(self._ranges) and self._ranges[self._next][1] < seq:
            self._next += 1
        return self._next < len(self._ranges) and self._ranges[self._next][0] <= seq


class _Walk:
    """From the first seal to the last."""

    def __init__(
        self,
        findings: Findings,
        head: sealing.Head,
        signed: dict[int, Checkpoint],
        purged: _Purged,
        progress: Progress,
    ) -> None:
        self._findings, self._head, self._signed, self._purged = findings, head, signed, purged
        self._progress = progress
        self._chain, self._seq = genesis(head.record_id), 0
        self._good = (0, "")  # the last checkpoint that agreed: seal and instant
        self._entry_after_good: int | None = None
        self._count_at_good, self._rewritten = findings.count, False
        self._mac_key = derive(MAC_KEY)

    def walk(self) -> None:
        for start in range(0, self._head.seq, CHUNK):
            for line in _copy(_CHUNK, [start, start + CHUNK]):
                self._take(line)
            self._progress(min(start + CHUNK, self._head.seq), self._head.seq)
        self._require_tail()

    def _take(self, line: bytes) -> None:
        """The hot path: two hashes and a MAC for each row."""
        found = self._findings
        seq_text, entry_text, leaf_hex, chain_hex, row = line.split(b"\t", 4)
        seq, leaf, chain = int(seq_text), bytes.fromhex(leaf_hex.decode()), bytes.fromhex(chain_hex.decode())
        if seq != self._seq + 1:
            self._gap(seq)
        if row.startswith(_NO_ROW):
            if seq in self._purged:
                found.purged += 1
            else:
                text = f"Row {int(entry_text)} is missing: seal {seq} is for it, and no purge lists it."
                found.add("row_missing", text, seq=seq, entry_id=int(entry_text))
        else:
            found.rows += 1
            self._judge_row(row, leaf, seq, int(entry_text))
        if link(self._chain, seq, leaf) != chain:
            text = f"Seal {seq}, for row {int(entry_text)}, is not the one that follows seal {seq - 1}."
            found.add("seal_changed", text, seq=seq, entry_id=int(entry_text))
        self._chain, self._seq = chain, seq
        found.seals += 1
        if self._entry_after_good is None:
            self._entry_after_good = int(entry_text)
        if seq in self._signed:
            self._judge_checkpoint(self._signed[seq], int(entry_text))

    def _judge_row(self, row: bytes, leaf: bytes, seq: int, entry_id: int) -> None:
        if leaf_of(row) != leaf:
            text = f"Row {entry_id} was changed after it was sealed (seal {seq})."
            self._findings.add("row_changed", text, seq=seq, entry_id=entry_id)
            return
        try:
            due, mac = mac_of_line(self._mac_key, row)
        except ValueError:
            due, mac = b"", b"?"
        if due != mac:
            text = f"Row {entry_id} (seal {seq}) was not written by the application as it stands there."
            self._findings.add("row_not_ours", text, seq=seq, entry_id=entry_id)
        if seq in self._purged:
            text = f"Row {entry_id} (seal {seq}) is back, although a purge deleted it."
            self._findings.add("row_back", text, seq=seq, entry_id=entry_id)

    def _judge_checkpoint(self, signed: Checkpoint, entry_id: int) -> None:
        if signed.chain == self._chain:
            self._good, self._entry_after_good = (signed.seq, signed.at), None
            self._count_at_good, self._rewritten = self._findings.count, False
            return
        if self._rewritten:
            return  # everything after it differs as well
        self._rewritten = True
        first, at = self._good
        since = f"after seal {first} (signed {at})" if first else "from the beginning"
        entry_id = self._entry_after_good or entry_id
        text = (
            f"The record was written anew {since}: at seal {signed.seq} it is not what was signed {signed.at}. "
            f"The first row in doubt is {entry_id}."
        )
        # Where rows or seals since then gave themselves away, they come first.
        seq = first + 1 if self._findings.count == self._count_at_good else signed.seq
        self._findings.add("rewritten", text, seq=seq, entry_id=entry_id)

    def _gap(self, seq: int) -> None:
        missing = f"{self._seq + 1}" if seq == self._seq + 2 else f"{self._seq + 1} to {seq - 1}"
        text = f"Seal {missing} of the chain is missing (the next one is for a row after it)."
        self._findings.add("seals_missing", text, seq=self._seq + 1)

    def _require_tail(self) -> None:
        end = max(self._signed, default=0)
        self._findings.signed_through = min(end, self._seq)
        if end > self._seq:
            text = (
                f"The tail is missing: the record ends with seal {self._seq}, but seals up to {end} "
                f"were signed {self._signed[end].at}."
            )
            self._findings.add("tail_missing", text, seq=self._seq + 1)


def _checkpoints(
    head: sealing.Head, outside: list[Checkpoint], verifier: Verifier, findings: Findings
) -> dict[int, Checkpoint]:
    """The genuine ones by seal. Where two genuine ones disagree, that of outside counts."""
    signed: dict[int, Checkpoint] = {}
    for where, found in _labelled(checkpoints.stored(head.record_id), outside):
        if not found.is_genuine(verifier):
            text = f"A checkpoint {where} for seal {found.seq} is not signed by a known key ({found.signature.key_id})."
            findings.add("checkpoint_forged", text, seq=found.seq)
        elif found.record_id != head.record_id:
            text = (
                f"A checkpoint {where}, signed {found.at}, is of another record. If the database was replaced on "
                "purpose, move that file away; if not, the whole record was exchanged."
            )
            findings.add("other_record", text, seq=1)
        else:
            findings.checkpoints += 1
            signed[found.seq] = found
    return signed


def _labelled(
    inside: Iterable[Checkpoint], outside: Iterable[Checkpoint]
) -> Iterator[tuple[str, Checkpoint]]:
    for found in inside:
        yield "in the database", found
    for found in outside:
        yield "from outside", found


def _purged(verifier: Verifier, findings: Findings) -> _Purged:
    ranges: list[tuple[int, int]] = []
    for row in retention.manifests():
        try:
            listed = retention.ranges_of(row)
        except ValueError:
            listed = []
        if listed and retention.is_genuine(row, verifier):
            ranges += listed
        else:
            text = f"Purge manifest {row.pk} is not signed by a known key; what it lists counts as missing."
            findings.add("manifest_forged", text, seq=listed[0][0] if listed else None)
    return _Purged(ranges)


def _unsealed(findings: Findings) -> list[int]:
    """Rows without a seal in this snapshot, at most a few too many to show."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.id, count(*) OVER () FROM audit_log l"
            " WHERE NOT EXISTS (SELECT FROM audit_seal s WHERE s.entry_id = l.id) ORDER BY l.id LIMIT 10000"
        )
        rows = cursor.fetchall()
    findings.waiting = rows[0][1] if rows else 0
    return [row[0] for row in rows]


def _wait_for_seals(waiting: list[int], patience_s: float, findings: Findings) -> None:
    until = time.monotonic() + patience_s
    while waiting:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM unnest(%s::bigint[]) AS id"
                " WHERE NOT EXISTS (SELECT FROM audit_seal s WHERE s.entry_id = id) ORDER BY id",
                [waiting],
            )
            waiting = [row[0] for row in cursor.fetchall()]
        if time.monotonic() >= until:
            break
        time.sleep(0.2)
    if waiting:
        text = (
            f"Row {waiting[0]} has no seal"
            + (f", and {len(waiting) - 1} more" if len(waiting) > 1 else "")
            + f": nobody sealed for {patience_s:.0f} seconds. Is the worker running? `manage.py audit_seal` seals now."
        )
        findings.add("row_unsealed", text, entry_id=waiting[0])


def _read(file: Path) -> list[Checkpoint]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        return list(checkpoints.read(lines))


def _copy(statement: str, parameters: Sequence[object]) -> Iterator[bytes]:
    with connection.cursor() as cursor, cursor.copy(statement, parameters) as copy:
        for line in copy:
            yield bytes(line)[:-1]


@contextmanager
def _snapshot() -> Iterator[None]:
    """Everything as of one instant, however long the reading takes. Inside a transaction: as that has it."""
    if connection.in_atomic_block:
        yield
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        yield
