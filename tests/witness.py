"""Watches the product while it is tested: whoever changes a table leaves a row in the audit record.

Every SQL statement that changes a table is put down to the outermost service that is running; where there is
none, to the outermost view, admin action, command or job. When the test is over, that call has either written
into the record as well, or it was rolled back, or it has changed only what is listed in NOT_STATE, or it is
itself listed in WITHOUT_A_ROW, with the reason. What tests change by themselves is nobody's.

`tests/conftest.py` watches every test. What no test calls is found by `tests/test_every_change_is_recorded.py`.
"""

import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = tuple(f"{ROOT / name}/" for name in ("audit", "console", "mbt", "raxx"))
RECORD = "audit_log"

# Tables that say nothing which is not said elsewhere: work in progress, measurements, copies, the record itself.
NOT_STATE: Mapping[str, str] = {
    "outbox": "announces changes, each of which has its own row",
    "audit_seal": "is the record",
    "audit_checkpoints": "is the record",
    "audit_manifests": "is the record",
    "audit_sealer": "is the record",
    "audit_subjects": "the keys under which the record names people; losing one has its row",
    "console_erased_subjects": "the list of erasures; each that is carried out has its row",
    "console_jobs": "when jobs last came through and how often they failed",
    "console_status_now": "what was measured last",
    "console_status_days": "what was measured on a day",
    "market_instruments": "what a feed can quote",
    "mbt_engine_state": "how far the engine has come on its feed",
    "mbt_halts": "what a feed said of the market",
    "notices": "what a person was told; what it tells of has its row",
    "refresh_tokens": "the next of a session's tokens; its beginning and its end have their rows",
    "mbt_interest_accruals": "interest of a day; charging or paying it has its row",
}
# Statements on other tables that change nothing of which a row could tell.
QUIET: Mapping[str, str] = {
    r'^INSERT INTO "console_switches"': "a switch without a row is released, and so is the one that is put in",
    r'^UPDATE "console_data_requests" SET "(problem|parts_done)"': "how far an attempt came; its end has its row",
    r'^UPDATE "console_data_requests" SET "status" = .*"cooling_until" <= ': "the time has come; carrying it out has its row",
    r"^UPDATE sessions SET last_seen_at = ": "when a session was last seen, to the minute",
    r"UPDATE mbt_orders o SET nearest = ": "how near the market came to an order",
    r"UPDATE mbt_orders o SET progress = ": "how a stop's mark moved, and which quotes an order could not use",
}
# Functions that change state and write no row, and why that is right.
WITHOUT_A_ROW: Mapping[str, str] = {
    "raxx.identity.services.api_keys.note_use": "when a key was used, to the minute",
    "raxx.identity.services.passkeys.finish_sign_in": "counts the use; the session that follows has its row",
    "raxx.identity.services.passkeys.finish_step_up": "counts the use; the grant that follows has its row",
    "raxx.identity.services.sessions.purge": "forgets sessions that were over long ago; their end has its row",
    "console.services.data_requests.purge": "forgets what was over long ago; every step of it has its row",
    "console.services.forgetting.forget_events": "part of an erasure, which has its row; the outbox is no state",
    "raxx.identity.services.notices.send_due": "whether a notice was mailed; what it tells of has its row",
    "console.services.jobs.succeeded": "console_jobs is no state",
    "console.services.jobs.failed": "console_jobs is no state",
    "console.services.jobs.watch": "console_jobs is no state",
    "mbt.services.events.schedule.begin": "mbt_engine_state is no state of anybody's",
    "mbt.services.fills.store.write_nearest": "how near the market came to an order",
    "mbt.services.fills.store.write_position": "mbt_engine_state is no state of anybody's",
    "mbt.services.engine.halts.record": "mbt_halts is what a feed said",
    "raxx.market.services.instruments.load": "market_instruments is what a feed can quote",
}

_CHANGE = re.compile(
    r"""(?<!FOR\ )(?<!KEY\ )(?<!DO\ )\b(?:INSERT\s+INTO|UPDATE(?:\s+ONLY)?|DELETE\s+FROM|MERGE\s+INTO|TRUNCATE)\s+
        "?([a-z_][a-z_0-9]*)"?""",
    re.VERBOSE,
)
_SINGLE = re.compile(r"\s*(?:INSERT|UPDATE|DELETE)\b")
_SERVICE = re.compile(r"/services/")
_PLUMBING = re.compile(
    r"/(?:models|middleware|registry|outbox|fast_store)\.py$|/kernel/api/|/identity/api/authentication\.py$|/migrations/"
)


