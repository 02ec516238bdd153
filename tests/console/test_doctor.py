import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from types import SimpleNamespace

import pytest
from django.conf import settings as the_settings
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from console import doctor, doctor_checks
from console.doctor import Finding, Level, fail, warn
from console.services import data_requests, jobs
from raxx.identity.services.users import register
from raxx.kernel import clock, valkey
from raxx.market import checks as market_checks
from raxx.market.board import Board

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("doctor", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_finding_has_a_remedy_exactly_when_something_is_wrong() -> None:
    with pytest.raises(ValueError, match="remedy"):
        fail("broken", remedy="")
    with pytest.raises(ValueError, match="remedy"):
        Finding(Level.OK, "fine", "do something")
    assert warn("so so", remedy="Do it.").level is Level.WARN


@pytest.mark.django_db
def test_every_check_is_one_line_and_every_trouble_has_one_remedy(valkey_url: str) -> None:
    code, text = run()
    lines = text.splitlines()
    assert [line.split()[1] for line in lines] == [r.name for r in doctor.examine(clock.now())]
    assert {line.split()[0] for line in lines} <= {"ok", "warn", "fail"}
    names = {line.split()[1] for line in lines}
    assert {
        "settings", "keys", "database", "redis", "migrations", "clock", "outbox", "calendar", "feed", "engine"
    } <= names  # fmt: skip
    assert code == 3  # in a test no engine runs
    [feed] = [line for line in lines if line.split()[1] == "feed"]
    assert feed.startswith("fail")
    assert feed.endswith("Start the engine: python manage.py run_engine.")


@pytest.mark.django_db
def test_json_and_chosen_checks(valkey_url: str) -> None:
    code, text = run("--json", "migrations", "redis")
    told = json.loads(text)
    assert code == 0
    assert told["ok"] is True
    assert [check["name"] for check in told["checks"]] == [
        "redis",
        "database",
        "migrations",
    ]  # what it needs, too
    assert all(check["level"] == "ok" and check["remedy"] == "" for check in told["checks"])
    with pytest.raises(CommandError, match="There is no check 'sun'") as caught:
        run("sun")
    assert caught.value.returncode == 2


@pytest.mark.django_db
def test_the_feed_is_fresh_while_somebody_publishes(valkey_url: str) -> None:
    board = Board(valkey.shared(), the_settings.RAXX_FEED)
    board.publish([], now_ns=0, wall_ns=clock.now_ns())
    assert run("feed")[0] == 0
    board.publish([], now_ns=0, wall_ns=clock.now_ns() - 16 * 10**9)
    code, text = run("feed")
    assert code == 3
    assert "is silent for 16 s" in text


@pytest.mark.django_db
def test_without_redis_it_says_so_and_does_not_guess(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    code, text = run("redis", "feed")
    assert code == 3
    assert text.splitlines()[0].startswith("fail  redis")
    assert "not checked, because redis failed. See to redis first" in text.splitlines()[1]


def test_without_a_database_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    known = connection.get_connection_params()
    monkeypatch.setattr(connection, "get_connection_params", lambda: {**known, "host": "/nowhere"})
    results = {result.name: result.finding for result in doctor.examine(NOW, ["migrations", "clock"])}
    assert results["database"].level is Level.FAIL
    assert "DATABASE_URL" in results["database"].remedy
    assert results["migrations"].level is results["clock"].level is Level.WARN


def test_a_check_that_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(now: datetime) -> Finding:
        raise LookupError("secret inside")

    result = doctor._result("odd", doctor.Check(breaks), {}, NOW)
    assert result.finding.level is Level.FAIL
    assert result.finding.message == "the check itself broke: LookupError"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"DEBUG": True}, "DEBUG is on"),
        ({"ALLOWED_HOSTS": ["*"], "SECURE_SSL_REDIRECT": True}, "any Host header"),
        (
            {"ALLOWED_HOSTS": ["raxx.example"], "SECURE_SSL_REDIRECT": False},
            "raxx.example is served without TLS",
        ),
    ],
)
def test_unsound_settings(settings: Settings, changes: dict[str, object], says: str) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    found = doctor_checks.settings_are_sound(NOW)
    assert found.level is Level.FAIL
    assert says in found.message


