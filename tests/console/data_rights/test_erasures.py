"""An erasure leaves nothing but what is listed, wherever it is killed; and a restored backup is cleaned again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as the_settings
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from redis.exceptions import RedisError

from audit import verification
from audit.services import sealing
from console import data_rights
from console.data_rights import holders
from console.models import DataExport, DataRequest, ErasedSubject
from console.services import data_requests, erasures
from mbt.models import Account, Fill, Order
from raxx.celery import app
from raxx.identity.models import User
from raxx.kernel import clock, outbox, valkey
from tests.conftest import ROOT, Database, _admin
from tests.console.data_rights.people import (
    Person,
    found_in_database,
    found_in_logs,
    found_in_redis,
    later,
    live,
)
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market

ACTOR = "system:operator-shell"
ERASURES = 500 if os.environ.get("RAXX_SOAK") else 20


@pytest.fixture
def market(fresh_db: Database) -> Iterator[Market]:
    market = Market("test-erasure", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    yield market
    market.close()


def asked(person: Person) -> DataRequest:
    return data_requests.receive(user_id=person.user_id, kind="erasure", actor=ACTOR, now=clock.now())


def waived(person: Person) -> DataRequest:
    request = asked(person)
    return data_requests.waive(request_id=request.pk, actor=ACTOR, now=clock.now())


def assert_gone(person: Person) -> None:
    """Nothing that tells who it was is anywhere; ids of their objects are in the listed carve-outs alone."""
    assert found_in_database(person.canaries) == {}
    assert found_in_redis(person.canaries) == set()
    allowed = {carve_out.table for carve_out in data_rights.carve_outs()}
    for tables in found_in_database(person.object_ids).values():
        assert tables <= allowed
    assert found_in_redis(person.object_ids) == set()


def test_before_the_erasure_the_search_finds_everything(market: Market) -> None:
    """Else it would prove nothing."""
    alice = live(market)
    found = found_in_database(alice.canaries)
    user_id, mark, email = alice.canaries
    assert {"users", "mbt_accounts", "api_keys", "passkeys"} <= found[user_id]
    assert {"users", "mbt_orders", "api_keys", "passkeys", "sessions", "console_operator_links"} <= found[
        mark
    ]
    assert found[email] == {"users"}
    assert any(key.startswith("raxx:sess:") for key in found_in_redis([user_id]))
    assert any(key.startswith("raxx:events:") for key in found_in_redis(alice.object_ids))


def test_nothing_is_left_outside_the_listed_carve_outs(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    alice, bob = live(market), live(market, name="bob")
    request = asked(alice)
    copy = data_requests.receive(user_id=alice.user_id, kind="access", actor=ACTOR, now=clock.now())
    data_requests.run(clock.now())
    assert DataExport.objects.filter(pk=copy.pk).exists()
    app.send_task("console.data_requests")  # so that the queue holds what a queue would

    before = {table for tables in found_in_database(bob.canaries).values() for table in tables}
    assert data_requests.run(later(31)).erased == 1
    assert_gone(alice)
    assert found_in_logs(caplog.records, [*alice.canaries, *alice.secrets]) == []
    # Bob has lost nothing.
    assert {table for tables in found_in_database(bob.canaries).values() for table in tables} == before
    assert Order.objects.filter(account_id=bob.account_id).count() == 4

    request.refresh_from_db()
    assert (request.status, request.user_id) == ("done", None)
    assert request.receipt["mbt_orders"] == 4
    copy.refresh_from_db()
    assert copy.user_id is None
    assert not DataExport.objects.exists()


def test_the_record_still_verifies(market: Market) -> None:
    alice = live(market)
    waived(alice)
    data_requests.run(clock.now())
    sealing.seal()
    assert verification.verify(files=[], public_keys=[]).problems == []


def test_many_erasures(market: Market) -> None:
    people = [live(market, name=f"p{number}", orders=1) for number in range(ERASURES)]
    for person in people:
        waived(person)
    erased = 0
    while (ran := data_requests.run(clock.now())).erased:
        assert ran.failed == 0
        erased += ran.erased
    assert erased == ERASURES
    assert not User.objects.filter(pk__in=[person.user_id for person in people]).exists()
    canaries = [canary for person in people for canary in person.canaries]
    assert found_in_database(canaries) == {}
    assert found_in_redis(canaries) == set()
    for person in (people[0], people[-1]):  # their objects too
        assert_gone(person)
    assert Account.objects.count() == Fill.objects.count() == 0
    sealing.seal()
    assert verification.verify(files=[], public_keys=[]).problems == []


_KILLED = """
import dataclasses, os, signal, sys
sys.path.insert(0, {root!r})
os.environ["DJANGO_SETTINGS_MODULE"] = "raxx.settings"
import django
django.setup()
from console.data_rights import holders
from console.services import data_requests
from raxx.kernel import clock
name, when = {name!r}, {when!r}
holder = holders._entries[name]
def erase(act):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = holder.erase(act)
    os.kill(os.getpid(), signal.SIGKILL)
