"""Replacing orders of every kind, and what happens when a change meets a fill, a rejection, or itself."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from mbt import books
from mbt.models import Account, Fill, Order
from raxx.kernel.clock import to_ns
from raxx.kernel.ids import new_id
from tests.mbt.api.order_kinds import (
    everything,
    held,
    margin_trader,
    members,
    opened,
    option,
    package,
    refused,
    send,
    state,
    told,
    with_positions,
)
from tests.mbt.api.test_order_kinds import (
    BRACKET,
    C100,
    EXITS,
    LOSS,
    PROFIT,
    SIBLING,
    VERTICAL,
    call,
    play,
    stock,
)
from tests.mbt.api.test_races import at_once
from tests.mbt.paper_tools import Market, Trader, problem

# A ticket, what is changed, and the fields that its kind does not have.
LIMITED = stock("limit", "gtc", limit_price="90.00")
CHANGES: list[tuple[dict[str, Any], list[dict[str, str]], list[str]]] = [
    (LIMITED, [{"qty": "12"}, {"limit_price": "91.00"}, {"qty": "7", "limit_price": "89.99"}], ["stop_price", "trail_price", "trail_percent"]),
    (stock("stop", stop_price="110.00"), [{"qty": "12"}, {"stop_price": "109.00"}], ["limit_price", "trail_price", "trail_percent"]),
    (stock("stop_limit", stop_price="110.00", limit_price="110.50"),
     [{"qty": "1"}, {"stop_price": "111.00", "limit_price": "111.25"}, {"limit_price": "112.00"}], ["trail_price", "trail_percent"]),
    (stock("trailing_stop", trail_price="5.00"), [{"trail_price": "4.00"}, {"qty": "3"}], ["limit_price", "stop_price", "trail_percent"]),
    (stock("trailing_stop", trail_percent="5"), [{"trail_percent": "7.5"}], ["limit_price", "stop_price", "trail_price"]),
    (call("limit", limit_price="1.00", fill_preference="mid"), [{"limit_price": "1.10"}, {"qty": "5"}], ["stop_price"]),
    (call("stop", stop_price="5.00"), [{"stop_price": "5.50"}], ["limit_price"]),
    (package(VERTICAL, order_type="limit", limit_price="1.00"), [{"limit_price": "1.05"}, {"qty": "3"}, {"limit_price": "-0.05"}], ["stop_price", "trail_price"]),
    (package("-1 100C +1 105C", order_type="limit", limit_price="-2.50"), [{"limit_price": "-2.60"}], ["stop_price"]),
]  # fmt: skip
TERMS = ("qty", "limit_price", "stop_price", "trail_price", "trail_percent")


@pytest.mark.parametrize(("asked", "changes", "wrong"), CHANGES)
@pytest.mark.parametrize("resting", [True, False])
def test_every_kind_can_be_replaced(
    chain: Market,
    asked: dict[str, Any],
    changes: list[dict[str, str]],
    wrong: list[str],
    resting: bool,
) -> None:
    trader = margin_trader(chain)
    order = send(trader, asked)
    for change in changes:
        if resting:
            chain.judge()
            assert state(trader, order["id"])[0] == "new"
        for field in wrong:
            before = everything(trader)
            details = problem(trader.replace(order["id"], **{field: "1.00"}), 422, "INVALID_INPUT")
            assert details["field"] in (field, "trail_price")
            assert everything(trader) == before
        response = trader.replace(order["id"], **change)
        assert response.status_code == 200, response.content
        new = response.json()["data"]
        old = trader.read(f"/orders/{order['id']}")
        assert (old["status"], old["cash_hold"], new["replaces"]) == ("replaced", "0.00", old["id"])
        assert "Replaced at" in told(trader, old["id"])[0]
        told(trader, new["id"])
        shown = {name: new[name] for name in TERMS}
        assert shown == {name: old[name] for name in TERMS} | change
        same = (
            "symbol",
            "side",
            "legs",
            "order_type",
            "time_in_force",
            "order_class",
            "fill_preference",
            "role",
        )
        assert {name: new[name] for name in same} == {name: old[name] for name in same}
        assert trader.read("/account")["cash_held"] == new["cash_hold"]
        problem(trader.replace(old["id"], **change), 409, "ORDER_NOT_OPEN")
        order = new
    trader.cancel(order["id"])
    problem(trader.replace(order["id"], qty="2"), 409, "ORDER_NOT_OPEN")
    assert trader.read("/account")["cash_held"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


def test_a_replacement_that_needs_more_than_there_is_leaves_the_old_hold(chain: Market) -> None:
    trader = margin_trader(chain, cash="2500.00")
    order = send(trader, package(VERTICAL, order_type="limit", limit_price="1.90", qty="10"))
    assert order["cash_hold"] == "1900.00"
    details = problem(trader.replace(order["id"], qty="14"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details["qty_max"] == "13"  # 13 x 190 = 2,470
    assert trader.read("/account")["cash_held"] == "1900.00"
    assert trader.replace(order["id"], qty=details["qty_max"]).json()["data"]["cash_hold"] == "2470.00"


def test_a_bracket_is_replaced_with_its_exits(chain: Market) -> None:
    trader = margin_trader(chain)
    order = send(trader, stock("limit", limit_price="99.00", order_class="bracket", **EXITS))
    old = members(trader, order["id"])
    chain.judge()
    new = trader.replace(order["id"], qty="20", limit_price="99.50").json()["data"]
    group = members(trader, new["id"])
    assert {role: (o["status"], o["qty"]) for role, o in group.items()} == {
        "entry": ("accepted", "20"), "take_profit": ("held", "20"), "stop_loss": ("held", "20"),
    }  # fmt: skip
    assert (group["take_profit"]["limit_price"], group["stop_loss"]["stop_price"]) == ("105.00", "95.00")
    assert {trader.read(f"/orders/{o['id']}")["status"] for o in old.values()} == {"replaced"}
    before = everything(trader)
    problem(trader.replace(new["id"], limit_price="106.00"), 422, "INVALID_INPUT", "take_profit.limit_price")
    problem(trader.replace(group["take_profit"]["id"], qty="3"), 422, "INVALID_INPUT", "qty")
    assert everything(trader) == before
    play(chain, ["SPY 99.30 99.40", PROFIT])
    assert {role: state(trader, o["id"]) for role, o in group.items()} == {
        "entry": ("filled", "20", "99.50", None), "take_profit": ("filled", "20", "105.00", None), "stop_loss": SIBLING,
    }  # fmt: skip
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize("role", ["take_profit", "stop_loss"])
@pytest.mark.parametrize("when", ["held", "active"])
def test_an_exit_that_is_replaced_stays_in_its_group(chain: Market, role: str, when: str) -> None:
    trader = margin_trader(chain)
    order = send(trader, stock("limit", limit_price="99.00", order_class="bracket", **EXITS))
    group = members(trader, order["id"])
    play(chain, ["SPY 98.90 99.00"] if when == "active" else [])
    change = {"take_profit": {"limit_price": "104.00"}, "stop_loss": {"stop_price": "96.00"}}[role]
    new = trader.replace(group[role]["id"], **change).json()["data"]
    assert (new["role"], new["entry_id"], new["group_id"]) == (role, order["id"], group[role]["group_id"])
    assert new["status"] == ("held" if when == "held" else "accepted")
    play(chain, ["SPY 98.90 99.00", "SPY 104.00 104.10" if role == "take_profit" else "SPY 95.90 96.00"])
    price = "104.00" if role == "take_profit" else "95.90"
    other = "stop_loss" if role == "take_profit" else "take_profit"
    assert state(trader, new["id"]) == ("filled", "10", price, None)
    assert state(trader, group[other]["id"]) == SIBLING
    assert held(trader) == {}
    assert trader.read("/account")["cash_held"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


def test_an_oco_changes_its_prices_and_keeps_its_quantity(chain: Market) -> None:
    trader = margin_trader(chain)
    with_positions(trader, chain)
    oco = {
        "symbol": "SPY",
        "side": "sell",
        "qty": "2",
        "order_type": "limit",
        "time_in_force": "gtc",
        "order_class": "oco",
        **EXITS,
    }
    order = send(trader, oco)
    chain.judge()
    new = trader.replace(order["id"], limit_price="103.00").json()["data"]
    assert new["position_holds"] == {"SPY": "2"}
    assert trader.read("/positions/SPY")["qty_available"] == "0"
    problem(trader.replace(new["id"], qty="1"), 422, "INVALID_INPUT", "qty")
    play(chain, ["SPY 103.00 103.10"])
    assert state(trader, new["id"]) == ("filled", "2", "103.00", None)
    loss = next(o for o in trader.read("/orders") if o["role"] == "stop_loss")
    assert state(trader, loss["id"]) == SIBLING
    assert books.verify(trader.account.id) == (1, [])


# -- changes that meet a fill ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["cancel", "replace"])
@pytest.mark.parametrize(
    "asked", [LIMITED, package(VERTICAL, order_type="limit", limit_price="1.50"), stock("limit", limit_price="90.00", order_class="bracket",
              take_profit={"limit_price": "105.00"}, stop_loss={"stop_price": "85.00"})],
    ids=["stock", "package", "bracket"],
)  # fmt: skip
def test_a_fill_that_comes_too_late_changes_nothing(
    chain: Market, asked: dict[str, Any], change: str
) -> None:
    """The engine has not heard of the change when the quote comes: the record has the last word."""
    trader = margin_trader(chain)
    order = send(trader, asked)
    chain.judge()
    quotes = ["100C 1.80 1.90"] if order["legs"] else ["SPY 89.00 89.10"]
    if change == "cancel":
        trader.cancel(order["id"])
        play(chain, quotes)
        assert state(trader, order["id"])[:2] == ("canceled", "0")
        assert held(trader) == {}
    else:
        price = "-1.00" if order["legs"] else "88.00"
        new = trader.replace(order["id"], limit_price=price).json()["data"]
        play(chain, quotes)
        assert state(trader, order["id"])[:2] == ("replaced", "0")
        assert state(trader, new["id"])[:2] == ("new", "0")
        assert held(trader) == {}
        play(chain, ["100C 0.10 0.20", "105C 1.30 1.40"] if order["legs"] else ["SPY 87.90 88.00"])
        assert state(trader, new["id"])[0] == "filled"
        assert Fill.objects.exclude(order_id=new["id"]).count() == 0
    assert trader.read("/account")["cash_held"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.usefixtures("fresh_db")
@pytest.mark.parametrize("asked", [package(VERTICAL, qty="2"), BRACKET], ids=["package", "bracket"])
def test_a_ticket_sent_often_is_one_order(chain: Market, asked: dict[str, Any]) -> None:
    trader = margin_trader(chain)
    ticket = {**asked, "client_order_id": "only-once"}
    answers = at_once(*[lambda: trader.send("POST", "/orders", ticket)] * 12)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert Order.objects.count() == (1 if asked.get("legs") else 3)
    chain.judge()
    assert {symbol: abs(int(qty)) for symbol, qty in held(trader).items()} == (
        {C100: 2, option("105C"): 2} if asked.get("legs") else {"SPY": 10}
    )
    other = trader.send("POST", "/orders", {**ticket, "qty": "3"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "CLIENT_ORDER_ID_REUSED")
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.usefixtures("fresh_db")
@pytest.mark.parametrize("size_cap", [False, True])
def test_cancels_of_a_bracket_race_with_its_fills(chain: Market, size_cap: bool) -> None:
    """Whatever comes first: nothing is sold twice, nothing that was bought is without its exits unless they were canceled."""
    trader = margin_trader(chain, size_cap=size_cap)
    for number in range(8):
        entry = send(trader, stock("limit", qty="500", limit_price="99.00", order_class="bracket", **EXITS))
        group = members(trader, entry["id"])
        chain.judge()
        target = group["entry" if number % 2 else "take_profit"]
        decisions: list[Callable[[], object]] = [lambda: trader.cancel(target["id"])]  # noqa: B023
        at_once(*decisions, lambda: play(chain, ["SPY 98.90 99.00 300 300", "SPY 98.90 99.00 300 300"]))
        play(chain, [PROFIT, PROFIT, PROFIT])
        found = {role: state(trader, o["id"]) for role, o in group.items()}
        bought = int(found["entry"][1])
        sold = int(found["take_profit"][1]) + int(found["stop_loss"][1])
        assert sold in (0, bought), found
        if sold != bought:
            assert found["take_profit"][0] == "canceled", found
            trader.send("DELETE", "/positions/SPY")
            play(chain, ["SPY 99.98 100.02", "SPY 99.98 100.02"])
        trader.send("DELETE", "/positions?cancel_orders=true")
        play(chain, ["SPY 99.98 100.02"] * 3)
        assert held(trader) == {}
        assert trader.read("/account")["cash_held"] == "0.00"
        assert books.verify(trader.account.id) == (1, [])


# -- what cannot be booked -----------------------------------------------------------------------------------


def test_a_rejected_entry_ends_its_exits(_database: None) -> None:  # noqa: PT019
    """Sent after the close, held at the last ask and 3 %; the market opens higher than that."""
    evening = to_ns(datetime(2026, 11, 20, 22, tzinfo=UTC))
    for market in opened(f"replay:kinds-{new_id().hex}", evening):
        trader = Trader.opened(feed=market.feed, cash="1035.00")
        order = send(trader, BRACKET | {"take_profit": {"limit_price": "120.00"}})
        group = members(trader, order["id"])
        assert told(trader, order["id"])[0].startswith("Waiting: the market is closed.")
        market.pass_time(64.6 * 3_600)  # Monday morning
        market.quote("SPY", "104.99", "105.02")
        assert state(trader, order["id"]) == ("rejected", "0", None, "INSUFFICIENT_CASH")
        for role in ("take_profit", "stop_loss"):
            assert state(trader, group[role]["id"]) == ("canceled", "0", None, "PARENT_ENDED")
        play(market, ["SPY 90.00 90.10", "SPY 121.00 121.10"])
        assert held(trader) == {}
        assert (trader.read("/account")["cash"], trader.read("/account")["cash_held"]) == ("1035.00", "0.00")
        assert books.verify(trader.account.id) == (1, [])


def test_an_entry_rejected_in_part_leaves_exits_for_what_it_bought(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed, cash="51600.00")
    Account.objects.filter(pk=trader.account.id).update(size_cap=True, fee_schedule="none")
    order = send(
        trader,
        stock(
            "market",
            qty="500",
            order_class="bracket",
            take_profit={"limit_price": "130.00"},
            stop_loss={"stop_price": "95.00"},
        ),
    )
    group = members(trader, order["id"])
    play(chain, ["SPY 119.00 119.10 300 300"])  # 300 x 119.10 = 35,730; 51,600 - 20,004 = 31,596 are left
    assert state(trader, order["id"]) == ("rejected", "200", "100.02", "INSUFFICIENT_CASH")
    assert "200 of 500 had been filled" in told(trader, order["id"])[0]
    assert held(trader) == {"SPY": "200"}
    assert {trader.read(f"/orders/{group[role]['id']}")["qty"] for role in ("take_profit", "stop_loss")} == {
        "200"
    }
    play(chain, ["SPY 130.00 130.10 300 300"])
    assert state(trader, group["take_profit"]["id"]) == ("filled", "200", "130.00", None)
    assert state(trader, group["stop_loss"]["id"]) == SIBLING
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


def test_an_exit_that_cannot_be_booked_takes_its_sibling_along(chain: Market) -> None:
    """The entry closed a short position that was opened while it rested: there is nothing to exit from."""
    trader = margin_trader(chain)
    order = send(trader, stock("limit", limit_price="99.00", order_class="bracket", **EXITS))
    group = members(trader, order["id"])
    send(trader, stock("market", side="sell"))
    play(chain, ["SPY 98.90 99.00"])
    assert state(trader, order["id"])[0] == "filled"
    assert held(trader) == {}
    play(chain, [LOSS])
    assert state(trader, group["stop_loss"]["id"]) == ("rejected", "0", None, "INSUFFICIENT_QUANTITY")
    assert state(trader, group["take_profit"]["id"]) == ("canceled", "0", None, "GROUP_CANCELED")
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


# -- odd ends ----------------------------------------------------------------------------------------------


def test_long_names_of_brackets_do_not_collide(chain: Market) -> None:
    trader = margin_trader(chain)
    for end in ("aaaa", "bbbb"):
        order = send(trader, {**BRACKET, "client_order_id": "x" * 124 + end})
        names = {o["client_order_id"] for o in members(trader, order["id"]).values()}
        assert len(names) == 3
        assert all(len(name) <= 128 for name in names)
    taken = send(trader, stock("limit", limit_price="90.00", client_order_id="mine:tp"))
    details = refused(trader, {**BRACKET, "client_order_id": "mine"}, 422, "CLIENT_ORDER_ID_REUSED")
    assert details["value"] == "mine:tp"
    assert state(trader, taken["id"])[0] == "accepted"


def test_quantities_beyond_what_can_be_recorded_are_refused(chain: Market) -> None:
    """A package that costs nothing holds nothing; its legs must fit into the record all the same."""
    trader = margin_trader(chain)
    terms = {"order_type": "limit", "limit_price": "0.00", "qty": "999999999"}
    assert refused(trader, package("-1 100C +2 105C", **terms), 422, "INVALID_INPUT")["field"] == "qty"
    assert refused(trader, package("+100 105C -99 100C", **terms), 422, "INVALID_INPUT")["field"] == "qty"
