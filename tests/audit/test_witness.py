"""The watch that every test is under can itself fail: docs/audit.md."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection, transaction

from audit import log, pseudonym
from raxx.identity.models import User
from tests.audit.record_tools import AT, EVENT
from tests.witness import ROOT, Call, watching

pytestmark = pytest.mark.django_db


def service(body: str) -> Callable[[], None]:
    """A function that looks as if it stood in a service of the product."""
    names: dict[str, Callable[[], None]] = {"run": run, "record": record, "atomic": transaction.atomic}  # type: ignore[dict-item]
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    code = compile(f"def made():\n{lines}", str(Path(ROOT, "console", "services", "made.py")), "exec")
    exec(code, names)  # noqa: S102 - our own text
    return names["made"]


def run() -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users SET tier = 'pro'")


def record() -> None:
    log.record(EVENT, actor=pseudonym.ENGINE, object_type="x", object_id="x", at=AT)


def silent(body: str) -> list[Call]:
    User.objects.create_user(email="alice@example.com")
    with watching() as witness:
        service(body)()
        return [call for call in witness.collect() if call.is_silent]


def test_a_change_without_a_row_is_seen() -> None:
    [call] = silent("run()")
    assert call.function == "console.services.made.made"
    assert call.tables == {"users"}


@pytest.mark.parametrize(
    "body",
    [
        "run(); record()",
        "with atomic():\n    record()\n    run()",
        "try:\n    with atomic():\n        run()\n        raise ValueError\nexcept ValueError: pass",
        "pass",
    ],
    ids=["recorded after", "recorded before", "rolled back", "nothing done"],
)
def test_nothing_is_said_of_what_is_recorded_or_undone(body: str) -> None:
    assert silent(body) == []


def test_a_row_that_was_rolled_back_does_not_count() -> None:
    assert silent(
        "run()\ntry:\n    with atomic():\n        record()\n        raise ValueError\nexcept ValueError: pass"
    )


def test_what_the_test_does_itself_is_nobodys() -> None:
    User.objects.create_user(email="bob@example.com")
    with watching() as witness:
        run()
        assert witness.collect() == []


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("SELECT 1 FROM users FOR UPDATE", set()),
        ("SELECT 1 FROM users FOR NO KEY UPDATE SKIP LOCKED", set()),
        ('INSERT INTO "users" (id) VALUES (1) ON CONFLICT DO UPDATE SET tier = 1', {"users"}),
        (
            "WITH a AS (DELETE FROM users RETURNING *), b AS (UPDATE ONLY api_keys SET x = 1) SELECT 1",
            {"users", "api_keys"},
        ),
        ("MERGE INTO users u USING x ON true WHEN MATCHED THEN DELETE", {"users"}),
    ],
)
def test_statements_are_read_as_they_are_meant(statement: str, tables: set[str]) -> None:
    from tests.witness import _CHANGE

    assert set(_CHANGE.findall(statement)) == tables
