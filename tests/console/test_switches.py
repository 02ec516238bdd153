import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from audit.models import AuditEntry
from audit.pseudonym import OPERATOR_SHELL
from console import switches
from console.models import SwitchRow
from console.services import switches as services
from console.services.switches import SwitchChange, set_switch
from console.switches import NewOrdersDisabled, Source, Switch, TradingDisabled
from raxx.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
TRADING, NEW_ORDERS = Switch.MBT_TRADING_DISABLED, Switch.MBT_NEW_ORDERS_DISABLED


def turn(name: Switch, on: bool, reason: str = "market data is stale") -> SwitchChange:
    return set_switch(name=name, on=on, reason=reason, actor=OPERATOR_SHELL, now=NOW)


@pytest.fixture(autouse=True)
def _quiet_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for switch in Switch:
        monkeypatch.delenv(switch, raising=False)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("variable", "row", "on", "source"),
    [
        (None, "off", False, "off"),
        (None, "missing", False, "off"),
        (None, "on", True, "database"),
        ("0", "off", False, "off"),
        ("0", "on", True, "database"),
        ("false", "missing", False, "off"),
        ("", "off", False, "off"),
        ("1", "off", True, "environment"),
        ("TRUE", "missing", True, "environment"),
        ("on", "on", True, "environment"),
        ("yes", "off", True, "environment"),
        ("maybe", "off", True, "unreadable"),
        ("2", "missing", True, "unreadable"),
        ("disabled", "on", True, "unreadable"),
    ],
)
@pytest.mark.parametrize("look", [switches.read, switches.enter])
def test_on_when_environment_or_database_says_so(
    monkeypatch: pytest.MonkeyPatch,
    look: Callable[[], switches.States],
    variable: str | None,
    row: str,
    on: bool,
    source: Source,
) -> None:
    if variable is not None:
        monkeypatch.setenv(TRADING, variable)
    if row == "missing":
        SwitchRow.objects.filter(name=TRADING).delete()
    else:
        SwitchRow.objects.filter(name=TRADING).update(is_on=row == "on", reason="stale")
    states = look()
    assert (states[TRADING].on, states[TRADING].source) == (on, source)
    assert not states[NEW_ORDERS].on


@pytest.mark.django_db
@pytest.mark.parametrize("look", [switches.read, switches.enter])
def test_a_database_that_cannot_be_read_counts_as_on(look: Callable[[], switches.States]) -> None:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE console_switches RENAME TO lost")
        states = look()
        transaction.set_rollback(True)
    assert {state.source for state in states.values()} == {"unreadable"}
    with pytest.raises(TradingDisabled, match="cannot be read"):
        switches.require_open(states)


@pytest.mark.parametrize(
    "active", [None, "", "nonsense", b"[]", [], 1, {"MBT_TRADING_DISABLED": None}, '{"X": {"reason": 1}}']
)
def test_an_answer_that_cannot_be_read_counts_as_on(active: object) -> None:
    assert all(state.on for state in switches.states_of(active).values())


@pytest.mark.parametrize("active", ["{}", b"{}", {}])
def test_an_empty_answer_is_all_off(active: object) -> None:
    switches.require_open(switches.states_of(active))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("switch", "refusal", "code"),
    [(TRADING, TradingDisabled, "TRADING_DISABLED"), (NEW_ORDERS, NewOrdersDisabled, "NEW_ORDERS_DISABLED")],
)
def test_the_refusal_says_which_why_since_when_and_what_to_do(
    switch: Switch, refusal: type[switches.SwitchedOff], code: str
) -> None:
    switches.require_open(switches.read())
    turn(switch, on=True)
    with pytest.raises(refusal) as caught:
        switches.require_open(switches.read())
    problem = caught.value
    assert (problem.code, problem.http_status, problem.retry_after_s) == (code, 503, 30)
    for part in (
        switch,
        "market data is stale",
        "2026-11-20 14:30 UTC",
        "Nothing was stored",
        "Cancels still work",
    ):
        assert part in problem.message
    assert problem.details["since"] == "2026-11-20T14:30:00+00:00"


