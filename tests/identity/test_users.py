import threading
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from raxx.identity.models import Tier, User
from raxx.identity.services.users import EmailTaken, register
from raxx.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)


@pytest.mark.django_db
def test_a_user_is_registered_and_recorded_by_pseudonym_alone() -> None:
    alice = register(email=" Alice@Example.COM ", tier=Tier.PRO_PLUS, now=NOW)
    alice.refresh_from_db()
    assert (alice.email, alice.tier, alice.created_at) == ("alice@example.com", "pro_plus", NOW)
    assert (alice.is_active, alice.is_staff, alice.is_superuser) == (True, False, False)
    assert alice.pk.version == 7
    entry = AuditEntry.objects.get()
    ref = actor_ref_for(alice.pk)
    assert (entry.action, entry.actor_ref, entry.object_id) == ("identity.user.registered", ref, ref)
    assert entry.changes == {"tier": "pro_plus"}


@pytest.mark.django_db
def test_addresses_differ_by_more_than_case() -> None:
    register(email="alice@example.com", now=NOW)
    with pytest.raises(EmailTaken):
        register(email="ALICE@example.com", now=NOW)
    register(email="bob@example.com", now=NOW)
    assert User.objects.count() == AuditEntry.objects.count() == 2
    with pytest.raises(IntegrityError, match="user_email_lower_case"), transaction.atomic():
        User.objects.create(email="Carol@example.com")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "email",
    [
        "",
        "alice",
        "alice@",
        "@example.com",
        "a b@example.com",
        "alice@example.com\x00",
        "alice@example.com\r\nBcc: eve@example.com",
        "x@" + "y" * 250 + ".io",
    ],
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        register(email=email, now=NOW)
    assert caught.value.details["field"] == "email"
    assert not User.objects.exists()


@pytest.mark.usefixtures("fresh_db")
def test_of_many_with_one_address_one_is_registered() -> None:
    gate, outcomes = threading.Barrier(6), []

    def come() -> None:
        gate.wait()
        try:
            register(email="alice@example.com", now=NOW)
            outcomes.append("registered")
        except EmailTaken:
            outcomes.append("taken")
        finally:
            connection.close()

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["registered"] + ["taken"] * 5
    assert AuditEntry.objects.count() == 1


@pytest.mark.django_db
def test_there_is_no_place_for_a_password() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        )
        columns = cursor.fetchall()
    assert ("users", "email") in columns
    assert [name for name in columns if "password" in name[1]] == []
    alice = register(email="alice@example.com", now=NOW)
    assert not alice.has_usable_password()
    assert not alice.check_password("")
    assert not alice.check_password(None)
    with pytest.raises(NotImplementedError):
        alice.set_password("x")


@pytest.mark.django_db
def test_an_unknown_tier_is_refused_by_the_database() -> None:
    with pytest.raises(IntegrityError, match="user_tier_known"), transaction.atomic():
        User.objects.create_user(email="alice@example.com", tier="gold")
