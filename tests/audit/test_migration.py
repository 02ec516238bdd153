from datetime import UTC, datetime

import pytest
from django.core.management import call_command
from django.db import connection

from audit.models import AuditEntry
from audit.services import sealing
from tests.audit.record_tools import check, write


@pytest.mark.usefixtures("fresh_db")
def test_rows_from_before_the_chain_are_signed_and_sealed() -> None:
    call_command("migrate", "audit", "0002", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, reason)"
            " SELECT %s, 'system:engine', 'console.switch.changed', 'switch', 'S' || n,"
            """ jsonb_build_object('b', n, 'a', '1.50'), E'tab\tand\nmore \\\\' FROM generate_series(1, 3) AS n""",
            [datetime(2026, 11, 20, tzinfo=UTC)],
        )
    call_command("migrate", "audit", verbosity=0)
    write(1)
    sealing.seal()
    findings = check()
    assert findings.is_sound, findings.first
    assert findings.rows == AuditEntry.objects.count() == 4
    with connection.cursor() as cursor, pytest.raises(Exception, match="append-only"):
        cursor.execute("DELETE FROM audit_log")
