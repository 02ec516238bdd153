"""The pages without a browser: who may see them, and what works without script."""

from datetime import timedelta

import pytest
from django.db.models import F
from pytest_django import Settings

from raxx.identity import checks
from raxx.identity.models import ApiKey, Passkey, RefreshToken, Session, User
from raxx.identity.services import api_keys
from raxx.kernel import clock
from tests.identity.browser import ACCESS, Browser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]
PRIVATE = ("/account", "/account/sessions", "/account/keys", "/account/new-passkey")
PUBLIC = ("/sign-up", "/sign-in", "/recover")


@pytest.fixture
def alice() -> Browser:
    return Browser().sign_up()


def test_who_is_not_signed_in_is_sent_to_sign_in(alice: Browser) -> None:
    for path in PRIVATE:
        answer = Browser().client.get(path)
        assert (answer.status_code, answer["Location"]) == (302, "/sign-in"), path
        assert alice.client.get(path).status_code == 200, path
    for path in PUBLIC:
        assert Browser().client.get(path).status_code == 200, path


def test_a_token_that_is_over_is_asked_for_again_by_the_page(alice: Browser) -> None:
    del alice.client.cookies[ACCESS]
    answer = alice.client.get("/account")
    assert (answer.status_code, b"data-continue" in answer.content) == (200, True)


def test_nothing_is_inline(alice: Browser) -> None:
    for path in (*PRIVATE, *PUBLIC):
        text = alice.client.get(path).content.decode()
        assert "<script>" not in text
        assert " style=" not in text
        assert " onclick" not in text
        assert "https://" not in text, "no third party"


def test_get_changes_nothing(alice: Browser) -> None:
    session = Session.objects.get()
    for path in ("/account/sign-out", "/account/sessions/end-others", f"/account/sessions/{session.pk}/end"):
        assert alice.client.get(path).status_code == 405, path
    assert alice.is_in


def test_forms_need_the_token_of_their_page(alice: Browser) -> None:
    alice.client.handler.enforce_csrf_checks = True
    assert alice.client.post("/account/sign-out", headers={"origin": "http://localhost"}).status_code == 403
    page = alice.client.get("/account").content.decode()
    token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
    form = {"csrfmiddlewaretoken": token}
    assert (
        alice.client.post("/account/sign-out", form, headers={"origin": "https://evil.example"}).status_code
        == 403
    )
    assert alice.is_in
    assert (
        alice.client.post("/account/sign-out", form, headers={"origin": "http://localhost"}).status_code
        == 302
    )
    assert not alice.is_in


def test_ending_revoking_and_renaming_without_script(alice: Browser) -> None:
    other, third = alice.elsewhere(), alice.elsewhere()
    theirs = Session.objects.order_by("-created_at")[0]
    alice.client.post(f"/account/sessions/{theirs.pk}/end")
    assert (other.is_in, third.is_in) == (True, False)
    alice.client.post("/account/sessions/end-others")
    assert (alice.is_in, other.is_in) == (True, False)
    user = User.objects.get()
    key = api_keys.issue(user=user, name="<b>bot</b>", scopes=["paper:read"], now=clock.now())
    assert b"&lt;b&gt;bot" in alice.client.get("/account/keys").content
    bob = Browser().sign_up("bob@example.com")
    bob.client.post(f"/account/keys/{key.key_id}/revoke")
    assert ApiKey.objects.get().revoked_at is None
    alice.client.post(f"/account/keys/{key.key_id}/revoke")
    assert ApiKey.objects.get().revoked_at is not None
    passkey = Passkey.objects.get(user=user)
    alice.client.post(f"/account/passkeys/{passkey.pk}/rename", {"name": "Laptop"})
    assert alice.client.post(f"/account/passkeys/{passkey.pk}/rename", {"name": "\u202e"}).status_code == 422
    assert bob.client.post(f"/account/passkeys/{passkey.pk}/rename", {"name": "mine"}).status_code == 404
    passkey.refresh_from_db()
    assert passkey.name == "Laptop"


def test_a_recovery_session_sees_one_page(alice: Browser) -> None:
    new = Browser()
    new.ok("POST", "sessions/recovery", {"code": alice.codes[0]})
    for path in PRIVATE[:3]:
        assert new.client.get(path)["Location"] == "/account/new-passkey"
    assert b"15 minutes" in new.client.get("/account/new-passkey").content


def test_sessions_that_were_over_long_ago_are_forgotten(alice: Browser) -> None:
    alice.elsewhere()
    old = Session.objects.earliest("created_at")
    Session.objects.filter(pk=old.pk).update(
        created_at=F("created_at") - timedelta(days=40), expires_at=F("expires_at") - timedelta(days=40)
    )
    assert checks._purge_sessions(clock.now(), False) == 1
    assert checks._purge_sessions(clock.now(), True) == 1
    assert Session.objects.count() == RefreshToken.objects.count() == 1


@pytest.mark.parametrize(
    ("origins", "tls", "fine"),
    [((), False, True), ((), True, False), (("https://raxx.example",), True, True), (("http://raxx.example",), True, False),
     (("https://raxx.example/",), True, False)],
)  # fmt: skip
def test_the_doctor_asks_what_name_passkeys_belong_to(
    settings: Settings, origins: tuple[str, ...], tls: bool, fine: bool
) -> None:
    settings.RAXX_ORIGINS, settings.SECURE_SSL_REDIRECT = origins, tls
    found = checks.origins_are_named(clock.now())
    assert (found.remedy == "") == fine
    assert fine or "RAXX_ORIGINS" in found.remedy
