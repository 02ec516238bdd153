import os
import random
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest
from django.db import connection, transaction

from audit.models import AuditEntry, AuditSeal, AuditSealer
from audit.services import sealing
from tests.audit.record_tools import check, insert, objects_in_order, sealed, write
from tests.conftest import ROOT, Database

pytestmark = pytest.mark.usefixtures("fresh_db")


def test_the_chain_is_the_documented_one() -> None:
    """Reckoned by PostgreSQL, from the words of docs/audit.md."""
    for number in range(3):
        sealed(1, first=number, reason="plain", changes={"n": number})
    with connection.cursor() as cursor:
        cursor.execute(r"""
            WITH RECURSIVE leaves AS (
              SELECT s.seq, s.leaf, s.chain, sha256('\x00' || convert_to(concat_ws(E'\t', l.id,
                     (extract(epoch FROM l.at) * 1000000)::bigint, (extract(epoch FROM l.recorded_at) * 1000000)::bigint,
                     l.actor_ref, l.action, l.object_type, l.object_id, l.changes::text, l.reason, l.request_id,
                     encode(l.mac, 'hex')), 'UTF8')) AS due_leaf
                FROM audit_seal s JOIN audit_log l ON l.id = s.entry_id),
            walk AS (
              SELECT 0::bigint AS seq, sha256('\x02' || 'raxx audit record'::bytea || uuid_send(record_id)) AS due_chain
                FROM audit_sealer
              UNION ALL
              SELECT l.seq, sha256('\x01' || w.due_chain || int8send(l.seq) || l.due_leaf)
                FROM walk w JOIN leaves l ON l.seq = w.seq + 1)
            SELECT count(*), bool_and(l.leaf = l.due_leaf), bool_and(l.chain = w.due_chain)
              FROM walk w JOIN leaves l USING (seq)""")
        assert cursor.fetchone() == (3, True, True)


def test_rows_get_their_seals_in_order_batch_by_batch() -> None:
    write(25)
    done = sealing.seal(batch_rows=10)
    assert done == sealing.Sealed(rows=25, seq=25, more=False)
    assert objects_in_order() == [f"S{n}" for n in range(25)]
    assert sealing.seal() == sealing.Sealed(rows=0, seq=25, more=False)
    assert check().is_sound


def test_when_the_time_is_up_the_rest_waits() -> None:
    write(25)
    assert sealing.seal(patience_s=-1, batch_rows=10) == sealing.Sealed(rows=10, seq=10, more=True)
    assert sealing.seal(batch_rows=10) == sealing.Sealed(rows=15, seq=25, more=False)


def test_nothing_to_seal_writes_nothing() -> None:
    for _ in range(3):
        sealed(1)
    with connection.cursor() as cursor:
        for _ in range(2):  # the ceiling follows one round behind
            sealing.seal()
        cursor.execute("SELECT xmin FROM audit_sealer")
        before = cursor.fetchone()
        sealing.seal()
        cursor.execute("SELECT xmin FROM audit_sealer")
        assert cursor.fetchone() == before


def test_a_row_that_is_committed_late_is_sealed_late(fresh_db: Database) -> None:
    with psycopg.connect(fresh_db.url) as late:
        insert(late, 1)  # has the lowest id, and is not committed
        for number in range(2, 6):
            sealed(1, first=number)
        assert AuditSealer.objects.get().floor < AuditEntry.objects.earliest("id").pk
        late.commit()
    sealing.seal()
    assert objects_in_order() == ["S2", "S3", "S4", "S5", "R1"]
    sealed(1, first=6)
    sealing.seal()
    assert AuditSealer.objects.get().floor == AuditEntry.objects.latest("id").pk
    assert check().is_sound


def test_the_floor_does_not_pass_a_transaction_that_began_in_between(fresh_db: Database) -> None:
    """Ceiling taken while A is open; B opens, takes an id below the next ceiling; A ends; B still counts."""
    with psycopg.connect(fresh_db.url) as a, psycopg.connect(fresh_db.url) as b:
        insert(a, 1)
        sealing.seal()
        insert(b, 2)
        sealed(1, first=3)
        a.commit()
        for _ in range(4):
            sealing.seal()
        sealed(1, first=4)
        b.commit()
    sealing.seal()
    assert sorted(objects_in_order()) == ["R1", "R2", "S3", "S4"]
    assert check().is_sound


def test_a_writer_that_gives_up_holds_nothing_up(fresh_db: Database) -> None:
    with psycopg.connect(fresh_db.url) as gone:
        insert(gone, 1)
        sealed(2)
        gone.rollback()
    sealed(1, first=2)
    sealing.seal()
    assert AuditSealer.objects.get().floor == AuditEntry.objects.latest("id").pk
    assert check().is_sound


