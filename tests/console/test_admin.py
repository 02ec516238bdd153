from typing import Any

import pytest
from django.test import Client

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from console import switches
from console.models import Switch
from console.switches import PAPER, Mode
from raxx.identity.models import User

LIST = "/admin/console/switch/"
SET = LIST + "set/"


@pytest.fixture
def olga(db: None) -> User:
    return User.objects.create_user(email="olga@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(olga: User) -> Client:
    browser = Client()
    browser.force_login(olga)
    return browser


def send(browser: Client, *, confirmed: bool = True, **form: Any) -> Any:  # noqa: ANN401 - Django's test response
    form = {"key": PAPER, "mode": "reducing", "reason": "market data is stale", **form}
    return browser.post(SET, {**form, "confirmed": "Set it"} if confirmed else form, follow=True)


def test_the_effect_is_shown_before_it_is_done(browser: Client, olga: User) -> None:
    assert b"Show the effect" in browser.get(SET + "?key=symbol:AAPL").content
    shown = send(browser, confirmed=False)
    assert b"Only orders that close positions are taken" in shown.content
    assert b"Set it" in shown.content
    assert not Switch.objects.exists()
    assert b"Broker:mbt is reducing" in send(browser).content
    state = switches.read([PAPER])
    assert (state.mode, state.reason) == (Mode.REDUCING, "market data is stale")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_ref) == ("console.switch.changed", actor_ref_for(olga.pk))
    assert b"nothing changed" in send(browser).content
    send(browser, mode="active", reason="data is back")
    assert switches.read([PAPER]).mode is Mode.ACTIVE
    assert AuditEntry.objects.count() == 2


@pytest.mark.parametrize(
    "wrong", [{"reason": ""}, {"key": "symbol:"}, {"key": "all"}, {"mode": "off"}, {"until": "soon"}]
)
def test_a_wrong_form_does_nothing(browser: Client, wrong: dict[str, Any]) -> None:
    assert b"errorlist" in send(browser, **wrong).content
    assert not Switch.objects.exists()
    assert not AuditEntry.objects.exists()


def test_a_second_operator_releases_a_global_stop(browser: Client) -> None:
    send(browser, key="global", mode="halted")
    assert b"Another operator must" in send(browser, key="global", mode="active").content
    assert b"Another operator must confirm" in send(browser, key="global", mode="active").content
    assert switches.read(["global"]).mode is Mode.HALTED
    second = Client()
    second.force_login(User.objects.create_user(email="otto@example.com", is_staff=True, is_superuser=True))
    assert b"Its release was asked for" in send(second, confirmed=False, key="global", mode="active").content
    assert b"Global is active" in send(second, key="global", mode="active").content
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
    browser = Client()
    browser.force_login(User.objects.create_user(email="sam@example.com", is_staff=True))
    assert send(browser).status_code == 403
    assert not Switch.objects.exists()


def test_customers_do_not_get_in(db: None) -> None:
    browser = Client()
    browser.force_login(User.objects.create_user(email="alice@example.com"))
    assert browser.get(LIST).status_code == 302
