import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from audit.models import AuditEntry
from audit.pseudonym import OPERATOR_SHELL
from console import switches
from console.models import Switch
from console.services import switches as services
from console.services.switches import SecondPersonNeeded, SwitchChange, set_switch
from console.switches import (
    ENVIRONMENT,
    EVERYTHING,
    PAPER,
    Mode,
    NewOrdersDisabled,
    Source,
    State,
    TradingDisabled,
)
from raxx.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
OLGA = "0" * 31 + "7"
RACES = 1_000 if os.environ.get("RAXX_SOAK") else 100


def turn(
    key: str, mode: Mode, reason: str = "market data is stale", *, actor: str = OPERATOR_SHELL, now: datetime = NOW,
    until: datetime | None = None,
) -> SwitchChange:  # fmt: skip
    return set_switch(key=key, mode=mode, reason=reason, actor=actor, now=now, until=until)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENVIRONMENT:
        monkeypatch.delenv(variable, raising=False)


def look(*keys: str) -> State:
    return switches.read([EVERYTHING, PAPER, *keys])


def gate(*keys: str) -> State:
    return switches.enter([EVERYTHING, PAPER, *keys])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("variable", "row", "mode", "source"),
    [
        (None, "active", Mode.ACTIVE, "none"),
        (None, "missing", Mode.ACTIVE, "none"),
        (None, "halted", Mode.HALTED, "database"),
        (None, "reducing", Mode.REDUCING, "database"),
        ("0", "active", Mode.ACTIVE, "none"),
        ("0", "halted", Mode.HALTED, "database"),
        ("false", "missing", Mode.ACTIVE, "none"),
        ("", "active", Mode.ACTIVE, "none"),
        ("1", "active", Mode.HALTED, "environment"),
        ("TRUE", "missing", Mode.HALTED, "environment"),
        ("on", "halted", Mode.HALTED, "environment"),
        ("yes", "reducing", Mode.HALTED, "environment"),
        ("maybe", "active", Mode.HALTED, "unreadable"),
        ("2", "missing", Mode.HALTED, "unreadable"),
        ("disabled", "reducing", Mode.HALTED, "unreadable"),
    ],
)
@pytest.mark.parametrize("asked", [look, gate])
def test_stopped_when_environment_or_database_says_so(
    monkeypatch: pytest.MonkeyPatch,
    asked: Callable[..., State],
    variable: str | None,
    row: str,
    mode: Mode,
    source: Source,
) -> None:
    if variable is not None:
        monkeypatch.setenv("MBT_TRADING_DISABLED", variable)
    if row != "missing":
        Switch.objects.create(key=PAPER, mode=row, reason="stale", changed_by="somebody")
    state = asked()
    assert (state.mode, state.source) == (mode, source)


@pytest.mark.django_db
@pytest.mark.parametrize("asked", [look, gate])
def test_the_strictest_of_all_that_concern_it_holds(
    monkeypatch: pytest.MonkeyPatch, asked: Callable[..., State]
) -> None:
    turn("symbol:AAPL", Mode.REDUCING, "news")
    turn("account:7", Mode.HALTED, "a runaway bot")
    assert asked().mode is Mode.ACTIVE
    assert asked("symbol:MSFT", "account:8", "user:7").mode is Mode.ACTIVE
    assert (asked("symbol:AAPL").mode, asked("symbol:AAPL").reason) == (Mode.REDUCING, "news")
    assert asked("symbol:AAPL", "account:7").name == "account:7"
    turn(EVERYTHING, Mode.REDUCING, "a drill")
    assert asked().name == EVERYTHING
    assert asked("account:7").mode is Mode.HALTED
    monkeypatch.setenv("MBT_NEW_ORDERS_DISABLED", "1")
    assert asked().name == "MBT_NEW_ORDERS_DISABLED"
    assert switches.read([EVERYTHING]).name == EVERYTHING  # the variable speaks of paper trading alone


@pytest.mark.django_db
@pytest.mark.parametrize("asked", [look, gate])
def test_a_database_that_cannot_be_read_stops_everything(asked: Callable[..., State]) -> None:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE console_switches RENAME TO lost")
        state = asked()
        transaction.set_rollback(True)
    assert (state.mode, state.source) == (Mode.HALTED, "unreadable")
    with pytest.raises(TradingDisabled, match="cannot be read"):
        switches.require_open(state, reduces=True)


