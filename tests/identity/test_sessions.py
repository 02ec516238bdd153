"""Sessions from sign-up to sign-out, over HTTP."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from audit.models import AuditEntry
from raxx.identity import tokens
from raxx.identity.models import RefreshToken, Session, StepUpGrant, User
from raxx.identity.services import sessions
from raxx.kernel import clock, valkey
from raxx.kernel.keys import derive
from tests.identity.authenticator import Authenticator
from tests.identity.browser import ACCESS, ORIGIN, REFRESH, Browser, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]


@pytest.fixture
def alice() -> Browser:
    return Browser().sign_up()


def test_sign_up_signs_in_and_shows_the_codes_once(alice: Browser) -> None:
    current = alice.ok("GET", "sessions/current")
    assert (current["email"], current["tier"], current["kind"]) == ("alice@example.com", "free", "full")
    assert current["recovery_codes_left"] == len(set(alice.codes)) == 10
    [passkey] = alice.ok("GET", "passkeys")
    assert (passkey["name"], passkey["synced"]) == ("Chrome on Linux", True)
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == [
        "identity.user.registered", "identity.passkey.enrolled", "identity.recovery_codes.renewed",
        *[a for a in actions if a.startswith("mbt.")], "identity.session.started",
    ]  # fmt: skip


def test_the_cookies_are_as_strict_as_can_be(alice: Browser) -> None:
    for name in (ACCESS, REFRESH):
        cookie = alice.client.cookies[name]
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Strict")
        assert cookie["secure"] is True
        assert cookie["httponly"] is True
    assert alice.client.cookies[ACCESS]["max-age"] == 600
    assert 86_000 < alice.client.cookies[REFRESH]["max-age"] <= 86_400


def test_an_address_has_one_account(alice: Browser) -> None:
    other = Browser()
    options = other.ok("POST", "sessions/sign-up/options", {"email": "ALICE@example.com"})["public_key"]
    response = other.send("POST", "sessions/sign-up", {"credential": other.device.create(options, ORIGIN)})
    problem(response, 409, "EMAIL_TAKEN")
    assert User.objects.count() == 1


def test_signing_in_makes_a_new_session(alice: Browser) -> None:
    before = alice.cookie()
    alice.sign_in()
    assert (
        jwt.decode(before, options={"verify_signature": False})["sid"]
        != (jwt.decode(alice.cookie(), options={"verify_signature": False})["sid"])
    )
    assert alice.is_in


def test_the_session_of_before_ends_when_the_same_browser_signs_in_again(alice: Browser) -> None:
    thief = alice.with_cookies(access=alice.cookie())
    assert thief.is_in
    alice.sign_in()
    assert (alice.is_in, thief.is_in) == (True, False)


def test_failed_ceremonies_get_one_answer_and_no_cookie(alice: Browser) -> None:
    stranger = Browser(device=Authenticator(handle=b"x" * 64, rp_id="localhost"))
    options = stranger.ok("POST", "sessions/options", {})["public_key"]
    unknown = stranger.send("POST", "sessions", {"credential": stranger.device.get(options, ORIGIN)})
    never = Browser().send("POST", "sessions", {"credential": {}})
    problem(unknown, 400, "CEREMONY_REFUSED")
    problem(never, 400, "CEREMONY_REFUSED")
    assert unknown.json()["error"]["message"] == never.json()["error"]["message"]
    assert ACCESS not in unknown.cookies


# -- what a token must be --------------------------------------------------------------------------


def claims_of(access: str) -> dict[str, Any]:
    return dict(jwt.decode(access, options={"verify_signature": False}))


def test_the_token_says_no_more_than_which_session(alice: Browser) -> None:
    assert set(claims_of(alice.cookie())) == {"iss", "aud", "sub", "sid", "gen", "jti", "iat", "exp"}
    header = jwt.get_unverified_header(alice.cookie())
    assert (header["alg"], header["typ"]) == ("HS256", "raxx-at+jwt")
    assert len(claims_of(alice.cookie())["sid"]) == 43  # 256 bits


def forged(
    access: str,
    *,
    key: bytes | None = None,
    algorithm: str = "HS256",
    header: dict[str, Any] | None = None,
    **claims: Any,  # noqa: ANN401
) -> str:
    kid = jwt.get_unverified_header(access)["kid"]
    payload = {name: value for name, value in (claims_of(access) | claims).items() if value is not None}
    headers = {"typ": "raxx-at+jwt", "kid": kid} | (header or {})
    right = derive(f"session-token-{kid}")
    signing: Any = None if algorithm == "none" else key or right
    return jwt.encode(payload, signing, algorithm=algorithm, headers=headers)


BAD_TOKENS: dict[str, dict[str, Any]] = {
    "another key": {"key": b"k" * 32},
    "no signature": {"algorithm": "none"},
    "another algorithm": {"algorithm": "HS512"},
    "no expiry": {"exp": None},
    "expired": {"exp": 1_700_000_000, "iat": 1_699_999_500},
    "issued later": {"iat": 2_000_000_000, "exp": 2_000_000_500},
    "good for a day": {"exp": 4_000_000_000},
    "another issuer": {"iss": "evil"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "raxx-api"},
    "no audience": {"aud": None},
    "no subject": {"sub": None},
    "another subject": {"sub": "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"},
    "subject no id": {"sub": "alice"},
    "no session": {"sid": None},
    "another session": {"sid": "x" * 43},
    "session no text": {"sid": 7},
    "no generation": {"gen": None},
    "generation 0": {"gen": 0},
    "generation 2": {"gen": 2},
    "generation text": {"gen": "1"},
    "generation true": {"gen": True},
    "no token id": {"jti": None},
    "no issue instant": {"iat": None},
    "another type": {"header": {"typ": "JWT"}},
    "no type": {"header": {"typ": ""}},
    "another key id": {"header": {"kid": "1"}},
    "key id a path": {"header": {"kid": "../../dev/null"}},
    "a key of its own": {"header": {"jwk": {"kty": "oct", "k": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}}, "key": b"k" * 32},
    "a key elsewhere": {"header": {"jku": "https://evil.example/keys"}, "key": b"k" * 32},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize("case", BAD_TOKENS)
def test_tokens_refused(case: str, alice: Browser) -> None:
    assert alice.with_cookies(access=forged(alice.cookie())).is_in
    assert not alice.with_cookies(access=forged(alice.cookie(), **BAD_TOKENS[case])).is_in


@pytest.mark.parametrize("value", ["", "x", "a.b.c", "x" * 5_000, "é" * 10])
def test_rubbish_is_no_token(value: str, alice: Browser) -> None:
    assert not alice.with_cookies(access=value).is_in


def test_keys_change_every_ninety_days(alice: Browser) -> None:
    claims = tokens.Claims(User.objects.get().pk, "sid", 1)
    edge = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=90 * 231)
    old = tokens.encode(claims, edge - timedelta(seconds=1))
    assert tokens.decode(old, edge + timedelta(minutes=9)) == claims
    new = tokens.encode(claims, edge)
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    with pytest.raises(tokens.BadToken):
        tokens.decode(old, edge + timedelta(minutes=10, seconds=30))


# -- life and death --------------------------------------------------------------------------------


def test_a_session_ends_when_it_is_not_used_or_its_time_is_up(alice: Browser) -> None:
    [key] = valkey.shared().keys("raxx:sess:*")
    assert 3_590_000 < valkey.shared().pttl(key) <= 3_600_000
    valkey.shared().pexpire(key, 60_000)
    assert alice.is_in
    assert valkey.shared().pttl(key) > 3_590_000, "use begins the idle time anew"
    valkey.shared().hset(key, "until", int(time.time() * 1000) + 30_000)
    assert alice.is_in
    assert valkey.shared().pttl(key) <= 30_000, "but never beyond the absolute end"
    valkey.shared().hset(key, "until", int(time.time() * 1000) - 1)
    assert not alice.is_in


def test_operators_have_less_time(alice: Browser) -> None:
    User.objects.update(is_staff=True)
    alice.sign_in()
    session = Session.objects.latest("created_at")
    assert session.expires_at - session.created_at == timedelta(hours=12)
    times = sorted(valkey.shared().pttl(key) for key in valkey.shared().keys("raxx:sess:*"))
    assert 1_790_000 < times[0] <= 1_800_000


@pytest.mark.parametrize("end", ["revoked", "expired", "inactive"])
def test_postgresql_alone_can_say_no(end: str, alice: Browser) -> None:
    """As where a paused Valkey has kept a row that should be gone."""
    now = clock.now()
    if end == "revoked":
        Session.objects.update(revoked_at=now)
    elif end == "expired":
        Session.objects.update(created_at=now - timedelta(days=2), expires_at=now - timedelta(seconds=1))
    else:
        User.objects.update(is_active=False)
    assert not alice.is_in
    problem(alice.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")


def test_valkey_alone_can_say_no(alice: Browser) -> None:
    valkey.shared().flushdb()
    assert not alice.is_in
    problem(alice.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")


@pytest.mark.django_db(transaction=False)
def test_sign_out(alice: Browser, django_capture_on_commit_callbacks: Any) -> None:  # noqa: ANN401
    thief = alice.with_cookies(access=alice.cookie(), refresh=alice.cookie(REFRESH))
    with django_capture_on_commit_callbacks(execute=True):
        response = alice.send("DELETE", "sessions/current")
    assert response.status_code == 200
    assert response.cookies[ACCESS]["max-age"] == response.cookies[REFRESH]["max-age"] == 0
    assert not thief.is_in
    problem(thief.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")
    assert not valkey.shared().keys("raxx:sess:*")


def test_sessions_are_listed_and_ended(alice: Browser) -> None:
    tablet, phone = alice.elsewhere(), alice.elsewhere()
    rows = alice.ok("GET", "sessions")
    assert [row["current"] for row in rows] == [False, False, True]
    assert {row["label"] for row in rows} == {"Chrome on Linux"}
    assert alice.send("DELETE", f"sessions/{rows[1]['id']}").status_code == 200
    assert (tablet.is_in, phone.is_in, alice.is_in) == (False, True, True)
    assert alice.ok("DELETE", "sessions") == {"ended": 1}
    assert (phone.is_in, alice.is_in) == (False, True)
    reasons = AuditEntry.objects.filter(action="identity.session.revoked").values_list("reason", flat=True)
    assert set(reasons) == {"revoked by the user"}


def test_somebody_else_s_session_does_not_exist(alice: Browser) -> None:
    bob = Browser().sign_up("bob@example.com")
    [hers] = alice.ok("GET", "sessions")
    foreign = bob.send("DELETE", f"sessions/{hers['id']}", x_request_id="the-same-1")
    unknown = bob.send("DELETE", "sessions/018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f", x_request_id="the-same-1")
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert alice.is_in


# -- refresh ---------------------------------------------------------------------------------------


def test_a_refresh_token_is_good_once(alice: Browser) -> None:
    first = alice.cookie(REFRESH)
    alice.ok("POST", "sessions/refresh", {})
    assert alice.cookie(REFRESH) != first
    assert alice.is_in
    assert first.split(".")[1] not in str(list(RefreshToken.objects.values())), "kept as a hash"


def test_a_tab_that_came_at_the_same_time_stays_in_but_gets_no_refresh_token(alice: Browser) -> None:
    tab = alice.with_cookies(refresh=alice.cookie(REFRESH))
    alice.ok("POST", "sessions/refresh", {})
    late = tab.send("POST", "sessions/refresh", {})
    assert late.status_code == 200
    assert (ACCESS in late.cookies, REFRESH in late.cookies) == (True, False)
    assert tab.is_in


def test_reuse_ends_the_session(alice: Browser) -> None:
    thief = alice.with_cookies(refresh=alice.cookie(REFRESH))
    alice.ok("POST", "sessions/refresh", {})
    RefreshToken.objects.exclude(used_at=None).update(used_at=clock.now() - sessions.REFRESH_GRACE * 1.1)
    problem(thief.send("POST", "sessions/refresh", {}), 401, "SESSION_ENDED")
    assert not alice.is_in
    problem(alice.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")
    assert AuditEntry.objects.filter(action="identity.session.refresh_reused").count() == 1


def test_refreshing_is_limited_by_session(alice: Browser) -> None:
    codes = [alice.send("POST", "sessions/refresh", {}).status_code for _ in range(21)]
    assert codes == [200] * 20 + [429]
    bob = Browser().sign_up("bob@example.com")
    assert bob.send("POST", "sessions/refresh", {}).status_code == 200


@pytest.mark.parametrize("value", ["", ".", "x", "a.b", "x" * 200 + "." + "y" * 200])
def test_rubbish_is_no_refresh_token(value: str, alice: Browser) -> None:
    problem(alice.with_cookies(refresh=value).send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")


def test_one_s_own_token_with_another_s_session(alice: Browser) -> None:
    bob = Browser().sign_up("bob@example.com")
    mixed = alice.cookie(REFRESH).split(".")[0] + "." + bob.cookie(REFRESH).split(".")[1]
    problem(
        Browser().with_cookies(refresh=mixed).send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID"
    )


# -- step-up ---------------------------------------------------------------------------------------

KEY = {"name": "bot", "scopes": ["paper:trade"]}


def test_a_key_needs_a_confirmation_that_fits_exactly(alice: Browser) -> None:
    details = problem(alice.send("POST", "keys", KEY), 403, "STEP_UP_REQUIRED")
    assert details["action"] == "identity.api_key.issue"
    alice.confirm("identity.api_key.issue", KEY)
    for changed in (
        KEY | {"name": "bot2"},
        KEY | {"scopes": ["paper:read"]},
        KEY | {"expires_at": "2030-01-01T00:00:00Z"},
    ):
        problem(alice.send("POST", "keys", changed), 403, "STEP_UP_REQUIRED")
    made = alice.ok("POST", "keys", KEY)
    assert set(made) == {"key_id", "secret"}
    problem(alice.send("POST", "keys", KEY), 403, "STEP_UP_REQUIRED")
    assert AuditEntry.objects.filter(action="identity.step_up.used").count() == 1


def test_a_confirmation_outlives_a_request_that_failed(alice: Browser) -> None:
    wrong = KEY | {"expires_at": "2001-01-01T00:00:00Z"}
    alice.confirm("identity.api_key.issue", wrong)
    problem(alice.send("POST", "keys", wrong), 422, "INVALID_INPUT")
    assert StepUpGrant.objects.get().used_at is None


def test_a_confirmation_is_the_session_s_own_and_short(alice: Browser) -> None:
    alice.confirm("identity.api_key.issue", KEY)
    problem(alice.elsewhere().send("POST", "keys", KEY), 403, "STEP_UP_REQUIRED")
    past = clock.now() - timedelta(seconds=301)
    StepUpGrant.objects.update(granted_at=past, expires_at=past + timedelta(seconds=300))
    problem(alice.send("POST", "keys", KEY), 403, "STEP_UP_REQUIRED")


def test_a_confirmation_begins_a_new_generation(alice: Browser) -> None:
    thief = alice.with_cookies(access=alice.cookie())
    assert thief.is_in
    alice.confirm("identity.passkey.add")
    assert claims_of(alice.cookie())["gen"] == 2
    assert (alice.is_in, thief.is_in) == (True, False)


def test_unknown_actions_are_not_confirmed(alice: Browser) -> None:
    wish = {"action": "identity.nothing", "parameters": {}}
    problem(alice.send("POST", "sessions/step-up/options", wish), 422, "INVALID_INPUT")


def test_the_database_knows_no_long_grants(alice: Browser) -> None:
    from django.db import IntegrityError

    alice.confirm("identity.passkey.add")
    with pytest.raises(IntegrityError, match="step_up_is_short"):
        StepUpGrant.objects.update(expires_at=clock.now() + timedelta(seconds=400))


# -- passkeys, codes, recovery ---------------------------------------------------------------------


def add_passkey(browser: Browser, device: Authenticator, name: str = "phone") -> Any:  # noqa: ANN401
    options = browser.ok("POST", "passkeys/options", {})["public_key"]
    return browser.ok("POST", "passkeys", {"credential": device.create(options, ORIGIN), "name": name})


def test_a_second_passkey_and_the_removal_of_the_first(alice: Browser) -> None:
    problem(alice.send("POST", "passkeys/options", {}), 403, "STEP_UP_REQUIRED")
    alice.confirm("identity.passkey.add")
    phone = Authenticator()
    add_passkey(alice, phone)
    [first, second] = alice.ok("GET", "passkeys")
    assert alice.ok("PATCH", f"passkeys/{second['id']}", {"name": "My phone"})["name"] == "My phone"
    problem(alice.send("DELETE", f"passkeys/{first['id']}"), 403, "STEP_UP_REQUIRED")
    alice.confirm("identity.passkey.remove", {"passkey": first["id"]})
    problem(alice.send("DELETE", f"passkeys/{second['id']}"), 403, "STEP_UP_REQUIRED")
    assert alice.send("DELETE", f"passkeys/{first['id']}").status_code == 200
    assert Browser(device=phone).sign_in().is_in
    options = alice.ok("POST", "sessions/options", {})["public_key"]
    problem(
        alice.send("POST", "sessions", {"credential": alice.device.get(options, ORIGIN)}),
        400,
        "CEREMONY_REFUSED",
    )


def test_the_last_passkey_stays_without_codes(alice: Browser) -> None:
    [only] = alice.ok("GET", "passkeys")
    User.objects.get().recovery_codes.update(used_at=clock.now())
    alice.confirm("identity.passkey.remove", {"passkey": only["id"]})
    problem(alice.send("DELETE", f"passkeys/{only['id']}"), 409, "LAST_PASSKEY")
    assert alice.ok("GET", "passkeys")


def test_new_codes_kill_the_old_ones(alice: Browser) -> None:
    alice.confirm("identity.recovery_codes.renew")
    codes = alice.ok("POST", "recovery-codes", {})["recovery_codes"]
    assert alice.ok("GET", "recovery-codes") == {"left": 10}
    problem(Browser().send("POST", "sessions/recovery", {"code": alice.codes[0]}), 400, "RECOVERY_REFUSED")
    Browser().ok("POST", "sessions/recovery", {"code": codes[0].lower().replace("-", " ")})
    assert alice.ok("GET", "recovery-codes") == {"left": 9}


def test_the_way_back(alice: Browser) -> None:
    lost, new = alice, Browser()
    new.ok("POST", "sessions/recovery", {"code": alice.codes[3]})
    problem(Browser().send("POST", "sessions/recovery", {"code": alice.codes[3]}), 400, "RECOVERY_REFUSED")
    assert new.ok("GET", "sessions/current")["kind"] == "recovery"
    assert REFRESH not in new.client.cookies
    for method, path, body in [
        ("GET", "sessions", None), ("DELETE", "sessions", None), ("GET", "keys", None), ("POST", "keys", KEY),
        ("POST", "recovery-codes", {}), ("POST", "sessions/step-up/options", {"action": "identity.passkey.add", "parameters": {}}),
        ("GET", "mbt/account", None), ("POST", "mbt/orders", {}), ("DELETE", "mbt/positions", None),
    ]:  # fmt: skip
        problem(new.send(method, path, body), 403, "FORBIDDEN")
    add_passkey(new, new.device, "new laptop")
    assert not new.is_in, "one signs in with the new passkey"
    assert not lost.is_in, "and whoever has the old device is out"
    assert new.sign_in().is_in
    user = User.objects.get()
    assert user.recovered_at is not None
    assert len(new.ok("GET", "passkeys")) == 2
    assert AuditEntry.objects.filter(action="identity.user.recovered").count() == 1


@pytest.mark.parametrize("code", ["A", "AAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", "a" * 100])
def test_wrong_codes(code: str, alice: Browser) -> None:
    problem(Browser().send("POST", "sessions/recovery", {"code": code}), 400, "RECOVERY_REFUSED")


# -- API keys and sessions side by side --------------------------------------------------------------


def test_keys_open_the_trading_api_and_nothing_of_identity(alice: Browser) -> None:
    import base64

    alice.confirm("identity.api_key.issue", KEY)
    made = alice.ok("POST", "keys", KEY)
    basic = "Basic " + base64.b64encode(f"{made['key_id']}:{made['secret']}".encode()).decode()
    program = Browser()
    assert program.send("GET", "mbt/account", authorization=basic).status_code in (200, 404)
    for path in ("sessions", "sessions/current", "passkeys", "keys", "recovery-codes"):
        problem(program.send("GET", path, authorization=basic), 401, "NOT_AUTHENTICATED")
    # Beside a key cookies mean nothing, so a wrong key is not saved by a right cookie.
    problem(alice.send("GET", "mbt/account", authorization="Basic eDp5"), 401, "INVALID_CREDENTIALS")
    problem(alice.send("GET", "mbt/account", authorization="Bearer x"), 401, "NOT_AUTHENTICATED")
    assert alice.send("GET", "mbt/account").status_code in (200, 404)
    assert alice.ok("DELETE", f"keys/{made['key_id']}") == {"ended": 1}
    problem(program.send("GET", "mbt/account", authorization=basic), 401, "INVALID_CREDENTIALS")
    problem(alice.send("DELETE", "keys/RXAAAAAAAAAAAAAAAAAA"), 404, "NOT_FOUND")


# -- CSRF ------------------------------------------------------------------------------------------

HEADERS_REFUSED: dict[str, dict[str, str | None]] = {
    "no header of our own": {"x_raxx_csrf": None},
    "a wrong header of our own": {"x_raxx_csrf": "yes"},
    "another origin": {"origin": "https://evil.example"},
    "another port": {"origin": "http://localhost:81"},
    "origin null": {"origin": "null"},
    "another site": {"sec_fetch_site": "cross-site"},
    "a sister site": {"sec_fetch_site": "same-site"},
    "typed by hand": {"sec_fetch_site": "none"},
    "neither origin nor site": {"origin": None, "sec_fetch_site": None},
    "a form": {"content_type": "application/x-www-form-urlencoded"},
    "plain text": {"content_type": "text/plain"},
    "no type": {"content_type": None},
}


@pytest.mark.parametrize("case", HEADERS_REFUSED)
@pytest.mark.parametrize(
    "path", ["sessions/options", "sessions/refresh", "sessions/step-up/options", "keys", "mbt/orders"]
)
def test_writes_of_other_sites_are_refused(case: str, path: str, alice: Browser) -> None:
    problem(alice.send("POST", path, {}, **HEADERS_REFUSED[case]), 403, "CSRF_REFUSED")


def test_either_of_origin_and_site_is_enough(alice: Browser) -> None:
    assert alice.send("POST", "sessions/options", {}, origin=None).status_code == 200
    assert alice.send("POST", "sessions/options", {}, sec_fetch_site=None).status_code == 200
    assert alice.send("DELETE", "sessions", content_type=None).status_code == 200


def test_a_page_elsewhere_reads_nothing(alice: Browser) -> None:
    response = alice.send(
        "GET", "sessions/current", origin="https://evil.example", sec_fetch_site="cross-site"
    )
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    assert response["Cache-Control"] == "no-store"


def test_passkeys_belong_to_a_name(alice: Browser) -> None:
    stray = Browser()
    stray.client.defaults["SERVER_NAME"] = "127.0.0.1"
    problem(stray.send("POST", "sessions/options", {}, origin="http://127.0.0.1"), 421, "NOT_AT_HOME")
