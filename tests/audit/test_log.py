import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import ProgrammingError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from audit import log, pseudonym
from audit.canonical import FloatInRecord
from audit.events import EventType, event_types, register
from audit.models import AuditEntry
from raxx.kernel.keys import derive
from raxx.kernel.registry import Registry

AT = datetime(2013, 10, 7, 13, 31, 7, tzinfo=UTC)
SWITCHED = "console.switch.changed"  # any registered event will do


def write(**overrides: object) -> None:
    values: dict[str, object] = {
        "actor": pseudonym.ENGINE,
        "object_type": "switch",
        "object_id": "S1",
        "at": AT,
        "changes": {"on": [False, True]},
    }
    log.record(overrides.pop("action", SWITCHED), **{**values, **overrides})  # type: ignore[arg-type]


@pytest.mark.django_db
def test_a_row_keeps_what_happened() -> None:
    write(
        object_id=UUID("018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"),
        reason="feed stale",
        request_id="request-1",
        changes={"cash": [Decimal("10.10"), Decimal("9.00")], "at": AT},
    )
    entry = AuditEntry.objects.get()
    assert entry.at == AT
    assert timedelta(0) <= datetime.now(UTC) - entry.recorded_at < timedelta(minutes=1)
    assert (entry.actor_ref, entry.action) == ("system:engine", SWITCHED)
    assert (entry.object_type, entry.object_id) == ("switch", "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f")
    assert entry.changes == {"cash": ["10.10", "9.00"], "at": "2013-10-07T13:31:07Z"}
    assert (entry.reason, entry.request_id) == ("feed stale", "request-1")


@pytest.mark.django_db
def test_rows_of_one_transaction_have_their_own_recorded_at() -> None:
    write()
    write()
    first, second = AuditEntry.objects.order_by("id")
    assert first.recorded_at < second.recorded_at


@pytest.mark.django_db
def test_many_rows_are_one_statement_in_order(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    entries = [
        log.Entry(action=SWITCHED, actor=pseudonym.ENGINE, object_type="switch", object_id=n, at=AT)
        for n in range(100)
    ]
    with django_assert_num_queries(1):
        log.record_many(entries)
    assert list(AuditEntry.objects.order_by("id").values_list("object_id", flat=True)) == [
        str(n) for n in range(100)
    ]


@pytest.mark.django_db
def test_rows_can_be_written_by_sql_of_ones_own() -> None:
    entry = log.Entry(action=SWITCHED, actor=pseudonym.RELEASE, object_type="switch", object_id="S1", at=AT)
    columns, row = ", ".join(log.COLUMNS), log.values(entry)
    with connection.cursor() as cursor:
        placeholders = ", ".join(["%s"] * len(row))
        cursor.execute(f"INSERT INTO audit_log ({columns}) VALUES ({placeholders})", row)  # noqa: S608 - constants
    assert AuditEntry.objects.get().actor_ref == "system:release"


@pytest.mark.usefixtures("fresh_db")
def test_a_row_needs_the_transaction_of_its_change_and_shares_its_fate() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        write()
    with transaction.atomic():
        write()
        transaction.set_rollback(True)
    assert not AuditEntry.objects.exists()
    with transaction.atomic():
        write()
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
def test_an_action_must_be_registered() -> None:
    with pytest.raises(log.UnregisteredEvent, match=r"mbt\.order\.teleported"):
        write(action="mbt.order.teleported")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "x"},
        {"api_token": "x"},
        {"Password": "x"},
        {"key": {"client_secret": "x"}},
        {"legs": [{"refresh_token": "x"}]},
        {"cookie": "x"},
        {"wrapped": ({"private_key": "x"},)},
    ],
)
def test_secrets_are_refused_at_any_depth(changes: dict[str, object]) -> None:
    with pytest.raises(log.SecretInRecord):
        write(changes=changes)
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("changes", [{"price": 1.5}, {"legs": [{"x": 2.0}]}, {"qty": [Decimal(1), 1e16]}])
def test_floats_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FloatInRecord, match="Decimal"):
        write(changes=changes)
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db
def test_the_mac_is_the_documented_one() -> None:
    """HMAC-SHA256, 16 bytes, over the fields as JSON with sorted keys: written out here by hand."""
    write(
        changes={"on": [False, True], "2": "é", "10": Decimal("1.50"), 3: None},
        reason="line one\nline two\ttab",
        request_id="r-1",
    )
    message = (
        '[1381152667000000,"system:engine","console.switch.changed","switch","S1",'
        '{"10":"1.50","2":"é","3":null,"on":[false,true]},"line one\\nline two\\ttab","r-1"]'
    )
    key = derive("audit-row-mac")
    expected = hmac.new(key, message.encode(), hashlib.sha256).digest()[:16]
    assert bytes(AuditEntry.objects.get().mac) == expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    "actor",
    [
        "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f",
        "alice@example.com",
        "engine",
        "system:",
        "",
        "A" * 32,
        "0" * 31,
    ],
)
def test_an_actor_is_a_pseudonym_or_a_system_word(actor: str) -> None:
    with pytest.raises(ValueError, match="pseudonym"):
        write(actor=actor)
    with pytest.raises(Exception, match="audit_actor_is_pseudonym"), transaction.atomic():
        AuditEntry.objects.create(
            at=AT, actor_ref=actor, action=SWITCHED, object_type="x", object_id="x", changes={}
        )


