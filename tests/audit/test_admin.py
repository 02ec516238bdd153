from datetime import UTC, datetime

import pytest
from django.test import Client

from audit import log, pseudonym
from audit.models import AuditEntry
from tests.operators import let_in, operator

LIST = "/admin/audit/auditentry/"


@pytest.fixture
def browser(db: None) -> Client:
    browser = let_in(Client(), operator())
    for name in ("first-one", "second-one"):
        log.record(
            "console.switch.changed",
            actor=pseudonym.ENGINE,
            object_type="switch",
            object_id=name,
            at=datetime(2026, 11, 20, tzinfo=UTC),
            changes={},
        )
    return browser


def test_the_record_is_read_and_searched(browser: Client) -> None:
    page = browser.get(LIST).content
    assert b"first-one" in page
    assert b"second-one" in page
    assert b"second-one" not in browser.get(LIST, {"q": "first-one"}).content.split(b'id="changelist"', 1)[1]
    assert b"first-one" in browser.get(LIST, {"action": "console.switch.changed"}).content
    assert browser.get(f"{LIST}{AuditEntry.objects.earliest('id').pk}/change/").status_code == 200


def test_the_record_is_not_written_by_hand(browser: Client) -> None:
    entry = AuditEntry.objects.earliest("id")
    assert browser.get(LIST + "add/").status_code == 403
    assert browser.post(f"{LIST}{entry.pk}/change/", {"reason": "x"}).status_code == 403
    assert browser.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert b"delete_selected" not in browser.get(LIST).content
