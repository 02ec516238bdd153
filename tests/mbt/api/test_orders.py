"""Submitting, listing and showing orders: the happy path of each, and what is denied with its remedy."""

import re
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

import pytest

from audit.models import AuditEntry
from audit.pseudonym import actor_ref_for
from mbt import books
from mbt.models import Account, Order
from raxx.identity.services.users import register
from raxx.kernel import clock
from raxx.kernel.models import OutboxEvent
from tests.mbt.paper_tools import SYMBOLS, Market, Trader, fill_in, new_key, problem

OpenTrader = Callable[..., Trader]
OPTION = "SPY261218C00100000"
NICKEL = "ABCD261218C00050000"


def test_an_accepted_order_is_shown_whole(trader: Trader) -> None:
    response = trader.place(qty="3", limit_price="95.5", client_order_id="my-bot:1")
    assert response.status_code == 201
    assert set(response.json()) == {"data", "meta"}
    assert "Idempotent-Replayed" not in response
    order = response.json()["data"]
    assert trader.read(f"/orders/{order['id']}") == order
    assert trader.read("/orders") == [order]
    assert UUID(order.pop("id")).version == 7
    assert order == {
        "client_order_id": "my-bot:1", "order_class": "simple", "role": None, "symbol": "SPY", "asset_class": "equity",
        "side": "buy", "legs": [], "structure": None, "qty": "3", "notional": None, "filled_qty": "0", "order_type": "limit",
        "limit_price": "95.50", "stop_price": None, "trail_price": None, "trail_percent": None, "high_water_mark": None,
        "time_in_force": "day", "extended_hours": False, "fill_preference": "conservative",
        "status": "accepted", "reason": None, "filled_avg_price": None, "cash_hold": "286.50",
        "position_holds": {}, "submitted_at": "2026-11-20T15:30:02Z", "accepted_at": "2026-11-20T15:30:02Z", "working_at": None,
        "filled_at": None, "canceled_at": None, "expired_at": None, "replaced_at": None,
        "expires_at": "2026-11-21T05:00:00Z", "replaces": None, "entry_id": None, "group_id": None,
    }  # fmt: skip