@pytest.mark.django_db
def test_an_instant_needs_its_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        write(at=datetime(2013, 10, 7))  # noqa: DTZ001


REFUSED = [
    "UPDATE audit_log SET reason = 'nothing happened'",
    "UPDATE audit_log SET reason = '' WHERE false",
    "DELETE FROM audit_log",
    "TRUNCATE audit_log",
    "TRUNCATE audit_log RESTART IDENTITY CASCADE",
    "TRUNCATE console_switches, audit_log CASCADE",
    "INSERT INTO audit_log (id, at, actor_ref, action, object_type, object_id, changes) SELECT id, at, actor_ref, action,"
    " object_type, object_id, changes FROM audit_log ON CONFLICT (id) DO UPDATE SET reason = 'other'",
    "MERGE INTO audit_log a USING audit_log b ON a.id = b.id WHEN MATCHED THEN UPDATE SET reason = 'other'",
    "MERGE INTO audit_log a USING audit_log b ON a.id = b.id WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM audit_log RETURNING id) SELECT count(*) FROM gone",
    "SET LOCAL session_replication_role = replica; DELETE FROM audit_log",
    "SET LOCAL pgtrigger.ignore = '{audit_log:append_only}'; DELETE FROM audit_log",
]


@pytest.mark.django_db
@pytest.mark.parametrize("statement", REFUSED)
def test_rows_are_never_changed_or_removed_by_sql(statement: str) -> None:
    write(reason="as it was")
    refusal = pytest.raises(
        ProgrammingError, match=r"audit_log is append-only: (UPDATE|DELETE|TRUNCATE) is refused"
    )
    with refusal, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert AuditEntry.objects.get().reason == "as it was"


@pytest.mark.django_db
def test_rows_are_never_changed_or_removed_by_the_orm() -> None:
    write(reason="as it was")
    entry = AuditEntry.objects.get()
    entry.reason = "other"
    for attempt in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(reason="other"),
        lambda: AuditEntry.objects.bulk_update([entry], ["reason"]),
    ):
        with pytest.raises(ProgrammingError, match="append-only"), transaction.atomic():
            attempt()
    assert AuditEntry.objects.get().reason == "as it was"


@pytest.mark.django_db
def test_rows_may_be_copied_in() -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy(
            "COPY audit_log (at, actor_ref, action, object_type, object_id, changes, mac) FROM STDIN"
        ) as copy,
    ):
        copy.write_row((AT, "system:engine", SWITCHED, "switch", "S1", json.dumps({}), bytes(16)))
    assert AuditEntry.objects.get().object_id == "S1"


def test_every_app_registers_its_events_once_and_well_formed() -> None:
    assert event_types[SWITCHED].retention == "7y"
    with pytest.raises(ValueError, match="twice"):
        register(EventType(SWITCHED, "2y", "again"))
    for code in ("switch.changed", "Mbt.order.accepted", "mbt.order", "mbt.order.accepted.now", ""):
        with pytest.raises(ValueError, match=r"app\.object\.happened"):
            register(EventType(code, "2y", "malformed"))
    assert isinstance(event_types, Registry)
