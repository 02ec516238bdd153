"""Kill switches stop what adds risk, and nothing else."""

from collections.abc import Callable

import pytest
from django.db import connection

from audit.models import AuditEntry
from audit.pseudonym import OPERATOR_SHELL
from console.services.switches import set_switch
from console.switches import PAPER, Mode
from mbt.models import Order
from raxx.identity.models import User
from raxx.kernel import clock
from tests.mbt.paper_tools import Market, Trader, problem

CODES = {Mode.HALTED: "TRADING_DISABLED", Mode.REDUCING: "NEW_ORDERS_DISABLED"}
VARIABLES = {Mode.HALTED: "MBT_TRADING_DISABLED", Mode.REDUCING: "MBT_NEW_ORDERS_DISABLED"}

# Sets a mode, and gives the name under which it is told.
Stop = Callable[[Mode], str]


def turn(key: str, mode: Mode, reason: str = "quotes are stale") -> None:
    set_switch(key=key, mode=mode, reason=reason, actor=OPERATOR_SHELL, now=clock.now())


@pytest.fixture(params=["environment", "environment, unreadable", "database"])
def stop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Each way in which paper trading is stopped."""

    def act(mode: Mode) -> str:
        if request.param == "database":
            turn(PAPER, mode)
            return PAPER
        monkeypatch.setenv(VARIABLES[mode], "1" if request.param == "environment" else "perhaps")
        return VARIABLES[mode]

    return act


@pytest.mark.parametrize("mode", list(CODES))
def test_new_risk_is_refused_and_the_rest_works(
    trader: Trader, market: Market, stop: Stop, mode: Mode
) -> None:
    taken = trader.place(client_order_id="before")
    filled = trader.order(order_type="market", qty="3")
    market.judge()
    open_id, other = taken.json()["data"]["id"], trader.order()["id"]
    name = stop(mode)
    rows = list(Order.objects.order_by("number").values())

    for refused in (
        trader.place(), trader.place(order_type="market", limit_price=None), trader.place(symbol="AAPL", limit_price="100"),
        trader.replace(open_id, limit_price="91.00"), trader.replace(open_id, qty="2"),
    ):  # fmt: skip
        details = problem(refused, 503, CODES[mode])
        assert details["rule"] == name
        assert details["value"] == mode
        assert "Cancels still work" in details["remedy"]
        assert refused["Retry-After"] == "30"
        assert name in refused.json()["error"]["message"]
    assert list(Order.objects.order_by("number").values()) == rows
    denied = AuditEntry.objects.filter(action="mbt.order.denied")
    assert set(denied.values_list("reason", flat=True)) == {CODES[mode]}
    assert denied.filter(object_type="mbt.order", object_id=open_id).count() == 2

    retried = trader.place(client_order_id="before")
    assert (retried.status_code, retried["Idempotent-Replayed"]) == (201, "true")
    assert retried.json()["data"]["id"] == open_id
    problem(trader.place(client_order_id="before", qty="2"), 422, "CLIENT_ORDER_ID_REUSED")
    for path in ("/account", "/positions", "/positions/SPY", "/orders", f"/orders/{open_id}", "/activities"):
        assert trader.get(path).status_code == 200, path
    assert trader.why(filled["id"])["headline"].startswith("Bought 3 SPY")
    assert trader.why(open_id)["headline"].startswith("Resting")
    assert trader.cancel(open_id).json()["data"]["status"] == "canceled"
    market.quote("SPY", "89.90", "90.00")  # what was taken before still trades
    assert trader.read(f"/orders/{other}")["status"] == "filled"


def test_what_closes_a_position_is_taken_where_new_risk_is_not(
    trader: Trader, market: Market, stop: Stop
) -> None:
    trader.order(order_type="market", qty="10")
    market.judge()
    resting = trader.order(side="sell", limit_price="120.00", qty="2")
    stop(Mode.REDUCING)
    lower = trader.replace(resting["id"], limit_price="110.00")
    assert lower.status_code == 200, lower.content
    assert trader.place(side="sell", order_type="market", limit_price=None, qty="3").status_code == 201
    assert (
        trader.place(
            side="sell", order_type="stop", limit_price=None, stop_price="80.00", qty="1"
        ).status_code
        == 201
    )
    market.judge()
    trader.cancel(lower.json()["data"]["id"])
    closed = trader.send("DELETE", "/positions/SPY?qty=6")
    assert closed.status_code == 200, closed.content
    market.judge()
    assert trader.read("/positions/SPY")["qty"] == "1"


@pytest.mark.parametrize("account_type", ["cash", "margin"])
def test_no_sale_goes_beyond_what_is_held(
    market: Market, open_trader: Callable[..., Trader], account_type: str
) -> None:
    trader = open_trader(account_type=account_type)
    trader.order(order_type="market", qty="10")
    market.judge()
    turn(PAPER, Mode.REDUCING)
    assert trader.place(side="sell", order_type="market", limit_price=None, qty="11").status_code in (
        403,
        503,
    )
    assert trader.place(side="sell", order_type="market", limit_price=None, qty="6").status_code == 201
    assert trader.place(side="sell", order_type="market", limit_price=None, qty="6").status_code in (403, 503)
    market.judge()
    assert trader.read("/positions/SPY")["qty"] == "4"


@pytest.mark.parametrize("mode", list(CODES))
@pytest.mark.parametrize("scope", ["symbol", "user", "account", "global"])
def test_a_scope_stops_its_target_alone(
    trader: Trader, open_trader: Callable[..., Trader], scope: str, mode: Mode
) -> None:
    other = open_trader()
    target = {
        "symbol": "symbol:SPY", "user": f"user:{trader.user_id}", "account": f"account:{trader.account.id}",
        "global": "global",
    }[scope]  # fmt: skip
    turn(target, mode, "a runaway bot")
    details = problem(trader.place(), 503, CODES[mode])
    assert (details["rule"], details["reason"]) == (target, "a runaway bot")
    assert trader.place(symbol="AAPL", limit_price="100").status_code == (201 if scope == "symbol" else 503)
    assert other.place().status_code == (201 if scope in ("user", "account") else 503)
    assert User.objects.count() == 2


def test_the_reason_of_the_operator_is_told(trader: Trader) -> None:
    before = clock.now()
    turn(PAPER, Mode.REDUCING)
    details = problem(trader.place(), 503, "NEW_ORDERS_DISABLED")
    assert details["reason"] == "quotes are stale"
    assert before.isoformat() <= details["since"] <= clock.now().isoformat()
    turn(PAPER, Mode.ACTIVE, "quotes are back")
    assert trader.place().status_code == 201


@pytest.mark.parametrize(
    "spoil", ["ALTER TABLE console_switches RENAME TO lost", "DROP FUNCTION console_gate(text[])"]
)
def test_switches_that_cannot_be_read_stop_everything(trader: Trader, spoil: str) -> None:
    taken = trader.place(client_order_id="before").json()["data"]
    with connection.cursor() as cursor:
        cursor.execute(spoil)
    for refused in (trader.place(), trader.replace(taken["id"], qty="2")):
        assert problem(refused, 503, "TRADING_DISABLED")["rule"] == "global"
        assert "cannot be read" in refused.json()["error"]["message"]
    assert trader.place(client_order_id="before").json()["data"] == taken
    assert trader.read(f"/orders/{taken['id']}") == taken
    assert trader.why(taken["id"])["headline"]
    assert trader.cancel(taken["id"]).status_code == 200


def test_where_paper_trading_is_not_rolled_out_no_risk_is_taken_and_all_can_be_closed(
    trader: Trader, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = trader.place(client_order_id="before").json()["data"]
    trader.order(order_type="market", qty="2")
    market.judge()
    for mode in ("off", "shadow"):
        monkeypatch.setenv("FLAG_MBT_PAPER_TRADING", mode)
        assert problem(trader.place(), 403, "FEATURE_OFF")["rule"] == "FLAG_MBT_PAPER_TRADING"
    assert trader.place(client_order_id="before").json()["data"]["id"] == taken["id"]
    assert trader.cancel(taken["id"]).status_code == 200
    assert trader.send("DELETE", "/positions/SPY").status_code == 200
    market.judge()
    assert trader.read("/positions") == []
