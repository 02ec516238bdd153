"""Who gets into the operator site, who does not, and what happens to what they entered."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client

from audit.models import AuditEntry
from console import operators, switches
from console.services import operators as operator_services
from console.switches import PAPER, Mode
from raxx.identity import checks, fast_store, live_sessions
from raxx.identity.models import RefreshToken, Session, User
from raxx.identity.services import sessions
from raxx.kernel import clock
from raxx.kernel.registry import Registry
from tests.identity.browser import ACCESS, REFRESH, Browser
from tests.identity.test_outages import Server, quick
from tests.operators import enrolled, let_in, operator

SET = "/admin/console/switch/set/"
HALT = {"key": PAPER, "mode": "halted", "reason": "data is stale", "until": "", "confirmed": "yes"}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]


@pytest.fixture
def olga() -> User:
    return operator()


@pytest.fixture
def browser(olga: User) -> Client:
    return let_in(Client(), olga)


def mode() -> Mode:
    return switches.read([PAPER]).mode


# -- getting in ------------------------------------------------------------------------------------


def test_a_stranger_is_led_to_where_everybody_signs_in_and_back() -> None:
    page = Client().get("/admin/console/switch/?mode=halted", follow=True)
    assert [address for address, _ in page.redirect_chain] == [
        "/admin/login/?next=%2Fadmin%2Fconsole%2Fswitch%2F%3Fmode%3Dhalted",
        "/sign-in?next=%2Fadmin%2Fconsole%2Fswitch%2F%3Fmode%3Dhalted",
    ]
    assert b'data-then="/admin/console/switch/?mode=halted"' in page.content
    assert (
        Client().post("/admin/login/", {"username": "olga@example.com", "password": "x"}).status_code == 405
    )


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "admin", ""],
)
def test_nobody_is_led_to_somebody_else_s_page(elsewhere: str) -> None:
    assert b'data-then="/account"' in Client().get("/sign-in", {"next": elsewhere}).content
    assert Client().get("/admin/login/", {"next": elsewhere})["Location"] == "/sign-in?next=%2Fadmin%2F"


def test_an_operator_is_in_and_goes_straight_to_where_they_were(browser: Client) -> None:
    assert b"olga@example.com" in browser.get("/admin/").content
    assert browser.get("/admin/login/", {"next": SET})["Location"] == SET
    assert browser.get("/admin/login/", {"next": "/account"})["Location"] == "/admin/"


def test_a_customer_is_refused_in_words_and_not_led_in_circles() -> None:
    browser = Browser().sign_up().client
    for path in ("/admin/", "/admin/login/?next=/admin/", SET):
        page = browser.get(path)
        assert page.status_code == 403, path
        assert b"your account is not an operator" in page.content
        assert b"Kill switches" not in page.content
    assert browser.post(SET, HALT).status_code == 403
    assert mode() is Mode.ACTIVE
    assert browser.post("/admin/logout/")["Location"] == "/sign-in?next=%2Fadmin%2F"
    assert browser.get("/admin/").status_code == 302


def test_who_became_an_operator_meanwhile_signs_in_anew_for_a_shorter_session() -> None:
    alice = Browser().sign_up()
    User.objects.update(is_staff=True, is_superuser=True)
    assert alice.client.get("/admin/").status_code == 302
    assert alice.sign_in().client.get("/admin/").status_code == 200
    row = Session.objects.latest("created_at")
    assert row.expires_at - row.created_at == timedelta(hours=12)


def test_where_nothing_is_registered_nobody_gets_in(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "_registered", Registry[operators.Entrance]("none"))
    for path in ("/admin/", "/admin/login/", SET):
        page = browser.get(path)
        assert (page.status_code, b"Nobody can enter" in page.content) == (503, True), path
    assert browser.post(SET, HALT).status_code == 503
    assert mode() is Mode.ACTIVE


def test_two_entrances_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="twice"):
        operators.register(operators.entrance())


def test_there_is_no_password_to_change(browser: Client) -> None:
    for path in ("/admin/password_change/", "/admin/password_change/done/"):
        assert browser.get(path).status_code == browser.post(path, {"new_password1": "x"}).status_code == 404


def test_the_doctor_names_operators_who_cannot_sign_in(olga: User) -> None:
    found = checks.operators_can_sign_in(clock.now())
    assert found.message == "1 cannot sign in: no passkey"
    assert "operator_link" in found.remedy
    enrolled(olga)
    assert checks.operators_can_sign_in(clock.now()).remedy == ""


# -- getting out -----------------------------------------------------------------------------------


def test_signing_out_ends_the_session(browser: Client) -> None:
    stolen = Client()
    stolen.cookies[ACCESS] = browser.cookies[ACCESS].value
    assert b'action="/admin/logout/"' in browser.get("/admin/").content
    assert browser.get("/admin/logout/").status_code == 405
    assert browser.post("/admin/logout/").status_code == 302
    assert browser.cookies[ACCESS].value == ""
    assert stolen.get("/admin/").status_code == 302
    assert Session.objects.get().revoked_why == "signed out"
    assert Client().post("/admin/logout/").status_code == 302


def test_other_sites_cannot_sign_an_operator_out(browser: Client) -> None:
    browser.handler.enforce_csrf_checks = True
    assert browser.post("/admin/logout/").status_code == 403
    assert browser.get("/admin/").status_code == 200


def test_without_the_staff_flag_one_is_out_with_the_next_request(browser: Client) -> None:
    assert browser.get("/admin/").status_code == 200
    User.objects.update(is_staff=False)
    assert browser.get("/admin/").status_code == 403
    assert browser.post(SET, HALT).status_code == 403
    User.objects.update(is_staff=True, is_active=False)
    assert browser.get("/admin/").status_code == 302
    assert mode() is Mode.ACTIVE


def test_revoking_an_operator_ends_their_sessions_and_links(olga: User) -> None:
    one, other = let_in(Client(), olga), let_in(Client(), olga)
    assert operator_services.revoke(email="OLGA@example.com", reason="left", now=clock.now()) == 2
    olga.refresh_from_db()
    assert (olga.is_staff, olga.is_superuser) == (False, False)
    assert [each.get("/admin/").status_code for each in (one, other)] == [302, 302]
    entry = AuditEntry.objects.get(action="console.operator.revoked")
    assert (entry.actor_ref, entry.reason) == ("system:operator-shell", "left")
    with pytest.raises(operator_services.NotAnOperator):
        operator_services.revoke(email="olga@example.com", now=clock.now())


def test_idle_and_absolute_ends_are_those_of_operators(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Session.objects.get()
    held = fast_store.ask(lambda valkey: valkey.pttl(live_sessions._key(bytes(row.sid_hash))))
    assert 29 * 60_000 < int(str(held)) <= 30 * 60_000
    assert row.expires_at - row.created_at == timedelta(hours=12)
    fast_store.ask(
        lambda valkey: valkey.delete(live_sessions._key(bytes(row.sid_hash)))
    )  # half an hour later
    assert browser.get("/admin/").status_code == 302
    assert browser.post(SET, HALT).status_code == 401
    assert mode() is Mode.ACTIVE


# -- ten minutes, tabs, and what was entered -------------------------------------------------------


def test_a_form_that_took_eleven_minutes_is_taken_and_the_session_renewed(browser: Client) -> None:
    before = browser.cookies[REFRESH].value
    del browser.cookies[ACCESS]  # as browsers do after ten minutes
    done = browser.post(SET, HALT)
    assert (done.status_code, mode()) == (302, Mode.HALTED)
    assert browser.cookies[ACCESS].value
    assert browser.cookies[REFRESH].value != before
    assert RefreshToken.objects.filter(used_at=None).count() == 1
    assert browser.get("/admin/").status_code == 200


def test_two_tabs_at_once_share_the_renewal_and_a_late_copy_ends_it_all(browser: Client) -> None:
    copy = browser.cookies[REFRESH].value
    del browser.cookies[ACCESS]
    other = Client()
    other.cookies[REFRESH] = copy
    assert browser.get("/admin/").status_code == 200
    assert (
        other.get("/admin/").status_code == 200
    )  # within ten seconds: in, without a refresh token of its own
    assert other.cookies[REFRESH].value == copy
    RefreshToken.objects.filter(used_at__isnull=False).update(used_at=clock.now() - timedelta(seconds=11))
    thief = Client()
    thief.cookies[REFRESH] = copy
    assert thief.get("/admin/").status_code == 302
    assert [each.get("/admin/").status_code for each in (browser, other)] == [302, 302]
    assert AuditEntry.objects.filter(action="identity.session.refresh_reused").count() == 1


def test_a_renewal_reaches_the_browser_whatever_becomes_of_the_request(olga: User, browser: Client) -> None:
    User.objects.update(is_staff=False)
    for path, status in (("/admin/", 403), ("/admin/no/such/page/", 403)):
        del browser.cookies[ACCESS]
        before = browser.cookies[REFRESH].value
        assert browser.get(path).status_code == status
        assert browser.cookies[REFRESH].value != before


def fields(page: bytes) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.decode())
    return {name: value for name, value in found if name != "csrfmiddlewaretoken"}


def test_what_was_entered_is_kept_when_the_session_is_over(olga: User, browser: Client) -> None:
    sessions.revoke_all(user_id=olga.pk, now=clock.now())
    wish = {**HALT, "reason": 'say "so" & <b>'}
    page = browser.post(SET + "?from=list", wish)
    assert page.status_code == 401
    assert mode() is Mode.ACTIVE
    for part in (
        b"Your session is over",
        b"Send it again",
        b'action="/admin/console/switch/set/?from=list"',
        b"&lt;b&gt;",
    ):
        assert part in page.content
    let_in(browser, olga)  # in another tab
    again = {name: value.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
             for name, value in fields(page.content).items()}  # fmt: skip
    assert again == wish
    assert browser.post(SET, again).status_code == 302
    assert mode() is Mode.HALTED


def test_a_page_of_somebody_else_cannot_have_its_fields_shown() -> None:
    page = Client(enforce_csrf_checks=True).post(SET, HALT, headers={"origin": "https://evil.example"})
    assert page.status_code == 403
    assert b"data is stale" not in page.content


# -- without Valkey --------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, settings: object) -> Iterator[Server]:
    server = Server(Path(tmp_path_factory.mktemp("v")))
    settings.REDIS_URL = f"unix://{server.socket}"  # type: ignore[attr-defined]
    yield server
    server.go_on()
    server.kill()
    fast_store.breaker.reset()


@pytest.mark.parametrize("token", ["fresh", "over"])
@pytest.mark.parametrize("how", ["killed", "paused"])
def test_without_valkey_nobody_gets_in_but_stopping_works(server: Server, how: str, token: str) -> None:
    person = enrolled(operator())
    browser = person.client
    browser.post(SET, {**HALT, "mode": "reducing"})
    person.confirm("console.switch.release", {**HALT, "mode": "active"})
    if token == "over":
        del browser.cookies[ACCESS]
    server.kill() if how == "killed" else server.pause()
    for path in ("/admin/", "/admin/console/switch/", "/admin/login/", "/admin/console/flagrow/set/"):
        page = quick(lambda path=path: browser.get(path))  # type: ignore[misc]
        assert page.status_code == 503, path
        assert int(page["Retry-After"]) >= 1
        assert SET.encode() in page.content
    kept = browser.post("/admin/console/flagrow/set/", {"reason": "long thought about"})
    assert (kept.status_code, b"long thought about" in kept.content) == (503, True)

    assert b"Show the effect" in quick(lambda: browser.get(SET)).content
    shown = quick(lambda: browser.post(SET, {name: HALT[name] for name in ("key", "mode", "reason")}))
    assert b"No orders are taken" in shown.content
    done = quick(lambda: browser.post(SET, HALT, follow=True))
    assert mode() is Mode.HALTED
    assert (done.status_code, b"Broker:mbt is halted" in done.content) == (200, True)
    # A release is refused, with a confirmation of before too.
    assert quick(lambda: browser.post(SET, {**HALT, "mode": "active"})).status_code == 503
    assert mode() is Mode.HALTED
    assert browser.post("/admin/logout/").status_code == 302
    assert browser.post(SET, HALT).status_code == 401


def test_without_valkey_a_token_that_lay_idle_opens_nothing(server: Server, browser: Client) -> None:
    del browser.cookies[ACCESS]
    Session.objects.update(last_seen_at=clock.now() - timedelta(minutes=31))
    server.kill()
    assert browser.get(SET).status_code == 302
    Session.objects.update(last_seen_at=clock.now() - timedelta(minutes=29))
    assert browser.get(SET).status_code == 200
    RefreshToken.objects.update(used_at=clock.now())
    assert browser.get(SET).status_code == 302


def test_without_valkey_a_link_is_not_used_up(server: Server) -> None:
    from console.models import OperatorLink
    from tests.console.test_operator_links import link

    address = link()
    server.kill()
    assert Client().post(address).status_code == 503
    assert OperatorLink.objects.get().used_at is None


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/enter/any/", SET, "/admin/"])
def test_pages_hold_no_inline_script_or_style(browser: Client, path: str) -> None:
    html = browser.get(path, follow=True).content.decode()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", html)
