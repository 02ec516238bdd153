"""An operator takes a copy out for somebody who cannot come for it."""

import hashlib
import io
import zipfile

import pytest

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from console.models import DataExport
from console.services import data_requests
from raxx.identity.models import User
from raxx.identity.services.users import register
from raxx.kernel import clock
from raxx.kernel.ids import new_id
from tests.identity.browser import Browser
from tests.operators import enrolled, operator

PAGE = "/admin/console/datarequest/set/"
ACTION = "console.data_request.decide"


@pytest.fixture
def olga(db: None, valkey_url: str) -> Browser:
    return enrolled(operator())


def test_a_copy_is_handed_out_once_for_each_confirmation(olga: Browser) -> None:
    alice = register(email="alice@example.com", now=clock.now())
    request = data_requests.receive(
        user_id=alice.pk, kind="access", actor="system:operator-shell", now=clock.now()
    )
    wish = {"what": "hand_out", "user": "", "request": str(request.pk), "reason": "came to the desk"}
    sent = wish | {"confirmed": "yes"}
    olga.confirm(ACTION, wish)
    assert b"not made yet" in olga.client.post(PAGE, sent).content
    data_requests.run(clock.now())
    assert b"Give it to them and to nobody else" in olga.client.post(PAGE, wish).content
    other = data_requests.receive(
        user_id=alice.pk, kind="erasure", actor="system:operator-shell", now=clock.now()
    )
    assert olga.client.post(PAGE, sent | {"request": str(other.pk)}).status_code == 403

    got = olga.client.post(PAGE, sent)  # the confirmation of before is as good as it was
    content = b"".join(got.streaming_content)  # type: ignore[attr-defined]
    assert got["Content-Type"] == "application/zip"
    assert got["Digest"] == f"sha-256={hashlib.sha256(content).hexdigest()}"
    assert "identity/user.json" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    entry = AuditEntry.objects.get(action="console.data_request.exported")
    assert (entry.actor_ref, entry.object_id) == (
        actor_ref_for(User.objects.get(email="olga@example.com").pk), str(request.pk)
    )  # fmt: skip
    assert entry.reason.startswith("v1."), "the reason may tell something about the person"
    assert DataExport.objects.get().downloaded_at is None, "the person has not"
    assert olga.client.post(PAGE, sent).status_code == 403

    assert b"There is no such request" in olga.client.post(PAGE, wish | {"request": str(new_id())}).content
    wish["request"] = str(other.pk)
    olga.confirm(ACTION, wish)
    assert olga.client.post(PAGE, wish | {"confirmed": "yes"}).status_code == 404, "an erasure has no copy"
