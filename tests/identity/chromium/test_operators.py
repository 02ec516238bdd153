"""Operators in real Chromium: the link, the passkey, the operator site, and what is confirmed there."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.urls import reverse
from playwright.sync_api import expect

from audit.models import AuditEntry
from console import switches
from console.models import DataRequest
from console.services import data_requests, operator_links, operators
from console.services.switches import set_switch
from console.switches import PAPER, Mode
from raxx.identity import fast_store
from raxx.identity.models import Passkey, Session, StepUpGrant, User
from raxx.identity.services import sessions
from raxx.identity.services.sessions import Lifetime
from raxx.kernel import clock
from tests.identity.chromium.conftest import OPTIONS, Person
from tests.identity.chromium.test_chromium import sign_up
from tests.identity.test_outages import Server, server

__all__ = ["server"]

People = Callable[..., Person]
SET = "/admin/console/switch/set/"
OLGA = "olga@example.com"


def enrol(person: Person, email: str = OLGA) -> None:
    token = operator_links.issue(email=email, now=clock.now())
    person.go(reverse("operator-enter", args=[token]))
    person.page.get_by_role("button", name="Continue").click()
    person.page.get_by_role("button", name="Create a passkey").click()
    # The page to sign in offers the passkey by itself, and brings one to the operator site.
    at_home(person)


def at_home(person: Person) -> None:
    expect(person.page.get_by_role("heading", name="To do")).to_be_visible()


@pytest.fixture
def olga(open_person: People) -> Person:
    person = open_person()
    enrol(person)
    return person


def wish(person: Person, mode: str, *, key: str = PAPER, reason: str = "tried in the browser") -> None:
    """As far as the page that shows the effect."""
    person.go(f"{SET}?key={key}&mode={mode}")
    person.page.get_by_label("Reason").fill(reason)
    person.page.get_by_role("button", name="Show the effect").click()
    expect(person.page.get_by_role("link", name="Leave it")).to_be_visible()


def stop(person: Person, key: str = PAPER) -> None:
    wish(person, "halted", key=key)
    person.page.get_by_role("button", name="Set it").click()
    expect(person.page.get_by_text(f"{key} is halted", exact=False)).to_be_visible()


def confirm(person: Person) -> None:
    person.page.get_by_role("button", name="Confirm with your passkey").click()


def mode(key: str = PAPER) -> Mode:
    return switches.read([key]).mode


def test_an_operator_enrols_by_the_link_and_signs_in(olga: Person) -> None:
    assert Passkey.objects.count() == 1
    cookies = {cookie["name"] for cookie in olga.page.context.cookies()}
    assert {"__Host-raxx", "__Host-raxx-r"} <= cookies
    assert "sessionid" not in cookies
    row = Session.objects.get(revoked_at=None)
    assert row.expires_at - row.created_at == timedelta(hours=12)

    [passkey] = olga.passkeys()
    olga.lose()  # so that the page to sign in cannot sign in by itself
    olga.page.get_by_role("button", name="Log out").click()
    olga.page.wait_for_url("**/sign-in?next=%2Fadmin%2F")
    assert not Session.objects.filter(revoked_at=None).exists()
    olga.go("/admin/console/flagrow/")
    olga.page.wait_for_url("**/sign-in?next=%2Fadmin%2Fconsole%2Fflagrow%2F")
    olga.page.goto(
        "about:blank"
    )  # else the page's own offer of a passkey could sign in while it is put there
    olga.give(passkey)
    olga.go_through("/sign-in?next=/admin/console/flagrow/")
    olga.page.wait_for_url("**/admin/console/flagrow/")


def test_a_lost_passkey_is_replaced_by_a_link_and_ends_what_was_open(
    olga: Person, open_person: People
) -> None:
    new = open_person()
    enrol(new)
    assert User.objects.get().recovered_at is not None
    olga.lose()
    olga.go("/admin/")
    olga.page.wait_for_url("**/sign-in?next=%2Fadmin%2F")


def test_a_switch_is_released_with_the_passkey(olga: Person) -> None:
    stop(olga)
    assert StepUpGrant.objects.count() == 0, "stopping needs the session only"
    wish(olga, "active")
    confirm(olga)
    expect(olga.page.get_by_text("Broker:mbt is active")).to_be_visible()
    assert mode() is Mode.ACTIVE
    grant = StepUpGrant.objects.get()
    assert (grant.action, grant.used_at is not None) == ("console.switch.release", True)
    at_once = AuditEntry.objects.filter(
        action__in=("identity.step_up.used", "console.switch.changed")
    ).order_by("id")
    assert [row.action for row in at_once] == [
        "console.switch.changed",
        "identity.step_up.used",
        "console.switch.changed",
    ]


def test_what_was_altered_after_the_confirmation_is_refused(olga: Person) -> None:
    stop(olga)
    wish(olga, "active")
    olga.page.evaluate("document.querySelector('[name=reason]').value = 'another reason'")
    confirm(olga)
    expect(olga.page.get_by_text("Confirm this with your passkey first")).to_be_visible()
    assert mode() is Mode.HALTED
    assert StepUpGrant.objects.get().used_at is None
    expect(olga.page.get_by_text("another reason")).to_be_visible()  # what it would do now is told
    confirm(olga)
    expect(olga.page.get_by_text("Broker:mbt is active")).to_be_visible()
    olga.complaints.clear()  # the browser notes the refusal


def send_without_a_ceremony(person: Person) -> None:
    person.page.evaluate("document.querySelector('form[data-passkey]').submit()")
    expect(person.page.get_by_text("Confirm this with your passkey first")).to_be_visible()


def test_a_confirmation_works_once_and_for_five_minutes(olga: Person) -> None:
    stop(olga)
    wish(olga, "active")
    send_without_a_ceremony(olga)
    # Confirmed, and then left alone for five minutes.
    olga.page.evaluate("HTMLFormElement.prototype.submit = () => {}")
    confirm(olga)
    expect(olga.page.get_by_text("Done.")).to_be_visible()
    StepUpGrant.objects.update(
        granted_at=F("granted_at") - timedelta(seconds=300),
        expires_at=F("expires_at") - timedelta(seconds=300),
    )
    wish(olga, "active")
    send_without_a_ceremony(olga)
    assert mode() is Mode.HALTED
    confirm(olga)
    expect(olga.page.get_by_text("Broker:mbt is active")).to_be_visible()
    stop(olga)
    wish(olga, "active")
    send_without_a_ceremony(olga)  # the same words as before, and their confirmation is used up
    assert mode() is Mode.HALTED
    olga.complaints.clear()


def test_a_device_that_does_not_know_its_user_confirms_nothing(olga: Person) -> None:
    stop(olga)
    wish(olga, "active")
    olga.verified(False)
    confirm(olga)
    expect(olga.page.get_by_text("Canceled, or it took too long.")).to_be_visible()
    assert mode() is Mode.HALTED


def test_a_global_stop_is_released_by_two_passkeys(olga: Person, open_person: People) -> None:
    stop(olga, "global")
    wish(olga, "active", key="global")
    confirm(olga)
    expect(olga.page.get_by_text("Another operator must release it too")).to_be_visible()
    otto = open_person()
    enrol(otto, "otto@example.com")
    wish(otto, "active", key="global")
    expect(otto.page.get_by_text("Its release was asked for")).to_be_visible()
    confirm(otto)
    expect(otto.page.get_by_text("Global is active")).to_be_visible()
    assert mode("global") is Mode.ACTIVE


def test_a_copy_is_downloaded_with_the_passkey(olga: Person) -> None:
    request = data_requests.receive(
        user_id=User.objects.get().pk, kind="access", actor="system:operator-shell", now=clock.now()
    )
    data_requests.run(clock.now())
    olga.go(f"/admin/console/datarequest/set/?what=hand_out&request={request.pk}")
    olga.page.get_by_label("Reason").fill("came to the desk")
    olga.page.get_by_role("button", name="Show the effect").click()
    with olga.page.expect_download() as caught:
        confirm(olga)
    assert caught.value.suggested_filename.startswith("raxx-data-")
    assert DataRequest.objects.get().status == "ready"
    assert AuditEntry.objects.filter(action="console.data_request.exported").count() == 1


def test_without_the_staff_flag_one_is_out_with_the_next_click(olga: Person) -> None:
    olga.lose()
    operators.revoke(email=OLGA, now=clock.now())
    olga.page.get_by_role("link", name="Kill switches").or_(
        olga.page.get_by_role("link", name="Switchs")
    ).first.click()
    olga.page.wait_for_url(re.compile("/sign-in"))


def test_a_customer_is_refused_in_words(open_person: People) -> None:
    alice = open_person()
    sign_up(alice)
    alice.go("/admin/")
    expect(alice.page.get_by_role("heading", name="This is the operators' site")).to_be_visible()
    alice.complaints.clear()  # the browser notes the refusal


def test_an_idle_operator_is_out_and_what_they_wrote_is_not_lost(
    open_person: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STAFF", Lifetime(timedelta(seconds=2), timedelta(hours=12)))
    olga = open_person()
    enrol(olga)
    olga.go(SET + f"?key={PAPER}&mode=halted")
    olga.page.get_by_label("Reason").fill("long thought about")
    olga.page.wait_for_timeout(2_500)
    olga.page.get_by_role("button", name="Show the effect").click()
    expect(olga.page.get_by_role("heading", name="Your session is over")).to_be_visible()
    with olga.page.context.expect_page() as caught:
        olga.page.get_by_role("link", name="Sign in").click()
    other = caught.value
    other.wait_for_url("**/sign-in*")
    address = other.url
    other.goto("about:blank")  # else its own offer of a passkey could sign in while the device is put there
    cdp = other.context.new_cdp_session(other)  # the device, in the other tab too
    cdp.send("WebAuthn.enable", {"enableUI": False})
    device = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": OPTIONS})["authenticatorId"]
    cdp.send("WebAuthn.addCredential", {"authenticatorId": device, "credential": olga.passkeys()[0]})
    monkeypatch.setattr(sessions, "STAFF", Lifetime(timedelta(minutes=30), timedelta(hours=12)))
    other.goto(address, wait_until="commit")
    other.wait_for_url("**/admin/")
    olga.page.get_by_role("button", name="Send it again").click()
    expect(olga.page.get_by_text("long thought about")).to_be_visible()
    olga.page.get_by_role("button", name="Set it").click()
    expect(olga.page.get_by_text("Broker:mbt is halted")).to_be_visible()
    olga.complaints.clear()


def test_a_form_that_took_eleven_minutes_is_taken(olga: Person) -> None:
    stop(olga)
    wish(olga, "active")
    olga.page.context.clear_cookies(name="__Host-raxx")  # as after ten minutes
    confirm(olga)
    expect(olga.page.get_by_text("Broker:mbt is active")).to_be_visible()
    wish(olga, "halted")
    olga.page.context.clear_cookies(name="__Host-raxx")
    olga.page.get_by_role("button", name="Set it").click()
    expect(olga.page.get_by_text("Broker:mbt is halted")).to_be_visible()
    olga.complaints.clear()  # the browser notes that the first token was refused, before it got the next


def test_without_javascript_one_stops_and_is_told_how_to_release(olga: Person, open_person: People) -> None:
    plain = open_person(java_script_enabled=False)
    plain.page.context.add_cookies(olga.page.context.cookies())  # type: ignore[arg-type]  # what it gives it takes
    stop(plain)
    wish(plain, "active")
    expect(plain.page.get_by_text("python manage.py switch release")).to_be_visible()
    expect(plain.page.get_by_role("button", name="Confirm with your passkey")).to_be_disabled()
    assert mode() is Mode.HALTED
    plain.complaints.clear()


def test_valkey_killed_nobody_gets_in_and_stopping_works(server: Server, olga: Person) -> None:
    server.kill()
    olga.go("/admin/")
    expect(olga.page.get_by_text("We cannot check who you are right now.")).to_be_visible()
    olga.page.get_by_role("link", name="stopped").click()
    olga.page.get_by_label("Switch").fill(PAPER)
    olga.page.get_by_label("Mode").select_option("halted")
    olga.page.get_by_label("Reason").fill("everything is down")
    olga.page.get_by_role("button", name="Show the effect").click()
    olga.page.get_by_role("button", name="Set it").click()
    expect(olga.page.get_by_text("Broker:mbt is halted")).to_be_visible()
    assert mode() is Mode.HALTED
    wish(olga, "active")
    confirm(olga)
    expect(olga.page.locator(".status")).to_contain_text("We cannot check who you are right now.")
    assert mode() is Mode.HALTED
    olga.complaints.clear()
    server.start()
    fast_store.breaker.reset()
    set_switch(key=PAPER, mode=Mode.ACTIVE, reason="x", actor="system:operator-shell", now=clock.now())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_small_screens(open_person: People, scheme: str) -> None:
    olga = open_person(viewport={"width": 360, "height": 780}, color_scheme=scheme)
    enrol(olga)
    stop(olga)
    wish(olga, "active")
    assert olga.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(olga.page.locator("[data-without-script]")).to_have_count(0)
    olga.go(SET)
    assert olga.page.evaluate(
        """[...document.querySelectorAll("input:not([type=hidden], [type=submit], [aria-label]), select")]
           .filter(e => !e.labels.length).length"""
    ) == 0  # fmt: skip
