"""What tests of the sealed record share: rows, seals, checkpoints, and a thief who owns the tables."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection, transaction

from audit import log, pseudonym
from audit.services import checkpoints, sealing
from audit.verification import Findings, verify

AT = datetime(2013, 10, 7, 13, 31, 7, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
EVENT = "console.switch.changed"


def write(count: int = 1, *, first: int = 0, **overrides: Any) -> None:  # noqa: ANN401 - fields of an Entry
    """`count` rows in one transaction; what they say is as varied as a row may be."""
    entries = [
        log.Entry(
            **{
                "action": EVENT,
                "actor": pseudonym.ENGINE,
                "object_type": "switch",
                "object_id": f"S{n}",
                "at": AT,
                "changes": {
                    "on": [False, True],
                    "text": f"tab\t back\\slash é \n{n}",
                    "nested": {"b": n, "a": None},
                },
                "reason": f"line one\nline two \\N {n}",
                "request_id": f"request-{n}",
                **overrides,
            }
        )
        for n in range(first, first + count)
    ]
    with transaction.atomic():
        log.record_many(entries)


def sealed(count: int, **overrides: Any) -> None:  # noqa: ANN401 - fields of an Entry
    write(count, **overrides)
    done = sealing.seal()
    assert done is not None
    assert not done.more


def check(*files: Path) -> Findings:
    return verify(files=files, patience_s=0)


def signed(now: datetime = NOW) -> None:
    assert checkpoints.make(now=now) is not None


@contextmanager
def thief() -> Iterator[Any]:
    """A cursor of the tables' owner, with every trigger switched off."""
    tables = ("audit_log", "audit_seal", "audit_checkpoints", "audit_manifests")
    with transaction.atomic(), connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        yield cursor
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def insert(raw: psycopg.Connection[Any], number: int) -> None:
    """One row on a connection of the test's own, whose transaction stays open."""
    entry = log.Entry(
        action=EVENT, actor=pseudonym.ENGINE, object_type="switch", object_id=f"R{number}", at=AT
    )
    columns, row = ", ".join(log.COLUMNS), log.values(entry)
    places = ", ".join(["%s::jsonb" if name == "changes" else "%s" for name in log.COLUMNS])
    raw.execute(f"INSERT INTO audit_log ({columns}) VALUES ({places})", row)  # noqa: S608 - constants


def objects_in_order() -> list[str]:
    """The object ids of the sealed rows, by seal."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.object_id FROM audit_seal s JOIN audit_log l ON l.id = s.entry_id ORDER BY s.seq"
        )
        return [row[0] for row in cursor.fetchall()]
