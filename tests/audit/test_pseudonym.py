import hashlib
import hmac
import threading
from uuid import UUID

import pytest
from django.db import connection, transaction
from pytest_django import DjangoAssertNumQueries

from audit import pseudonym
from audit.models import AuditSubject
from raxx.kernel.ids import new_id

ALICE = UUID("018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f")


def by_hand(user_id: UUID, key: bytes) -> str:
    return hmac.new(key, user_id.bytes, hashlib.sha256).hexdigest()[:32]


def test_the_pseudonym_is_the_documented_one() -> None:
    # printf '\x01\x8f…' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f
    assert pseudonym.actor_ref(ALICE, bytes(range(32))) == "780829fd6a2079a8548cc99c8a11051d"


def test_system_words_and_pseudonyms_cannot_be_mistaken_for_each_other() -> None:
    for word in (pseudonym.ENGINE, pseudonym.RELEASE, pseudonym.OPERATOR_SHELL):
        assert pseudonym.is_actor_ref(word)
        assert ":" in word
    assert ":" not in pseudonym.actor_ref(ALICE, bytes(32))
    assert not pseudonym.is_actor_ref(str(ALICE))
    assert not pseudonym.is_actor_ref("0" * 32 + "\n")


@pytest.mark.django_db
def test_the_key_is_made_once_and_kept() -> None:
    alice, bob = new_id(), new_id()
    ref = pseudonym.actor_ref_for(alice)
    assert (
        pseudonym.actor_ref_for(alice) == ref == by_hand(alice, bytes(AuditSubject.objects.get(pk=alice).key))
    )
    assert pseudonym.actor_ref_for(bob) != ref
    assert len(AuditSubject.objects.get(pk=bob).key) == 32


@pytest.mark.usefixtures("fresh_db")
def test_a_key_that_was_rolled_back_signs_nothing() -> None:
    alice = new_id()
    with transaction.atomic():
        undone = pseudonym.actor_ref_for(alice)
        transaction.set_rollback(True)
    ref = pseudonym.actor_ref_for(alice)
    assert ref != undone
    assert ref == by_hand(alice, bytes(AuditSubject.objects.get().key))


@pytest.mark.usefixtures("fresh_db")
def test_a_known_pseudonym_costs_no_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    alice = new_id()
    pseudonym.actor_ref_for(alice)
    with django_assert_num_queries(0):
        pseudonym.actor_ref_for(alice)


@pytest.mark.usefixtures("fresh_db")
def test_many_at_once_agree_on_one_key() -> None:
    for _ in range(10):
        alice, gate = new_id(), threading.Barrier(8)
        refs: list[str] = []

        def ask(alice: UUID = alice, gate: threading.Barrier = gate, refs: list[str] = refs) -> None:
            try:
                with transaction.atomic():
                    gate.wait()
                    refs.append(pseudonym.actor_ref_for(alice))
            finally:
                connection.close()

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        key = AuditSubject.objects.get(pk=alice).key
        assert refs == [by_hand(alice, bytes(key))] * 8
