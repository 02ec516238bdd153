import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEntry
from console.switches import Switch


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for switch in Switch:
        monkeypatch.delenv(switch, raising=False)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_switches_are_listed_and_turned() -> None:
    assert run("switch", "list").splitlines() == [
        "MBT_TRADING_DISABLED       off",
        "MBT_NEW_ORDERS_DISABLED    off",
    ]
    text = run("switch", "on", "MBT_TRADING_DISABLED", "--reason", "market data is stale")
    assert "MBT_TRADING_DISABLED       ON (database) since " in text
    assert "UTC: market data is stale" in text
    entry = AuditEntry.objects.get()
    assert (entry.actor_ref, entry.reason) == ("system:operator-shell", "market data is stale")
    assert json.loads(run("switch", "list", "--json"))["MBT_TRADING_DISABLED"]["source"] == "database"
    off = json.loads(run("switch", "off", "MBT_TRADING_DISABLED", "--reason", "data is back", "--json"))
    assert off["MBT_TRADING_DISABLED"] == {"on": False, "source": "off", "reason": "", "since": None}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["on", "MBT_TRADING_DISABLED"], 1, "reason"),
        (["on"], 2, "needs a NAME"),
        (["off", "MBT_TRADING_DISABLED", "--reason", "data is back"], 3, "still on: environment"),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str) -> None:
    if code == 3:
        monkeypatch.setenv("MBT_TRADING_DISABLED", "1")
    with pytest.raises(CommandError, match=says) as caught:
        run("switch", *arguments)
    assert caught.value.returncode == code


@pytest.mark.django_db
def test_an_unknown_switch_is_a_usage_error() -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        run("switch", "on", "EVERYTHING", "--reason", "x")


@pytest.mark.django_db
def test_an_operator_link_is_one_line_on_the_named_site() -> None:
    [line] = run(
        "operator_link", "--email", "olga@example.com", "--site", "https://raxx.example/"
    ).splitlines()
    assert line.startswith("https://raxx.example/admin/enter/")
    assert len(line.split("/")[-2]) == 43


@pytest.mark.django_db
def test_an_operator_link_needs_an_address() -> None:
    with pytest.raises(CommandError, match="not an email address") as caught:
        run("operator_link", "--email", "olga")
    assert caught.value.returncode == 2