holders._entries[name] = dataclasses.replace(holder, erase=erase)
data_requests.run(clock.now())
"""


@pytest.mark.parametrize(
    ("name", "when"), [("mbt", "after"), ("console", "before"), ("identity", "after"), ("audit", "after")]
)
def test_killed_in_the_middle_it_goes_on(market: Market, fresh_db: Database, name: str, when: str) -> None:
    alice = live(market)
    request = waived(alice)
    code = _KILLED.format(root=str(ROOT), name=name, when=when)
    keys = {"DJANGO_SECRET_KEY": the_settings.SECRET_KEY, "RAXX_FIELD_KEY": the_settings.RAXX_FIELD_KEY}
    environment = {**os.environ, **keys, "DATABASE_URL": fresh_db.url}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    request.refresh_from_db()
    assert request.status == "erasing"
    assert ErasedSubject.objects.count() == 1  # on the list from the first moment

    assert data_requests.run(clock.now()) == (0, 1, 0, 0)
    assert_gone(alice)
    request.refresh_from_db()
    assert request.status == "done"
    assert data_requests.run(clock.now()) == (0, 0, 0, 0)


def test_without_redis_it_waits_and_tries_again(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = live(market)
    request = waived(alice)

    def refuse(_: object) -> int:
        raise RedisError("gone")

    with monkeypatch.context() as broken:
        broken.setattr("mbt.data_rights.forget_events", refuse)
        assert data_requests.run(clock.now()).failed == 1
    request.refresh_from_db()
    assert (request.status, request.problem) == ("erasing", "RedisError")
    assert data_requests.urgent(clock.now())
    assert data_requests.run(clock.now()).erased == 1
    assert_gone(alice)


def test_one_process_at_a_time(market: Market) -> None:
    alice = live(market, orders=0)
    request = waived(alice)
    DataRequest.objects.filter(pk=request.pk).update(status="erasing")
    name = connections["default"].copy()
    try:
        with name.cursor() as cursor:
            key = int.from_bytes(request.pk.bytes[-4:], signed=True)
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [erasures._LOCK, key])
            with pytest.raises(erasures.AlreadyErasing):
                erasures.carry_out(request_id=request.pk, now=clock.now())
            # A closed connection lets go of it too, but only when the server has noticed.
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [erasures._LOCK, key])
    finally:
        name.close()
    assert User.objects.filter(pk=alice.user_id).exists()
    assert erasures.carry_out(request_id=request.pk, now=clock.now()).status == "done"
    with pytest.raises(transaction.TransactionManagementError), transaction.atomic():
        erasures.carry_out(request_id=request.pk, now=clock.now())


@pytest.fixture
def restore(fresh_db: Database) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """(back up, restore): a copy of the whole database, put in the place of the one that went on."""
    backup = f"{fresh_db.name}_backup"

    def copy(source: str, target: str) -> None:
        connections.close_all()
        with _admin() as run:
            run(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            run(f'CREATE DATABASE "{target}" TEMPLATE "{source}" STRATEGY FILE_COPY')

    yield (lambda: copy(fresh_db.name, backup)), (lambda: copy(backup, fresh_db.name))
    connections.close_all()
    with _admin() as run:
        run(f'DROP DATABASE IF EXISTS "{backup}" WITH (FORCE)')


def test_a_restored_backup_is_cleaned_by_the_list(
    market: Market,
    restore: tuple[Callable[[], None], Callable[[], None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    kept = tmp_path / "erasures.jsonl"
    monkeypatch.setenv(erasures.LIST_VARIABLE, str(kept))
    alice, bob, carol = live(market), live(market, name="bob", orders=1), live(market, name="carol", orders=1)
    asked(carol)  # cools off when the backup is made
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock_all()")
    back_up, put_back = restore
    back_up()
    waived(alice)
    data_requests.waive(
        request_id=DataRequest.objects.get(user_id=carol.user_id).pk, actor=ACTOR, now=clock.now()
    )
    assert data_requests.run(clock.now()).erased == 2
    listed = StringIO()
    call_command("dsr_erase", "--list", stdout=listed)
    assert sorted(listed.getvalue().split()) == sorted(kept.read_text().split())
    assert kept.stat().st_mode & 0o777 == 0o600
    assert str(alice.user_id) not in kept.read_text()

    put_back()
    assert User.objects.filter(pk=alice.user_id).exists()
    assert not ErasedSubject.objects.exists()  # a list inside the database would have been lost
    out = StringIO()
    call_command("dsr_erase", "--reapply", str(kept), "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"on the list": 2, "would erase again": 2}
    assert User.objects.filter(pk=alice.user_id).exists()
    call_command("dsr_erase", "--reapply", str(kept), "--apply", stdout=StringIO())
    assert_gone(alice)
    assert_gone(carol)
    assert User.objects.filter(pk=bob.user_id).exists()
    assert ErasedSubject.objects.count() == 2
    out = StringIO()
    call_command("dsr_erase", "--reapply", str(kept), "--apply", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"on the list": 2, "erased again": 0}
    # The log carries the list as well.
    log = tmp_path / "app.log"
    log.write_text(
        "\n".join(
            json.dumps({"event": "erasure list", "line": line}) for line in kept.read_text().split("\n")
        )
    )
    assert {e.mark for e in erasures.read_list(log.read_text().splitlines())} == {
        e.mark for e in erasures.stored_list()
    }
    assert any("erasure list" in r.getMessage() for r in caplog.records)


def test_the_command(market: Market) -> None:
    alice = live(market)
    user = str(alice.user_id)
    out = StringIO()
    call_command("dsr_erase", "--user", user, "--reason", "letter", stdout=out)
    assert "Nothing was changed. Add --apply to do it." in out.getvalue()
    assert not DataRequest.objects.exists()
    with pytest.raises(CommandError, match="--reason") as caught:
        call_command("dsr_erase", "--user", user, "--apply", stdout=StringIO())
    assert caught.value.returncode == 2
    with pytest.raises(CommandError, match="no such user"):
        call_command("dsr_erase", "--user", str(uuid4()), "--reason", "x", "--apply", stdout=StringIO())
    call_command("dsr_erase", "--user", user, "--reason", "letter", "--apply", stdout=StringIO())
    assert DataRequest.objects.get().status == "cooling"
    with pytest.raises(CommandError, match="asked for this already"):
        call_command("dsr_erase", "--user", user, "--reason", "x", "--apply", stdout=StringIO())
    out = StringIO()
    call_command("dsr_erase", "--due", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"due": 0}
    data_requests.cancel(request_id=DataRequest.objects.get().pk, actor=ACTOR, now=clock.now())
    out = StringIO()
    call_command("dsr_erase", "--user", user, "--reason", "x", "--waive", "--apply", "--json", stdout=out)
    assert json.loads(out.getvalue())["status"] == "done"
    assert_gone(alice)


def test_purge(market: Market) -> None:
    alice = live(market, orders=0)
    waived(alice)
    data_requests.run(clock.now())
    DataRequest.objects.update(closed_at=clock.now() - timedelta(days=3 * 365 + 1))
    out = StringIO()
    call_command("purge", stdout=out)
    assert "       1  answered requests about data, kept for 3 years" in out.getvalue()
    assert DataRequest.objects.exists()
    out = StringIO()
    call_command("purge", "--apply", "--json", stdout=out)
    assert json.loads(out.getvalue())["rows"]["answered requests about data"] == 1
    assert not DataRequest.objects.exists()
    assert ErasedSubject.objects.exists()  # backups may be older


def test_events_of_others_stay(market: Market) -> None:
    from console.services.forgetting import forget_events

    with transaction.atomic():
        outbox.add(topic="test", key="mine", payload={})
        outbox.add(topic="test", key="theirs", payload={})
    assert forget_events([]) == 0
    assert forget_events(["mine"]) == 1
    left: Any = valkey.shared().xrange("raxx:events:test")
    assert [fields[b"key"] for _, fields in left] == [b"theirs"]


def test_holders_erase_what_they_cover(market: Market) -> None:
    """Each holder's receipt names every table that it had rows in."""
    alice = live(market)
    request = waived(alice)
    data_requests.run(clock.now())
    request.refresh_from_db()
    assert request.parts_done == [name for name, _ in data_rights.in_order()]
    assert {"mbt_accounts", "mbt_fills", "mbt_activities", "mbt_positions", "audit_subjects"} <= set(
        request.receipt
    )
    assert {name for name, _ in holders} == set(request.parts_done)
