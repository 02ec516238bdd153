"""The pages in real Chromium with real ceremonies, under the product's own server and headers."""

import base64
import http.client
import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from audit.models import AuditEntry
from raxx.identity.models import Passkey, Session, User
from tests.identity.chromium.conftest import Person
from tests.patience import PATIENCE_S

People = Callable[..., Person]
EMAIL = "alice@example.com"


def sign_up(person: Person, email: str = EMAIL) -> list[str]:
    """The recovery codes that were shown."""
    person.go("/sign-up")
    person.page.get_by_label("Email address").fill(email)
    person.page.get_by_role("button", name="Create a passkey").click()
    expect(person.page.get_by_role("heading", name="Passkey saved")).to_be_visible()
    codes = person.page.locator(".codes li").all_inner_texts()
    person.page.get_by_role("link", name="I have kept them").click()
    expect(person.page.get_by_role("heading", name="Your ways in")).to_be_visible()
    return codes


def sign_out(person: Person) -> None:
    person.page.get_by_role("button", name="Sign out", exact=True).click()
    person.page.wait_for_url("**/sign-in")


def press_sign_in(person: Person) -> None:
    person.page.get_by_role("button", name="Sign in with a passkey").click()


def at_home(person: Person) -> None:
    expect(person.page.get_by_role("heading", name="Your ways in")).to_be_visible()


def test_a_newcomer_enrols_and_comes_back(alice: Person) -> None:
    codes = sign_up(alice)
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([A-Z2-7]{4}-){6}[A-Z2-7]{4}", code) for code in codes)
    expect(alice.page.get_by_text("10 codes left.")).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in alice.page.context.cookies()}
    for name in ("__Host-raxx", "__Host-raxx-r"):  # Chromium takes Secure cookies from http://localhost
        cookie = cookies[name]
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
            True,
            True,
            "Strict",
            "/",
        )
    assert "__Host-raxx" not in alice.page.evaluate("document.cookie")
    sign_out(alice)
    at_home(alice)  # the page offered the passkey by itself, and the device said yes


def test_by_keyboard_alone(alice: Person) -> None:
    alice.go("/sign-up")
    keys = alice.page.keyboard
    for _ in range(10):
        keys.press("Tab")
        if alice.page.evaluate("document.activeElement.id") == "email":
            break
    keys.type(EMAIL)
    keys.press("Enter")
    expect(alice.page.get_by_role("heading", name="Passkey saved")).to_be_focused()
    for _ in range(5):
        keys.press("Tab")
        if alice.page.evaluate("document.activeElement.textContent") == "I have kept them":
            break
    keys.press("Enter")
    at_home(alice)


def test_another_browser_with_the_same_passkey(alice: Person, open_person: People) -> None:
    sign_up(alice)
    other = open_person()
    other.give(alice.passkeys()[0])
    other.go_through("/sign-in")
    at_home(other)
    alice.go("/account/sessions")
    expect(alice.page.get_by_role("listitem")).to_have_count(2)
    alice.page.get_by_role("button", name="End this session").click()
    expect(alice.page.get_by_role("listitem")).to_have_count(1)
    other.lose()
    other.go("/account")
    other.page.wait_for_url("**/sign-in")
    other.complaints.clear()  # the browser notes the refusal of the refresh


def test_a_page_picks_the_session_up_again_when_its_token_is_over(alice: Person) -> None:
    sign_up(alice)
    alice.page.context.clear_cookies(name="__Host-raxx")
    alice.go("/account/keys")
    expect(alice.page.get_by_role("heading", name="Make a key")).to_be_visible()


def test_a_key_is_made_with_a_confirmation_and_works(alice: Person) -> None:
    sign_up(alice)
    alice.go("/account/keys")
    alice.page.get_by_label("Name").fill("my bot")
    alice.page.get_by_role("button", name="Make it").click()
    expect(alice.page.get_by_role("heading", name="Your new key")).to_be_focused()
    pair = ":".join(alice.page.locator(f"[data-{part}]").inner_text() for part in ("key-id", "secret"))
    program = http.client.HTTPConnection(alice.site.removeprefix("http://"), timeout=PATIENCE_S)
    basic = "Basic " + base64.b64encode(pair.encode()).decode()
    program.request("GET", "/api/mbt/account", headers={"Authorization": basic})
    assert program.getresponse().status in (200, 404), "404: a person without a paper account"
    program.close()
    alice.page.get_by_role("link", name="I have kept it").click()
    alice.page.get_by_role("button", name="Revoke my bot").click()
    expect(alice.page.get_by_role("cell", name="revoked")).to_be_visible()


def test_a_second_passkey_new_codes_and_the_removal_of_the_first(alice: Person) -> None:
    sign_up(alice)
    alice.go("/account/new-passkey")
    alice.page.get_by_label("What to call it").fill("Phone")
    alice.page.get_by_role("button", name="Create a passkey").click()
    # One device holds one passkey of an account: that is what excludeCredentials is for.
    expect(alice.page.get_by_text("This device has a passkey for this account already.")).to_be_visible()
    phone = alice.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "transport": "usb", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True,
    }})["authenticatorId"]  # fmt: skip
    alice.page.get_by_role("button", name="Create a passkey").click()
    at_home(alice)
    assert alice.cdp.send("WebAuthn.getCredentials", {"authenticatorId": phone})["credentials"]
    expect(alice.page.get_by_role("heading", name="Phone")).to_be_visible()
    alice.page.get_by_role("button", name="Make ten new codes").click()
    expect(alice.page.get_by_role("heading", name="New recovery codes")).to_be_focused()
    alice.go("/account")
    alice.page.get_by_role("button", name="Remove Chrome on Linux").click()
    expect(alice.page.get_by_role("heading", name="Phone")).to_be_visible()
    expect(alice.page.get_by_role("button", name="Remove Chrome on Linux")).to_have_count(0)
    assert Passkey.objects.count() == 1


