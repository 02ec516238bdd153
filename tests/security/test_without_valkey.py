"""R12: Valkey is killed, stands still, or forgets everything. Nobody gets in by a session that cannot be looked up; what
takes risk away goes on working: canceling real orders, and stopping trade. Each within two seconds."""

import time
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.db import transaction

from audit.pseudonym import OPERATOR_SHELL
from console.services.switches import set_switch
from console.switches import EVERYTHING, PAPER, Mode, enter
from mbt.models import Order
from raxx.kernel import clock
from tests.conftest import Database
from tests.identity.browser import problem
from tests.identity.test_outages import Server
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market
from tests.security.people import CALL, Person, live

SECONDS_MAX = 2


@pytest.fixture
def server(
    fresh_db: Database, tmp_path_factory: pytest.TempPathFactory, settings: Any  # noqa: ANN401
) -> Iterator[Server]:  # fmt: skip
    server = Server(tmp_path_factory.mktemp("v"))
    settings.REDIS_URL = f"unix://{server.socket}"
    yield server
    server.go_on()
    server.kill()


@pytest.fixture
def alice(server: Server, no_limits: None) -> Person:
    market = Market("test-outage", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    market.quote(CALL, "1.20", "1.25")
    alice = live(market)
    for number in range(3):
        alice.trader.order(client_order_id=f"more-{number}")
    return alice


def within_time(act: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it gives
    began = time.monotonic()
    answer = act()
    assert time.monotonic() - began < SECONDS_MAX
    return answer


def stopped() -> Mode:
    with transaction.atomic():
        return enter([EVERYTHING, PAPER]).mode


@pytest.mark.parametrize("how", ["killed", "paused"])
def test_risk_is_taken_away_and_nobody_gets_in(server: Server, alice: Person, how: str) -> None:
    by_session, by_key, left = Order.objects.filter(client_order_id__startswith="more-")
    server.kill() if how == "killed" else server.pause()
    for ask in (
        lambda: alice.browser.send("GET", "mbt/account"),
        lambda: alice.browser.send("POST", "mbt/orders", {}),
        lambda: alice.browser.send("GET", "keys"),
        lambda: alice.trader.get("/account"),
        lambda: alice.trader.place(),
    ):
        problem(within_time(ask), 503, "SESSIONS_UNAVAILABLE")
    answer = within_time(lambda: alice.browser.send("DELETE", f"mbt/orders/{by_session.pk}"))
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "canceled"), answer.content
    answer = within_time(lambda: alice.trader.cancel(str(by_key.pk)))
    assert (answer.status_code, answer.json()["data"]["status"]) == (200, "canceled"), answer.content

    within_time(
        lambda: set_switch(
            key=PAPER, mode=Mode.REDUCING, reason="a drill", actor=OPERATOR_SHELL, now=clock.now()
        )
    )
    assert stopped() is Mode.REDUCING
    within_time(lambda: call_command("switch", "halt", EVERYTHING, "--reason", "a drill", stdout=StringIO()))
    assert stopped() is Mode.HALTED
    answer = within_time(lambda: alice.trader.cancel(str(left.pk)))
    assert answer.json()["data"]["status"] == "canceled", "also under the switch"

    if how == "killed":
        server.start()
        assert not alice.browser.is_in, "its sessions were in memory alone"
    else:
        server.go_on()
        assert alice.browser.is_in
    assert alice.trader.place().status_code == 503


def test_who_was_in_is_out_when_it_has_forgotten_everything(server: Server, alice: Person) -> None:
    redis.Redis.from_url(f"unix://{server.socket}").flushall()
    assert not alice.browser.is_in
    problem(alice.browser.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")
    for order in Order.objects.filter(client_order_id__startswith="more-")[:2]:
        problem(alice.browser.send("DELETE", f"mbt/orders/{order.pk}"), 401, "SESSION_INVALID")
        assert alice.trader.cancel(str(order.pk)).status_code == 200, "a key is known to PostgreSQL"
    alice.browser.sign_in()
    assert alice.browser.is_in