@pytest.mark.parametrize(
    "stops",
    [None, "", "nonsense", b"[]", [], 1, {PAPER: None}, '{"X": {"reason": 1}}', {PAPER: {"mode": "odd"}}],
)
def test_an_answer_that_cannot_be_read_stops_everything(stops: object) -> None:
    assert switches.state_of(stops, [PAPER]).mode is Mode.HALTED


@pytest.mark.parametrize("stops", ["{}", b"{}", {}])
def test_an_empty_answer_stops_nothing(stops: object) -> None:
    switches.require_open(switches.state_of(stops, [PAPER]), reduces=False)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("mode", "refusal", "code"),
    [
        (Mode.HALTED, TradingDisabled, "TRADING_DISABLED"),
        (Mode.REDUCING, NewOrdersDisabled, "NEW_ORDERS_DISABLED"),
    ],
)
def test_the_refusal_says_which_why_since_when_until_when_and_what_to_do(
    mode: Mode, refusal: type[switches.SwitchedOff], code: str
) -> None:
    switches.require_open(look(), reduces=False)
    turn(PAPER, mode, until=NOW + timedelta(hours=1))
    with pytest.raises(refusal) as caught:
        switches.require_open(look(), reduces=False)
    problem = caught.value
    assert (problem.code, problem.http_status, problem.retry_after_s) == (code, 503, 30)
    for part in (
        PAPER,
        "market data is stale",
        "since 2026-11-20 14:30 UTC",
        "expected until 2026-11-20 15:30 UTC",
        "Nothing was stored",
        "Cancels still work",
    ):
        assert part in problem.message
    assert problem.details["since"] == "2026-11-20T14:30:00+00:00"
    assert problem.details["until"] == "2026-11-20T15:30:00+00:00"


@pytest.mark.django_db
def test_what_only_closes_passes_where_new_risk_is_stopped() -> None:
    turn(PAPER, Mode.REDUCING)
    switches.require_open(look(), reduces=True)
    turn(PAPER, Mode.HALTED)
    with pytest.raises(TradingDisabled):
        switches.require_open(look(), reduces=True)


@pytest.mark.django_db
def test_a_change_is_recorded_once() -> None:
    assert turn(PAPER, Mode.HALTED, "  market data\nis stale ") == SwitchChange(changed=True, drained=True)
    assert turn(PAPER, Mode.HALTED, "again") == SwitchChange(changed=False, drained=True)
    assert turn(PAPER, Mode.ACTIVE, "data is back") == SwitchChange(changed=True, drained=True)
    rows = AuditEntry.objects.order_by("id").values_list(
        "action", "actor_ref", "object_id", "changes", "reason", "at"
    )
    changed = ("console.switch.changed", OPERATOR_SHELL, PAPER)
    assert list(rows) == [
        (*changed, {"mode": ["active", "halted"]}, "market data is stale", NOW),
        (*changed, {"mode": ["halted", "active"]}, "data is back", NOW),
    ]
    assert Switch.objects.get(key=PAPER).reason == "data is back"


