"""Margin accounts through the API: what structures need, what is denied and why, previews, closings.

Amounts are reckoned by hand from docs/rules/margin.md. SPY stands at 99.98 / 100.02, so its mark is 100.00.
"""

from collections.abc import Callable
from typing import Any

import pytest

from mbt import books
from mbt.models import Account
from tests.mbt.paper_tools import Market, Trader, problem

PUT_90, PUT_95 = "SPY261218P00090000", "SPY261218P00095000"
CALL_105, CALL_110 = "SPY261218C00105000", "SPY261218C00110000"
CHAIN = {
    PUT_90: ("0.90", "0.95"),
    PUT_95: ("2.00", "2.10"),
    CALL_105: ("1.90", "2.00"),
    CALL_110: ("0.80", "0.90"),
}


@pytest.fixture
def alice(market: Market, open_trader: Callable[..., Trader]) -> Trader:
    """A margin account with 10,000 dollars and a chain of options around SPY at 100."""
    for symbol, (bid, ask) in CHAIN.items():
        market.quote(symbol, bid, ask)
    return open_trader(cash="10000.00", account_type="margin")


def leg(symbol: str, side: str, ratio: int = 1) -> dict[str, Any]:
    return {"symbol": symbol, "side": side, "ratio": ratio}


def package(*legs: dict[str, Any], qty: str = "1", **terms: object) -> dict[str, Any]:
    usual = {
        "order_class": "mleg",
        "legs": list(legs),
        "qty": qty,
        "order_type": "market",
        "time_in_force": "day",
    }
    return usual | terms


PUT_SPREAD = (leg(PUT_95, "sell"), leg(PUT_90, "buy"))
CONDOR = (*PUT_SPREAD, leg(CALL_105, "sell"), leg(CALL_110, "buy"))


