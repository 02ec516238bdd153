"""Replacing and canceling: both or neither, once, and only what is one's own."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

from audit.models import AuditEntry
from mbt import books
from mbt.models import Account, Order, Position
from raxx.kernel import clock
from raxx.kernel.models import OutboxEvent
from tests.mbt.paper_tools import Market, Trader, problem

OpenTrader = Callable[..., Trader]


def everything(trader: Trader) -> list[Any]:
    """The rows of an account that a change of an order may touch, and how many were recorded and announced."""
    account = trader.account.id
    return [
        list(Account.objects.filter(pk=account).values()),
        list(Order.objects.filter(account_id=account).order_by("number").values()),
        list(Position.objects.filter(account_id=account).order_by("symbol").values()),
        OutboxEvent.objects.count(),
        AuditEntry.objects.exclude(action="mbt.order.denied").count(),
    ]


def test_a_replacement_is_a_new_order_that_names_the_old_one(trader: Trader) -> None:
    old = trader.order(qty="10", limit_price="90.00", time_in_force="gtc", client_order_id="first")
    response = trader.replace(old["id"], qty="4", limit_price="95.00", client_order_id="second")
    assert response.status_code == 200
    new = response.json()["data"]
    assert new["id"] != old["id"]
    assert (new["replaces"], new["client_order_id"], new["status"]) == (old["id"], "second", "accepted")
    assert (new["qty"], new["limit_price"], new["cash_hold"]) == ("4", "95.00", "380.00")
    assert (new["symbol"], new["side"], new["order_type"], new["time_in_force"]) == (
        "SPY",
        "buy",
        "limit",
        "gtc",
    )
    ended = trader.read(f"/orders/{old['id']}")
    assert (ended["status"], ended["cash_hold"], ended["replaced_at"]) == (
        "replaced",
        "0.00",
        "2026-11-20T15:30:02Z",
    )
    assert trader.read("/account")["cash_held"] == "380.00"
    trail = AuditEntry.objects.filter(object_type="mbt.order").order_by("pk")
    assert [(entry.object_id, entry.action) for entry in trail] == [
        (old["id"], "mbt.order.accepted"), (old["id"], "mbt.order.replaced"), (new["id"], "mbt.order.accepted"),
    ]  # fmt: skip
    assert [(e.key, e.payload["event"]) for e in OutboxEvent.objects.order_by("id")] == [
        (old["id"], "accepted"), (old["id"], "replaced"), (new["id"], "accepted"),
    ]  # fmt: skip
    assert books.verify(trader.account.id) == (1, [])


def test_replacements_chain_and_each_link_moves_the_hold(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    buy, sell = trader.order(qty="1"), trader.order(side="sell", qty="10", limit_price="110.00")
    for number in range(2, 7):
        market.judge()  # resting or waiting makes no difference
        buy_next = trader.replace(buy["id"], qty=str(number)).json()["data"]
        sell_next = trader.replace(sell["id"], qty=str(number)).json()["data"]
        assert (buy_next["replaces"], sell_next["replaces"]) == (buy["id"], sell["id"])
        assert buy_next["limit_price"] == "90.00"
        buy, sell = buy_next, sell_next
        assert Decimal(trader.read("/account")["cash_held"]) == 90 * number
        assert trader.read("/positions/SPY")["qty_available"] == str(10 - number)
        assert books.verify(trader.account.id) == (1, [])


def test_a_replacement_may_use_what_the_old_order_held(open_trader: OpenTrader) -> None:
    trader = open_trader(cash="1000.00")
    order = trader.order(qty="10", limit_price="100.00")
    problem(trader.place(qty="1", limit_price="1.00"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    order = trader.replace(order["id"], limit_price="99.00").json()["data"]
    assert trader.read("/account")["buying_power"] == "10.00"
    details = problem(trader.replace(order["id"], qty="11"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert (details["available"], details["qty_max"]) == ("1000.00", "10")


def test_a_market_order_may_change_its_quantity(exchange: Market) -> None:
    trader = Trader.opened(feed=exchange.feed)
    exchange.pass_time(6 * 3_600)  # after the close it waits, and can be changed
    order = trader.order(order_type="market", qty="2")
    assert (
        trader.replace(order["id"], qty="2.5").json()["data"]["cash_hold"] == "257.56"
    )  # 2.5 × 100.02 × 1.03 = 257.5515
    newest = trader.read("/orders")[0]["id"]
    problem(trader.replace(newest, limit_price="90.00"), 422, "INVALID_INPUT", "limit_price")
    assert trader.read(f"/orders/{newest}")["status"] == "accepted"


DENIALS: list[tuple[dict[str, object], int, str, str | None]] = [
    ({"qty": "2000"}, 403, "INSUFFICIENT_BUYING_POWER", "qty"),
    ({"limit_price": "20000.00"}, 403, "INSUFFICIENT_BUYING_POWER", "qty"),
    ({"limit_price": "90.001"}, 422, "INVALID_INPUT", "limit_price"),
    ({"qty": "1.5"}, 422, "INVALID_INPUT", "qty"),
    ({"qty": "0"}, 422, "INVALID_INPUT", "qty"),
    ({"qty": "10"}, 422, "INVALID_INPUT", "(body)"),
    ({"qty": "10.0", "limit_price": "90"}, 422, "INVALID_INPUT", "(body)"),
    ({}, 422, "INVALID_INPUT", "(body)"),
    ({"client_order_id": "new"}, 422, "INVALID_INPUT", "(body)"),
    ({"side": "sell"}, 422, "INVALID_INPUT", "side"),
    ({"qty": "9", "client_order_id": "first"}, 422, "CLIENT_ORDER_ID_REUSED", "client_order_id"),
    ({"qty": "9", "client_order_id": "other"}, 422, "CLIENT_ORDER_ID_REUSED", "client_order_id"),
]


def test_a_denied_replacement_leaves_everything_as_it_was(trader: Trader, market: Market) -> None:
    order = trader.order(qty="10", client_order_id="first")
    trader.order(client_order_id="other")
    market.judge()
    before = everything(trader)
    for changes, status, code, field in DENIALS:
        problem(trader.replace(order["id"], **changes), status, code, field)
        assert everything(trader) == before, changes
    denied = AuditEntry.objects.filter(action="mbt.order.denied").order_by("pk")
    assert [(e.object_id, e.reason, e.changes) for e in denied] == [
        (order["id"], "INSUFFICIENT_BUYING_POWER", {"qty": "2000"}),
        (order["id"], "INSUFFICIENT_BUYING_POWER", {"limit_price": "20000.00"}),
    ]


def test_a_denied_replacement_of_a_sell_leaves_everything_as_it_was(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    order = trader.order(side="sell", qty="6", limit_price="110.00")
    before = everything(trader)
    details = problem(trader.replace(order["id"], qty="11"), 403, "INSUFFICIENT_QUANTITY", "qty")
    assert details["available"] == "10"
    assert everything(trader) == before


def test_what_was_replaced_stays_so(trader: Trader) -> None:
    old = trader.order()
    trader.replace(old["id"], qty="2")
    before = everything(trader)
    for response in (trader.replace(old["id"], qty="3"), trader.cancel(old["id"])):
        details = problem(response, 409, "ORDER_NOT_OPEN")
        assert (details["value"], details["order_id"]) == ("replaced", old["id"])
    assert everything(trader) == before


def test_a_replacement_may_be_sent_again(trader: Trader) -> None:
    old = trader.order()
    body = {"qty": "2", "client_order_id": "second"}
    first = trader.replace(old["id"], **body)
    before = everything(trader)
    again = trader.replace(old["id"], **body)
    assert (again.status_code, again.content) == (200, first.content)
    problem(trader.replace(old["id"], qty="3", client_order_id="second"), 409, "ORDER_NOT_OPEN")
    problem(trader.replace(old["id"], qty="2", client_order_id="third"), 409, "ORDER_NOT_OPEN")
    assert everything(trader) == before


def test_canceling_twice_is_canceling_once(trader: Trader) -> None:
    order = trader.order()
    first = trader.cancel(order["id"])
    assert first.status_code == 200
    ended = first.json()["data"]
    assert (ended["status"], ended["canceled_at"], ended["reason"]) == (
        "canceled",
        "2026-11-20T15:30:02Z",
        None,
    )
    before = everything(trader)
    again = trader.cancel(order["id"])
    assert (again.status_code, again.content) == (200, first.content)
    assert everything(trader) == before
    assert trader.read("/account")["cash_held"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


def test_canceling_a_sell_gives_the_shares_back(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    order = trader.order(side="sell", qty="6", limit_price="110.00")
    trader.cancel(order["id"])
    assert trader.read("/positions/SPY")["qty_available"] == "10"
    assert books.verify(trader.account.id) == (1, [])


def test_what_is_over_cannot_change(trader: Trader, market: Market, open_trader: OpenTrader) -> None:
    filled = trader.order(order_type="market")["id"]
    immediate = trader.order(time_in_force="ioc")["id"]  # its limit is not reached: canceled by its own terms
    market.judge()
    for order_id, status in ((filled, "filled"), (immediate, "canceled")):
        assert trader.read(f"/orders/{order_id}")["status"] == status
        problem(trader.replace(order_id, qty="2"), 409, "ORDER_NOT_OPEN")
    problem(trader.cancel(filled), 409, "ORDER_NOT_OPEN")
    assert trader.cancel(immediate).status_code == 200
    expired = trader.order()["id"]
    market.pass_time(24 * 3_600)
    assert trader.read(f"/orders/{expired}")["status"] == "expired"
    problem(trader.cancel(expired), 409, "ORDER_NOT_OPEN")
    problem(trader.replace(expired, qty="2"), 409, "ORDER_NOT_OPEN")


def test_an_order_past_its_expiry_moves_into_no_other_session(exchange: Market) -> None:
    """The feed has passed the close; the engine, which would expire the order, is late."""
    trader = Trader.opened(feed=exchange.feed)
    order = trader.order()
    before = everything(trader)
    close_ns = exchange.engine.feed.sessions.current_or_next(exchange.now_ns).close_ns
    exchange.board.publish([], now_ns=close_ns, wall_ns=clock.now_ns())
    details = problem(trader.replace(order["id"], qty="2"), 409, "ORDER_NOT_OPEN")
    assert details["value"] == "expired"
    assert everything(trader) == before
    exchange.now_ns = close_ns
    exchange.judge()
    assert trader.read(f"/orders/{order['id']}")["expired_at"] == "2026-11-20T21:00:00Z"


def test_unknown_orders_are_not_found(trader: Trader) -> None:
    unknown = str(uuid4())
    problem(trader.cancel(unknown), 404, "NOT_FOUND", "id")
    problem(trader.replace(unknown, qty="2"), 404, "NOT_FOUND", "id")
    assert not AuditEntry.objects.filter(action="mbt.order.denied").exists()


def test_a_canceled_order_does_not_fill(trader: Trader, market: Market) -> None:
    order = trader.order(limit_price="99.99")
    market.judge()
    trader.cancel(order["id"])
    market.quote("SPY", "99.90", "99.95")  # the engine has not heard of it: the row has the last word
    assert trader.read(f"/orders/{order['id']}")["status"] == "canceled"
    assert trader.read("/positions") == []
    assert books.verify(trader.account.id) == (1, [])
