"""Packages over HTTP: every structure by its name, rolls, closings, and what cannot be a package."""

from decimal import Decimal
from typing import Any

import pytest

from mbt import books
from mbt.models import Account, Fill
from raxx.kernel.ids import new_id
from tests.mbt.api.order_kinds import (
    held,
    legs_of,
    margin_trader,
    natural,
    open_chain,
    option,
    package,
    refused,
    send,
    state,
    told,
)
from tests.mbt.paper_tools import Market, Trader

# Legs, name, name of the opposite: docs/rules/structures.md.
STRUCTURES = [
    ("+1 100C -1 105C", "100/105 call debit spread", "100/105 call credit spread"),
    ("+1 100P -1 95P", "95/100 put debit spread", "95/100 put credit spread"),
    ("+1 100C -2 105C", "100/105 call ratio spread", "100/105 call backspread"),
    ("+2 100P -3 95P", "95/100 put ratio spread", "95/100 put backspread"),
    ("+1 100C +1 100P", "100 long straddle", "100 short straddle"),
    ("+1 105C +1 95P", "95/105 long strangle", "95/105 short strangle"),
    ("+1 95C +1 105P", "95/105 long guts", "95/105 short guts"),
    ("+1 100C -1 100P", "100 long synthetic stock", "100 short synthetic stock"),
    ("+1 105C -1 95P", "95/105 long risk reversal", "95/105 short risk reversal"),
    ("+1 95C -2 100C +1 105C", "95/100/105 long call butterfly", "95/100/105 short call butterfly"),
    ("+1 95P -2 100P +1 110P", "95/100/110 long broken-wing put butterfly", "95/100/110 short broken-wing put butterfly"),
    ("+1 90C -1 95C -1 105C +1 110C", "90/95/105/110 long call condor", "90/95/105/110 short call condor"),
    ("+1 90P -1 95P -1 105P +1 110P", "90/95/105/110 long put condor", "90/95/105/110 short put condor"),
    ("+1 95P -1 100P -1 100C +1 105C", "95/100/105 short iron butterfly", "95/100/105 long iron butterfly"),
    ("+1 90P -1 95P -1 105C +1 110C", "90/95/105/110 short iron condor", "90/95/105/110 long iron condor"),
    ("+1 95C -1 105C -1 95P +1 105P", "95/105 long box", "95/105 short box"),
    ("-1 95P -1 105C +1 110C", "95/105/110 short jade lizard", "95/105/110 long jade lizard"),
    ("+1 90P -1 95P -1 105C", "90/95/105 short reverse jade lizard", "90/95/105 long reverse jade lizard"),
    ("-1 100C +1 100C+", "100 long call calendar", "100 short call calendar"),
    ("-1 100P +1 100P+", "100 long put calendar", "100 short put calendar"),
    ("-1 105C +1 100C+", "100/105 long call diagonal", "100/105 short call diagonal"),
    ("-1 95P +1 100P+", "95/100 long put diagonal", "95/100 short put diagonal"),
    ("-1 95P -1 105C +1 95P+ +1 105C+", "95/105 long double calendar", "95/105 short double calendar"),
    ("-1 95P -1 105C +1 90P+ +1 110C+", "90/95/105/110 long double diagonal", "90/95/105/110 short double diagonal"),
    ("+1 95C -3 100C +2 105C", "95/100/105 custom", "95/100/105 custom"),
]  # fmt: skip


def turned(legs: str) -> str:
    return legs.translate(str.maketrans("+-", "-+")).replace("C-", "C+").replace("P-", "P+")


BOTH = [pytest.param(legs, name, id=name.replace(" ", "-")) for legs, name, _ in STRUCTURES] + [
    pytest.param(turned(legs), name, id=f"{name.replace(' ', '-')}-turned") for legs, _, name in STRUCTURES
]


