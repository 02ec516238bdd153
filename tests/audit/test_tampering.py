"""S9: whoever owns the tables, with every trigger off, changes something. It is found, and named."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from audit import log, pseudonym
from audit.canonical import ROW, genesis, leaf_of, link
from audit.models import AuditEntry, AuditSeal
from audit.services import checkpoints, sealing
from audit.verification import Findings
from tests.audit.record_tools import AT, EVENT, NOW, check, sealed, signed, thief, write

ROWS = 30
COLUMNS = {
    "id": "id + 1000000",
    "at": "at + interval '1 microsecond'",
    "recorded_at": "recorded_at - interval '1 microsecond'",
    "actor_ref": "'system:release'",
    "action": "'console.operator.created'",
    "object_type": "object_type || ' '",
    "object_id": "object_id || '0'",
    "changes": """changes || '{"a": null}'""",
    "reason": "''",
    "request_id": "''",
    "mac": "decode(md5('x'), 'hex')",
}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("record")]


@pytest.fixture
def file(tmp_path: Path, settings: Any) -> Path:  # noqa: ANN401 - pytest-django's
    found = tmp_path / "checkpoints.jsonl"
    settings.RAXX_AUDIT_CHECKPOINTS = str(found)
    return found


@pytest.fixture
def record(file: Path) -> None:
    """Thirty rows, signed after each ten."""
    for start in range(0, ROWS, 10):
        sealed(10, first=start)
        signed()
    assert check(file).is_sound


def row_ids() -> list[int]:
    return list(AuditEntry.objects.order_by("id").values_list("id", flat=True))


def seal_anew(cursor: Any, *, renumber: bool = True) -> None:  # noqa: ANN401 - a cursor
    """The thief knows how seals are made, and makes them all fit the rows that are there."""
    cursor.execute("SELECT record_id FROM audit_sealer")
    chain = genesis(cursor.fetchone()[0])
    rows = f"SELECT {ROW} FROM audit_log l LEFT JOIN audit_seal s ON s.entry_id = l.id ORDER BY s.seq, l.id"  # noqa: S608
    with cursor.copy(f"COPY ({rows}) TO STDOUT") as copy:
        lines = [bytes(line)[:-1] for line in copy]
    cursor.execute("DELETE FROM audit_seal")
    for seq, line in enumerate(lines, start=1):
        leaf = leaf_of(line)
        chain = link(chain, seq, leaf)
        entry_id = int(line.split(b"\t", 1)[0])
        cursor.execute("INSERT INTO audit_seal VALUES (%s, %s, %s, %s)", [seq, entry_id, leaf, chain])


def first(findings: Findings) -> tuple[str, int | None, int | None]:
    problem = findings.first
    assert problem is not None, "nothing was found"
    return problem.code, problem.seq, problem.entry_id


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("place", [1, 17, ROWS])
def test_every_column_of_a_row_counts(file: Path, column: str, place: int) -> None:
    entry = row_ids()[place - 1]
    with thief() as cursor:
        cursor.execute(f"UPDATE audit_log SET {column} = {COLUMNS[column]} WHERE id = %s", [entry])  # noqa: S608
    assert first(check(file)) == ("row_missing" if column == "id" else "row_changed", place, entry)


def test_every_column_is_tried() -> None:
    assert set(COLUMNS) == {field.column for field in AuditEntry._meta.fields}


@pytest.mark.parametrize("place", [1, 2, 10, 11, 29, ROWS])
def test_a_row_that_is_gone(file: Path, place: int) -> None:
    entry = row_ids()[place - 1]
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = %s", [entry])
    assert first(check(file)) == ("row_missing", place, entry)


@pytest.mark.parametrize("place", [1, 2, 15, 29])
def test_a_row_that_is_gone_with_its_seal(file: Path, place: int) -> None:
    entry = row_ids()[place - 1]
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = %s", [entry])
        cursor.execute("DELETE FROM audit_seal WHERE entry_id = %s", [entry])
    assert first(check(file)) == ("seals_missing", place, None)


@pytest.mark.parametrize("places", [(3, 4), (1, ROWS), (10, 11)])
def test_two_rows_that_change_places(file: Path, places: tuple[int, int]) -> None:
    ids = row_ids()
    one, two = (ids[place - 1] for place in places)
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET id = -1 WHERE id = %s", [one])
        cursor.execute("UPDATE audit_log SET id = %s WHERE id = %s", [one, two])
        cursor.execute("UPDATE audit_log SET id = %s WHERE id = -1", [two])
    assert first(check(file)) == ("row_changed", places[0], one)


@pytest.mark.parametrize("places", [(3, 4), (1, ROWS), (10, 11)])
def test_two_seals_that_change_places(file: Path, places: tuple[int, int]) -> None:
    with thief() as cursor:
        cursor.execute("ALTER TABLE audit_seal DROP CONSTRAINT audit_seal_counts_from_one")
        cursor.execute("UPDATE audit_seal SET seq = -1 WHERE seq = %s", [places[0]])
        cursor.execute("UPDATE audit_seal SET seq = %s WHERE seq = %s", places)
        cursor.execute("UPDATE audit_seal SET seq = %s WHERE seq = -1", [places[1]])
    assert first(check(file))[:2] == ("seal_changed", places[0])


@pytest.mark.parametrize("column", ["leaf", "chain"])
@pytest.mark.parametrize("place", [1, 12, ROWS])
def test_a_seal_that_was_changed(file: Path, column: str, place: int) -> None:
    with thief() as cursor:
        cursor.execute(f"UPDATE audit_seal SET {column} = sha256('x') WHERE seq = %s", [place])  # noqa: S608
    assert first(check(file))[1] == place


@pytest.mark.parametrize("kept", [0, 1, 9, 10, 15, 20, 29])
def test_a_tail_that_is_cut_off(file: Path, kept: int) -> None:
    """Rows, seals and the checkpoints in the database: all of it from there on."""
    ids = row_ids()
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = ANY(%s)", [ids[kept:]])
        cursor.execute("DELETE FROM audit_seal WHERE seq > %s", [kept])
        cursor.execute("DELETE FROM audit_checkpoints WHERE seq > %s", [kept])
    findings = check(file)
    assert first(findings) == ("tail_missing", kept + 1, None)
    assert findings.first is not None
    assert f"ends with seal {kept}, but seals up to 30 were signed" in findings.first.text
    assert check().is_sound  # inside of the database nothing tells


@pytest.mark.parametrize("kept", [0, 1, 15])
def test_everything_that_is_truncated(file: Path, kept: int) -> None:
    ids = row_ids()
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = ANY(%s)", [ids[kept:]])
        for table in ("audit_seal", "audit_checkpoints", "audit_manifests", "audit_sealer"):
            cursor.execute(f"TRUNCATE {table}")
    assert first(check(file))[:2] == ("no_beginning", 1)
    sealing.seal()  # and it goes on as if nothing had been
    assert first(check(file))[:2] == ("other_record", 1)


@pytest.mark.parametrize("place", [1, 10, 11, 25])
def test_a_row_that_is_gone_from_a_record_written_anew(file: Path, place: int) -> None:
    """Every seal fits. What was signed says that it is another record from some checkpoint on."""
    ids = row_ids()
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = %s", [ids[place - 1]])
        seal_anew(cursor)
        cursor.execute("DELETE FROM audit_checkpoints")
    good = (place - 1) // 10 * 10
    findings = check(file)
    code, seq, entry = first(findings)
    assert (code, seq) == ("rewritten" if place <= 20 else "tail_missing", good + 1 if place <= 20 else ROWS)
    if place <= 20:
        assert entry == (ids[good] if place != good + 1 else ids[good + 1])
        assert findings.first is not None
        assert "written anew" in findings.first.text


def test_a_changed_row_in_a_record_written_anew_is_still_named(file: Path) -> None:
    """The thief cannot make its MAC."""
    entry = row_ids()[16]
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET reason = 'I was not there' WHERE id = %s", [entry])
        seal_anew(cursor)
    found = {(p.code, p.entry_id) for p in check(file).problems}
    assert ("row_not_ours", entry) in found
    assert ("row_not_ours", entry) in {(p.code, p.entry_id) for p in check().problems}


def test_a_row_that_the_application_did_not_write(file: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, mac)"
            " SELECT at, actor_ref, action, object_type, 'invented', changes, mac FROM audit_log LIMIT 1 RETURNING id"
        )
        entry = cursor.fetchone()[0]
    sealing.seal()
    assert first(check(file)) == ("row_not_ours", ROWS + 1, entry)


def test_a_row_that_was_changed_before_its_seal(file: Path) -> None:
    write(1, first=100)
    entry = row_ids()[-1]
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET at = at + interval '1 day' WHERE id = %s", [entry])
    sealing.seal()
    assert first(check(file)) == ("row_not_ours", ROWS + 1, entry)


def test_checkpoints_that_are_forged(file: Path) -> None:
    """Rewritten, and signed with a key of the thief's own."""
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = %s", [row_ids()[4]])
        seal_anew(cursor)
        cursor.execute("UPDATE audit_checkpoints c SET chain = s.chain FROM audit_seal s WHERE s.seq = c.seq")
    found = {p.code for p in check(file).problems}
    assert {"checkpoint_forged", "rewritten"} <= found
    text = file.read_text()
    file.write_text(text.replace('"seq": 30', '"seq": 31'))
    assert "checkpoint_forged" in {p.code for p in check(file).problems}


