"""The worked examples of docs/rules/buying-power.md."""

from collections.abc import Callable

import pytest

from mbt import books
from tests.mbt.paper_tools import Market, Trader, problem

OpenTrader = Callable[..., Trader]
OPTION = "SPY261218C00100000"


def held_and_paid(trader: Trader, market: Market, **ticket: object) -> tuple[str, str]:
    """What a buy holds, and what it pays as soon as it is judged."""
    before = trader.read("/account")
    order = trader.order(**ticket)
    held: str = trader.read("/account")["cash_held"]
    assert held == order["cash_hold"]
    market.judge()
    after = trader.read("/account")
    assert after["cash_held"] == before["cash_held"]
    assert after["buying_power"] == after["cash"]
    [line] = [line for line in trader.read("/activities") if line["order_id"] == order["id"]]
    assert trader.read(f"/orders/{order['id']}")["cash_hold"] == "0.00"
    return held, line["amount"]


@pytest.mark.parametrize(
    ("ticket", "held", "paid"),
    [
        ({"qty": "10", "limit_price": "100.05"}, "1000.50", "-1000.20"),
        ({"qty": "10", "order_type": "market"}, "1030.21", "-1000.20"),
        ({"qty": "0.123456789", "order_type": "market"}, "12.72", "-12.35"),
        ({"symbol": OPTION, "order_type": "market"}, "128.75", "-125.00"),
        ({"symbol": "PENNY", "limit_price": "0.5050"}, "0.51", "-0.50"),
        ({"symbol": "PENNY", "qty": "3", "limit_price": "0.5050"}, "1.52", "-1.52"),
    ],
)
def test_what_a_buy_holds_and_pays(
    trader: Trader, market: Market, ticket: dict[str, object], held: str, paid: str
) -> None:
    market.quote(OPTION, "1.20", "1.25")
    market.quote("PENNY", "0.5040", "0.5050")
    assert held_and_paid(trader, market, **ticket) == (held, paid)
    assert books.verify(trader.account.id) == (1, [])


def test_what_a_resting_buy_holds(trader: Trader) -> None:
    assert trader.order(qty="3", limit_price="95.50")["cash_hold"] == "286.50"
    assert trader.order(symbol=OPTION, qty="2", limit_price="1.00")["cash_hold"] == "200.00"
    account = trader.read("/account")
    assert (account["cash_held"], account["buying_power"]) == ("486.50", "99513.50")


def test_what_a_sell_holds(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    for qty, free in (("4", "6"), ("7", None), ("6", "0"), ("1", None)):
        response = trader.place(side="sell", qty=qty, limit_price="110.00")
        if free is None:
            problem(response, 403, "INSUFFICIENT_QUANTITY", "qty")
        else:
            assert trader.read("/positions/SPY")["qty_available"] == free
    assert trader.read("/account")["cash_held"] == "0.00"
    problem(
        trader.place(symbol="AAPL", side="sell", limit_price="250.00"), 403, "INSUFFICIENT_QUANTITY", "qty"
    )


def test_every_end_of_an_order_ends_its_hold(trader: Trader, market: Market) -> None:
    def held() -> str:
        found: str = trader.read("/account")["cash_held"]
        return found

    trader.cancel(trader.order(qty="3")["id"])
    assert held() == "0.00"
    trader.order(qty="3", time_in_force="fok")
    assert held() == "270.00"
    market.judge()
    assert held() == "0.00"
    trader.order(qty="3")
    market.pass_time(24 * 3_600)
    assert held() == "0.00"
    assert {order["status"] for order in trader.read("/orders")} == {"canceled", "expired"}


def test_a_replacement_uses_the_hold_of_the_old_order(open_trader: OpenTrader) -> None:
    trader = open_trader(cash="1000.00")
    order = trader.order(qty="10", limit_price="100.00")
    order = trader.replace(order["id"], limit_price="99.00").json()["data"]
    assert trader.read("/account")["buying_power"] == "10.00"
    details = problem(trader.replace(order["id"], qty="11"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details["needed"] == "1089.00"
    assert trader.read(f"/orders/{order['id']}") == order


def test_the_remedy_at_the_market(open_trader: OpenTrader) -> None:
    trader = open_trader(cash="1000.00")
    details = problem(trader.place(qty="10", order_type="market"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details["qty_max"] == "9"
    details = problem(trader.place(qty="10.5", order_type="market"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details["qty_max"] == "9.706796"
    order = trader.order(qty="9", order_type="market")
    assert order["cash_hold"] == "927.19"
    trader.cancel(order["id"])
    assert trader.order(qty="9.706796", order_type="market")["cash_hold"] == "1000.00"


@pytest.mark.parametrize(
    ("cash", "other", "status", "left"),
    [
        ("2000.00", None, "filled", "949.80"),
        ("1035.00", None, "rejected", "1035.00"),
        ("2000.00", "9.60", "rejected", "1040.00"),
    ],
)
def test_a_fill_that_costs_more_than_was_held(
    exchange: Market, cash: str, other: str | None, status: str, left: str
) -> None:
    trader = Trader.opened(feed=exchange.feed, cash=cash)
    exchange.pass_time(6 * 3_600)  # Friday, 16:30
    order = trader.order(qty="10", order_type="market")
    assert order["cash_hold"] == "1030.21"
    if other:
        assert trader.order(qty="100", limit_price=other, time_in_force="gtc")["cash_hold"] == "960.00"
    exchange.pass_time(65 * 3_600)  # Monday, 09:30 and a moment
    exchange.quote("SPY", "104.99", "105.02")
    ended = trader.read(f"/orders/{order['id']}")
    assert (ended["status"], ended["cash_hold"]) == (status, "0.00")
    assert ended["reason"] == (None if status == "filled" else "INSUFFICIENT_CASH")
    account = trader.read("/account")
    assert account["buying_power"] == left
    assert account["cash_held"] == ("960.00" if other else "0.00")
    assert trader.read("/activities")[0]["amount"] == ("-1050.20" if status == "filled" else cash)
    assert books.verify(trader.account.id) == (1, [])