@dataclass
class Call:
    """One call of a function of the product, and what it did to the database for good."""

    function: str
    tables: set[str] = field(default_factory=set)
    recorded: bool = False

    @property
    def is_silent(self) -> bool:
        return bool(self.tables) and not self.recorded and self.function not in WITHOUT_A_ROW


class _Change(NamedTuple):
    """`frame` is held so that its id is not given to another."""

    frame: FrameType
    tables: frozenset[str]
    recorded: bool


class Witness:
    """What was seen since the last time somebody asked. Changes of a connection may still be rolled back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: dict[BaseDatabaseWrapper, list[_Change]] = {}
        self._marks: dict[BaseDatabaseWrapper, dict[str, int]] = {}
        self._committed: list[_Change] = []

    def saw(self, database: BaseDatabaseWrapper, sql: str, rows: int) -> None:
        tables = set(_CHANGE.findall(sql))
        if not tables or (rows == 0 and _SINGLE.match(sql)) or any(re.search(quiet, sql) for quiet in QUIET):
            return
        outermost = _outermost(sys._getframe(2))
        if outermost is not None:
            change = _Change(outermost, frozenset(tables - {RECORD} - set(NOT_STATE)), RECORD in tables)
            with self._lock:
                if database.in_atomic_block:
                    self._changes.setdefault(database, []).append(change)
                else:
                    self._committed.append(change)

    def savepoint(self, database: BaseDatabaseWrapper, sid: str) -> None:
        with self._lock:
            self._marks.setdefault(database, {})[sid] = len(self._changes.get(database, []))

    def rolled_back(self, database: BaseDatabaseWrapper, sid: str | None) -> None:
        with self._lock:
            mark = self._marks.get(database, {}).get(sid, 0) if sid else 0
            del self._changes.setdefault(database, [])[mark:]

    def committed(self, database: BaseDatabaseWrapper) -> None:
        with self._lock:
            self._committed += self._changes.pop(database, [])

    def collect(self) -> list[Call]:
        """What was committed, and what the test's own transaction is about to roll back."""
        with self._lock:
            changes = [*self._committed, *(change for some in self._changes.values() for change in some)]
            self._changes.clear()
            self._committed.clear()
        calls: dict[int, Call] = {}
        for change in changes:
            call = calls.setdefault(id(change.frame), Call(_name(change.frame)))
            call.tables |= change.tables
            call.recorded |= change.recorded
        return list(calls.values())


def _outermost(frame: FrameType | None) -> FrameType | None:
    service = other = None
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file.startswith(PRODUCT) and not name.startswith("<") and not _PLUMBING.search(file):
            other = frame
            if _SERVICE.search(file):
                service = frame
        frame = frame.f_back
    return service or other


def _name(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename).relative_to(ROOT).with_suffix("")
    return f"{'.'.join(path.parts)}.{frame.f_code.co_qualname}"


@contextmanager
def watching() -> Iterator[Witness]:
    """Every cursor of every thread, until the end of the block."""
    witness, database, cursor = Witness(), BaseDatabaseWrapper, CursorWrapper

    def execute(self: CursorWrapper, sql: Any, params: Any = None) -> Any:  # noqa: ANN401 - Django's
        result = plain_execute(self, sql, params)
        witness.saw(self.db, str(sql), self.cursor.rowcount)
        return result

    def executemany(self: CursorWrapper, sql: Any, param_list: Any) -> Any:  # noqa: ANN401 - Django's
        result = plain_executemany(self, sql, param_list)
        witness.saw(self.db, str(sql), self.cursor.rowcount)
        return result

    def savepoint(self: BaseDatabaseWrapper, sid: str) -> None:
        witness.savepoint(self, sid)
        plain_savepoint(self, sid)

    def to_savepoint(self: BaseDatabaseWrapper, sid: str) -> None:
        witness.rolled_back(self, sid)
        plain_to_savepoint(self, sid)

    def rollback(self: BaseDatabaseWrapper) -> None:
        witness.rolled_back(self, None)
        plain_rollback(self)

    def commit(self: BaseDatabaseWrapper) -> None:
        plain_commit(self)
        witness.committed(self)

    plain_execute, plain_executemany = cursor.execute, cursor.executemany
    plain_savepoint: Any = database._savepoint  # type: ignore[attr-defined]
    plain_to_savepoint: Any = database._savepoint_rollback  # type: ignore[attr-defined]
    plain_rollback, plain_commit = database.rollback, database.commit
    with (
        patch.object(cursor, "execute", execute),
        patch.object(cursor, "executemany", executemany),
        patch.object(database, "_savepoint", savepoint),
        patch.object(database, "_savepoint_rollback", to_savepoint),
        patch.object(database, "rollback", rollback),
        patch.object(database, "commit", commit),
    ):
        yield witness