@pytest.mark.parametrize("seed", range(4))
def test_no_row_is_lost_however_transactions_overlap(fresh_db: Database, seed: int) -> None:
    """Eight writers begin, write, commit and roll back in any order, with sealing in between."""
    chance, kept = random.Random(seed), set()
    writers = [psycopg.connect(fresh_db.url) for _ in range(8)]
    pending: dict[int, list[str]] = {n: [] for n in range(8)}
    try:
        for number in range(300):
            who = chance.randrange(8)
            match chance.choice(["write", "write", "commit", "roll back", "seal", "seal small"]):
                case "write":
                    insert(writers[who], number)
                    pending[who].append(f"R{number}")
                case "commit":
                    writers[who].commit()
                    kept.update(pending[who])
                    pending[who] = []
                case "roll back":
                    writers[who].rollback()
                    pending[who] = []
                case "seal":
                    sealing.seal()
                case "seal small":
                    sealing.seal(batch_rows=2)
        for who, writer in enumerate(writers):
            writer.commit()
            kept.update(pending[who])
    finally:
        for writer in writers:
            writer.close()
    sealing.seal()
    assert len(objects_in_order()) == len(kept)
    assert set(objects_in_order()) == kept
    assert check().is_sound


def test_many_sealers_beside_many_writers() -> None:
    stop, failures = threading.Event(), list[BaseException]()

    def work(what: str) -> None:
        try:
            if what == "write":
                for number in range(60):
                    write(1 + number % 3, first=number * 3)
            else:
                while not stop.is_set():
                    sealing.seal(batch_rows=7)
        except BaseException as failure:
            failures.append(failure)
        finally:
            connection.close()

    sealers = [threading.Thread(target=work, args=["seal"]) for _ in range(3)]
    writers = [threading.Thread(target=work, args=["write"]) for _ in range(4)]
    for thread in (*sealers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in sealers:
        thread.join()
    assert not failures
    sealing.seal()
    assert AuditSeal.objects.count() == AuditEntry.objects.count() == 4 * 120
    assert check().is_sound


def test_the_second_of_two_sealers_goes_away_at_once(fresh_db: Database) -> None:
    write(1)
    with psycopg.connect(fresh_db.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s, %s)", sealing.LOCK)
        assert sealing.seal() is None
    assert sealing.seal() is not None


def test_writers_never_wait_for_the_sealer(fresh_db: Database) -> None:
    write(50)
    with transaction.atomic(), psycopg.connect(fresh_db.url) as writer:
        sealing.seal()  # its transaction stays open
        writer.execute("SET lock_timeout = '100ms'")
        insert(writer, 1)
        writer.commit()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT DISTINCT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'audit_log'::regclass"
            )
            assert cursor.fetchall() == [("AccessShareLock",)]
    sealing.seal()
    assert objects_in_order()[-1] == "R1"


def test_a_sealer_that_is_killed_leaves_nothing_half_done(fresh_db: Database) -> None:
    """kill -9 at any moment, the next one carries on. Each process seals batches of 20 as fast as it can."""
    write(400)
    program = (
        "import django; django.setup()\n"
        "from audit.services import sealing\n"
        "print('go', flush=True)\n"
        "while True: sealing.seal(batch_rows=20, patience_s=-1)\n"
    )
    environment = {**os.environ, "DATABASE_URL": fresh_db.url, "DJANGO_SETTINGS_MODULE": "raxx.settings"}
    environment |= _secrets()
    for number in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout
        assert process.stdout.readline() == b"go\n"
        write(200, first=400 + 200 * number)
        time.sleep(random.Random(number).random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not [p for p in check().problems if p.code != "row_unsealed"]
    _wait_for_the_lock()
    done = sealing.seal()
    assert done is not None
    assert done.seq == 1_400
    assert check().is_sound


def test_what_waits_for_its_seal_can_be_asked_for() -> None:
    assert sealing.oldest_unsealed() is None
    write(2)
    assert sealing.oldest_unsealed() == AuditEntry.objects.earliest("id").recorded_at
    sealing.seal()
    assert sealing.oldest_unsealed() is None


def test_a_row_below_the_floor_is_found_when_everything_is_looked_at() -> None:
    """It cannot come about by itself; somebody moved the floor."""
    write(5)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_sealer (record_id, floor, holders) VALUES (gen_random_uuid(), 1000000, '[]')"
        )
    assert sealing.seal() == sealing.Sealed(0, 0, more=False)
    problem = check().first
    assert problem is not None
    assert problem.code == "row_unsealed"
    assert sealing.seal(everything=True, batch_rows=2) == sealing.Sealed(5, 5, more=False)
    assert check().is_sound


def _secrets() -> dict[str, str]:
    from django.conf import settings

    return {"DJANGO_SECRET_KEY": settings.SECRET_KEY, "RAXX_FIELD_KEY": settings.RAXX_FIELD_KEY}


def _wait_for_the_lock() -> None:
    """The server notices a killed client when it next speaks to it."""
    until = time.monotonic() + 5
    while sealing.seal() is None and time.monotonic() < until:
        time.sleep(0.05)
