import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections

from console.models import DataRequest
from console.services import data_requests
from console.services.data_requests import AlreadyAsked, TooLate, due_of
from mbt.models import Account, Order
from raxx.identity.models import ApiKey, Session
from raxx.identity.services.users import register
from raxx.kernel import clock
from raxx.kernel.errors import InvalidInput, NotFound
from raxx.kernel.ids import new_id
from tests.console.data_rights.people import live
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market, Trader, problem

ACTOR = "system:operator-shell"


@pytest.fixture
def market(db: None, valkey_url: str) -> Any:  # noqa: ANN401
    market = Market("test-requests", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    yield market
    market.close()


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-11-20", "2026-12-20"),
        ("2026-12-31", "2027-01-31"),
        ("2027-01-31", "2027-02-28"),
        ("2028-01-30", "2028-02-29"),
        ("2027-03-31", "2027-04-30"),
    ],
)
def test_due_one_month_later(received: str, due: str) -> None:
    at = datetime.fromisoformat(received).replace(hour=13, tzinfo=UTC)
    assert due_of(at) == datetime.fromisoformat(due).replace(hour=13, tzinfo=UTC)


@pytest.mark.django_db
def test_a_month_never_ends_before_the_cooling_off() -> None:
    user = register(email="a@example.com", now=clock.now())
    at = datetime(2027, 1, 31, tzinfo=UTC)
    request = data_requests.receive(user_id=user.pk, kind="erasure", actor=ACTOR, now=at)
    assert request.cooling_until == datetime(2027, 3, 2, tzinfo=UTC)
    assert request.due_at == datetime(2027, 3, 3, tzinfo=UTC)


@pytest.mark.django_db
def test_bad_requests() -> None:
    now = clock.now()
    with pytest.raises(InvalidInput):
        data_requests.receive(user_id=new_id(), kind="copy", actor=ACTOR, now=now)
    with pytest.raises(NotFound):
        data_requests.receive(user_id=new_id(), kind="access", actor=ACTOR, now=now)


def test_an_erasure_ends_access_at_once_and_stops_the_account(market: Market) -> None:
    alice = live(market)
    now = clock.now()
    data_requests.receive(user_id=alice.user_id, kind="erasure", actor=ACTOR, now=now)
    assert not Session.objects.filter(user_id=alice.user_id, revoked_at=None).exists()
    assert not ApiKey.objects.filter(user_id=alice.user_id, revoked_at=None).exists()
    assert not Order.objects.filter(account_id=alice.account_id, closed_at=None).exists()
    assert Account.objects.get(pk=alice.account_id).status == "restricted"
    with pytest.raises(AlreadyAsked):
        data_requests.receive(user_id=alice.user_id, kind="erasure", actor=ACTOR, now=now)


def test_it_can_be_taken_back_while_it_cools_off(market: Market) -> None:
    trader = Trader.opened(feed=market.feed)
    now = clock.now()
    request = data_requests.receive(user_id=trader.user_id, kind="erasure", actor=ACTOR, now=now)
    with pytest.raises(NotFound):
        data_requests.cancel(request_id=request.pk, user_id=new_id(), actor=ACTOR, now=now)
    assert data_requests.run(now + timedelta(days=29)).erased == 0
    data_requests.cancel(request_id=request.pk, user_id=trader.user_id, actor=ACTOR, now=now)
    assert data_requests.cancel(request_id=request.pk, actor=ACTOR, now=now).status == "canceled"
    assert Account.objects.get(user_id=trader.user_id).status == "active"
    back = trader.with_scopes("paper:trade", "paper:read")
    back.order()
    with pytest.raises(TooLate):
        data_requests.waive(request_id=request.pk, actor=ACTOR, now=now)


def test_a_restriction_keeps_everything_and_stops_the_rest(market: Market) -> None:
    trader = Trader.opened(feed=market.feed)
    working = trader.order()
    now = clock.now()
    request = data_requests.receive(user_id=trader.user_id, kind="restriction", actor=ACTOR, now=now)
    assert request.status == "in_force"
    assert trader.row(working["id"]).status == "canceled"
    problem(trader.place(), 403, "ACCOUNT_NOT_ACTIVE")
    assert trader.get(f"/orders/{working['id']}").status_code == 200  # reading stays
    with pytest.raises(AlreadyAsked):
        data_requests.receive(user_id=trader.user_id, kind="restriction", actor=ACTOR, now=now)
    # An erasure that is taken back does not end a restriction.
    erasure = data_requests.receive(user_id=trader.user_id, kind="erasure", actor=ACTOR, now=now)
    data_requests.cancel(request_id=erasure.pk, actor=ACTOR, now=now)
    assert Account.objects.get(user_id=trader.user_id).status == "restricted"
    data_requests.lift(request_id=request.pk, actor=ACTOR, now=now)
    assert Account.objects.get(user_id=trader.user_id).status == "active"
    assert not data_requests.is_restricted(trader.user_id)


@pytest.mark.django_db
def test_what_is_due_alarms() -> None:
    user = register(email="a@example.com", now=clock.now())
    at = datetime(2026, 11, 20, tzinfo=UTC)
    data_requests.receive(user_id=user.pk, kind="access", actor=ACTOR, now=at)
    erasure = data_requests.receive(user_id=user.pk, kind="erasure", actor=ACTOR, now=at)
    assert data_requests.urgent(at + timedelta(days=22)) == []
    assert [r.kind for r in data_requests.urgent(at + timedelta(days=24))] == ["access"]
    kinds = [r.kind for r in data_requests.urgent(at + timedelta(days=31))]
    assert kinds == ["access", "erasure"]
    DataRequest.objects.filter(pk=erasure.pk).update(status="canceled", closed_at=at)
    assert [r.kind for r in data_requests.urgent(at + timedelta(days=31))] == ["access"]


def test_two_at_the_same_time_are_one(fresh_db: object) -> None:
    user = register(email="a@example.com", now=clock.now())
    outcomes: list[str] = []

    def ask() -> None:
        try:
            data_requests.receive(user_id=user.pk, kind="erasure", actor=ACTOR, now=clock.now())
            outcomes.append("received")
        except AlreadyAsked:
            outcomes.append("already asked")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["already asked"] * 3 + ["received"]
