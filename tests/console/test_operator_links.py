import re
import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from console.models import OperatorLink
from console.services import operator_links
from console.services.operator_links import OperatorLinkInvalid
from console.services.operators import NotAnOperator
from raxx.identity.models import Session, User
from raxx.identity.services.users import register
from raxx.kernel import clock
from tests.identity.browser import ORIGIN, Browser, problem
from tests.operators import enrolled, operator

pytestmark = pytest.mark.usefixtures("valkey_url")


def link(email: str = "olga@example.com") -> str:
    return reverse("operator-enter", args=[operator_links.issue(email=email, now=clock.now())])


def enrol(browser: Browser) -> None:
    """What the page does that the link leads to."""
    options = browser.ok("POST", "passkeys/options", {})["public_key"]
    browser.ok("POST", "passkeys", {"credential": browser.device.create(options, ORIGIN), "name": "Key"})


@pytest.mark.django_db
def test_a_link_enrols_a_passkey_once_and_nothing_else() -> None:
    browser, address = Browser(), link()
    for _ in range(2):  # looking does not use it up
        page = browser.client.get(address)
        assert page.status_code == 200
        assert b"Continue" in page.content
        assert "no-store" in page["Cache-Control"]
    entered = browser.client.post(address)
    assert (entered.status_code, entered["Location"]) == (302, "/account/new-passkey")
    assert b"/sign-in?next=%2Fadmin%2F" in browser.client.get("/account/new-passkey").content
    assert browser.client.get("/admin/").status_code == 302, "it is no way in"
    assert browser.client.post("/admin/console/switch/set/", {}).status_code == 401
    problem(browser.send("GET", "keys"), 403, "FORBIDDEN")
    enrol(browser)
    assert not Session.objects.filter(revoked_at=None).exists()
    assert b"olga@example.com" in browser.sign_in().client.get("/admin/").content
    assert User.objects.get().recovered_at is None, "the first passkey is no recovery"

    stranger = Client()
    refused = stranger.post(address)
    assert refused.status_code == 403
    assert b"This link is not valid" in refused.content
    assert b"operator_link" in refused.content
    assert stranger.get("/admin/").status_code == 302


@pytest.mark.django_db
def test_an_operator_who_lost_every_passkey_comes_back_as_by_a_code() -> None:
    olga = operator()
    old, new = enrolled(olga), Browser()
    new.client.post(link())
    assert old.is_in, "so far nothing happened"
    enrol(new)
    assert not old.is_in
    olga.refresh_from_db()
    assert olga.recovered_at is not None
    ref = actor_ref_for(olga.pk)
    assert AuditEntry.objects.filter(action="identity.user.recovered", object_id=ref).count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload->>'what' FROM outbox WHERE topic = 'identity.notice'")
        assert ("identity.user.recovered",) in cursor.fetchall()
    assert new.sign_in().client.get("/admin/").status_code == 200


@pytest.mark.django_db
def test_what_operators_did_is_recorded_without_their_names() -> None:
    Client().post(link())
    ref = actor_ref_for(User.objects.get().pk)
    rows = AuditEntry.objects.order_by("id").values_list("action", "actor_ref", "object_id")
    assert list(rows)[:3] == [
        ("console.operator.created", "system:operator-shell", ref),
        ("console.operator.link_issued", "system:operator-shell", ref),
        ("console.operator.signed_in", ref, ref),
    ]
    assert [(row[0], row[1]) for row in rows][3:] == [("identity.session.started", ref)]


@pytest.mark.django_db
def test_the_token_itself_is_not_stored() -> None:
    token = operator_links.issue(email="olga@example.com", now=clock.now())
    assert len(token) == 43
    row = OperatorLink.objects.get()
    assert token not in (row.token_hash, str(row))
    assert re.fullmatch("[0-9a-f]{64}", row.token_hash)
    assert not AuditEntry.objects.filter(changes__icontains=token).exists()


@pytest.mark.django_db
def test_a_link_is_good_for_five_minutes() -> None:
    now = clock.now()
    early = operator_links.issue(email="olga@example.com", now=now)
    late = operator_links.issue(email="olga@example.com", now=now)
    operator_links.redeem(token=early, now=now + timedelta(minutes=4, seconds=59))
    with pytest.raises(OperatorLinkInvalid):
        operator_links.redeem(token=late, now=now + timedelta(minutes=5))


@pytest.mark.django_db
def test_links_of_other_days_are_forgotten() -> None:
    now = clock.now()
    operator_links.issue(email="olga@example.com", now=now)
    operator_links.issue(email="olga@example.com", now=now + timedelta(days=2))
    assert OperatorLink.objects.count() == 1


@pytest.mark.django_db
def test_a_customer_is_not_made_an_operator_in_passing() -> None:
    register(email="alice@example.com", now=clock.now())
    with pytest.raises(NotAnOperator):
        operator_links.issue(email="Alice@Example.com", now=clock.now())
    assert not OperatorLink.objects.exists()
    assert not User.objects.get().is_staff


@pytest.mark.django_db
def test_a_link_of_who_lost_the_staff_flag_opens_nothing() -> None:
    address = link()
    User.objects.update(is_staff=False)
    assert Client().post(address).status_code == 403


@pytest.mark.usefixtures("fresh_db")
def test_of_many_at_once_one_gets_in() -> None:
    token = operator_links.issue(email="olga@example.com", now=clock.now())
    gate, outcomes = threading.Barrier(8), []

    def enter() -> None:
        gate.wait()
        try:
            operator_links.redeem(token=token, now=clock.now())
            outcomes.append("in")
        except OperatorLinkInvalid:
            outcomes.append("out")
        finally:
            connection.close()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in"] + ["out"] * 7


@pytest.mark.django_db
def test_other_sites_cannot_press_the_button() -> None:
    assert Client(enforce_csrf_checks=True).post(link()).status_code == 403
    assert OperatorLink.objects.get().used_at is None
