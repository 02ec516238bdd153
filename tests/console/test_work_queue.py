from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from importlib import import_module

import pytest
from django.conf import settings
from django.contrib import admin
from django.test import Client, RequestFactory

from audit.models import AuditEntry
from console import work_queue
from console.models import DataRequest, Job, Switch
from console.services import data_requests, jobs
from console.services.incidents import open_incident
from console.services.jobs import HEARTBEAT, succeeded
from console.work_queue import WorkItem, sources
from mbt.models import EngineState
from raxx.identity.models import User
from raxx.identity.services.users import register
from raxx.kernel import clock, valkey
from raxx.market.board import Board
from tests.operators import enrolled, let_in, operator

ACTOR = "system:operator-shell"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    work_queue._Clear.queue = None
    yield
    work_queue._Clear.queue = None


@pytest.fixture
def browser(db: None, valkey_url: str) -> Client:
    return let_in(Client(), operator())


@pytest.fixture
def all_well(db: None, valkey_url: str) -> None:
    """As an installation is that works: jobs run, the engine settles, the feed speaks."""
    succeeded(HEARTBEAT, clock.now())
    feed = settings.RAXX_FEED
    EngineState.objects.create(feed=feed, position_ns=0, updated_at=clock.now())
    Board(valkey.shared(), feed).publish([], now_ns=0, wall_ns=clock.now_ns())


def titles() -> list[str]:
    return [item.title for item in work_queue.read(clock.now()).items]


def test_all_clear(browser: Client, all_well: None) -> None:
    page = browser.get("/admin/")
    assert b"All clear, checked" in page.content
    assert b"s ago" in page.content
    again = work_queue.read(clock.now() + timedelta(seconds=12))
    assert (clock.now() + timedelta(seconds=12) - again.checked_at).seconds in (12, 13)


def test_what_waits_is_listed_with_its_remedy(browser: Client, db: None) -> None:
    """No engine runs, no job ever ran."""
    now = clock.now()
    user = register(email="a@example.com", now=now)
    late = data_requests.receive(user_id=user.pk, kind="access", actor=ACTOR, now=now - timedelta(days=40))
    open_incident(title="Slow", impact="degraded", surfaces=["website"], text="x", actor=ACTOR, now=now)
    jobs.failed("audit.seal", "RuntimeError", now)
    jobs.failed("audit.seal", "KeyError", now)
    Switch.objects.update_or_create(
        key="broker:mbt", defaults={"mode": "halted", "reason": "data is stale", "changed_by": ACTOR}
    )
    text = browser.get("/admin/").content.decode()
    for said in (
        "Access: a copy of everything: overdue by",
        f"?q={late.pk}",
        "Incident: Slow",
        "audit.seal failed 2 times",
        "By KeyError",
        "Kill switch",
        "data is stale",
        "Jobs: no job has ever run here",
        "Engine: no engine has ever run",
        "Start the engine: python manage.py run_engine.",
    ):
        assert said in text, said
    assert "All clear" not in text
    urgent = [item.is_urgent for item in work_queue.read(now).items]
    assert urgent == sorted(urgent, reverse=True)


def test_a_source_that_breaks_is_something_to_do(all_well: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(now: datetime) -> Iterable[WorkItem]:
        raise LookupError("secret")

    monkeypatch.setitem(sources._entries, "odd", breaks)
    assert titles() == ["“odd” cannot be read"]


def test_failures_are_acknowledged(browser: Client, all_well: None) -> None:
    jobs.failed("audit.seal", "RuntimeError", clock.now())
    assert len(titles()) == 2  # the doctor tells of it as well
    page = "/admin/console/job/set/"
    assert b"They leave the work queue" in browser.post(page, {"name": "audit.seal"}).content
    assert browser.post(page, {"name": "audit.seal", "confirmed": "yes"}).status_code == 302
    assert titles() == []
    assert AuditEntry.objects.get(action=jobs.ACKNOWLEDGED).object_id == "audit.seal"
    assert Job.objects.get(name="audit.seal").failures == 0


def test_celery_failures_are_noted(db: None) -> None:
    from celery.signals import task_failure

    class Task:
        name = "some.job"

    task_failure.send(sender=Task(), exception=ValueError("alice@example.com"))
    job = Job.objects.get(name="some.job")
    assert (job.failures, job.problem) == (1, "ValueError")


def test_operators_take_requests_in_and_change_them(db: None, valkey_url: str) -> None:
    person = enrolled(operator())
    browser = person.client

    def confirmed(asked: dict[str, str]) -> int:
        person.confirm("console.data_request.decide", {"user": "", "request": "", **asked})
        return int(browser.post(page, {**asked, "confirmed": "yes"}).status_code)

    user = register(email="alice@example.com", now=clock.now())
    page = "/admin/console/datarequest/set/"
    asked = {"what": "receive:erasure", "user": "Alice@Example.com", "reason": "letter of 20 Nov"}
    shown = browser.post(page, asked).content.decode()
    assert "In 30 days everything is deleted, for good." in shown
    assert "Kept: audit_log" in shown
    assert not DataRequest.objects.exists()
    assert browser.post(page, {**asked, "confirmed": "yes"}).status_code == 403
    assert not DataRequest.objects.exists()
    assert confirmed(asked) == 302
    request = DataRequest.objects.get()
    assert (request.user_id, request.status) == (user.pk, "cooling")
    stored = AuditEntry.objects.get(action=data_requests.RECEIVED).reason
    assert stored.startswith("v1.")  # under the person's key, which dies with the erasure
    assert "letter" not in stored

    listed = browser.get("/admin/console/datarequest/").content.decode()
    assert "in 30 days" in listed or "in 31 days" in listed
    back = {"what": "cancel", "request": str(request.pk), "reason": "changed her mind"}
    assert confirmed(back) == 302
    request.refresh_from_db()
    assert request.status == "canceled"

    assert b"no user with this address" in browser.post(page, {**asked, "user": "nobody@example.com"}).content
    assert b"There is no such request" in browser.post(page, {**back, "request": ""}).content
    assert b"This field is required" in browser.post(page, {**asked, "reason": ""}).content
    assert browser.get(f"/admin/console/datarequest/{request.pk}/delete/").status_code == 403


# Tables that operators may change, each by its own services.
WRITABLE = {
    "console.Incident",  # console.services.incidents
}


def test_every_other_table_is_read_only(db: None) -> None:
    """Money above all: not by form, not by action, not by deletion."""
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_user(email="olga@example.com", is_staff=True, is_superuser=True)
    import_module(settings.ROOT_URLCONF)  # which leaves out what no service writes
    for model, its_admin in admin.site._registry.items():
        label = model._meta.label
        if label in WRITABLE:
            continue
        assert not its_admin.has_add_permission(request), label
        assert not its_admin.has_delete_permission(request), label
        may_change = its_admin.has_change_permission(request)
        fields = set(its_admin.get_fields(request)) - set(its_admin.get_readonly_fields(request))
        assert not may_change or not fields or hasattr(its_admin, "set_form"), label
        assert "delete_selected" not in its_admin.get_actions(request), label


def test_no_money_table_can_be_changed(db: None) -> None:
    assert not {label for label in WRITABLE if label.startswith(("mbt.", "audit."))}
