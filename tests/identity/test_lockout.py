"""Operators whose passkey somebody tries without its key."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from raxx.identity.models import User
from raxx.identity.services import lockout
from raxx.kernel import clock, valkey
from tests.console.test_operator_links import enrol, link
from tests.identity.browser import ORIGIN, Browser, problem
from tests.operators import enrolled, operator

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]


@pytest.fixture
def olga() -> User:
    return operator()


def attempt(owner: Browser, **spoiled: Any) -> Any:  # noqa: ANN401 - Django's test response
    """Somebody answers in the name of that passkey, from an address that has not tried yet."""
    for key in valkey.shared().scan_iter("raxx:rate:ceremony:*"):
        valkey.shared().delete(key)
    browser = Browser(device=owner.device)
    options = browser.ok("POST", "sessions/options", {})["public_key"]
    return browser.send("POST", "sessions", {"credential": browser.device.get(options, ORIGIN, **spoiled)})


def fail(owner: Browser, times: int = lockout.FAILURES_MAX) -> None:
    for _ in range(times):
        problem(attempt(owner, spoil_signature=True), 400, "CEREMONY_REFUSED")


def locked() -> bool:
    return User.objects.get(email="olga@example.com").locked_until is not None


def test_the_fifth_failure_locks_signing_in_and_nothing_else(olga: User) -> None:
    person = enrolled(olga)
    fail(person, 4)
    assert not locked()
    assert attempt(person).status_code == 201
    fail(person, 1)
    assert locked()
    refused = attempt(person)
    details = problem(refused, 429, "SIGN_IN_LOCKED")
    assert "operator_link" in details["remedy"]
    assert 14 * 60 < int(refused["Retry-After"]) <= 15 * 60
    problem(attempt(person, spoil_signature=True), 400, "CEREMONY_REFUSED")  # who has no key is told nothing
    assert person.client.get("/admin/").status_code == 200, "who is in stays in"
    person.confirm("console.flag.set", {})
    assert b"Nobody signs in as olga@example.com until" in person.client.get("/admin/").content

    ref = actor_ref_for(olga.pk)
    assert AuditEntry.objects.filter(action="identity.user.locked", object_id=ref).count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM outbox WHERE payload->>'what' = 'identity.user.locked'")
        assert cursor.fetchone() == (1,)


def test_it_ends_after_a_quarter_of_an_hour_and_is_not_made_longer(olga: User) -> None:
    person = enrolled(olga)
    fail(person)
    until = User.objects.get(pk=olga.pk).locked_until
    fail(person, 7)
    assert User.objects.get(pk=olga.pk).locked_until == until
    User.objects.filter(pk=olga.pk).update(locked_until=clock.now() - timedelta(seconds=1))
    assert attempt(person).status_code == 201
    fail(person, 4)
    assert attempt(person).status_code == 201, "they are counted anew"


def test_failures_count_for_a_quarter_of_an_hour(olga: User) -> None:
    person = enrolled(olga)
    fail(person, 4)
    [key] = valkey.shared().keys("raxx:rate:failed:*")
    assert 14 * 60_000 < valkey.shared().pttl(key) <= 15 * 60_000 + 1_000
    valkey.shared().delete(key)
    fail(person, 4)
    assert not locked()


def test_a_stranger_who_does_not_know_the_passkey_s_id_locks_nobody(olga: User) -> None:
    person, stranger = enrolled(olga), Browser()
    stranger.device.handle, stranger.device.rp_id = person.device.handle, "localhost"
    fail(stranger, 12)
    for body in ({}, {"id": "x"}, {"id": "AAAA", "rawId": "AAAA", "response": {}}):
        for _ in range(2):
            problem(stranger.send("POST", "sessions", {"credential": body}), 400, "CEREMONY_REFUSED")
    assert not locked()
    assert attempt(person).status_code == 201


def test_an_answer_to_no_question_does_not_count(olga: User) -> None:
    person = enrolled(olga)
    options = person.ok("POST", "sessions/options", {})["public_key"]
    credential = person.device.get(options, ORIGIN)
    for _ in range(8):
        problem(Browser().send("POST", "sessions", {"credential": credential}), 400, "CEREMONY_REFUSED")
    assert not locked()


def test_customers_are_not_locked() -> None:
    alice = Browser().sign_up()
    fail(alice, 8)
    assert attempt(alice).status_code == 201
    assert User.objects.get().locked_until is None


def test_a_failed_confirmation_counts_too(olga: User) -> None:
    person = enrolled(olga)
    fail(person, 4)
    wish = {"action": "console.flag.set", "parameters": {}}
    options = person.ok("POST", "sessions/step-up/options", wish)["public_key"]
    credential = person.device.get(options, ORIGIN, spoil_signature=True)
    problem(
        person.send("POST", "sessions/step-up", wish | {"credential": credential}), 400, "CEREMONY_REFUSED"
    )
    assert locked()


def test_the_shell_s_link_opens_the_lock(olga: User) -> None:
    person, new = enrolled(olga), Browser()
    fail(person)
    assert Client().get("/admin/").status_code == 302
    new.client.post(link())
    enrol(new)
    assert not locked()
    assert new.sign_in().client.get("/admin/").status_code == 200