def test_the_way_back_by_a_code(alice: Person, open_person: People) -> None:
    codes = sign_up(alice)
    new = open_person()
    new.go("/recover")
    new.page.get_by_label("Recovery code").fill(codes[0].lower())
    new.page.get_by_role("button", name="Continue").click()
    new.page.get_by_label("What to call it").fill("New laptop")
    new.go("/account/keys")
    new.page.wait_for_url("**/account/new-passkey")
    new.page.get_by_role("button", name="Create a passkey").click()
    at_home(new)
    assert User.objects.get().recovered_at is not None
    alice.lose()
    alice.go("/account")
    alice.page.wait_for_url("**/sign-in")
    alice.complaints.clear()


# -- forged, replayed and cloned, in Chromium --------------------------------------------------------


def post(page: Page, path: str, body: object) -> dict[str, Any]:
    """What a script of our own page would get."""
    result: dict[str, Any] = page.evaluate(
        """async ([path, body]) => {
            const r = await fetch(path, {method: "POST", body: JSON.stringify(body),
                headers: {"Content-Type": "application/json", "X-Raxx-CSRF": "1"}});
            return {status: r.status, answer: await r.json()};
        }""",
        [path, body],
    )
    return result


def test_a_device_that_does_not_know_its_user_signs_nobody_in(alice: Person) -> None:
    sign_up(alice)
    alice.verified(False)
    sign_out(alice)
    press_sign_in(alice)
    expect(alice.page.get_by_text("Canceled, or it took too long.")).to_be_visible()
    assert Session.objects.filter(revoked_at=None).count() == 0
    # A page that asks for less gets a signature without verification; the server does not take it.
    made = alice.page.evaluate(
        """async () => {
            const r = await fetch("/api/sessions/options", {method: "POST", body: "{}",
                headers: {"Content-Type": "application/json", "X-Raxx-CSRF": "1"}});
            const o = (await r.json()).data.public_key;
            o.userVerification = "discouraged";
            const c = await navigator.credentials.get({publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(o)});
            return c.toJSON();
        }"""
    )
    refused = post(alice.page, "/api/sessions", {"credential": made})
    assert (refused["status"], refused["answer"]["error"]["code"]) == (400, "CEREMONY_REFUSED")
    alice.complaints.clear()


def test_a_recorded_sign_in_does_not_work_twice(alice: Person) -> None:
    sign_up(alice)
    bodies: list[Any] = []
    alice.page.on(
        "request", lambda r: bodies.append(r.post_data_json) if r.url.endswith("/api/sessions") else None
    )
    sign_out(alice)
    at_home(alice)
    refused = post(alice.page, "/api/sessions", bodies[0])
    assert (refused["status"], refused["answer"]["error"]["code"]) == (400, "CEREMONY_REFUSED")
    alice.complaints.clear()


def test_a_cloned_passkey_is_found_out(alice: Person, open_person: People) -> None:
    sign_up(alice)
    copy = alice.passkeys()[0]
    sign_out(alice)
    at_home(alice)
    thief = open_person()
    thief.give(copy | {"signCount": 1})
    thief.go("/sign-in")
    expect(thief.page.get_by_text("That passkey could not be used here.")).to_be_visible()
    assert AuditEntry.objects.filter(action="identity.passkey.suspected").exists()
    thief.complaints.clear()


def test_a_page_of_somebody_else_changes_nothing(alice: Person) -> None:
    sign_up(alice)
    page = alice.page.context.new_page()
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status))
    page.goto("about:blank")
    page.evaluate(
        """async (url) => { try { await fetch(url, {method: "POST", mode: "no-cors", credentials: "include", body: "{}"}); }
           catch (e) {} }""",
        f"{alice.site}/api/sessions/refresh",
    )
    assert 200 not in answers
    page.evaluate("""(url) => { const f = document.createElement("form"); f.method = "post"; f.action = url;
        document.body.append(f); f.submit(); }""", f"{alice.site}/account/sign-out")  # fmt: skip
    page.wait_for_load_state()
    alice.go("/account")
    at_home(alice)


def test_canceling_is_told_apart(alice: Person) -> None:
    alice.verified(False)
    alice.go("/sign-up")
    alice.page.get_by_label("Email address").fill(EMAIL)
    alice.page.get_by_role("button", name="Create a passkey").click()
    expect(alice.page.get_by_text("Canceled, or it took too long.")).to_be_visible()
    assert not User.objects.exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_small_screens_and_both_schemes(open_person: People, scheme: str) -> None:
    alice = open_person(viewport={"width": 360, "height": 780}, color_scheme=scheme)
    sign_up(alice)
    for path in ("/account", "/account/sessions", "/account/keys", "/account/new-passkey", "/recover"):
        alice.go(path)
        assert alice.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        unnamed = alice.page.evaluate(
            """[...document.querySelectorAll("input:not([type=hidden]), select")].filter(e => !e.labels.length).length"""
        )
        assert unnamed == 0, path


def test_a_button_pressed_before_the_script_is_there_waits_for_it(open_person: Callable[..., Person]) -> None:
    person = open_person()
    held: list[Route] = []
    person.page.route("**/passkeys.js", lambda route: held.append(route))
    person.go_through("/sign-up")
    button = person.page.get_by_role("button", name="Create a passkey")
    expect(button).to_be_disabled()
    held[0].continue_()
    expect(button).to_be_enabled()