@pytest.mark.parametrize(("legs", "name"), BOTH)
def test_every_structure_trades_as_one_and_is_called_by_its_name(chain: Market, legs: str, name: str) -> None:
    trader = margin_trader(chain)
    order = send(trader, package(legs, qty="2"))
    two_expiries = "+" in legs.replace(" +", " ").lstrip("+")
    when = "18 Dec 2026/15 Jan 2027" if two_expiries else "18 Dec 2026"
    assert order["structure"] == f"SPY {when} {name} ×2"
    assert {leg["effect"] for leg in order["legs"]} == {"open"}
    chain.judge()
    net = natural(legs)
    assert state(trader, order["id"]) == ("filled", "2", f"{net:.2f}", None)
    headline, _, facts = told(trader, order["id"])
    assert f"{name} [" in headline
    assert Decimal(facts["amount"]) == -net * 200
    assert trader.read("/account")["cash"] == f"{1_000_000 - net * 200:.2f}"
    signed = {leg["symbol"]: leg["ratio"] * (2 if leg["side"] == "buy" else -2) for leg in legs_of(legs)}
    assert {symbol: int(qty) for symbol, qty in held(trader).items()} == signed
    # All of it goes at once, structure by structure.
    closed = trader.send("DELETE", "/positions").json()["data"]
    assert all(each["error"] is None for each in closed), closed
    assert {leg["effect"] for each in closed for leg in each["order"]["legs"]} <= {"close"}
    chain.judge()
    assert held(trader) == {}
    assert trader.read("/account")["cash"] == f"{1_000_000 - (net + natural(legs, turned=True)) * 200:.2f}"
    assert trader.read("/account")["initial_margin"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize(
    ("legs", "terms", "field"),
    [
        ("+2 100C -2 105C", {}, "legs"), ("+2 100C -4 105C +2 110C", {}, "legs"), ("+1 100C", {}, "legs"),
        ("+1 100C -1 100C", {}, "legs"), ("+1 90C -1 95C -1 100C +1 105C +1 110C", {}, "legs"),
        ("+1 100C -1 105C", {"qty": "1.5"}, "qty"), ("+1 100C -1 105C", {"qty": "0"}, "qty"), ("+1 100C -1 105C", {"qty": "-1"}, "qty"),
        ("+1 100C -1 105C", {"symbol": "SPY"}, "symbol"), ("+1 100C -1 105C", {"side": "buy"}, "side"),
        ("+1 100C -1 105C", {"order_type": "limit"}, "limit_price"), ("+1 100C -1 105C", {"limit_price": "1.00"}, "limit_price"),
        ("+1 100C -1 105C", {"order_type": "limit", "limit_price": "1.005"}, "limit_price"),
        ("+1 100C -1 105C", {"notional": "100"}, "notional"), ("+1 100C -1 105C", {"extended_hours": True}, "extended_hours"),
        ("+1 100C -1 105C", {"order_class": "simple"}, "legs"), ("+1 100C -1 105C", {"order_class": "bracket"}, "legs"),
    ],
)  # fmt: skip
def test_what_is_no_package(chain: Market, legs: str, terms: dict[str, Any], field: str) -> None:
    details = refused(margin_trader(chain), package(legs) | terms, 422, "INVALID_INPUT")
    assert details["field"] == field


def test_legs_must_be_options_of_one_underlying_that_have_not_expired(chain: Market) -> None:
    trader = margin_trader(chain)
    legs = legs_of("+1 100C -1 105C")
    for other in ("SPY", "ABCD261218C00050000"):
        wrong = package("+1 100C -1 105C") | {
            "legs": [legs[0], {"symbol": other, "side": "sell", "ratio": 1}]
        }
        assert refused(trader, wrong, 422, "INVALID_INPUT")["field"] == "legs"
    wrong["legs"] = [legs[0], {"symbol": "SPY261218C00101000", "side": "sell", "ratio": 1}]
    assert refused(trader, wrong, 422, "UNKNOWN_SYMBOL")["field"] == "legs"
    wrong["legs"] = [{**legs[0], "ratio": 0}, legs[1]]
    refused(trader, wrong, 422, "INVALID_INPUT")
    wrong["legs"] = [{**legs[0], "ratio": "1.5"}, legs[1]]
    refused(trader, wrong, 422, "INVALID_INPUT")
    wrong["legs"] = []
    refused(trader, wrong, 422, "INVALID_INPUT")


def test_a_package_for_nothing_is_even(chain: Market) -> None:
    trader = margin_trader(chain)
    order = send(
        trader, package("+1 100C -1 105C", order_type="limit", limit_price="0.00", time_in_force="gtc")
    )
    assert (order["limit_price"], order["cash_hold"]) == ("0.00", "0.00")
    chain.judge()
    headline, story, facts = told(trader, order["id"])
    assert "at even or better" in story
    assert facts["distance_to_fill"] == "2"
    chain.quote(option("100C"), "1.10", "1.20")
    assert state(trader, order["id"]) == ("filled", "1", "0.00", None)
    headline, _, facts = told(trader, order["id"])
    assert (facts["fill_price"], facts["amount"]) == ("0.00", "0.00")
    assert "at even" in headline
    assert books.verify(trader.account.id) == (1, [])


# -- rolls ---------------------------------------------------------------------------------------------


def test_a_short_put_is_rolled_as_one_order(chain: Market) -> None:
    trader = margin_trader(chain)
    trader.order(symbol=option("95P"), side="sell", qty="3", order_type="market")
    chain.judge()
    # Mark 1.25, out of the money by 5: 1.25 + max(20 - 5, 9.50) = 16.25 a share.
    assert trader.read("/account")["initial_margin"] == "4875.00"
    roll = send(trader, package("+1 95P -1 95P+", qty="3"))
    assert [leg["effect"] for leg in roll["legs"]] == ["close", "open"]
    assert roll["position_holds"] == {option("95P"): "3"}
    # 17.25 - 16.25 a share more is needed; the order brings 2.20 - 1.30 = 0.90, held at 0.90 less 3 %: 0.873.
    assert roll["cash_hold"] == f"{(100 - Decimal('87.30')) * 3:.2f}"
    assert trader.read(f"/positions/{option('95P')}")["qty_available"] == "0"
    refused(
        trader, package("+1 95P -1 90P+", qty="1"), 403, "INSUFFICIENT_QUANTITY"
    )  # it is being closed already
    chain.judge()
    assert state(trader, roll["id"]) == ("filled", "3", "-0.90", None)
    assert held(trader) == {option("95P+"): "-3"}
    assert trader.read("/account")["initial_margin"] == "5175.00"
    assert trader.read("/account")["cash"] == "1000630.00"  # 3 x (120 + 90)
    assert books.verify(trader.account.id) == (1, [])


def test_a_credit_spread_is_rolled_out_and_down_as_one_order(chain: Market) -> None:
    trader = margin_trader(chain, cash="2500.00", naked_shorts=False)
    send(trader, package("-1 100P +1 95P", qty="2"))
    chain.judge()
    # Five dollars wide, twice; 3.00 - 1.30 = 1.70 a share received.
    assert (trader.read("/account")["initial_margin"], trader.read("/account")["cash"]) == (
        "1000.00",
        "2840.00",
    )
    roll = send(
        trader, package("+1 100P -1 95P -1 100P+ +1 95P+", qty="2", order_type="limit", limit_price="-0.10")
    )
    assert [leg["effect"] for leg in roll["legs"]] == ["close", "close", "open", "open"]
    assert roll["cash_hold"] == "0.00"  # no more margin than before, and 20 dollars come in
    assert roll["position_holds"] == {option("95P"): "2", option("100P"): "2"}
    chain.judge()
    assert state(trader, roll["id"])[0] == "new"  # at the touch it costs 3.20 - 1.20 - 4.00 + 2.30 = 0.30
    chain.quote(option("100P+"), "4.40", "4.60")
    assert state(trader, roll["id"]) == ("filled", "2", "-0.10", None)
    assert held(trader) == {option("95P+"): "2", option("100P+"): "-2"}
    assert (trader.read("/account")["initial_margin"], trader.read("/account")["cash"]) == (
        "1000.00",
        "2860.00",
    )
    assert books.verify(trader.account.id) == (1, [])


def test_a_covered_call_is_rolled_in_a_cash_account(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed, cash="10302.06")
    Account.objects.filter(pk=trader.account.id).update(fee_schedule="none")
    trader.order(qty="100", order_type="market")
    chain.judge()
    trader.order(symbol=option("105C"), side="sell", qty="1", order_type="market")
    chain.judge()
    assert trader.read("/account")["cash"] == "420.06"  # 10,302.06 - 10,002 + 120
    roll = send(trader, package("+1 105C -1 110C+", order_type="limit", limit_price="-0.10"))
    assert ([leg["effect"] for leg in roll["legs"]], roll["cash_hold"]) == (["close", "open"], "0.00")
    chain.judge()
    assert state(trader, roll["id"]) == ("filled", "1", "-0.10", None)  # 1.30 - 1.40
    assert held(trader) == {"SPY": "100", option("110C+"): "-1"}
    assert trader.read("/account")["cash"] == "430.06"
    assert books.verify(trader.account.id) == (1, [])


def test_a_secured_put_is_rolled_in_a_cash_account_by_the_cash_that_secures_it(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed, cash="9500.00")
    Account.objects.filter(pk=trader.account.id).update(fee_schedule="none")
    trader.order(symbol=option("95P"), side="sell", qty="1", order_type="market")
    chain.judge()
    assert (trader.read("/account")["cash"], trader.read("/account")["buying_power"]) == ("9620.00", "120.00")
    roll = send(trader, package("+1 95P -1 95P+"))
    assert roll["cash_hold"] == "0.00"
    chain.judge()
    assert held(trader) == {option("95P+"): "-1"}
    assert (trader.read("/account")["cash"], trader.read("/account")["buying_power"]) == ("9710.00", "210.00")
    # To a higher strike it takes 500 more, which is not there.
    refused(trader, package("+1 95P+ -1 100P+"), 403, "INSUFFICIENT_BUYING_POWER")
    assert books.verify(trader.account.id) == (1, [])


# -- closings -------------------------------------------------------------------------------------------


def test_closing_one_position_in_parts(chain: Market) -> None:
    trader = margin_trader(chain)
    chain.quote("AAPL", "149.90", "150.00")
    trader.order(qty="10", order_type="market")
    trader.order(symbol=option("100P"), side="buy", qty="4", order_type="market")
    trader.order(symbol="AAPL", side="sell", qty="5", order_type="limit", limit_price="150.00")
    chain.quote("AAPL", "200.00", "200.10")
    assert held(trader) == {"SPY": "10", option("100P"): "4", "AAPL": "-5"}
    for symbol, qty, side in (("SPY", "4", "sell"), (option("100P"), "1", "sell"), ("AAPL", "2", "buy")):
        order = trader.send("DELETE", f"/positions/{symbol}?qty={qty}").json()["data"]
        assert (order["side"], order["qty"], order["order_type"], order["cash_hold"]) == (
            side,
            qty,
            "market",
            "0.00",
        )
        assert order["position_holds"] == {symbol: qty}
    chain.judge()
    assert held(trader) == {"SPY": "6", option("100P"): "3", "AAPL": "-3"}
    response = trader.send("DELETE", "/positions/SPY?qty=7")
    assert response.json()["error"]["code"] == "INSUFFICIENT_QUANTITY"
    for symbol in ("SPY", option("100P"), "AAPL"):
        trader.send("DELETE", f"/positions/{symbol}")
    chain.judge()
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


def test_closing_all_while_orders_close_it_already(chain: Market) -> None:
    trader = margin_trader(chain)
    send(trader, package("-1 95P +1 90P -1 105C +1 110C"))
    trader.order(qty="10", order_type="market")
    chain.judge()
    resting = trader.order(qty="10", side="sell", order_type="limit", limit_price="120.00")
    found = trader.send("DELETE", "/positions").json()["data"]
    assert [(each["what"], each["error"] and each["error"]["code"]) for each in found] == [
        ("SPY 18 Dec 2026 90/95/105/110 short iron condor", None), ("SPY", "INSUFFICIENT_QUANTITY"),
    ]  # fmt: skip
    assert found[0]["order"]["structure"] == "SPY 18 Dec 2026 90/95/105/110 long iron condor"
    chain.judge()
    assert held(trader) == {"SPY": "10"}
    found = trader.send("DELETE", "/positions?cancel_orders=true").json()["data"]
    assert [(each["what"], each["error"]) for each in found] == [("SPY", None)]
    assert state(trader, resting["id"])[0] == "canceled"
    chain.judge()
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


def test_a_package_that_is_already_closing_is_not_closed_twice(chain: Market) -> None:
    trader = margin_trader(chain)
    send(trader, package("-1 95P +1 90P", qty="2"))
    chain.judge()
    closing = package(
        "+1 95P -1 90P", qty="2", order_type="limit", limit_price="0.10", client_order_id=new_id().hex
    )
    first = send(trader, closing)
    again = trader.send("POST", "/orders", closing)
    assert (again.status_code, again.json()["data"]["id"], again["Idempotent-Replayed"]) == (
        201,
        first["id"],
        "true",
    )
    refused(trader, {**closing, "client_order_id": "another"}, 403, "INSUFFICIENT_QUANTITY")
    assert Fill.objects.count() == 2
    trader.cancel(first["id"])
    assert trader.read(f"/positions/{option('95P')}")["qty_available"] == "2"
    assert books.verify(trader.account.id) == (1, [])


def test_a_chain_may_be_quoted_again(chain: Market) -> None:
    """The prices of this file are those of `open_chain`, whenever it is called."""
    open_chain(chain)
    assert natural("+1 100C -1 105C") == Decimal("2.00")
