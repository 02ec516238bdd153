"""A person asks about their data in the browser, each time confirmed with the passkey."""

import hashlib
import io
import zipfile

import pytest

from audit.models import AuditEntry
from console.models import DataExport, DataRequest
from console.services import data_requests
from raxx.identity.models import User
from raxx.kernel import clock
from raxx.kernel.ids import new_id
from tests.identity.browser import Browser, problem

pytestmark = pytest.mark.django_db(transaction=False)


@pytest.fixture
def alice(db: None, valkey_url: str) -> Browser:
    return Browser().sign_up("alice@example.com")


def asked(person: Browser, kind: str) -> str:
    person.confirm("data.request.make", {"kind": kind})
    made: str = person.ok("POST", "data-requests", {"kind": kind})["id"]
    return made


def test_a_copy_is_asked_for_made_and_downloaded(alice: Browser) -> None:
    problem(alice.send("POST", "data-requests", {"kind": "access"}), 403, "STEP_UP_REQUIRED")
    alice.confirm("data.request.make", {"kind": "access"})
    problem(alice.send("POST", "data-requests", {"kind": "portability"}), 403, "STEP_UP_REQUIRED")
    made = alice.ok("POST", "data-requests", {"kind": "access"})
    address = f"data-requests/{made['id']}/copy"
    alice.confirm("data.copy.download", {"request": made["id"]})
    problem(
        alice.send("POST", address, {}), 404, "NOT_FOUND"
    )  # not made yet, and the confirmation stays good
    data_requests.run(clock.now())
    [listed] = alice.ok("GET", "data-requests")
    assert (listed["status"], listed["copy_until"] is not None) == ("ready", True)

    got = alice.send("POST", address, {})
    content = b"".join(got.streaming_content)
    assert got["Content-Type"] == "application/zip"
    assert got["Cache-Control"] == "no-store"
    assert int(got["Content-Length"]) == len(content)
    assert got["Digest"] == f"sha-256={hashlib.sha256(content).hexdigest()}"
    assert "identity/passkeys.json" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    problem(alice.send("POST", address, {}), 403, "STEP_UP_REQUIRED")  # each download is confirmed anew
    assert AuditEntry.objects.filter(action="console.data_request.downloaded").count() == 1

    DataExport.objects.update(expires_at=clock.now())
    alice.confirm("data.copy.download", {"request": made["id"]})
    problem(alice.send("POST", address, {}), 410, "EXPORT_EXPIRED")


def test_somebody_else_s_requests_do_not_exist(alice: Browser) -> None:
    made = asked(alice, "erasure")
    mallory = Browser().sign_up("mallory@example.com")
    for request_id in (made, str(new_id())):
        mallory.confirm("data.copy.download", {"request": request_id})
        mallory.confirm("data.request.hurry", {"request": request_id})
        answers = [
            mallory.send("DELETE", f"data-requests/{request_id}"),
            mallory.send("POST", f"data-requests/{request_id}/copy", {}),
            mallory.send("POST", f"data-requests/{request_id}/hurry", {}),
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert mallory.ok("GET", "data-requests") == []
    assert DataRequest.objects.get().status == "cooling"


def test_erasure_signs_out_and_can_be_taken_back_or_hurried(alice: Browser) -> None:
    made = asked(alice, "erasure")
    assert not alice.is_in
    alice.sign_in()
    assert alice.ok("DELETE", f"data-requests/{made}")["status"] == "canceled"
    again = asked(alice, "erasure")
    alice.sign_in()
    problem(alice.send("POST", f"data-requests/{again}/hurry", {}), 403, "STEP_UP_REQUIRED")
    alice.confirm("data.request.hurry", {"request": again})
    hurried = alice.ok("POST", f"data-requests/{again}/hurry", {})
    assert hurried["cooling_until"] <= clock.now().isoformat()
    assert User.objects.filter(email="alice@example.com").exists()  # until the job comes round


def test_a_restriction_is_lifted(alice: Browser) -> None:
    made = asked(alice, "restriction")
    assert alice.is_in  # reading stays possible
    alice.confirm("data.request.lift", {"request": made})
    assert alice.ok("POST", f"data-requests/{made}/lift", {})["status"] == "done"
    problem(alice.send("DELETE", f"data-requests/{made}"), 409, "DATA_REQUEST_TOO_LATE")


def test_bad_bodies(alice: Browser) -> None:
    assert (
        problem(alice.send("POST", "data-requests", {"kind": "everything"}), 422, "INVALID_INPUT")["field"]
        == "kind"
    )
    problem(alice.send("POST", "data-requests", {}), 422, "INVALID_INPUT")
