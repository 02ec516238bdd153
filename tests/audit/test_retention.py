from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction

from audit.events import event_types
from audit.models import AuditEntry, AuditManifest, AuditSeal
from audit.services import retention, sealing
from raxx.kernel import clock
from tests.audit.record_tools import check, sealed, signed, thief, write

TWO, SEVEN = "identity.user.registered", "console.switch.changed"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def file(tmp_path: Path, settings: Any) -> Path:  # noqa: ANN401 - pytest-django's
    found = tmp_path / "checkpoints.jsonl"
    settings.RAXX_AUDIT_CHECKPOINTS = str(found)
    return found


def aged(*rows: tuple[str, float]) -> None:
    """(event type, age in years) each, in this order, sealed. They were recorded then: `recorded_at` has a
    default, which a test may overrule when it inserts."""
    assert event_types[TWO].retention == "2y"
    assert event_types[SEVEN].retention == "7y"
    for number, (action, years) in enumerate(rows):
        write(1, first=number, action=action)
        with thief() as cursor:
            cursor.execute(
                "UPDATE audit_log SET recorded_at = clock_timestamp() - %s * interval '365.25 days'"
                " WHERE id = (SELECT max(id) FROM audit_log)",
                [years],
            )
    assert sealing.seal() is not None
    signed(clock.now())


def kept() -> list[str]:
    return list(AuditEntry.objects.order_by("id").values_list("object_id", flat=True))


def test_each_class_has_its_time(file: Path) -> None:
    aged((TWO, 8), (SEVEN, 8), (TWO, 6), (SEVEN, 6.9), (TWO, 2.1), (SEVEN, 2.1), (TWO, 1.9), (SEVEN, 1))
    assert retention.purge(now=clock.now(), apply=False) == retention.Purged(4, 0)
    assert len(kept()) == 8
    assert retention.purge(now=clock.now()) == retention.Purged(4, 2)
    assert kept()[:4] == ["S3", "S5", "S6", "S7"]
    assert AuditSeal.objects.count() == 8
    sealing.seal()
    signed(clock.now())
    findings = check(file)
    assert findings.is_sound, findings.first
    assert (findings.purged, findings.rows, findings.seals) == (4, 6, 10)  # and two rows tell of the purge
    assert retention.purge(now=clock.now()) == retention.Purged(0, 0)


def test_a_purge_is_recorded() -> None:
    aged((TWO, 3))
    retention.purge(now=clock.now())
    entry = AuditEntry.objects.get()
    manifest = AuditManifest.objects.get()
    assert (entry.action, entry.actor_ref, entry.object_id) == (
        "audit.rows.purged",
        "system:retention",
        str(manifest.pk),
    )
    assert entry.changes["rows"] == 1
    assert (manifest.retention, manifest.rows, manifest.seqs) == ("2y", 1, "{[1,2)}")


def test_batches_are_manifests_of_their_own(file: Path) -> None:
    aged(*[(TWO if n % 3 else SEVEN, 3) for n in range(12)])
    assert retention.purge(now=clock.now(), batches=2, batch_rows=3) == retention.Purged(6, 2)
    assert check(file).is_sound is False  # the rows that tell of it have no seal yet
    sealing.seal()
    assert check(file).is_sound
    assert retention.purge(now=clock.now(), batch_rows=3) == retention.Purged(2, 1)
    assert [row.seqs for row in retention.manifests()] == [
        "{[2,4),[5,6)}",
        "{[6,7),[8,10)}",
        "{[11,13)}",
    ]
    sealing.seal()
    assert check(file).is_sound
    assert len([name for name in kept() if name.startswith("S")]) == 4


def test_an_event_type_that_is_gone_is_kept_for_the_longest() -> None:
    write(1, action=TWO)
    with thief() as cursor:
        cursor.execute(
            "UPDATE audit_log SET action = 'old.thing.done', recorded_at = now() - interval '6 years'"
        )
    sealing.seal()
    assert retention.purge(now=clock.now()).rows == 0
    assert retention.purge(now=clock.now() + timedelta(days=370), apply=False).rows == 1