@pytest.mark.django_db
def test_two_people_release_a_global_stop() -> None:
    turn(EVERYTHING, Mode.HALTED, "the feed lies")
    assert turn(EVERYTHING, Mode.ACTIVE, "fixed").asked
    with pytest.raises(SecondPersonNeeded, match="Another operator"):
        turn(EVERYTHING, Mode.ACTIVE, "fixed, really")
    assert look().mode is Mode.HALTED
    late = NOW + timedelta(hours=1, seconds=1)
    assert turn(EVERYTHING, Mode.ACTIVE, "fixed", actor=OLGA, now=late).asked  # the first was forgotten
    assert turn(EVERYTHING, Mode.HALTED, "not so fast", now=late) == SwitchChange(changed=False, drained=True)
    assert turn(EVERYTHING, Mode.REDUCING, "fixed now", now=late).asked
    more = turn(EVERYTHING, Mode.ACTIVE, "all of it", actor=OLGA, now=late)
    assert more.asked  # she agrees to more than was asked, and asks for that
    done = turn(EVERYTHING, Mode.ACTIVE, "I have seen it too", now=late + timedelta(minutes=5))
    assert (done.changed, done.asked) == (True, False)
    assert look().mode is Mode.ACTIVE
    # Making it stricter takes one.
    assert turn(EVERYTHING, Mode.REDUCING).changed
    assert turn(EVERYTHING, Mode.HALTED).changed
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    asked, changed = "console.switch.release_asked", "console.switch.changed"
    withdrawn = "console.switch.release_withdrawn"
    assert actions == [changed, asked, asked, withdrawn, asked, asked, changed, changed, changed]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "key",
    ["", "globe", "global:", "global:x", "broker", "symbol:", "symbol:A B", "symbol:" + "A" * 65, "user:٣"],
)
def test_a_key_names_scope_and_target(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        turn(key, Mode.HALTED)
    assert caught.value.details["field"] == "key"
    assert not Switch.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
def test_a_change_needs_a_reason(reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        turn(PAPER, Mode.HALTED, reason)
    assert caught.value.details["field"] == "reason"
    assert look().mode is Mode.ACTIVE


@pytest.mark.usefixtures("fresh_db")
def test_the_gate_needs_a_transaction() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        gate()


def _in_thread(work: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.usefixtures("fresh_db")
def test_turning_on_waits_for_whoever_is_already_inside() -> None:
    inside, log = threading.Event(), []

    def submit() -> None:
        with transaction.atomic():
            switches.require_open(gate(), reduces=False)
            inside.set()
            time.sleep(0.3)
            log.append("accepted")

    thread = _in_thread(submit)
    inside.wait()
    assert turn(PAPER, Mode.REDUCING).drained
    log.append("switched")
    thread.join()
    assert log == ["accepted", "switched"]


@pytest.mark.usefixtures("fresh_db")
def test_whoever_waits_at_the_gate_reads_what_was_decided_meanwhile() -> None:
    """The switch goes on in a longer transaction; a submission whose statement began before its commit
    must not go by the state of affairs at its beginning."""
    seen: list[bool] = []
    with transaction.atomic():
        turn(PAPER, Mode.REDUCING)

        def submit() -> None:
            with transaction.atomic():
                seen.append(gate().mode is not Mode.ACTIVE)

        thread = _in_thread(submit)
        time.sleep(0.3)
        assert seen == []
    thread.join()
    assert seen == [True]


@pytest.mark.usefixtures("fresh_db")
def test_a_submission_that_hangs_does_not_keep_the_switch_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "DRAIN_FOR_S_MAX", 1)
    inside, leave = threading.Event(), threading.Event()

    def hang() -> None:
        with transaction.atomic():
            gate()
            inside.set()
            leave.wait()

    thread = _in_thread(hang)
    inside.wait()
    assert turn(PAPER, Mode.HALTED) == SwitchChange(changed=True, drained=False)
    assert look().mode is Mode.HALTED
    leave.set()
    thread.join()
    assert turn(PAPER, Mode.HALTED) == SwitchChange(changed=False, drained=True)


@pytest.mark.usefixtures("fresh_db")
def test_nothing_is_accepted_after_the_switch_call_returned() -> None:
    """R14: 100 races, 1,000 with RAXX_SOAK, against six submitters, half with the gate inside their INSERT."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE accepted (id bigint GENERATED ALWAYS AS IDENTITY)")
    over, problems = threading.Event(), []

    def submit(in_one_statement: bool) -> None:
        try:
            while not over.is_set():
                with transaction.atomic(), connection.cursor() as cursor:
                    if in_one_statement:
                        cursor.execute(
                            "INSERT INTO accepted SELECT FROM console_gate(ARRAY['broker:mbt']) AS stops WHERE stops = '{}'"
                        )
                    elif gate().mode is Mode.ACTIVE:
                        cursor.execute("INSERT INTO accepted DEFAULT VALUES")
        except Exception as problem:
            problems.append(problem)

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM accepted")
            return int(cursor.fetchone()[0])

    threads = [_in_thread(lambda n=n: submit(n % 2 == 0)) for n in range(6)]  # type: ignore[misc]
    leaks, busy = 0, 0
    for _ in range(RACES):
        before = count()
        while count() == before:
            time.sleep(0.001)
        assert turn(PAPER, Mode.REDUCING) == SwitchChange(changed=True, drained=True)
        when_returned = count()
        time.sleep(0.005)
        leaks += count() != when_returned
        busy += when_returned > before
        turn(PAPER, Mode.ACTIVE)
    over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert busy == RACES
    assert leaks == 0