def send(trader: Trader, ticket: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    response = trader.send("POST", "/orders", ticket)
    assert response.status_code == 201, response.content
    return response.json()["data"]


def money(trader: Trader) -> tuple[str, str, str, str]:
    account = trader.read("/account")
    return account["cash"], account["cash_held"], account["initial_margin"], account["buying_power"]


def test_a_put_credit_spread_needs_its_width_less_the_credit(market: Market, alice: Trader) -> None:
    # Width 5.00 x 100 = 500; credit at the natural price: 2.00 - 0.95 = 1.05, with a limit of 1.05: 105. Deposit 395.
    order = send(alice, package(*PUT_SPREAD, order_type="limit", limit_price="-1.05"))
    assert (order["order_class"], order["symbol"], order["limit_price"]) == ("mleg", "", "-1.05")
    assert order["cash_hold"] == "395.00"
    assert money(alice) == ("10000.00", "395.00", "0.00", "9605.00")
    market.judge()
    filled = alice.read(f"/orders/{order['id']}")
    assert (filled["status"], filled["filled_avg_price"]) == ("filled", "-1.05")
    assert money(alice) == ("10105.00", "0.00", "500.00", "9605.00")
    assert {p["symbol"]: (p["side"], p["qty"]) for p in alice.read("/positions")} == {
        PUT_95: ("short", "-1"), PUT_90: ("long", "1"),
    }  # fmt: skip
    assert books.verify(alice.account.id) == (1, [])


def test_the_groups_of_a_condor_prove_its_requirement(market: Market, alice: Trader) -> None:
    send(alice, package(*CONDOR, qty="2"))
    market.judge()
    margin = alice.read("/account/margin")
    [group] = margin["requirement"]["groups"]
    assert group["name"] == "iron condor"
    assert group["legs"] == {PUT_90: "2", PUT_95: "-2", CALL_105: "-2", CALL_110: "2"}
    # Both wings are 5.00 wide; one of them is charged: 5.00 x 100 x 2.
    assert (group["initial"], margin["requirement"]["initial"]) == ("1000.00", "1000.00")
    # Credit: (2.00 - 0.95) + (1.90 - 0.90) = 2.05 x 200 = 410.
    assert (margin["cash"], margin["buying_power"]) == ("10410.00", "9410.00")


def test_a_preview_tells_the_effect_and_stores_nothing(alice: Trader) -> None:
    response = alice.send(
        "POST", "/orders/preview", package(*PUT_SPREAD, order_type="limit", limit_price="-1.05")
    )
    found = response.json()["data"]
    assert response.status_code == 200
    assert (found["accepted"], found["needed"], found["debit"], found["available"]) == (
        True,
        "395.00",
        "-105.00",
        "10000.00",
    )
    assert found["structure"].endswith("90/95 put credit spread")
    assert (found["before"]["initial"], found["after"]["initial"]) == ("0.00", "500.00")
    assert alice.read("/orders") == []
    assert money(alice) == ("10000.00", "0.00", "0.00", "10000.00")


def test_too_many_spreads_are_denied_with_the_number_that_fits(alice: Trader) -> None:
    # 395 each: 25 need 9,875, 26 need 10,270.
    ticket = package(*PUT_SPREAD, qty="40", order_type="limit", limit_price="-1.05")
    details = problem(alice.send("POST", "/orders", ticket), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert (details["needed"], details["available"], details["qty_max"]) == ("15800.00", "10000.00", "25")
    preview = alice.send("POST", "/orders/preview", ticket).json()["data"]
    assert (preview["accepted"], preview["denial"]["code"]) == (False, "INSUFFICIENT_BUYING_POWER")
    assert send(alice, ticket | {"qty": details["qty_max"]})["cash_hold"] == "9875.00"


def test_a_naked_put_needs_approval_and_then_its_formula(market: Market, alice: Trader) -> None:
    ticket = {"symbol": PUT_95, "side": "sell", "qty": "1", "order_type": "limit", "limit_price": "2.00"}
    problem(alice.place(**ticket), 403, "NOT_APPROVED", "symbol")
    Account.objects.filter(pk=alice.account.id).update(naked_shorts=True)
    # Mark 2.05; out of the money by 5.00: max(20.00 - 5.00, 0.10 x 95.00) = 15.00. (2.05 + 15.00) x 100 = 1,705 - 200.
    assert alice.order(**ticket)["cash_hold"] == "1505.00"
    market.judge()
    assert money(alice) == ("10200.00", "0.00", "1705.00", "8495.00")


def test_the_long_leg_that_covers_is_not_sold_alone(market: Market, alice: Trader) -> None:
    send(alice, package(*PUT_SPREAD))
    market.judge()
    details = problem(alice.send("DELETE", f"/positions/{PUT_90}"), 403, "NOT_APPROVED", "symbol")
    assert details["instead"] == f"buy 1 {PUT_95}, sell 1 {PUT_90}"
    # With the approval, what is missing is buying power: 20 of them.
    Account.objects.filter(pk=alice.account.id).update(naked_shorts=True)
    send(alice, package(*PUT_SPREAD, qty="10"))
    market.judge()
    details = problem(alice.send("DELETE", f"/positions/{PUT_90}"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details["instead"] == f"buy 11 {PUT_95}, sell 11 {PUT_90}"
    assert "one order" in details["remedy"]


def test_a_structure_is_closed_as_one_order(market: Market, alice: Trader) -> None:
    send(alice, package(*CONDOR, qty="2"))
    alice.order(qty="3", order_type="market")
    market.judge()
    [structure, stock] = alice.send("DELETE", "/positions").json()["data"]
    assert [leg["ratio"] for leg in structure["order"]["legs"]] == [1, 1, 1, 1]
    assert (structure["order"]["qty"], stock["order"]["symbol"], stock["order"]["side"]) == (
        "2",
        "SPY",
        "sell",
    )
    market.judge()
    assert alice.read("/positions") == []
    # Every spread was paid once: condor 2.05 in, (2.10 - 0.90) + (2.00 - 0.80) = 2.40 out; SPY 0.04 x 3.
    assert money(alice)[0] == "9929.88"
    assert books.verify(alice.account.id) == (1, [])


def test_stock_on_margin_and_short(market: Market, alice: Trader) -> None:
    # 100 shares at 100.02: half of 10,000.00, and the 2.00 that they cost more than they are worth.
    assert alice.order(qty="100", limit_price="100.02")["cash_hold"] == "5002.00"
    market.judge()
    assert money(alice) == ("-2.00", "0.00", "5000.00", "4998.00")
    # Short 20 AAPL at 200.00, mark 200.05: deposit half of 4,001.00 and the 1.00 below the mark.
    assert alice.order(symbol="AAPL", side="sell", qty="20", limit_price="200.00")["cash_hold"] == "2001.50"
    market.judge()
    assert alice.read("/positions/AAPL")["side"] == "short"
    assert books.verify(alice.account.id) == (1, [])
    problem(
        alice.place(symbol="AAPL", side="buy", qty="21", order_type="market"), 403, "INSUFFICIENT_QUANTITY"
    )
    alice.order(symbol="AAPL", side="buy", qty="20", order_type="market")
    market.judge()
    assert [p["symbol"] for p in alice.read("/positions")] == ["SPY"]
    assert books.verify(alice.account.id) == (1, [])


def test_borrowing_needs_two_thousand_dollars(market: Market, open_trader: Callable[..., Trader]) -> None:
    poor = open_trader(cash="1500.00", account_type="margin")
    problem(poor.place(qty="20", limit_price="100.02"), 403, "EQUITY_TOO_LOW", "qty")
    assert poor.place(qty="10", limit_price="100.02").status_code == 201


def test_two_orders_do_not_share_one_cover(market: Market, alice: Trader) -> None:
    alice.order(symbol=CALL_110, qty="1", order_type="market")
    market.judge()
    sell = {"symbol": CALL_105, "side": "sell", "qty": "1", "order_type": "limit", "limit_price": "3.00"}
    assert alice.place(**sell).status_code == 201
    problem(alice.place(**sell), 403, "NOT_APPROVED", "symbol")


def test_a_cash_account_sells_covered_calls_and_secured_puts_only(
    market: Market, alice: Trader, open_trader: Callable[..., Trader]
) -> None:
    bob = open_trader(cash="20000.00")
    problem(bob.place(symbol=CALL_105, side="sell", order_type="market"), 403, "UNCOVERED_SHORT", "symbol")
    bob.order(qty="100", order_type="market")
    market.judge()
    assert bob.order(symbol=CALL_105, side="sell", order_type="market")["cash_hold"] == "0.00"
    # The call that is not filled yet needs the shares already.
    problem(bob.place(side="sell", qty="1", order_type="market"), 403, "UNCOVERED_SHORT")
    # The strike of the put is set aside: 9,500 of the 9,998 left.
    assert bob.order(symbol=PUT_95, side="sell", order_type="market")["cash_hold"] == "9500.00"
    problem(
        bob.place(symbol=PUT_90, side="sell", order_type="market"), 403, "INSUFFICIENT_BUYING_POWER", "qty"
    )
    market.judge()
    account = bob.read("/account")
    # 20,000 - 10,002 + 190 + 200; of it 9,500 stay set aside.
    assert (account["cash"], account["cash_held"], account["buying_power"]) == ("10388.00", "0.00", "888.00")
    assert bob.order(symbol=PUT_95, side="buy", order_type="market")["status"] == "accepted"
    market.judge()
    assert bob.read("/account")["buying_power"] == "10178.00"
    # A long option covers nothing here: the spread sets the strike aside in full.
    assert send(bob, package(*PUT_SPREAD))["cash_hold"] == "9500.00"
    problem(bob.send("POST", "/orders", package(*PUT_SPREAD)), 403, "INSUFFICIENT_BUYING_POWER")
    assert books.verify(bob.account.id) == (1, [])