@pytest.mark.django_db
def test_a_change_is_recorded_once() -> None:
    assert turn(TRADING, on=True, reason="  market data\nis stale ") == SwitchChange(
        changed=True, drained=True
    )
    assert turn(TRADING, on=True, reason="again") == SwitchChange(changed=False, drained=True)
    assert turn(TRADING, on=False, reason="data is back") == SwitchChange(changed=True, drained=True)
    rows = AuditEntry.objects.order_by("id").values_list(
        "action", "actor_ref", "object_id", "changes", "reason", "at"
    )
    assert list(rows) == [
        (
            "console.switch.changed",
            OPERATOR_SHELL,
            TRADING,
            {"on": [False, True]},
            "market data is stale",
            NOW,
        ),
        ("console.switch.changed", OPERATOR_SHELL, TRADING, {"on": [True, False]}, "data is back", NOW),
    ]
    assert SwitchRow.objects.get(name=TRADING).reason == "data is back"


@pytest.mark.django_db
def test_a_missing_row_is_made() -> None:
    SwitchRow.objects.all().delete()
    assert turn(NEW_ORDERS, on=True).changed
    assert switches.read()[NEW_ORDERS].on


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "  \n", "x" * 501])
def test_a_change_needs_a_reason(reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        turn(TRADING, on=True, reason=reason)
    assert caught.value.details["field"] == "reason"
    assert not switches.read()[TRADING].on


@pytest.mark.usefixtures("fresh_db")
def test_the_gate_needs_a_transaction() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        switches.enter()


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
            switches.require_open(switches.enter())
            inside.set()
            time.sleep(0.3)
            log.append("accepted")

    thread = _in_thread(submit)
    inside.wait()
    assert turn(NEW_ORDERS, on=True).drained
    log.append("switched")
    thread.join()
    assert log == ["accepted", "switched"]


@pytest.mark.usefixtures("fresh_db")
def test_whoever_waits_at_the_gate_reads_what_was_decided_meanwhile() -> None:
    """The switch goes on in a longer transaction; a submission whose statement began before its commit
    must not go by the state of affairs at its beginning."""
    seen: list[bool] = []
    with transaction.atomic():
        turn(NEW_ORDERS, on=True)

        def submit() -> None:
            with transaction.atomic():
                seen.append(switches.enter()[NEW_ORDERS].on)

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
            switches.enter()
            inside.set()
            leave.wait()

    thread = _in_thread(hang)
    inside.wait()
    assert turn(TRADING, on=True) == SwitchChange(changed=True, drained=False)
    assert switches.read()[TRADING].on
    leave.set()
    thread.join()
    assert turn(TRADING, on=True) == SwitchChange(changed=False, drained=True)


@pytest.mark.usefixtures("fresh_db")
def test_nothing_is_accepted_after_the_switch_call_returned() -> None:
    """R14 of the security page: 100 races against six submitters, half with the gate inside their INSERT."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE accepted (id bigint GENERATED ALWAYS AS IDENTITY)")
    over, problems = threading.Event(), []

    def submit(in_one_statement: bool) -> None:
        try:
            while not over.is_set():
                with transaction.atomic(), connection.cursor() as cursor:
                    if in_one_statement:
                        cursor.execute(
                            "INSERT INTO accepted SELECT FROM console_gate() AS active WHERE active = '{}'"
                        )
                    elif not switches.enter()[NEW_ORDERS].on:
                        cursor.execute("INSERT INTO accepted DEFAULT VALUES")
        except Exception as problem:
            problems.append(problem)

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM accepted")
            return int(cursor.fetchone()[0])

    threads = [_in_thread(lambda n=n: submit(n % 2 == 0)) for n in range(6)]  # type: ignore[misc]
    leaks, busy = 0, 0
    for _ in range(100):
        before = count()
        while count() == before:
            time.sleep(0.001)
        assert turn(NEW_ORDERS, on=True) == SwitchChange(changed=True, drained=True)
        when_returned = count()
        time.sleep(0.005)
        leaks += count() != when_returned
        busy += when_returned > before
        turn(NEW_ORDERS, on=False)
    over.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert busy == 100
    assert leaks == 0
