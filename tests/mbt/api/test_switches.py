"""Kill switches stop what adds risk, and nothing else."""

from collections.abc import Callable

import pytest
from django.db import connection

from audit.models import AuditEntry
from audit.pseudonym import OPERATOR_SHELL
from console.services.switches import set_switch
from console.switches import Switch
from mbt.models import Order
from raxx.kernel import clock
from tests.mbt.paper_tools import Market, Trader, problem

CODES = {
    Switch.MBT_TRADING_DISABLED: "TRADING_DISABLED", Switch.MBT_NEW_ORDERS_DISABLED: "NEW_ORDERS_DISABLED",
}  # fmt: skip

TurnOn = Callable[[Switch], None]


@pytest.fixture(params=["environment", "environment, unreadable", "database"])
def turn_on(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TurnOn:
    """Each way in which one switch alone is on."""

    def act(switch: Switch) -> None:
        if request.param == "database":
            set_switch(name=switch, on=True, reason="quotes are stale", actor=OPERATOR_SHELL, now=clock.now())
        else:
            monkeypatch.setenv(switch, "1" if request.param == "environment" else "perhaps")

    return act


@pytest.mark.parametrize("switch", list(Switch))
def test_new_risk_is_refused_and_the_rest_works(
    trader: Trader, market: Market, turn_on: TurnOn, switch: Switch
) -> None:
    taken = trader.place(client_order_id="before")
    filled = trader.order(order_type="market")
    market.judge()
    open_id, other = taken.json()["data"]["id"], trader.order()["id"]
    turn_on(switch)
    rows = list(Order.objects.order_by("number").values())

    for refused in (
        trader.place(), trader.place(side="sell"), trader.place(symbol="NOPE"),
        trader.replace(open_id, limit_price="91.00"), trader.replace(open_id, qty="2"),
    ):  # fmt: skip
        details = problem(refused, 503, CODES[switch])
        assert details["rule"] == switch
        assert "Cancels still work" in details["remedy"]
        assert refused["Retry-After"] == "30"
        assert switch in refused.json()["error"]["message"]
    assert list(Order.objects.order_by("number").values()) == rows
    denied = AuditEntry.objects.filter(action="mbt.order.denied")
    assert set(denied.values_list("reason", flat=True)) == {CODES[switch]}
    assert denied.filter(object_type="mbt.order", object_id=open_id).count() == 2

    retried = trader.place(client_order_id="before")
    assert (retried.status_code, retried["Idempotent-Replayed"]) == (201, "true")
    assert retried.json()["data"]["id"] == open_id
    problem(trader.place(client_order_id="before", qty="2"), 422, "CLIENT_ORDER_ID_REUSED")
    for path in ("/account", "/positions", "/positions/SPY", "/orders", f"/orders/{open_id}", "/activities"):
        assert trader.get(path).status_code == 200, path
    assert trader.why(filled["id"])["headline"].startswith("Bought 1 SPY")
    assert trader.why(open_id)["headline"].startswith("Resting")
    assert trader.cancel(open_id).json()["data"]["status"] == "canceled"
    market.quote("SPY", "89.90", "90.00")  # what was taken before still trades
    assert trader.read(f"/orders/{other}")["status"] == "filled"


def test_the_reason_of_the_operator_is_told(trader: Trader) -> None:
    now = clock.now()
    set_switch(
        name=Switch.MBT_NEW_ORDERS_DISABLED, on=True, reason="quotes are stale", actor=OPERATOR_SHELL, now=now
    )
    details = problem(trader.place(), 503, "NEW_ORDERS_DISABLED")
    assert (details["reason"], details["since"]) == ("quotes are stale", now.isoformat())
    set_switch(
        name=Switch.MBT_NEW_ORDERS_DISABLED, on=False, reason="quotes are back", actor=OPERATOR_SHELL, now=now
    )
    assert trader.place().status_code == 201


@pytest.mark.parametrize(
    "spoil", ["ALTER TABLE console_switches RENAME TO lost", "DROP FUNCTION console_gate()"]
)
def test_switches_that_cannot_be_read_are_on(trader: Trader, spoil: str) -> None:
    taken = trader.place(client_order_id="before").json()["data"]
    with connection.cursor() as cursor:
        cursor.execute(spoil)
    for refused in (trader.place(), trader.replace(taken["id"], qty="2")):
        assert problem(refused, 503, "TRADING_DISABLED")["rule"] == "MBT_TRADING_DISABLED"
        assert "cannot be read" in refused.json()["error"]["message"]
    assert trader.place(client_order_id="before").json()["data"] == taken
    assert trader.read(f"/orders/{taken['id']}") == taken
    assert trader.why(taken["id"])["headline"]
    assert trader.cancel(taken["id"]).status_code == 200