def test_sound_settings(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    assert doctor_checks.settings_are_sound(NOW).message == "served as localhost on this machine only"


@pytest.mark.parametrize(
    ("secret", "field", "says"),
    [
        ("a" * 64, "0123456789abcdef" * 4, "DJANGO_SECRET_KEY is too short or too plain"),
        ("0123456789abcdef" * 4, "short", "RAXX_FIELD_KEY is too short"),
        ("0123456789abcdef" * 4, "0123456789abcdef" * 4, "are the same"),
    ],
)
def test_unsound_keys(settings: Settings, secret: str, field: str, says: str) -> None:
    settings.SECRET_KEY, settings.RAXX_FIELD_KEY = secret, field
    found = doctor_checks.keys_are_sound(NOW)
    assert found.level is Level.FAIL
    assert says in found.message
    assert secret not in found.message + found.remedy


@pytest.mark.django_db
def test_a_clock_that_is_off(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_checks.clocks_agree(NOW).level is Level.OK
    monkeypatch.setattr(doctor_checks, "_database_clock", lambda: -2.5)
    assert doctor_checks.clocks_agree(NOW).level is Level.WARN
    monkeypatch.setattr(doctor_checks, "_database_clock", lambda: 600.0)
    found = doctor_checks.clocks_agree(NOW)
    assert (found.level, found.message) == (Level.FAIL, "PostgreSQL is +600.000 s off this machine's clock")


@pytest.mark.django_db
def test_unannounced_events() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox (topic, key, payload, created_at) VALUES ('t', 'k', '{}', %s)", [NOW]
        )
    assert doctor_checks.outbox_is_announced(NOW).level is Level.OK
    later = NOW.replace(minute=31)
    found = doctor_checks.outbox_is_announced(later)
    assert found.level is Level.FAIL
    assert "the oldest for 60 s" in found.message


@pytest.mark.django_db
def test_migrations_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_checks.migrations_are_applied(NOW).level is Level.OK
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'console' AND name = '0002_gate'")
    found = doctor_checks.migrations_are_applied(NOW)
    assert found.level is Level.FAIL
    assert found.remedy == "Run python manage.py migrate."


def test_the_calendar_reaches_eighteen_months(monkeypatch: pytest.MonkeyPatch) -> None:
    assert market_checks.calendar_reaches_far_enough(clock.now()).level is Level.OK
    days = [SimpleNamespace(date=datetime(2028, 5, 19, tzinfo=UTC).date())]
    monkeypatch.setattr("raxx.market.calendar.xnys", lambda: days)
    assert "17 months ahead" in market_checks.calendar_reaches_far_enough(NOW).message
    days[0].date = datetime(2028, 5, 20, tzinfo=UTC).date()
    assert market_checks.calendar_reaches_far_enough(NOW).level is Level.OK


@pytest.mark.django_db
def test_data_requests_that_are_late() -> None:
    user = register(email="a@example.com", now=NOW)
    data_requests.receive(user_id=user.pk, kind="access", actor="system:operator-shell", now=NOW)
    look = doctor_checks.data_requests_are_answered
    assert look(NOW).level is Level.OK
    assert look(NOW + timedelta(days=25)).level is Level.WARN
    late = look(NOW + timedelta(days=31))
    assert (late.level, late.message) == (Level.FAIL, "1 to see to; the first is overdue by 1 day")


@pytest.mark.django_db
def test_jobs() -> None:
    assert doctor_checks.jobs_run(NOW).message == "no job has ever run here"
    jobs.succeeded(jobs.HEARTBEAT, NOW)
    assert doctor_checks.jobs_run(NOW).level is Level.OK
    assert doctor_checks.jobs_run(NOW + timedelta(seconds=121)).message == "no job has run for 121 s"
    jobs.failed("some.job", "KeyError", NOW)
    assert doctor_checks.jobs_run(NOW).message == "some.job failed 1 times, the last time by KeyError"
