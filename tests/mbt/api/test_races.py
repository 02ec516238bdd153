"""Many at once: every request on a thread and a connection of its own, through the whole of Django."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Any, TypeVar

import pytest
from django.db import connections

from audit.pseudonym import OPERATOR_SHELL
from console.services.switches import set_switch
from console.switches import Mode
from mbt import books
from mbt.models import Order
from raxx.kernel import clock
from raxx.kernel.models import OutboxEvent
from tests.mbt.paper_tools import Market, Trader, problem

pytestmark = pytest.mark.usefixtures("fresh_db")

T = TypeVar("T")
MANY = 32
RACES = 250 if os.environ.get("RAXX_SOAK") else 25


def at_once(*acts: Callable[[], T]) -> list[T]:
    """Do all of these at the same moment, each in its own thread; their results in order."""
    results: list[Any] = [None] * len(acts)
    start = threading.Barrier(len(acts))

    def run(index: int, act: Callable[[], T]) -> None:
        try:
            start.wait()
            results[index] = act()
        except BaseException as failure:
            results[index] = failure
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def statuses(responses: list[Any]) -> Counter[int]:
    return Counter(response.status_code for response in responses)


def test_one_client_order_id_is_one_order(trader: Trader) -> None:
    responses = at_once(
        *[lambda: trader.place(client_order_id="only-once", qty="1.0", limit_price=None, order_type="market")]
        * MANY
    )
    assert statuses(responses) == {201: MANY}
    assert len({response.content for response in responses}) == 1
    assert Counter("Idempotent-Replayed" in response for response in responses) == {True: MANY - 1, False: 1}
    assert Order.objects.count() == OutboxEvent.objects.count() == 1
    assert trader.read("/account")["cash_held"] == "103.03"  # 100.02 × 1.03 = 103.0206, rounded up
    assert books.verify() == (1, [])


def test_one_client_order_id_with_two_tickets_is_one_of_them(trader: Trader) -> None:
    def act(qty: str) -> Callable[[], Any]:
        return lambda: trader.place(client_order_id="only-once", qty=qty)

    responses = at_once(*[act("1"), act("2")] * (MANY // 2))
    [order] = Order.objects.all()
    taken = [response for response in responses if response.status_code == 201]
    assert len({response.content for response in taken}) == 1
    assert {response.json()["data"]["id"] for response in taken} == {str(order.pk)}
    for response in responses:
        if response.status_code != 201:
            details = problem(response, 422, "CLIENT_ORDER_ID_REUSED", "client_order_id")
            assert details["order_id"] == str(order.pk)
    assert statuses(responses) == {201: MANY // 2, 422: MANY // 2}
    assert books.verify() == (1, [])


def test_cash_is_spent_once(open_trader: Callable[..., Trader]) -> None:
    trader = open_trader(cash="1000.00")
    responses = at_once(*[lambda: trader.place(qty="10", limit_price="100.00")] * MANY)
    assert statuses(responses) == {201: 1, 403: MANY - 1}
    for response in responses:
        if response.status_code != 201:
            details = problem(response, 403, "INSUFFICIENT_BUYING_POWER", "qty")
            assert (details["available"], details["qty_max"]) == ("0.00", "0")
    assert trader.read("/account")["buying_power"] == "0.00"
    assert books.verify() == (1, [])


def test_the_remedy_of_a_denial_is_taken_at_the_first_try(open_trader: Callable[..., Trader]) -> None:
    trader = open_trader(cash="1000.00")
    responses = at_once(*[lambda: trader.place(qty="7", limit_price="100.00")] * MANY)
    assert statuses(responses) == {201: 1, 403: MANY - 1}
    remedies = {
        response.json()["error"]["details"]["qty_max"]
        for response in responses
        if response.status_code == 403
    }
    assert remedies == {"3"}
    assert trader.place(qty=remedies.pop(), limit_price="100.00").status_code == 201
    assert trader.read("/account")["buying_power"] == "0.00"


def test_a_position_is_sold_once(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    responses = at_once(*[lambda: trader.place(side="sell", qty="6", limit_price="110.00")] * MANY)
    assert statuses(responses) == {201: 1, 403: MANY - 1}
    available = {r.json()["error"]["details"]["available"] for r in responses if r.status_code == 403}
    assert available == {"4"}
    assert trader.place(side="sell", qty=available.pop(), limit_price="110.00").status_code == 201
    assert trader.read("/positions/SPY")["qty_available"] == "0"
    assert books.verify() == (1, [])


def test_an_order_is_replaced_once_and_canceled_once(trader: Trader) -> None:
    """Replacements and cancels of one order at the same time: one of them ends it, the others are told so."""
    for number in range(6):
        order = trader.order(qty="10", limit_price="90.00")
        moves = [partial(trader.replace, order["id"], limit_price=price) for price in ("91", "92", "93")]
        responses = at_once(*moves, *[partial(trader.cancel, order["id"])] * 3)
        ended = trader.row(order["id"])
        replacements = Order.objects.filter(replaces=ended)
        if ended.status == "canceled":
            assert not replacements
            assert [r.status_code for r in responses] == [409] * 3 + [200] * 3
        else:
            assert (ended.status, len(replacements)) == ("replaced", 1)
            assert sorted(r.status_code for r in responses) == [200] + [409] * 5
            trader.cancel(str(replacements[0].pk))
        assert trader.read("/account")["cash_held"] == "0.00", number
    assert books.verify() == (1, [])


def test_the_same_replacement_sent_often_is_one(trader: Trader) -> None:
    order = trader.order(qty="10", limit_price="90.00")
    responses = at_once(
        *[lambda: trader.replace(order["id"], limit_price="91.00", client_order_id="replacement")] * MANY
    )
    assert statuses(responses) == {200: MANY}
    assert len({response.content for response in responses}) == 1
    assert Order.objects.count() == 2
    assert trader.read("/account")["cash_held"] == "910.00"
    assert books.verify() == (1, [])


def test_cancels_race_with_fills(trader: Trader, market: Market) -> None:
    """The engine settles while the owner cancels: each order ends one way, and the books are right."""
    for number in range(15):
        order = trader.order(qty="1", limit_price="100.02")
        _, canceled = at_once(market.judge, partial(trader.cancel, order["id"]))
        status = trader.row(order["id"]).status
        assert (status, canceled.status_code) in {("filled", 409), ("canceled", 200)}, number
    assert books.verify() == (1, [])


def test_an_account_is_read_as_of_one_instant(trader: Trader, market: Market) -> None:
    """Where bid, ask and mark are one price, trading cannot change the equity, not even between two statements."""
    market.quote("SPY", "100.00", "100.00")
    seen: Counter[str] = Counter()

    def look() -> Any:  # noqa: ANN401 - Django's test response
        response = trader.get("/account")
        seen[response.json()["data"]["equity"]] += 1
        return response

    with Crowd(look, look) as crowd:
        for number in range(40):
            trader.order(order_type="market", qty="10", side="sell" if number % 4 == 3 else "buy")
            market.judge()
    assert crowd.failure is None
    assert set(seen) == {"100000.00"}
    assert seen["100000.00"] > 40


class Crowd:
    """Requests that go on in threads of their own until it is over. `refused` counts answers of 503."""

    def __init__(self, *acts: Callable[[], Any]) -> None:
        self.refused = 0
        self.failure: BaseException | None = None
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(act,)) for act in acts]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            assert self.failure is None, self.failure
            time.sleep(0.002)

    def _run(self, act: Callable[[], Any]) -> None:
        try:
            while not self._over.is_set():
                response = act()
                assert response.status_code in (200, 201, 503), response.content
                self.refused += response.status_code == 503
        except BaseException as failure:
            self.failure = failure
        finally:
            connections.close_all()


def turn(key: str, mode: Mode) -> bool:
    return set_switch(key=key, mode=mode, reason="a test", actor=OPERATOR_SHELL, now=clock.now()).drained


@pytest.mark.parametrize("mode", [Mode.REDUCING, Mode.HALTED])
@pytest.mark.parametrize("scope", ["broker:mbt", "symbol:SPY"])
def test_no_order_is_taken_after_a_switch_was_set(
    trader: Trader, market: Market, scope: str, mode: Mode
) -> None:
    """Races of submissions and replacements with switches of two scopes and both modes: R14, 100 in all, 1,000 with
    RAXX_SOAK."""
    prices = cycle(range(1, 90))
    target = [trader.order(limit_price="90.00")["id"]]

    def submit() -> Any:  # noqa: ANN401 - Django's test response
        return trader.place(qty="0.01", order_type="market")

    def replace() -> Any:  # noqa: ANN401 - Django's test response
        response = trader.replace(target[0], limit_price=str(next(prices)))
        if response.status_code == 200:
            target[0] = response.json()["data"]["id"]
        return response

    with Crowd(submit, submit, replace) as crowd:
        for _ in range(RACES):
            assert turn(scope, mode)
            taken, refused = Order.objects.count(), crowd.refused
            crowd.wait_until(lambda: crowd.refused > refused + 3)  # noqa: B023 - at once
            assert Order.objects.count() == taken
            assert turn(scope, Mode.ACTIVE)
            crowd.wait_until(lambda: Order.objects.count() > taken)  # noqa: B023 - at once
            market.judge()  # else every order would have to be held beside more and more open ones
    assert crowd.failure is None
    assert books.verify() == (1, [])
