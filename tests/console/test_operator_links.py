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
from console.services.operator_links import NotAnOperator, OperatorLinkInvalid
from raxx.identity.models import User
from raxx.identity.services.users import register
from raxx.kernel import clock


def link(email: str = "olga@example.com") -> str:
    return reverse("operator-enter", args=[operator_links.issue(email=email, now=clock.now())])


@pytest.mark.django_db
def test_a_link_signs_in_once() -> None:
    browser, address = Client(), link()
    for _ in range(2):  # looking does not use it up
        page = browser.get(address)
        assert page.status_code == 200
        assert b"Sign in" in page.content
        assert "no-store" in page["Cache-Control"]
    assert browser.get("/admin/").status_code == 302
    entered = browser.post(address)
    assert (entered.status_code, entered["Location"]) == (302, "/admin/")
    assert b"olga@example.com" in browser.get("/admin/").content
    assert browser.session.get_expiry_age() <= 30 * 60

    stranger = Client()
    refused = stranger.post(address)
    assert refused.status_code == 403
    assert b"This link is not valid" in refused.content
    assert stranger.get("/admin/").status_code == 302


@pytest.mark.django_db
def test_what_operators_did_is_recorded_without_their_names() -> None:
    Client().post(link())
    olga = User.objects.get()
    ref = actor_ref_for(olga.pk)
    rows = AuditEntry.objects.order_by("id").values_list("action", "actor_ref", "object_id")
    assert list(rows) == [
        ("console.operator.created", "system:operator-shell", ref),
        ("console.operator.link_issued", "system:operator-shell", ref),
        ("console.operator.signed_in", ref, ref),
    ]


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
def test_who_lost_the_staff_flag_is_out_at_once() -> None:
    browser, address, spare = Client(), link(), link()
    browser.post(address)
    assert browser.get("/admin/").status_code == 200
    User.objects.update(is_staff=False)
    assert browser.get("/admin/").status_code == 302
    assert browser.post(spare).status_code == 403


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


@pytest.mark.django_db
def test_the_login_page_says_how_and_takes_nothing() -> None:
    page = Client().get("/admin/", follow=True)
    assert b"operator_link" in page.content
    assert b"password" not in page.content.replace(b"no passwords", b"")
    assert b"<form" not in page.content.split(b'id="content"', 1)[1]
    assert (
        Client().post("/admin/login/", {"username": "olga@example.com", "password": "x"}).status_code == 405
    )


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/admin/enter/any/"])
def test_pages_hold_no_inline_script_or_style(path: str) -> None:
    html = Client().get(path).content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", html)
