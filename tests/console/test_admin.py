from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from console import operators, switches
from console.models import Switch
from console.services.switches import set_switch
from console.switches import PAPER, Mode
from raxx.identity.models import StepUpGrant, User
from raxx.kernel import clock
from tests.identity.browser import Browser
from tests.operators import enrolled, let_in, operator

LIST = "/admin/console/switch/"
SET = LIST + "set/"
RELEASE = "console.switch.release"
pytestmark = pytest.mark.usefixtures("valkey_url")


@pytest.fixture
def olga(db: None) -> User:
    return operator()


@pytest.fixture
def person(olga: User) -> Browser:
    return enrolled(olga)


@pytest.fixture
def browser(person: Browser) -> Client:
    return person.client


def form(**changes: str) -> dict[str, str]:
    return {"key": PAPER, "mode": "reducing", "reason": "market data is stale", "until": "", **changes}


def look(browser: Client, **changes: str) -> Any:  # noqa: ANN401 - Django's test response
    return browser.post(SET, form(**changes))


def send(browser: Client, **changes: str) -> Any:  # noqa: ANN401 - Django's test response
    return browser.post(SET, {**form(**changes), "confirmed": "yes"}, follow=True)


def release(person: Browser, **changes: str) -> Any:  # noqa: ANN401 - Django's test response
    person.confirm(RELEASE, form(**changes))
    return send(person.client, **changes)


def changes_recorded() -> list[str]:
    return list(
        AuditEntry.objects.filter(action__startswith="console.switch")
        .order_by("id")
        .values_list("action", flat=True)
    )


def test_the_effect_is_shown_before_it_is_done(person: Browser, browser: Client, olga: User) -> None:
    assert b"Show the effect" in browser.get(SET + "?key=symbol:AAPL").content
    shown = look(browser)
    assert b"Only orders that close positions are taken" in shown.content
    assert b"Set it" in shown.content
    assert b"data-passkey" not in shown.content, "stopping needs the session only"
    assert not Switch.objects.exists()
    assert b"Broker:mbt is reducing" in send(browser).content
    state = switches.read([PAPER])
    assert (state.mode, state.reason) == (Mode.REDUCING, "market data is stale")
    entry = AuditEntry.objects.get(action="console.switch.changed")
    assert entry.actor_ref == actor_ref_for(olga.pk)
    assert b"nothing changed" in send(browser).content
    assert b"Broker:mbt is active" in release(person, mode="active", reason="data is back").content
    assert switches.read([PAPER]).mode is Mode.ACTIVE
    assert changes_recorded() == ["console.switch.changed"] * 2


def test_a_release_is_confirmed_with_exactly_what_is_sent(person: Browser, browser: Client) -> None:
    send(browser, mode="halted")
    shown = look(browser, mode="active")
    for part in (
        b'data-action="console.switch.release"',
        b"data-without-script",
        b"manage.py switch release",
    ):
        assert part in shown.content
    refused = send(browser, mode="active")
    assert refused.status_code == 403
    assert b"Confirm this with your passkey first" in refused.content
    assert b'value="market data is stale"' in refused.content, "what was entered is not lost"
    person.confirm(RELEASE, form(mode="active"))
    for altered in (
        {"reason": "another"},
        {"key": "symbol:AAPL"},
        {"mode": "reducing"},
        {"until": "2030-01-01"},
    ):
        if altered.get("key"):
            set_switch(
                key="symbol:AAPL",
                mode=Mode.HALTED,
                reason="x",
                actor="system:operator-shell",
                now=clock.now(),
            )
        assert send(browser, **{"mode": "active", **altered}).status_code == 403, altered
    assert switches.read([PAPER]).mode is Mode.HALTED
    assert b"is active" in send(browser, mode="active").content
    send(browser, mode="halted")
    assert send(browser, mode="active").status_code == 403, "a confirmation works once"


def test_a_confirmation_that_was_not_needed_stays_good_and_one_that_fails_too(
    person: Browser, browser: Client
) -> None:
    send(browser, key="global", mode="halted")
    release(person, key="global", mode="active")
    again = release(person, key="global", mode="active")
    assert again.status_code == 409
    assert b"Another operator must confirm" in again.content
    assert StepUpGrant.objects.filter(used_at=None).count() == 1


def test_what_became_a_release_meanwhile_is_one(browser: Client) -> None:
    """The page said that no passkey is needed; whether it is, is asked when the switch is locked."""
    assert b"data-passkey" not in look(browser).content
    set_switch(key=PAPER, mode=Mode.HALTED, reason="x", actor="system:operator-shell", now=clock.now())
    assert send(browser).status_code == 403
    assert switches.read([PAPER]).mode is Mode.HALTED


def test_a_confirmation_is_of_its_session_and_its_action(person: Browser, browser: Client) -> None:
    send(browser, mode="halted")
    person.elsewhere().confirm(RELEASE, form(mode="active"))
    person.confirm("console.flag.set", form(mode="active"))
    assert send(browser, mode="active").status_code == 403


@pytest.mark.parametrize(
    "wrong", [{"reason": ""}, {"key": "symbol:"}, {"key": "all"}, {"mode": "off"}, {"until": "soon"}]
)
def test_a_wrong_form_does_nothing(browser: Client, wrong: dict[str, Any]) -> None:
    assert b"errorlist" in send(browser, **wrong).content
    assert not Switch.objects.exists()
    assert changes_recorded() == []


def test_a_second_operator_releases_a_global_stop(person: Browser) -> None:
    send(person.client, key="global", mode="halted")
    assert b"Another operator must" in release(person, key="global", mode="active").content
    assert switches.read(["global"]).mode is Mode.HALTED
    second = enrolled(operator("otto@example.com"))
    shown = look(second.client, key="global", mode="active")
    assert b"Its release was asked for" in shown.content
    assert b"Global is active" in release(second, key="global", mode="active").content
    assert switches.read(["global"]).mode is Mode.ACTIVE


def test_the_list_shows_what_is_in_force(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBT_TRADING_DISABLED", "1")
    send(browser, key="symbol:AAPL")
    page = browser.get(LIST).content
    assert b"MBT_TRADING_DISABLED: No orders are taken (environment)" in page
    assert b"symbol:AAPL" in page


def test_rows_change_by_their_own_page_alone(browser: Client) -> None:
    send(browser)
    assert browser.get(LIST + "add/").status_code == 403
    row = f"{LIST}broker_3Ambt/"
    assert browser.post(row + "change/", {"mode": "active"}).status_code == 403
    assert browser.post(row + "delete/", {"post": "yes"}).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": PAPER, "post": "yes"})
    assert switches.read([PAPER]).mode is Mode.REDUCING


def test_staff_without_the_permission_set_nothing(db: None) -> None:
    browser = let_in(Client(), operator("sam@example.com", is_superuser=False))
    assert send(browser).status_code == 403
    assert not Switch.objects.exists()


def test_every_action_of_a_page_is_one_that_can_be_confirmed() -> None:
    from django.contrib import admin

    named = {getattr(page, "action", "") for page in admin.site._registry.values()} - {""}
    assert named == {name for name, _ in operators.confirmed_actions}