def test_what_has_no_seal_stays() -> None:
    write(1, action=TWO)
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET recorded_at = now() - interval '3 years'")
    assert retention.purge(now=clock.now()).rows == 0
    sealing.seal()
    assert retention.purge(now=clock.now()).rows == 1


def test_a_row_taken_along_is_missed(file: Path) -> None:
    """A thief who purges by hand, and a purged row that comes back."""
    aged((TWO, 3), (SEVEN, 3), (TWO, 3))
    retention.purge(now=clock.now())
    sealing.seal()
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE object_id = 'S1'")
    problem = check(file).first
    assert problem is not None
    assert (problem.code, problem.seq) == ("row_missing", 2)


def test_a_manifest_that_was_stretched_is_worth_nothing(file: Path) -> None:
    aged((TWO, 3), (SEVEN, 3), (TWO, 3))
    retention.purge(now=clock.now())
    sealing.seal()
    with thief() as cursor:
        cursor.execute("UPDATE audit_manifests SET seqs = '{[1,4)}'")
        cursor.execute("DELETE FROM audit_log WHERE object_id = 'S1'")
    codes = {problem.code for problem in check(file).problems}
    assert codes == {"manifest_forged", "row_missing"}


def test_a_purged_row_that_is_back_is_found(file: Path) -> None:
    aged((TWO, 3), (SEVEN, 3))
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE copy AS SELECT * FROM audit_log WHERE object_id = 'S0'")
        retention.purge(now=clock.now())
        cursor.execute("INSERT INTO audit_log SELECT * FROM copy")
        cursor.execute("DROP TABLE copy")
    sealing.seal()
    problem = check(file).first
    assert problem is not None
    assert problem.code == "row_back"


@pytest.mark.parametrize(
    "seqs", ["{}", "{[2,3)}", "{[1,2)}"], ids=["nothing listed", "another one listed", "listed, but young"]
)
def test_the_database_refuses_to_delete_what_is_not_due(seqs: str) -> None:
    sealed(2, action=TWO)
    AuditManifest.objects.create(
        made_at=clock.now(),
        retention="2y",
        cutoff=clock.now(),
        through_id=1,
        rows=1,
        seqs=seqs,
        signature=b"x",
    )
    refusal = pytest.raises(ProgrammingError, match="audit_log is append-only: DELETE is refused")
    with refusal, transaction.atomic():
        AuditEntry.objects.filter(object_id="S0").delete()
    assert AuditEntry.objects.count() == 2


@pytest.mark.parametrize("table", ["audit_seal", "audit_checkpoints", "audit_manifests"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET signature = ''", "DELETE FROM {}", "TRUNCATE {}"])
def test_seals_checkpoints_and_manifests_never_change(table: str, statement: str) -> None:
    if table == "audit_seal":
        statement = statement.replace("signature", "leaf")
    refusal = pytest.raises(ProgrammingError, match=f"{table} is append-only")
    with refusal, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement.format(table))


def test_the_29th_of_february_has_an_end_too() -> None:
    assert retention.cutoff("2y", datetime(2028, 2, 29, 5, tzinfo=UTC)) == datetime(
        2026, 2, 28, 5, tzinfo=UTC
    )
    assert retention.cutoff("7y", datetime(2026, 11, 21, tzinfo=UTC)) == datetime(2019, 11, 21, tzinfo=UTC)


def test_the_command_shows_first_and_deletes_when_told(capsys: pytest.CaptureFixture[str]) -> None:
    aged((TWO, 3))
    call_command("audit_purge")
    assert "1 rows would be deleted" in capsys.readouterr().out
    assert kept() == ["S0"]
    call_command("audit_purge", "--apply", "--json")
    assert capsys.readouterr().out.strip() == '{"applied":true,"rows":1,"manifests":1}'
    assert "S0" not in kept()
