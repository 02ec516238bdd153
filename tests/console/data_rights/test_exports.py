import csv
import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from audit.selectors import trail, trail_of_person
from console.data_rights import Holder, holders
from console.models import DataExport, DataExportPart
from console.services import data_requests, exports
from console.services.exports import SecretInExport, cell, write_zip
from raxx.kernel import clock
from raxx.kernel.errors import NotFound
from tests.console.data_rights.people import Person, forms, live
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
ACTOR = "system:operator-shell"


@pytest.fixture
def alice(fresh_db: object) -> Any:  # noqa: ANN401
    market = Market("test-alice", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    yield live(market)
    market.close()


def zip_of(user_id: object) -> zipfile.ZipFile:
    buffer = io.BytesIO()
    write_zip(buffer, user_id=user_id, now=NOW)  # type: ignore[arg-type]
    return zipfile.ZipFile(buffer)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1 555 0100", "'+1 555 0100"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\ttab", "'\ttab"),
        ("\rreturn", "'\rreturn"),
        ("\0nul", "'\0nul"),
        ("plain", "plain"),
        ("", ""),
        ("-1.50", "-1.50"),
        (Decimal("-0.000000001"), "-0.000000001"),
        (Decimal("1E+3"), "1000"),
        (-5, "-5"),
        (None, ""),
        (True, "true"),
        (NOW, "2026-11-20T15:30:00+00:00"),
        (["=a"], '["=a"]'),
        ({"@": Decimal("1.10")}, '{"@":"1.10"}'),
    ],
)
def test_no_cell_is_a_formula(value: object, written: str) -> None:
    assert cell(value) == written


def test_the_copy_is_whole_versioned_and_without_secrets(alice: Person) -> None:
    archive = zip_of(alice.user_id)
    manifest = json.loads(archive.read("manifest.json"))
    assert (manifest["format"], manifest["version"]) == ("raxx.data-export", 1)
    rows = {entry["file"]: entry["rows"] for entry in manifest["files"]}
    assert rows["mbt/orders.json"] == rows["mbt/orders.csv"] == 4
    assert rows["mbt/fills.json"] == rows["mbt/positions.json"] == 1
    assert rows["identity/user.json"] == rows["identity/passkeys.json"] == 1
    assert rows["identity/recovery_codes.json"] == 10
    assert rows["audit/trail.json"] >= 5
    for entry in manifest["files"]:
        content = archive.read(entry["file"])
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        if entry["file"].endswith(".json"):
            assert len(json.loads(content)) == entry["rows"]
        else:
            assert max(len(list(csv.reader(io.StringIO(content.decode())))) - 1, 0) == entry["rows"]
    [user] = json.loads(archive.read("identity/user.json"))
    assert user["email"] == alice.canaries[2]
    everything = b"".join(archive.read(name) for name in archive.namelist())
    for secret in alice.secrets:
        assert not [form for form in forms(secret) if form.encode() in everything]


def test_a_column_named_like_a_secret_stops_the_export(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaky = Holder(covers=(), export=lambda _: iter([("x", [{"code_hash": b"1"}])]), erase=lambda _: {})
    monkeypatch.setitem(holders._entries, "leaky", leaky)
    with pytest.raises(SecretInExport, match="code_hash"):
        zip_of(alice.user_id)


def test_a_request_is_answered_downloaded_and_expires(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "PART_BYTES", 1_000)
    now = clock.now()
    request = data_requests.receive(user_id=alice.user_id, kind="access", actor=ACTOR, now=now)
    with pytest.raises(data_requests.AlreadyAsked):
        data_requests.receive(user_id=alice.user_id, kind="access", actor=ACTOR, now=now)
    with pytest.raises(NotFound, match="not made yet"):
        data_requests.download(request_id=request.pk, user_id=alice.user_id, now=now)
    assert data_requests.run(now) == (1, 0, 0, 0)
    assert data_requests.run(now) == (0, 0, 0, 0)

    export, parts = data_requests.download(request_id=request.pk, user_id=alice.user_id, now=now)
    content = b"".join(parts)
    assert DataExportPart.objects.count() == -(-len(content) // 1_000) > 1
    assert (len(content), hashlib.sha256(content).hexdigest()) == (export.size, export.sha256)
    assert "manifest.json" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    with pytest.raises(NotFound):  # somebody else's is as if it did not exist
        data_requests.download(request_id=request.pk, user_id=request.pk, now=now)

    seven = now + timedelta(days=7)
    with pytest.raises(data_requests.ExportExpired):
        data_requests.download(request_id=request.pk, user_id=alice.user_id, now=seven)
    assert data_requests.run(seven).expired == 1
    assert not DataExport.objects.exists()
    assert not DataExportPart.objects.exists()
    request.refresh_from_db()
    assert request.status == "done"
    actions = AuditEntry.objects.filter(object_id=request.pk).order_by("id").values_list("action", flat=True)
    assert [a.rpartition(".")[2] for a in actions] == ["received", "answered", "downloaded", "expired"]


def test_an_export_that_fails_alarms_and_is_tried_again(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: object) -> Any:  # noqa: ANN401
        raise RuntimeError("no")

    now = clock.now()
    request = data_requests.receive(user_id=alice.user_id, kind="portability", actor=ACTOR, now=now)
    monkeypatch.setitem(holders._entries, "zz", Holder(covers=(), export=breaks, erase=lambda _: {}))
    assert data_requests.run(now).failed == 1
    assert data_requests.urgent(now)[0].problem == "RuntimeError"
    monkeypatch.delitem(holders._entries, "zz")
    assert data_requests.run(now).exported == 1
    request.refresh_from_db()
    assert (request.status, request.problem) == ("ready", "")
    assert data_requests.urgent(now) == []


def test_the_command(alice: Person, tmp_path: Any) -> None:  # noqa: ANN401
    out = tmp_path / "alice.zip"
    call_command(
        "dsr_export", "--email", alice.canaries[2].upper(), "--out", str(out), "--reason", "letter of 20 Nov"
    )
    assert out.stat().st_mode & 0o777 == 0o600
    assert "mbt/orders.csv" in zipfile.ZipFile(out).namelist()
    told = [row.reason for row in trail(object_type="user", object_id=actor_ref_for(alice.user_id))]
    assert "letter of 20 Nov" not in " ".join(told)  # closed, but for the person
    opened = [row.reason for row in trail_of_person(alice.user_id) if row.action.endswith(".exported")]
    assert opened == ["letter of 20 Nov"]
    with pytest.raises(CommandError, match="cannot be written") as caught:
        call_command("dsr_export", "--user", str(alice.user_id), "--out", str(out), "--reason", "x")
    assert caught.value.returncode == 2
    with pytest.raises(CommandError, match="no such user"):
        call_command(
            "dsr_export", "--email", "nobody@example.com", "--out", str(tmp_path / "x"), "--reason", "x"
        )