@pytest.mark.parametrize("tif", ["day", "gtc", "ioc", "fok"])
@pytest.mark.parametrize("order_type", ["market", "limit"])
@pytest.mark.parametrize("symbol", ["SPY", OPTION])
def test_every_kind_of_order_is_taken_and_filled(
    trader: Trader, market: Market, symbol: str, order_type: str, tif: str
) -> None:
    market.quote(OPTION, "1.20", "1.25")
    ask = {"SPY": "100.02", OPTION: "1.25"}[symbol]
    limit = {"limit_price": "100.05" if symbol == "SPY" else "1.30"} if order_type == "limit" else {}
    order = trader.order(symbol=symbol, qty="2", order_type=order_type, time_in_force=tif, **limit)
    market.judge()
    filled = trader.read(f"/orders/{order['id']}")
    assert (filled["status"], filled["filled_qty"], filled["filled_avg_price"]) == ("filled", "2", ask)
    assert filled["filled_at"] == filled["accepted_at"]
    assert filled["cash_hold"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


def test_numbers_may_come_as_json_numbers_and_keep_their_digits(trader: Trader) -> None:
    body = b'{"symbol":"SPY","side":"buy","qty":10.000,"order_type":"limit","time_in_force":"day","limit_price":90.10}'
    order = trader.send("POST", "/orders", raw=body).json()["data"]
    assert (order["qty"], order["limit_price"], order["cash_hold"]) == ("10", "90.10", "901.00")


def test_fractions_of_a_share_trade_at_the_market_for_the_day(trader: Trader, market: Market) -> None:
    order = trader.order(qty="0.123456789", order_type="market")
    assert order["qty"] == "0.123456789"
    assert order["cash_hold"] == "12.72"  # 0.123456789 × 100.02 × 1.03 = 12.7184…, rounded up
    market.judge()
    assert trader.read("/positions/SPY")["cost_basis"] == "12.35"  # 12.3481…, half-even
    for wrong in ({"order_type": "limit"}, {"order_type": "market", "time_in_force": "gtc"}):
        problem(trader.place(qty="0.5", **wrong), 422, "INVALID_INPUT", "qty")
    market.quote(OPTION, "1.20", "1.25")
    problem(trader.place(symbol=OPTION, qty="0.5", order_type="market"), 422, "INVALID_INPUT", "qty")


@pytest.mark.parametrize(
    ("symbol", "price", "near"),
    [
        ("SPY", "90.001", "90.00 or 90.01"), ("SPY", "1.0001", "1.00 or 1.01"), ("SPY", "1234.567", "1234.56 or 1234.57"),
        (OPTION, "1.205", "1.20 or 1.21"), (OPTION, "3.005", "3.00 or 3.01"), (NICKEL, "1.21", "1.20 or 1.25"),
        (NICKEL, "2.99", "2.95 or 3.00"), (NICKEL, "3.05", "3.00 or 3.10"), (NICKEL, "0.01", "0.05"),
        ("PENNY", "1.00005", None), ("PENNY", "0.00001", None),
    ],
)  # fmt: skip
def test_prices_off_the_legal_step_are_refused_with_the_next_ones(
    trader: Trader, symbol: str, price: str, near: str | None
) -> None:
    details = problem(trader.place(symbol=symbol, limit_price=price), 422, "INVALID_INPUT", "limit_price")
    assert details["value"] == price
    if near:
        assert details["remedy"] == f"Send {near}."


@pytest.mark.parametrize(
    ("symbol", "price"), [("PENNY", "0.9999"), ("PENNY", "0.0001"), ("SPY", "90.010"), (NICKEL, "2.95"), (NICKEL, "3.10"), (OPTION, "3.01")]
)  # fmt: skip
def test_prices_on_the_legal_step_are_taken(trader: Trader, symbol: str, price: str) -> None:
    assert trader.place(symbol=symbol, limit_price=price).status_code == 201


def test_terms_must_go_together(trader: Trader) -> None:
    problem(trader.place(limit_price=None), 422, "INVALID_INPUT", "limit_price")
    problem(trader.place(order_type="market", limit_price="90"), 422, "INVALID_INPUT", "limit_price")


def test_a_denial_names_rule_limit_value_and_a_remedy_that_works(open_trader: OpenTrader) -> None:
    poor = open_trader(cash="1000.00")
    details = problem(poor.place(qty="12", limit_price="90.00"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details == {
        "field": "qty", "rule": "the cost, held in full, may not exceed the buying power", "value": "12",
        "remedy": "Reduce to 11 shares.", "needed": "1080.00", "available": "1000.00", "qty_max": "11",
    }  # fmt: skip
    assert poor.order(qty=details["qty_max"], limit_price="90.00")["cash_hold"] == "990.00"
    details = problem(poor.place(qty="1", limit_price="90.00"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert (details["available"], details["qty_max"]) == ("10.00", "0")
    assert "Cancel a working order" in details["remedy"]


@pytest.mark.parametrize(
    "cash", ["1000.00", "1030.20", "1030.21", "103.03", "51.52", "7.77", "1.00", "99999.99"]
)
def test_the_fraction_that_a_denial_offers_is_taken(open_trader: OpenTrader, cash: str) -> None:
    poor = open_trader(cash=cash)
    details = problem(poor.place(qty="5000.5", order_type="market"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    order = poor.order(qty=details["qty_max"], order_type="market")
    assert Decimal(order["cash_hold"]) <= Decimal(cash)
    left = Decimal(cash) - Decimal(order["cash_hold"])
    assert left < Decimal("0.02")  # nothing worth mentioning stays unused


def test_a_market_buy_without_an_ask_cannot_be_priced(trader: Trader, market: Market) -> None:
    problem(trader.place(symbol="PENNY", order_type="market"), 422, "NO_PRICE", "order_type")
    market.quote("PENNY", "0.50", None)
    problem(trader.place(symbol="PENNY", order_type="market"), 422, "NO_PRICE", "order_type")
    assert trader.place(symbol="PENNY", limit_price="0.55").status_code == 201


def test_a_cash_account_sells_what_it_holds(trader: Trader, market: Market) -> None:
    details = problem(trader.place(side="sell"), 403, "INSUFFICIENT_QUANTITY", "qty")
    assert "cannot sell short" in details["remedy"]
    trader.order(qty="10", order_type="market")
    market.judge()
    trader.order(side="sell", qty="4", limit_price="110.00")
    details = problem(
        trader.place(side="sell", qty="7", limit_price="110.00"), 403, "INSUFFICIENT_QUANTITY", "qty"
    )
    assert (details["available"], details["remedy"]) == ("6", "Reduce to 6.")
    assert trader.order(side="sell", qty="6", limit_price="110.00")["cash_hold"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


def test_an_account_that_is_not_active_does_not_trade(trader: Trader) -> None:
    Account.objects.filter(pk=trader.account.id).update(status="restricted")
    problem(trader.place(), 403, "ACCOUNT_NOT_ACTIVE")
    assert trader.read("/account")["status"] == "restricted"


def test_a_user_without_an_account_is_told_so(trader: Trader, market: Market) -> None:
    user = register(email="new@example.com", now=clock.now())
    newcomer = Trader(user.pk, trader.account, *new_key(user.pk, ["paper:trade"]))
    for path in ("/account", "/positions", "/orders", "/activities"):
        problem(newcomer.get(path), 404, "NO_ACCOUNT")
    problem(newcomer.place(), 404, "NO_ACCOUNT")


def test_denials_are_recorded_and_mistakes_are_not(trader: Trader) -> None:
    trail = AuditEntry.objects.filter(action="mbt.order.denied")
    response = trader.send("POST", "/orders", fill_in({"qty": "999999"}), X_Request_ID="denial-0001")
    problem(response, 403, "INSUFFICIENT_BUYING_POWER")
    [entry] = trail
    assert (entry.reason, entry.request_id) == ("INSUFFICIENT_BUYING_POWER", "denial-0001")
    assert (entry.object_type, entry.object_id) == ("mbt.account", str(trader.account.id))
    assert entry.actor_ref == actor_ref_for(trader.user_id)
    assert entry.changes == {"symbol": "SPY", "side": "buy", "qty": "999999", "limit_price": "90.00"}
    problem(trader.place(qty="-1"), 422, "INVALID_INPUT", "qty")
    problem(trader.place(symbol="NOPE"), 422, "UNKNOWN_SYMBOL", "symbol")
    assert trail.count() == 1
    assert not Order.objects.filter(account_id=trader.account.id).exists()
    assert not OutboxEvent.objects.exists()


def test_an_acceptance_is_recorded_and_announced(trader: Trader) -> None:
    response = trader.send("POST", "/orders", fill_in({}), X_Request_ID="request-0001")
    order = response.json()["data"]
    assert response["X-Request-ID"] == "request-0001"
    [entry] = AuditEntry.objects.filter(object_id=order["id"])
    assert (entry.action, entry.request_id) == ("mbt.order.accepted", "request-0001")
    assert entry.actor_ref == actor_ref_for(trader.user_id)
    assert entry.changes["cash_hold"] == "90.00"
    [event] = OutboxEvent.objects.all()
    assert (event.topic, event.key, event.payload) == (
        "mbt.orders", order["id"], {"order_id": order["id"], "event": "accepted"},
    )  # fmt: skip


def test_options_are_written_compact_whatever_was_sent(trader: Trader, market: Market) -> None:
    market.quote(OPTION, "1.20", "1.25")
    order = trader.order(symbol="SPY   261218C00100000", limit_price="1.00", qty="2")
    assert (order["symbol"], order["asset_class"], order["cash_hold"]) == (OPTION, "option", "200.00")
    assert trader.read("/orders?symbol=SPY%20%20%20261218C00100000") == [order]


@pytest.mark.parametrize("symbol", ["SPY261120P00100000"])
def test_an_expired_contract_is_denied(trader: Trader, market: Market, symbol: str) -> None:
    market.quote(symbol, "0.05", "0.10")
    assert trader.place(symbol=symbol, limit_price="0.05").status_code == 201
    market.pass_time(24 * 3_600)  # past the end of its last day
    problem(trader.place(symbol=symbol, limit_price="0.05"), 422, "CONTRACT_EXPIRED", "symbol")


def test_no_order_outlives_its_contract(trader: Trader, market: Market) -> None:
    order = trader.order(symbol=OPTION, limit_price="0.05", time_in_force="gtc")
    assert order["expires_at"] == "2026-12-19T05:00:00Z"  # the end of 2026-12-18 in New York
    assert trader.order(time_in_force="gtc")["expires_at"] is None


def test_outside_hours(exchange: Market) -> None:
    trader = Trader.opened(feed=exchange.feed)
    assert trader.order()["expires_at"] == "2026-11-20T21:00:00Z"
    exchange.pass_time(6 * 3_600)  # 16:30 on a Friday
    for tif in ("ioc", "fok"):
        details = problem(trader.place(time_in_force=tif), 422, "OUTSIDE_SESSION", "time_in_force")
        assert "2026-11-23 09:30 ET" in details["remedy"]
    problem(trader.place(symbol=OPTION, order_type="market"), 422, "OUTSIDE_SESSION", "order_type")
    assert trader.order()["expires_at"] == "2026-11-23T21:00:00Z"
    market_order = trader.order(order_type="market")
    exchange.judge()
    assert trader.read(f"/orders/{market_order['id']}")["status"] == "accepted"


def test_the_list_by_status_and_symbol(trader: Trader, market: Market) -> None:
    ids = {name: trader.order(client_order_id=name)["id"] for name in ("a", "b", "c")}
    other = trader.order(symbol="AAPL", limit_price="150.00", client_order_id="d")["id"]
    trader.cancel(ids["b"])

    def listed(query: str = "") -> list[str]:
        return [order["id"] for order in trader.read(f"/orders{query}")]

    assert listed() == listed("?status=all") == [other, ids["c"], ids["b"], ids["a"]]
    assert listed("?status=open") == [other, ids["c"], ids["a"]]
    assert listed("?status=closed") == [ids["b"]]
    assert listed("?symbol=AAPL") == [other]
    assert listed("?symbol=SPY&status=open") == [ids["c"], ids["a"]]
    assert listed("?symbol=NOPE") == []


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("status=OPEN", "status", "INVALID_INPUT"), ("status=", "status", "INVALID_INPUT"),
        ("symbol=spy", "symbol", "INVALID_INPUT"), ("symbol=", "symbol", "INVALID_INPUT"),
        ("symbol=%00", "symbol", "INVALID_INPUT"), ("symbol=123", "symbol", "UNKNOWN_SYMBOL"),
        ("state=open", "state", "INVALID_INPUT"), ("status=open&status=closed", "status", "INVALID_INPUT"),
        ("%ED%A0%80=1", "���", "INVALID_INPUT"),
    ],
)  # fmt: skip
def test_bad_filters_are_refused_by_name(trader: Trader, query: str, field: str, code: str) -> None:
    problem(trader.get(f"/orders?{query}"), 422, code, field)


def test_every_number_of_every_answer_is_a_string(trader: Trader, market: Market) -> None:
    trader.order(order_type="market", qty="2")
    market.judge()
    trader.order()
    for path in ("/account", "/positions", "/orders", "/activities"):
        body = trader.get(path).content.decode()
        numbers = re.findall(r"[:\[,](-?[0-9.]+)[,}\]]", body)
        assert set(numbers) <= {"1", "2"}, (
            path
        )  # an equity's multiplier and the option level count, and are no amounts


def test_the_feed_of_these_tests_quotes_what_they_use() -> None:
    assert {"SPY", "AAPL", "PENNY", OPTION, NICKEL} <= set(SYMBOLS)