def test_another_record_in_the_place_of_this_one(file: Path) -> None:
    with thief() as cursor:
        for table in ("audit_log", "audit_seal", "audit_checkpoints", "audit_manifests", "audit_sealer"):
            cursor.execute(f"TRUNCATE {table}")
    sealed(ROWS)
    assert check().is_sound
    code, seq, _ = first(check(file))
    assert (code, seq) == ("other_record", 1)


def test_a_record_id_that_was_changed(file: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE audit_sealer SET record_id = gen_random_uuid()")
    assert first(check(file))[1] == 1


def test_a_purge_manifest_that_is_forged(file: Path) -> None:
    entry = row_ids()[6]
    with thief() as cursor:
        cursor.execute(
            "INSERT INTO audit_manifests (made_at, retention, cutoff, through_id, rows, seqs, key_id, signature)"
            " SELECT now(), '2y', now() - interval '2 years', %s, 1, '{[7,8)}', key_id, signature"
            "   FROM audit_checkpoints LIMIT 1",
            [entry],
        )
        cursor.execute("DELETE FROM audit_log WHERE id = %s", [entry])
    found = check(file)
    assert {"manifest_forged", "row_missing"} == {p.code for p in found.problems}


def test_signing_stops_at_a_contradiction(file: Path) -> None:
    """Each minute the last checkpoint is compared before the next is signed."""
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id = %s", [row_ids()[20]])
        seal_anew(cursor)
        cursor.execute("DELETE FROM audit_checkpoints")
    sealed(1, first=100)
    with pytest.raises(checkpoints.RecordContradicted, match="audit_verify"):
        checkpoints.make(now=NOW)


@pytest.mark.parametrize("seed", range(1_000 if os.environ.get("RAXX_SOAK") else 25))
def test_whatever_one_thing_is_done(file: Path, seed: int) -> None:
    """Any single change of any row of any table of the record, drawn at random."""
    chance = random.Random(seed)
    changes: list[tuple[str, Callable[[int], list[object]]]] = [
        (f"UPDATE audit_log SET {c} = {v} WHERE id = %s", lambda n: [row_ids()[n - 1]])  # noqa: S608
        for c, v in COLUMNS.items()
    ]
    changes += [
        ("DELETE FROM audit_log WHERE id = %s", lambda n: [row_ids()[n - 1]]),
        ("DELETE FROM audit_seal WHERE seq = %s", lambda n: [n]),
        ("UPDATE audit_seal SET leaf = sha256(leaf) WHERE seq = %s", lambda n: [n]),
        ("UPDATE audit_seal SET chain = sha256(chain) WHERE seq = %s", lambda n: [n]),
        ("UPDATE audit_seal SET entry_id = entry_id + 1000000 WHERE seq = %s", lambda n: [n]),
        ("UPDATE audit_seal SET seq = seq + 1000000 WHERE seq = %s", lambda n: [n]),
    ]
    statement, parameters = chance.choice(changes)
    with thief() as cursor:
        cursor.execute(statement, parameters(chance.randint(1, ROWS)))
        assert cursor.rowcount == 1
    assert not check(file).is_sound, statement


def test_the_first_of_many_problems_comes_first(file: Path) -> None:
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET reason = 'x' WHERE id = ANY(%s)", [row_ids()[4:]])
    findings = check(file)
    assert first(findings) == ("row_changed", 5, row_ids()[4])
    assert findings.count == ROWS - 4
    assert len(findings.problems) == 20


def test_a_log_of_the_worker_is_as_good_as_the_file(tmp_path: Path, file: Path) -> None:
    lines = [
        '{"event": "audit checkpoint", "level": "info", "line": %s}' % _quoted(line)  # noqa: UP031
        for line in file.read_text().splitlines()
    ]
    worker_log = tmp_path / "worker.log"
    worker_log.write_text("\n".join(["not json", '{"event": "other"}', *lines]))
    assert check(worker_log).signed_through == ROWS
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_checkpoints")
        cursor.execute("DELETE FROM audit_seal WHERE seq > 25")
        cursor.execute("DELETE FROM audit_log WHERE id = ANY(%s)", [row_ids()[25:]])
    assert first(check(worker_log)) == ("tail_missing", 26, None)


def test_a_key_that_was_exchanged_is_still_known_by_its_public_half(file: Path, settings: Any) -> None:  # noqa: ANN401
    from audit.signing import public_key
    from audit.verification import verify

    former = public_key()
    settings.RAXX_AUDIT_KEY = "f" * 64
    assert "checkpoint_forged" in {p.code for p in check(file).problems}
    assert verify(files=[file], public_keys=[former], patience_s=0).is_sound
    settings.RAXX_AUDIT_PUBLIC_KEYS = former
    sealed(1, first=50)
    signed()
    assert check(file).is_sound


def test_every_row_is_checked_and_counted(file: Path) -> None:
    findings = check(file)
    assert (findings.rows, findings.seals, findings.purged, findings.waiting) == (ROWS, ROWS, 0, 0)
    assert (findings.checkpoints, findings.signed_through) == (6, ROWS)
    assert AuditSeal.objects.count() == ROWS
    log.record(EVENT, actor=pseudonym.ENGINE, object_type="x", object_id="x", at=AT)
    assert check(file).waiting == 1


def _quoted(line: str) -> str:
    import json

    return json.dumps(line)
