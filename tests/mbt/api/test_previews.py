"""A preview tells everything: each number by hand from docs/rules/buying-power.md, margin.md and fees.md."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.mbt.paper_tools import Market, Trader

PUT_90, PUT_95 = "SPY261218P00090000", "SPY261218P00095000"
CALL_105, CALL_110 = "SPY261218C00105000", "SPY261218C00110000"
PUT_SPREAD = [{"symbol": PUT_95, "side": "sell", "ratio": 1}, {"symbol": PUT_90, "side": "buy", "ratio": 1}]


@pytest.fixture(autouse=True)
def _chain(market: Market) -> None:
    """SPY is at 99.98 / 100.02: its mark is 100.00."""
    for symbol, bid, ask in (
        (PUT_90, "0.90", "0.95"), (PUT_95, "2.00", "2.10"), (CALL_105, "1.90", "2.00"), (CALL_110, "0.80", "0.90"),
    ):  # fmt: skip
        market.quote(symbol, bid, ask)


@pytest.fixture
def cash_account(open_trader: Callable[..., Trader]) -> Trader:
    return open_trader(cash="10000.00")


@pytest.fixture
def margin_account(open_trader: Callable[..., Trader]) -> Trader:
    return open_trader(cash="10000.00", account_type="margin")


def preview(trader: Trader, **ticket: object) -> Any:  # noqa: ANN401 - JSON
    usual: dict[str, object] = {
        "symbol": "SPY",
        "side": "buy",
        "qty": "10",
        "order_type": "limit",
        "time_in_force": "day",
    }
    if "legs" in ticket:
        usual = {"order_class": "mleg", "qty": "1", "order_type": "limit", "time_in_force": "day"}
    response = trader.send("POST", "/orders/preview", usual | ticket)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def effect(found: dict[str, Any]) -> tuple[str, ...]:
    return (
        found["available"], found["needed"], found["debit"], found["buying_power_after"], found["before"]["initial"],
        found["after"]["initial"], found["after"]["maintenance"],
    )  # fmt: skip


def formulas(requirement: dict[str, Any]) -> list[tuple[str, str]]:
    return [(group["name"], group["formula"]) for group in requirement["groups"]]


def test_stock_in_a_cash_account(cash_account: Trader) -> None:
    found = preview(cash_account, limit_price="100.05")
    # 10 x 100.05 in full; what is long is paid for and requires nothing.
    assert effect(found) == ("10000.00", "1000.50", "1000.50", "8999.50", "0.00", "0.00", "0.00")
    assert formulas(found["after"]) == [("stock", "0.00, paid in full")]
    assert (found["accepted"], found["denial"], found["cash_hold"], found["warnings"]) == (
        True,
        None,
        "1000.50",
        [],
    )
    # A purchase of stock: neither SEC nor TAF, which are of sales; CAT only.
    assert {fee["name"] for fee in found["fees"]} <= {"cat"}


def test_open_orders_come_first(cash_account: Trader) -> None:
    cash_account.order(qty="60", limit_price="100.00")
    found = preview(cash_account, limit_price="100.00")
    assert (found["available"], found["needed"], found["buying_power_after"]) == (
        "4000.00",
        "1000.00",
        "3000.00",
    )


def test_a_secured_put_in_a_cash_account(cash_account: Trader) -> None:
    found = preview(cash_account, symbol=PUT_95, side="sell", qty="1", limit_price="2.00")
    # The strike is set aside in full; the premium of 200 comes with the fill.
    assert effect(found) == ("10000.00", "9500.00", "-200.00", "500.00", "0.00", "9500.00", "9500.00")
    assert formulas(found["after"]) == [("put", "95.00 × 100 = 9,500.00")]


def test_stock_in_a_margin_account(margin_account: Trader) -> None:
    found = preview(margin_account, qty="100", limit_price="100.02")
    # Half of 10,000.00, and 0.02 a share above the mark.
    assert effect(found) == ("10000.00", "5002.00", "10002.00", "4998.00", "0.00", "5000.00", "2500.00")
    [(name, formula)] = formulas(found["after"])
    assert name == "stock"
    assert formula == "initial 50% × 100.00 × 100 = 5,000.00; maintenance 25% × 100.00 × 100 = 2,500.00"


def test_a_short_sale(margin_account: Trader) -> None:
    found = preview(margin_account, side="sell", qty="100", limit_price="99.98")
    # Half of 10,000.00, and 0.02 a share below the mark; maintenance max(5.00, 30 %) a share.
    assert effect(found) == ("10000.00", "5002.00", "-9998.00", "4998.00", "0.00", "5000.00", "3000.00")
    # 100 shares sold at 99.98 are 9,998.00: the SEC's fee is a rate of that, the TAF one of the shares.
    assert {"sec", "taf"} <= {fee["name"] for fee in found["fees"]}


def test_a_long_option(margin_account: Trader) -> None:
    found = preview(margin_account, symbol=CALL_105, qty="2", limit_price="2.00")
    assert effect(found) == ("10000.00", "400.00", "400.00", "9600.00", "0.00", "0.00", "0.00")


def test_a_package(margin_account: Trader) -> None:
    found = preview(margin_account, legs=PUT_SPREAD, qty="2", limit_price="-1.05")
    # Width 5.00 x 100 x 2 = 1,000, less the credit of 210.
    assert effect(found) == ("10000.00", "790.00", "-210.00", "9210.00", "0.00", "1000.00", "1000.00")
    assert formulas(found["after"]) == [("put credit spread", "width 5.00 × 100 × 2 = 1,000.00")]
    assert found["structure"].endswith("90/95 put credit spread ×2")


def test_the_other_side_of_a_condor_is_free(market: Market, margin_account: Trader) -> None:
    margin_account.send(
        "POST",
        "/orders",
        {
            "order_class": "mleg",
            "legs": PUT_SPREAD,
            "qty": "1",
            "order_type": "market",
            "time_in_force": "day",
        },
    )
    market.judge()
    calls = [
        {"symbol": CALL_105, "side": "sell", "ratio": 1},
        {"symbol": CALL_110, "side": "buy", "ratio": 1},
    ]
    found = preview(margin_account, legs=calls, limit_price="-1.00")
    # Both wings are 5.00 wide; one is charged. The credit of 100 is all that changes: 10,105 - 500 are free.
    assert effect(found) == ("9605.00", "-100.00", "-100.00", "9705.00", "500.00", "500.00", "500.00")
    assert [name for name, _ in formulas(found["before"])] == ["put credit spread"]
    assert [name for name, _ in formulas(found["after"])] == ["iron condor"]


def test_a_bracket_needs_what_its_entry_needs(margin_account: Trader) -> None:
    found = preview(
        margin_account, limit_price="100.00", order_class="bracket", take_profit={"limit_price": "110.00"},
        stop_loss={"stop_price": "95.00"},
    )  # fmt: skip
    # 10 x 100.00: half of it, at the mark.
    assert effect(found) == ("10000.00", "500.00", "1000.00", "9500.00", "0.00", "500.00", "250.00")
    assert found["accepted"]


def test_what_it_says_is_what_happens(market: Market, margin_account: Trader) -> None:
    """Accepted with the hold that was told, and after the fill the requirement that was told."""
    tickets: list[dict[str, object]] = [
        {"symbol": "SPY", "side": "buy", "qty": "20", "order_type": "market"},
        {"order_class": "mleg", "legs": PUT_SPREAD, "qty": "3", "order_type": "market"},
        {"symbol": "SPY", "side": "sell", "qty": "5", "order_type": "market"},
        {"symbol": CALL_110, "side": "buy", "qty": "1", "order_type": "market"},
    ]
    for ticket in tickets:
        told = preview(margin_account, **ticket)
        response = margin_account.send("POST", "/orders", ticket | {"time_in_force": "day"})
        assert response.status_code == 201, response.content
        assert response.json()["data"]["cash_hold"] == told["cash_hold"]
        market.judge()
        now = margin_account.read("/account")
        assert (now["initial_margin"], now["maintenance_margin"]) == (
            told["after"]["initial"],
            told["after"]["maintenance"],
        )


def test_fees_are_those_that_the_evening_charges(market: Market, open_trader: Callable[..., Trader]) -> None:
    trader = open_trader(cash="100000.00")
    ticket = {"symbol": CALL_105, "qty": "50", "order_type": "market", "time_in_force": "day"}
    told = preview(trader, **ticket)
    trader.order(**ticket)
    market.judge()
    market.pass_time(24 * 3600)
    charged = [line["amount"] for line in trader.read("/activities?type=fee")]
    assert sorted(f"-{fee['amount']}" for fee in told["fees"] if fee["amount"] != "0.00") == sorted(charged)
    assert Decimal(told["fees_total"]) == -sum(map(Decimal, charged)) > 0


def test_warnings_of_the_market(exchange: Market, market: Market, open_trader: Callable[..., Trader]) -> None:
    trader = open_trader(cash="10000.00")
    found = preview(trader, symbol="PENNY", limit_price="1.00")
    assert [warning["code"] for warning in found["warnings"]] == ["NO_TWO_SIDED_QUOTE"]
    assert found["accepted"]
    late = Trader.opened(feed=exchange.feed)
    exchange.pass_time(8 * 3600)
    found = preview(late, limit_price="99.00")
    assert [warning["code"] for warning in found["warnings"]] == ["MARKET_CLOSED"]
    assert "2026-11-23 09:30" in found["warnings"][0]["message"]
