import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.core.management import CommandError, call_command

from audit import pseudonym, signing
from audit.models import AuditEntry
from audit.services import sealing
from raxx.kernel.ids import new_id
from tests.audit.record_tools import NOW, sealed, signed, thief, write

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def file(tmp_path: Path, settings: Any) -> Path:  # noqa: ANN401 - pytest-django's
    found = tmp_path / "checkpoints.jsonl"
    settings.RAXX_AUDIT_CHECKPOINTS = str(found)
    return found


def run(command: str, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command(command, *arguments, stdout=out, stderr=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_verify_says_that_all_is_well(file: Path) -> None:
    sealed(12)
    signed()
    code, text = run("audit_verify")
    assert code == 0
    assert "12 seals, 12 rows, 0 purged, 0 not yet sealed; 2 checkpoints, the last for seal 12" in text
    assert "The record is sound." in text
    assert "from outside" not in text


def test_verify_names_the_first_bad_row(file: Path) -> None:
    sealed(12)
    signed()
    ids = list(AuditEntry.objects.order_by("id").values_list("id", flat=True))
    with thief() as cursor:
        cursor.execute("UPDATE audit_log SET reason = '' WHERE id = ANY(%s)", [[ids[8], ids[3]]])
    code, text = run("audit_verify")
    assert code == 3
    assert f"2 problem(s). The first: Row {ids[3]} was changed after it was sealed (seal 4)." in text
    code, text = run("audit_verify", "--json")
    found = json.loads(text)
    assert code == 3
    assert found["sound"] is False
    assert found["problems"][0] == {
        "code": "row_changed",
        "seq": 4,
        "entry_id": ids[3],
        "text": f"Row {ids[3]} was changed after it was sealed (seal 4).",
    }
    assert found["public_key"] == signing.public_key()


def test_verify_names_the_missing_tail(file: Path) -> None:
    sealed(12)
    signed()
    with thief() as cursor:
        cursor.execute("DELETE FROM audit_log WHERE id IN (SELECT entry_id FROM audit_seal WHERE seq > 9)")
        cursor.execute("DELETE FROM audit_seal WHERE seq > 9")
        cursor.execute("DELETE FROM audit_checkpoints")
    code, text = run("audit_verify")
    assert code == 3
    assert "The tail is missing: the record ends with seal 9, but seals up to 12 were signed" in text


def test_verify_says_when_it_was_given_nothing_from_outside() -> None:
    write(1)
    sealing.seal()
    code, text = run("audit_verify")
    assert code == 0
    assert "No checkpoint from outside of the database was given" in text


def test_verify_fails_on_a_file_that_is_not_there_and_on_a_bad_key() -> None:
    code, text = run("audit_verify", "--checkpoints", "/nowhere/at-all")
    assert code == 1
    assert "/nowhere/at-all" in text
    code, text = run("audit_verify", "--public-key", "abc")
    assert code == 1
    assert "64 hex digits" in text


def test_an_outsider_can_check_a_checkpoint_by_the_words_of_the_docs(file: Path) -> None:
    sealed(5)
    signed()
    line = json.loads(file.read_text())
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signing.public_key()))
    text = (
        "raxx.audit.checkpoint.v1\n"
        f'{{"at":"{line["at"]}","chain":"{line["chain"]}","record":"{line["record"]}","seq":5}}'
    )
    public.verify(bytes.fromhex(line["signature"]), text.encode())
    with pytest.raises(InvalidSignature):
        public.verify(bytes.fromhex(line["signature"]), text.replace('"seq":5', '"seq":6').encode())


def test_an_empty_record_is_sound() -> None:
    assert run("audit_verify")[0] == 0


def test_the_trail_of_one_object(file: Path) -> None:
    sealed(3, object_type="mbt.order", object_id="O1")
    sealed(2, object_type="mbt.order", object_id="O2")
    sealed(1, object_type="switch", object_id="O1")
    signed()
    write(1, object_type="mbt.order", object_id="O1")
    code, text = run("audit_export", "mbt.order", "O1")
    *rows, last = [json.loads(line) for line in text.splitlines()]
    assert code == 0
    assert [row["seq"] for row in rows] == [1, 2, 3, None]
    assert all(
        row["version"] == 1 and row["object_id"] == "O1" and row["object_type"] == "mbt.order" for row in rows
    )
    assert rows[0]["changes"]["nested"] == {"a": None, "b": 0}
    assert len(rows[0]["leaf"]) == len(rows[0]["chain"]) == 64
    assert last["checkpoint"] == json.loads(file.read_text().splitlines()[0])
    assert run("audit_export", "mbt.order", "O3") == (3, "Nothing is recorded of mbt.order O3.\n")


def test_the_trail_as_csv_runs_no_formula() -> None:
    write(1, object_type="mbt.order", object_id="O1", reason="=HYPERLINK(1)")
    code, text = run("audit_export", "mbt.order", "O1", "--format", "csv")
    [row] = csv.DictReader(io.StringIO(text))
    assert code == 0
    assert row["reason"] == "'=HYPERLINK(1)"
    assert row["seq"] == ""
    assert json.loads(row["changes"])["on"] == [False, True]


def test_the_trail_of_a_person_is_under_their_pseudonym() -> None:
    ref = pseudonym.actor_ref_for(new_id())
    write(1, object_type="user", object_id=ref, actor=ref)
    assert json.loads(run("audit_export", "user", ref)[1])["actor"] == ref


def test_sealing_by_hand(file: Path) -> None:
    write(3)
    assert run("audit_seal") == (0, "3 rows sealed; the chain has 3 seals. Signed.\n")
    assert run("audit_seal", "--everything") == (
        0,
        "0 rows sealed; the chain has 3 seals. Nothing new to sign.\n",
    )
    assert len(file.read_text().splitlines()) == 1
    with thief() as cursor:
        cursor.execute("UPDATE audit_seal SET chain = sha256('x') WHERE seq = 3")
    with pytest.raises(CommandError, match="not as it was signed at seal 3"):
        call_command("audit_seal")


def test_a_checkpoint_that_cannot_be_written_to_its_file_is_signed_all_the_same(settings: Any) -> None:  # noqa: ANN401
    settings.RAXX_AUDIT_CHECKPOINTS = "/proc/nowhere/checkpoints.jsonl"
    sealed(1)
    signed(NOW)
    assert run("audit_verify")[0] == 0


def test_deployments_are_told_to_bring_a_key(settings: Any) -> None:  # noqa: ANN401 - pytest-django's
    from audit.checks import signs_with_own_key

    settings.RAXX_AUDIT_KEY = ""
    assert [message.id for message in signs_with_own_key(None)] == ["audit.W001"]
    settings.RAXX_AUDIT_KEY = "0" * 64
    assert signs_with_own_key(None) == []
    assert signing.has_own_key()
