import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from django.conf import settings as the_settings
from django.db import connection
from django.test import Client
from pytest_django import Settings

from console.models import SurfaceDay
from console.services.incidents import open_incident, update_incident
from console.services.jobs import HEARTBEAT, succeeded
from console.status import Reading, State, monitor, poller, probes
from raxx.kernel import clock
from tests.conftest import ROOT, Database
from tests.operators import let_in, operator

ACTOR = "system:operator-shell"
DEAD_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    monitor.forget()
    yield
    monitor.forget()


@pytest.fixture
def all_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine, feed or worker runs in a test: as if they did."""

    def fine(now: datetime) -> Reading:
        return Reading(State.OPERATIONAL)

    for name in ("engine", "feed"):
        monkeypatch.setitem(probes._entries, name, type(probes[name])(fine))
    succeeded(HEARTBEAT, clock.now())


def states(client: Client) -> dict[str, str]:
    return {s["id"]: s["status"] for s in client.get("/status.json").json()["surfaces"]}


def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the page asked the database")

    known = connection.get_connection_params()
    monkeypatch.setattr(connection, "get_connection_params", lambda: {**known, "host": "/nowhere"})
    monkeypatch.setattr(connection, "cursor", refuse)


@pytest.mark.django_db
def test_everything_works(client: Client, valkey_url: str, all_well: None) -> None:
    page = client.get("/status")
    assert page.status_code == 200
    text = page.content.decode()
    assert "Everything works" in text
    assert "broker" not in text.lower()
    assert page["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
    assert not re.search(r"<script|<style|\son\w+=|\sstyle=|https?://", text)
    told = client.get("/status.json").json()
    assert told["status"] == "operational"
    assert {s["status"] for s in told["surfaces"]} == {"operational"}
    assert all(len(s["days"]) == 90 for s in told["surfaces"])


@pytest.mark.django_db
def test_history_has_bars_and_words(client: Client, valkey_url: str, all_well: None) -> None:
    today = clock.now().date()
    SurfaceDay.objects.create(
        surface="website", day=today - timedelta(days=3), operational_s=86_000, down_s=400
    )
    SurfaceDay.objects.create(surface="website", day=today - timedelta(days=2), operational_s=86_400)
    text = client.get("/status").content.decode()
    assert text.count('<rect class="down"') == 1
    assert f"{today - timedelta(days=3):%d %b %Y}: 7 min down" in text
    assert "1 of 2 recorded days without trouble. Up for 99.77 % of the time." in text
    # (86,000 + 86,400) of (86,400 + 86,400) seconds is 99.7685 %.


@pytest.mark.django_db
def test_without_redis(client: Client, settings: Settings, all_well: None) -> None:
    settings.REDIS_URL = DEAD_REDIS
    assert states(client) == {
        "website": "operational",
        "sign-in": "down",
        "paper-trading": "down",
        "market-data": "down",
        "live-updates": "down",
        "background-work": "down",
    }
    page = client.get("/status")
    assert page.status_code == 200
    assert b"Some of it is down" in page.content


@pytest.mark.django_db
def test_without_an_engine(client: Client, valkey_url: str) -> None:
    told = states(client)
    assert told["paper-trading"] == told["market-data"] == "down"
    assert told["website"] == told["sign-in"] == "operational"


@pytest.mark.django_db
def test_without_a_database_the_page_keeps_what_it_knew(
    client: Client, valkey_url: str, all_well: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    SurfaceDay.objects.create(surface="website", day=clock.now().date(), operational_s=500)
    open_incident(
        title="Slow fills", impact="degraded", surfaces=["paper-trading"], text="Fills take long.", actor=ACTOR,
        now=clock.now(),
    )  # fmt: skip
    let_in(client, operator())  # a browser with a session: the worst case
    monitor.look(clock.now())
    no_database(monkeypatch)
    monitor.look(clock.now())
    page = client.get("/status")
    assert page.status_code == 200
    assert b"Slow fills" in page.content
    assert b"1 of 1 recorded days without trouble" in page.content
    told = states(client)
    assert told["website"] == told["paper-trading"] == "down"
    assert told["market-data"] == "operational"


def test_a_process_that_never_saw_a_database(
    client: Client, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_database(monkeypatch)
    page = client.get("/status")
    assert page.status_code == 200
    assert b"history cannot be read right now" in page.content
    assert client.get("/status.json").json()["history_known"] is False


def test_a_page_that_breaks_says_a_sentence(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise LookupError

    monkeypatch.setattr(monitor, "current", breaks)
    page = client.get("/status")
    assert page.status_code == 503
    assert b"cannot be shown right now" in page.content


@pytest.mark.django_db
def test_incidents_are_shown_and_weigh(client: Client, valkey_url: str, all_well: None) -> None:
    now = clock.now()
    incident = open_incident(
        title="Delayed <quotes>", impact="degraded", surfaces=["market-data"], text="Quotes come late.", actor=ACTOR,
        now=now,
    )  # fmt: skip
    assert states(client)["market-data"] == "degraded"
    text = client.get("/status").content.decode()
    assert "Delayed &lt;quotes&gt;" in text
    assert "Degraded: Market data." in text
    update_incident(incident_id=incident.pk, stage="resolved", text="All is well.", actor=ACTOR, now=now)
    monitor.forget()
    told = client.get("/status.json").json()
    assert told["status"] == "operational"
    assert [m["text"] for m in told["incidents"][0]["messages"]] == ["All is well.", "Quotes come late."]


@pytest.mark.django_db
def test_nothing_for_operators_leaks(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = DEAD_REDIS
    for address in ("/status", "/status.json"):
        words = client.get(address).content.decode().lower()
        assert not re.search(r"redis|valkey|postgres|connectionerror|run_engine|celery", words)


def test_only_reading(client: Client) -> None:
    assert client.post("/status").status_code == 405


@pytest.mark.django_db
def test_a_probe_that_breaks_is_unknown(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> None:
    def breaks(now: datetime) -> Reading:
        raise LookupError("inside")

    monkeypatch.setitem(probes._entries, "feed", type(probes["feed"])(breaks))
    assert monitor.ask(clock.now())["feed"].state is State.UNKNOWN


def test_the_loop_looks_without_redis(fresh_db: object, settings: Settings) -> None:
    settings.REDIS_URL = DEAD_REDIS
    poller.start()
    try:
        for _ in range(200):
            if monitor._memory.snapshot is not None:
                break
            poller._stopping.wait(0.05)
        told = json.loads(Client().get("/status.json").content)
        assert {s["id"]: s["status"] for s in told["surfaces"]}["sign-in"] == "down"
        assert told["history_known"] is True
    finally:
        poller.stop()
    assert not poller.runs()


def test_the_web_process_starts_the_loop(fresh_db: Database) -> None:
    keys = {"DJANGO_SECRET_KEY": the_settings.SECRET_KEY, "RAXX_FIELD_KEY": the_settings.RAXX_FIELD_KEY}
    environment = {**os.environ, **keys, "DATABASE_URL": fresh_db.url}
    code = "import raxx.asgi; from console.status import poller; print(poller.runs())"
    for wanted, runs in (("1", "True"), ("0", "False")):
        ended = subprocess.run(
            [sys.executable, "-c", code], env={**environment, "RAXX_STATUS_POLLER": wanted}, cwd=ROOT,
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert ended.stdout.split()[-1] == runs
