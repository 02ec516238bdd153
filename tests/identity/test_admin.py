import pytest
from django.test import Client

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from raxx.identity.models import ApiKey, User
from raxx.identity.services.api_keys import IssuedKey, issue
from raxx.identity.services.users import register
from raxx.kernel import clock
from tests.operators import let_in, operator

KEYS, USERS = "/admin/identity/apikey/", "/admin/identity/user/"


@pytest.fixture
def alice(db: None) -> User:
    return register(email="alice@example.com", now=clock.now())


@pytest.fixture
def key(alice: User) -> IssuedKey:
    return issue(user=alice, name="my bot", scopes=["paper:trade"], now=clock.now())


@pytest.fixture
def olga(db: None) -> User:
    return User.objects.create_user(email="olga@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(olga: User, valkey_url: str) -> Client:
    return let_in(Client(), olga)


def test_keys_are_shown_without_their_hashes(browser: Client, key: IssuedKey) -> None:
    row = ApiKey.objects.get()
    for page in (KEYS, f"{KEYS}{row.pk}/change/"):
        html = browser.get(page).content.decode()
        assert key.key_id in html
        assert bytes(row.secret_hash).hex() not in html
        assert "secret_hash" not in html
    assert browser.get(KEYS, {"q": key.key_id}).status_code == 200


def test_a_key_is_revoked_with_a_reason(browser: Client, olga: User, key: IssuedKey) -> None:
    row = ApiKey.objects.get()
    order = {"action": "revoke", "_selected_action": str(row.pk)}
    assert b"give a reason" in browser.post(KEYS, order, follow=True).content
    row.refresh_from_db()
    assert row.revoked_at is None

    assert b"1 revoked" in browser.post(KEYS, {**order, "reason": "leaked"}, follow=True).content
    row.refresh_from_db()
    assert row.revoked_at is not None
    entry = AuditEntry.objects.get(action="identity.api_key.revoked")
    assert (entry.actor_ref, entry.reason) == (actor_ref_for(olga.pk), "leaked")
    assert b"0 revoked" in browser.post(KEYS, {**order, "reason": "again"}, follow=True).content


def test_users_are_read_only(browser: Client, alice: User) -> None:
    assert b"alice@example.com" in browser.get(USERS, {"q": "alice"}).content
    page = f"{USERS}{alice.pk}/"
    assert browser.get(page + "change/").status_code == 200
    assert browser.post(page + "change/", {"is_staff": "on"}).status_code == 403
    assert browser.post(page + "delete/", {"post": "yes"}).status_code == 403
    assert browser.get(USERS + "add/").status_code == 403
    alice.refresh_from_db()
    assert not alice.is_staff


def test_staff_without_the_permission_cannot_revoke(key: IssuedKey) -> None:
    browser = let_in(Client(), operator("stan@example.com", is_superuser=False))
    row = ApiKey.objects.get()
    browser.post(KEYS, {"action": "revoke", "_selected_action": str(row.pk), "reason": "because"})
    row.refresh_from_db()
    assert row.revoked_at is None
