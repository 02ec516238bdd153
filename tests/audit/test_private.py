import os
from collections.abc import Iterator
from uuid import UUID

import pytest
from django.db import connection

from audit import log, private, pseudonym, selectors
from audit.events import EventType, event_types, register
from audit.models import AuditEntry, AuditSubject
from audit.services import subjects
from raxx.kernel import clock
from raxx.kernel.ids import new_id
from tests.audit.record_tools import AT, check, sealed

MOVED = "audit.example.moved"
CANARY = "zanzibar.canary@example.com"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def kind() -> Iterator[None]:
    register(EventType(MOVED, "2y", "For this test.", forgets=("email", "reason")))
    yield
    del event_types._entries[MOVED]


def move(user: UUID | None, **changes: object) -> None:
    log.record(
        MOVED,
        actor=pseudonym.actor_ref_for(user) if user else pseudonym.ENGINE,
        object_type="user",
        object_id=pseudonym.actor_ref_for(user) if user else "nobody",
        at=AT,
        changes=changes,
        reason=f"wrote from {CANARY}",
        subject=user,
    )


def everything() -> str:
    """All that the tables of the record hold, as text."""
    found = ""
    with connection.cursor() as cursor:
        for table in ("audit_log", "audit_seal", "audit_subjects", "audit_checkpoints", "audit_sealer"):
            cursor.execute(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t")  # noqa: S608
            found += cursor.fetchone()[0]
    return found


def test_what_tells_about_a_person_is_stored_under_their_key_and_dies_with_it() -> None:
    alice, bob = new_id(), new_id()
    move(alice, email=["old@example.com", CANARY], tier="pro")
    move(bob, email=["bob@example.com", "robert@example.com"], tier="free")
    assert "canary" not in everything()
    stored = AuditEntry.objects.earliest("id")
    assert stored.changes["tier"] == "pro"
    assert stored.changes["email"].startswith("v1.")

    [row] = selectors.trail_of_person(alice)
    assert row.changes == {"email": ["old@example.com", CANARY], "tier": "pro"}
    assert row.reason == f"wrote from {CANARY}"
    closed = selectors.opened(row._replace(changes=stored.changes, reason=stored.reason), bytes(32))
    assert closed.changes == {"email": None, "tier": "pro"}
    assert closed.reason == "(forgotten)"

    before = list(AuditEntry.objects.order_by("id").values_list("id", "changes", "reason", "actor_ref"))
    assert subjects.forget(user_id=alice, actor=pseudonym.OPERATOR_SHELL, now=clock.now())
    after = list(AuditEntry.objects.order_by("id").values_list("id", "changes", "reason", "actor_ref"))
    assert after[:2] == before  # rows never change
    assert list(selectors.trail_of_person(alice)) == []
    [row] = selectors.trail_of_person(bob)
    assert row.changes["email"] == ["bob@example.com", "robert@example.com"]


def test_forgetting_leaves_no_way_back() -> None:
    alice = new_id()
    ref = pseudonym.actor_ref_for(alice)
    move(alice, tier="pro")
    sealed(1)
    assert subjects.forget(user_id=alice, actor=pseudonym.OPERATOR_SHELL, now=clock.now())
    assert not AuditSubject.objects.filter(pk=alice).exists()
    assert str(alice) not in everything()
    entry = AuditEntry.objects.latest("id")
    assert (entry.action, entry.object_id) == ("audit.subject.forgotten", ref)
    assert pseudonym.actor_ref_for(alice) != ref  # somebody new
    sealed(1)
    assert check().is_sound


def test_forgetting_twice_changes_nothing() -> None:
    alice = new_id()
    pseudonym.actor_ref_for(alice)
    assert subjects.forget(user_id=alice, actor=pseudonym.OPERATOR_SHELL, now=clock.now())
    assert not subjects.forget(user_id=alice, actor=pseudonym.OPERATOR_SHELL, now=clock.now())
    assert AuditEntry.objects.filter(action="audit.subject.forgotten").count() == 1


def test_many_people_forgotten_among_others() -> None:
    """Half of them, for S11. Their canaries are gone, the others' words stay readable, and the chain holds."""
    people = [new_id() for _ in range(1_000 if os.environ.get("RAXX_SOAK") else 40)]
    for number, person in enumerate(people):
        move(person, email=f"canary-{number}@example.com")
    sealed(1)
    for person in people[::2]:
        subjects.forget(user_id=person, actor=pseudonym.OPERATOR_SHELL, now=clock.now())
    sealed(1)
    for number, person in enumerate(people):
        rows = list(selectors.trail_of_person(person))
        assert [row.changes["email"] for row in rows] == (
            [f"canary-{number}@example.com"] if number % 2 else []
        )
    assert "canary-" not in everything()
    left = everything()
    assert not any(str(person) in left for person in people[::2])
    assert check().is_sound


def test_without_a_subject_there_is_nobody_to_hide_it_for() -> None:
    with pytest.raises(ValueError, match="name the subject"):
        move(None, email="x")


def test_a_value_is_bound_to_its_place() -> None:
    alice = new_id()
    move(alice, email=CANARY)
    entry, key = AuditEntry.objects.get(), pseudonym.key_of(alice)
    stored = entry.changes["email"]
    assert private.open_value(key=key, action=MOVED, name="email", stored=stored) == CANARY
    for action, name in (("audit.example.else", "email"), (MOVED, "reason")):
        assert private.open_value(key=key, action=action, name=name, stored=stored) is None
    for broken in (stored[:-4], stored[:-3] + "AAA", "v1.", "v1.!", "plain", 7, None):
        assert private.open_value(key=key, action=MOVED, name="email", stored=broken) is None


@pytest.mark.parametrize(
    "changes",
    [{"email": "a@example.com"}, {"ip": "192.0.2.1"}, {"old": {"phone": "1"}}, {"x": [{"user_agent": "y"}]}],
)
def test_personal_fields_are_refused_where_nothing_says_that_they_are_forgotten(
    changes: dict[str, object],
) -> None:
    with pytest.raises(log.PersonalDataInRecord, match="forgets"):
        log.record(
            "console.switch.changed",
            actor=pseudonym.ENGINE,
            object_type="switch",
            object_id="S",
            at=AT,
            changes=changes,
        )
