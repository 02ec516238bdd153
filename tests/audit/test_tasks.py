import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as configured

from audit import tasks
from audit.models import AuditCheckpoint, AuditSeal
from audit.services import checkpoints, sealing
from console import doctor_checks
from console.doctor import Level
from raxx.celery import app
from raxx.kernel import clock
from tests.audit.record_tools import check, sealed, signed, thief, write
from tests.conftest import Database


@pytest.fixture(autouse=True)
def file(tmp_path: Path, settings: Any) -> Path:  # noqa: ANN401 - pytest-django's
    found = tmp_path / "checkpoints.jsonl"
    settings.RAXX_AUDIT_CHECKPOINTS = str(found)
    return found


def test_the_worker_knows_the_jobs_that_beat_sends() -> None:
    app.loader.import_default_modules()
    sent = {
        name: entry for name, entry in configured.CELERY_BEAT_SCHEDULE.items() if name.startswith("audit-")
    }
    assert {entry["task"] for entry in sent.values()} == {"audit.seal", "audit.checkpoint", "audit.purge"}
    assert all(entry["task"] in app.tasks for entry in sent.values())
    assert sent["audit-seal"]["schedule"] == 1.0
    assert sent["audit-checkpoint"]["schedule"] == 60.0


@pytest.mark.django_db
def test_each_second_rows_are_sealed_and_each_minute_the_chain_is_signed(file: Path) -> None:
    write(3)
    tasks.seal()
    assert AuditSeal.objects.count() == 3
    tasks.checkpoint()
    tasks.checkpoint()  # nothing new
    assert AuditCheckpoint.objects.count() == len(file.read_text().splitlines()) == 1
    tasks.purge()
    assert check(file).is_sound


@pytest.mark.django_db
def test_the_doctor_sees_that_nobody_seals(caplog: pytest.LogCaptureFixture) -> None:
    write(1)
    assert doctor_checks.record_is_sealed(clock.now()).level is Level.OK
    write(1, first=1)
    with thief() as cursor:
        cursor.execute(
            "UPDATE audit_log SET recorded_at = now() - interval '11 seconds' WHERE object_id = 'S1'"
        )
    found = doctor_checks.record_is_sealed(clock.now())
    assert found.level is Level.FAIL
    assert "wait for their seal, the oldest for 11 s" in found.message
    with caplog.at_level(logging.ERROR):
        tasks.seal()
    assert "wait for their seal" not in caplog.text
    assert doctor_checks.record_is_sealed(clock.now()).level is Level.OK


def test_a_sealer_that_is_kept_from_sealing_is_an_alarm(
    fresh_db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    write(1)
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET recorded_at = now() - interval '11 seconds'")
    with psycopg.connect(fresh_db.url) as other, caplog.at_level(logging.ERROR):
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", sealing.LOCK)
        tasks.seal()
    assert "audit rows wait for their seal" in caplog.text


@pytest.mark.django_db
def test_tampering_is_critical_within_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    sealed(3)
    signed(clock.now() - timedelta(minutes=1))
    with thief() as cursor:
        cursor.execute("UPDATE audit_seal SET chain = sha256('x') WHERE seq = 3")
    with caplog.at_level(logging.CRITICAL), pytest.raises(checkpoints.RecordContradicted):
        tasks.checkpoint()
    assert "the audit record was tampered with" in caplog.text
