import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEntry
from console.switches import ENVIRONMENT
from tests.operators import operator


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_switches_are_listed_and_set() -> None:
    assert run("switch", "list") == "Nothing is stopped.\n"
    text = run(
        "switch", "halt", "broker:mbt", "--reason", "market data is stale", "--until", "2026-11-20T15:30Z"
    )
    assert "broker:mbt                 HALTED (database) since " in text
    assert "UTC, expected until 2026-11-20 15:30 UTC: market data is stale" in text
    entry = AuditEntry.objects.get()
    assert (entry.actor_ref, entry.reason) == ("system:operator-shell", "market data is stale")
    run("switch", "reduce", "symbol:AAPL", "--reason", "news")
    listed = json.loads(run("switch", "list", "--json"))
    assert [(each["name"], each["mode"], each["source"]) for each in listed] == [
        ("broker:mbt", "halted", "database"), ("symbol:AAPL", "reducing", "database"),
    ]  # fmt: skip
    run("switch", "release", "broker:mbt", "--reason", "data is back")
    run("switch", "release", "symbol:AAPL", "--reason", "calm")
    assert json.loads(run("switch", "list", "--json")) == []


@pytest.mark.django_db
def test_the_environments_switches_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBT_NEW_ORDERS_DISABLED", "1")
    assert run("switch", "list").startswith("MBT_NEW_ORDERS_DISABLED    REDUCING (environment)")
    monkeypatch.setenv("MBT_TRADING_DISABLED", "perhaps")
    lines = run("switch", "list").splitlines()
    assert lines[0].startswith("MBT_TRADING_DISABLED       HALTED (unreadable)")
    run("switch", "halt", "broker:mbt", "--reason", "both")
    assert len(run("switch", "list").splitlines()) == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["halt", "broker:mbt"], 1, "reason"),
        (["halt", "everything", "--reason", "x"], 1, "must be global"),
        (["halt"], 2, "needs a KEY"),
        (["halt", "global", "--reason", "x", "--until", "2026-11-20T15:30"], 2, "time zone"),
        (["release", "broker:mbt", "--reason", "data is back"], 3, "still halted: MBT_TRADING_DISABLED"),
        (["release", "global", "--reason", "data is back"], 3, "another operator must"),
    ],
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, says: str) -> None:
    if "release" in arguments:
        run("switch", "halt", "global", "--reason", "a drill")
        monkeypatch.setenv("MBT_TRADING_DISABLED", "1")
    with pytest.raises(CommandError, match=says) as caught:
        run("switch", *arguments)
    assert caught.value.returncode == code


@pytest.mark.django_db
def test_an_unknown_verb_is_a_usage_error() -> None:
    with pytest.raises(CommandError, match="invalid choice"):
        run("switch", "on", "global", "--reason", "x")


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


@pytest.mark.django_db
def test_an_operator_is_revoked_by_address() -> None:
    operator()
    assert "no longer an operator. Sessions ended: 0." in run(
        "operator_revoke", "--email", "Olga@example.com"
    )
    with pytest.raises(CommandError, match="is not an operator"):
        run("operator_revoke", "--email", "olga@example.com")
