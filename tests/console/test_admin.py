import pytest
from django.test import Client

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from console import switches
from console.models import SwitchRow
from console.switches import Switch
from raxx.identity.models import User

LIST = "/admin/console/switchrow/"


@pytest.fixture
def olga(db: None) -> User:
    return User.objects.create_user(email="olga@example.com", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(olga: User) -> Client:
    browser = Client()
    browser.force_login(olga)
    return browser


def change_page(switch: Switch) -> str:
    return f"{LIST}{SwitchRow.objects.get(name=switch).pk}/change/"


def test_a_switch_is_turned_with_a_reason_and_recorded(browser: Client, olga: User) -> None:
    address = change_page(Switch.MBT_NEW_ORDERS_DISABLED)
    refused = browser.post(address, {"is_on": "on", "reason": ""})
    assert b"This field is required" in refused.content
    assert not switches.read()[Switch.MBT_NEW_ORDERS_DISABLED].on

    assert browser.post(address, {"is_on": "on", "reason": "market data is stale"}).status_code == 302
    state = switches.read()[Switch.MBT_NEW_ORDERS_DISABLED]
    assert (state.on, state.reason) == (True, "market data is stale")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_ref) == ("console.switch.changed", actor_ref_for(olga.pk))

    page = browser.get(address)
    assert b'value="market data is stale"' not in page.content  # the next change has its own reason
    assert browser.post(address, {"reason": "data is back"}).status_code == 302
    assert not switches.read()[Switch.MBT_NEW_ORDERS_DISABLED].on
    assert AuditEntry.objects.count() == 2


def test_the_list_shows_what_is_in_force(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBT_TRADING_DISABLED", "1")
    assert b"ON (environment)" in browser.get(LIST).content
    retired = SwitchRow.objects.create(name="RETIRED", changed_by="system:release")
    assert b"unused" in browser.get(LIST).content
    page = f"{LIST}{retired.pk}/change/"
    assert browser.get(page).status_code == 200
    assert browser.post(page, {"is_on": "on", "reason": "x"}).status_code == 403


def test_switches_are_neither_added_nor_deleted(browser: Client) -> None:
    assert browser.get(LIST + "add/").status_code == 403
    delete = change_page(Switch.MBT_TRADING_DISABLED).replace("change", "delete")
    assert browser.post(delete, {"post": "yes"}).status_code == 403
    browser.post(LIST, {"action": "delete_selected", "_selected_action": "1", "post": "yes"})
    assert SwitchRow.objects.count() == 2


def test_customers_do_not_get_in(db: None) -> None:
    browser = Client()
    browser.force_login(User.objects.create_user(email="alice@example.com"))
    assert browser.get(LIST).status_code == 302
