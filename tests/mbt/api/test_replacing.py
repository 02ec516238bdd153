"""Replacing what is filled in part: the old order keeps its fills, the new one is for the rest.

All accounts have the size cap, so that a quote fills no more than it shows: 200 to buy and 300 to sell unless a test
says otherwise.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from mbt import books
from mbt.models import Account, Fill, Order
from tests.mbt.api.order_kinds import (
    everything,
    held,
    margin_trader,
    members,
    option,
    package,
    send,
    state,
    told,
)
from tests.mbt.api.test_order_kinds import EXITS, SIBLING, play, stock
from tests.mbt.api.test_races import at_once
from tests.mbt.paper_tools import Market, Trader, problem

C100, C105 = option("100C"), option("105C")
BUY_500 = stock("limit", "gtc", qty="500", limit_price="100.02")
BRACKET_500 = BUY_500 | {"order_class": "bracket", **EXITS}


def partly(market: Market, asked: dict[str, Any]) -> tuple[Trader, Any]:
    """An order of 500 that has bought 200."""
    trader = margin_trader(market, size_cap=True)
    order = send(trader, asked)
    market.judge()
    assert state(trader, order["id"])[:2] == ("partially_filled", "200")
    return trader, order


def replaced(trader: Trader, order_id: str, **changes: object) -> Any:  # noqa: ANN401 - JSON
    response = trader.replace(order_id, **changes)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def adds_up(trader: Trader) -> None:
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize(
    ("changes", "rest", "limit"),
    [({"qty": "400"}, "200", "100.02"), ({"limit_price": "99.00"}, "300", "99.00"), ({"qty": "700", "limit_price": "98.50"}, "500", "98.50"), ({"qty": "201"}, "1", "100.02")],
)  # fmt: skip
def test_the_new_order_is_for_the_rest(chain: Market, changes: dict[str, str], rest: str, limit: str) -> None:
    trader, order = partly(chain, BUY_500)
    new = replaced(trader, order["id"], **changes)
    assert (new["status"], new["qty"], new["filled_qty"], new["limit_price"]) == (
        "accepted",
        rest,
        "0",
        limit,
    )
    assert new["replaces"] == order["id"]
    old = trader.read(f"/orders/{order['id']}")
    assert (old["status"], old["qty"], old["filled_qty"], old["cash_hold"]) == (
        "replaced",
        "500",
        "200",
        "0.00",
    )
    assert old["filled_avg_price"] == "100.02"
    assert "Replaced at" in told(trader, order["id"])[0]
    assert trader.read("/account")["cash_held"] == new["cash_hold"]
    play(chain, ["SPY 98.40 98.50 600 600"])
    assert state(trader, new["id"])[:2] == ("filled", rest)
    assert held(trader) == {"SPY": str(200 + int(rest))}
    adds_up(trader)


def test_the_whole_quantity_exceeds_what_is_filled(chain: Market) -> None:
    trader, order = partly(chain, BUY_500)
    before = everything(trader)
    for qty in ("200", "199", "1"):
        details = problem(trader.replace(order["id"], qty=qty), 422, "INVALID_INPUT", "qty")
        assert (details["value"], details["remedy"]) == (qty, "Send more than 200, or cancel the order.")
    problem(trader.replace(order["id"], qty="500"), 422, "INVALID_INPUT", "(body)")
    problem(trader.replace(order["id"], limit_price="100.02"), 422, "INVALID_INPUT", "(body)")
    assert everything(trader) == before


def test_sent_again_it_is_the_same_order_whatever_has_filled_since(chain: Market) -> None:
    trader, order = partly(chain, BUY_500)
    new = replaced(trader, order["id"], qty="450", limit_price="100.05", client_order_id="again")
    chain.judge()
    assert state(trader, new["id"])[:2] == ("partially_filled", "200")
    again = replaced(trader, order["id"], qty="450", limit_price="100.05", client_order_id="again")
    assert again["id"] == new["id"]
    problem(trader.replace(order["id"], qty="451", client_order_id="again"), 409, "ORDER_NOT_OPEN")
    # And on: 450 of which 400 are bought by now; of the new order's 250, 50 are left.
    last = replaced(trader, new["id"], qty="260")
    assert last["qty"] == "60"
    chain.judge()
    assert held(trader) == {"SPY": "460"}
    adds_up(trader)


def test_a_replacement_that_cannot_be_paid_leaves_the_rest_working(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed, cash="50010.00")
    Account.objects.filter(pk=trader.account.id).update(fee_schedule="none", size_cap=True)
    order = send(trader, BUY_500)
    chain.judge()
    assert trader.read("/account")["cash_held"] == "30006.00"
    details = problem(trader.replace(order["id"], qty="501"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert details["qty_max"] == "300"  # of the rest, which would be 301
    assert state(trader, order["id"])[:2] == ("partially_filled", "200")
    assert trader.read("/account")["cash_held"] == "30006.00"
    adds_up(trader)


# -- packages ------------------------------------------------------------------------------------------


def test_a_package_filled_in_part(chain: Market) -> None:
    trader = margin_trader(chain, size_cap=True)
    order = send(trader, package("+1 100C -1 105C", qty="80", order_type="limit", limit_price="2.00"))
    chain.judge()  # fifty are shown
    assert state(trader, order["id"])[:3] == ("partially_filled", "50", "2.00")
    new = replaced(trader, order["id"], qty="90", limit_price="1.50")
    assert (new["qty"], [leg["ratio"] for leg in new["legs"]]) == ("40", [1, 1])
    # The most that it can lose beside what there is: 1.50 x 100 x 40.
    assert (new["cash_hold"], trader.read("/account")["cash_held"]) == ("6000.00", "6000.00")
    play(chain, ["100C 2.60 2.70"])
    assert state(trader, new["id"])[:3] == ("filled", "40", "1.50")
    assert held(trader) == {C100: "90", C105: "-90"}
    adds_up(trader)


def test_a_closing_package_filled_in_part_keeps_its_reservation(chain: Market) -> None:
    trader = margin_trader(chain)
    send(trader, package("+1 100C -1 105C", qty="80"))
    chain.judge()
    Account.objects.filter(pk=trader.account.id).update(size_cap=True)
    order = send(trader, package("-1 100C +1 105C", qty="80", order_type="limit", limit_price="-1.70"))
    chain.judge()
    assert state(trader, order["id"])[:2] == ("partially_filled", "50")
    new = replaced(trader, order["id"], limit_price="-1.80")
    assert (new["qty"], new["position_holds"], new["cash_hold"]) == ("30", {C100: "30", C105: "30"}, "0.00")
    less = replaced(trader, new["id"], qty="10", limit_price="-1.70")
    assert less["position_holds"] == {C100: "10", C105: "10"}
    play(chain, ["100C 3.00 3.20"])
    assert held(trader) == {C100: "20", C105: "-20"}
    adds_up(trader)


# -- brackets ------------------------------------------------------------------------------------------


def shown(trader: Trader, group: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    rows = {role: trader.read(f"/orders/{order['id']}") for role, order in group.items()}
    return {role: (row["status"], row["qty"], row["filled_qty"]) for role, row in rows.items()}


def test_an_entry_filled_in_part_takes_its_exits_along_for_what_it_has_bought(chain: Market) -> None:
    trader, order = partly(chain, BRACKET_500)
    before = members(trader, order["id"])
    new = replaced(trader, order["id"], qty="400", limit_price="99.00")
    group = members(trader, new["id"])
    assert shown(trader, before) == {
        "entry": ("replaced", "500", "200"), "take_profit": ("replaced", "500", "0"), "stop_loss": ("replaced", "500", "0"),
    }  # fmt: skip
    # 200 are bought and protected, 200 more may come.
    assert shown(trader, group) == {
        "entry": ("accepted", "200", "0"), "take_profit": ("accepted", "400", "0"), "stop_loss": ("accepted", "400", "0"),
    }  # fmt: skip
    assert trader.read(f"/orders/{group['take_profit']['id']}")["position_holds"] == {"SPY": "200"}
    assert trader.read("/positions/SPY")["qty_available"] == "0"
    play(chain, ["SPY 105.00 105.10 500 500"])  # the target: no more than what is bought
    assert shown(trader, group)["take_profit"] == ("partially_filled", "400", "200")
    assert held(trader) == {}
    play(chain, ["SPY 98.90 99.00", "SPY 105.00 105.10"])
    assert {role: state(trader, o["id"])[0] for role, o in group.items()} == {
        "entry": "filled", "take_profit": "filled", "stop_loss": "canceled",
    }  # fmt: skip
    assert state(trader, group["stop_loss"]["id"])[3] == "OCO_SIBLING_FILLED"
    assert held(trader) == {}
    assert trader.read("/account")["cash_held"] == "0.00"
    adds_up(trader)


def test_what_the_exits_have_sold_already_is_not_sold_again(chain: Market) -> None:
    trader, order = partly(chain, BRACKET_500)
    play(chain, ["SPY 105.00 105.10 150 200"])
    assert held(trader) == {"SPY": "50"}
    play(chain, ["SPY 99.98 100.10"])
    new = replaced(trader, order["id"], qty="300", limit_price="99.00")
    group = members(trader, new["id"])
    assert shown(trader, group) == {
        "entry": ("accepted", "100", "0"), "take_profit": ("accepted", "150", "0"), "stop_loss": ("accepted", "150", "0"),
    }  # fmt: skip
    assert trader.read(f"/orders/{group['take_profit']['id']}")["position_holds"] == {"SPY": "50"}
    play(chain, ["SPY 94.00 94.10 500 500"])  # the entry is filled and the stop reached, at once
    play(chain, ["SPY 94.00 94.10 500 500"])
    assert held(trader) == {}
    assert state(trader, group["entry"]["id"])[0] == "filled"
    assert shown(trader, group)["stop_loss"] == ("filled", "150", "150")
    adds_up(trader)


@pytest.mark.parametrize("restart", [False, True])
def test_canceling_the_new_entry_leaves_the_exits_for_what_was_bought_before(
    chain: Market, restart: bool
) -> None:
    trader, order = partly(chain, BRACKET_500)
    new = replaced(trader, order["id"], limit_price="99.00")
    group = members(trader, new["id"])
    if restart:
        chain.engine.start()
    else:
        chain.judge()
    trader.cancel(new["id"])
    assert shown(trader, group) == {
        "entry": ("canceled", "300", "0"), "take_profit": (shown(trader, group)["take_profit"][0], "200", "0"),
        "stop_loss": (shown(trader, group)["stop_loss"][0], "200", "0"),
    }  # fmt: skip
    play(chain, ["SPY 94.00 94.10 500 500"])
    assert state(trader, group["stop_loss"]["id"])[:2] == ("filled", "200")
    assert state(trader, group["take_profit"]["id"]) == SIBLING
    assert held(trader) == {}
    adds_up(trader)


def test_an_entry_that_has_sold_all_waits_with_its_exits_held(chain: Market) -> None:
    trader, order = partly(chain, BRACKET_500)
    play(chain, ["SPY 105.00 105.10 300 200"])
    assert held(trader) == {}
    new = replaced(trader, order["id"], limit_price="99.00")
    group = members(trader, new["id"])
    assert {role: each[:2] for role, each in shown(trader, group).items()} == {
        "entry": ("accepted", "300"), "take_profit": ("held", "300"), "stop_loss": ("held", "300"),
    }  # fmt: skip
    trader.cancel(new["id"])
    assert {role: each[0] for role, each in shown(trader, group).items()} == dict.fromkeys(group, "canceled")
    adds_up(trader)


@pytest.mark.parametrize("role", ["take_profit", "stop_loss"])
def test_an_exit_filled_in_part_is_replaced_for_the_rest(chain: Market, role: str) -> None:
    trader = margin_trader(chain, size_cap=True)
    order = send(trader, BRACKET_500)
    play(chain, ["SPY 99.98 100.02 500 500"])
    group = members(trader, order["id"])
    market = "SPY 105.00 105.10 200 200" if role == "take_profit" else "SPY 95.00 95.10 200 200"
    play(chain, [market])
    assert state(trader, group[role]["id"])[:2] == ("partially_filled", "200")
    other = "stop_loss" if role == "take_profit" else "take_profit"
    assert shown(trader, group)[other][1] == "300"
    problem(trader.replace(group[role]["id"], qty="400"), 422, "INVALID_INPUT", "qty")
    change = {"limit_price": "104.00"} if role == "take_profit" else {"stop_price": "96.00"}
    new = replaced(trader, group[role]["id"], **change)
    assert (new["qty"], new["status"], new["role"]) == ("300", "accepted", role)
    assert trader.read("/positions/SPY")["qty_available"] == "0"
    # Twice, since the engine has not heard of the change when the first one comes.
    play(chain, ["SPY 104.00 104.10 500 500" if role == "take_profit" else "SPY 95.90 96.00 500 500"] * 2)
    assert state(trader, new["id"])[:2] == ("filled", "300")
    assert state(trader, group[other]["id"]) == SIBLING
    assert held(trader) == {}
    adds_up(trader)


def test_a_new_entry_that_is_rejected_leaves_the_exits_for_what_was_bought(chain: Market) -> None:
    """A cash account; when the rest fills it costs more than there is."""
    trader = Trader.opened(feed=chain.feed, cash="51600.00")
    Account.objects.filter(pk=trader.account.id).update(size_cap=True, fee_schedule="none")
    entry = stock("market", "day", qty="500", order_class="bracket", take_profit={"limit_price": "130.00"}, stop_loss={"stop_price": "80.00"})  # fmt: skip
    order = send(trader, entry)
    chain.judge()
    chain.quote("SPY", "99.98", "100.02", sizes=(300, 0))
    new = replaced(trader, order["id"], qty="480")
    group = members(trader, new["id"])
    play(chain, ["SPY 119.90 120.00 500 500"])
    assert state(trader, new["id"]) == ("rejected", "0", None, "INSUFFICIENT_CASH")
    assert {role: each[1] for role, each in shown(trader, group).items() if role != "entry"} == {
        "take_profit": "200", "stop_loss": "200",
    }  # fmt: skip
    play(chain, ["SPY 130.00 130.10 500 500"])
    assert state(trader, group["take_profit"]["id"])[:2] == ("filled", "200")
    assert held(trader) == {}
    adds_up(trader)


# -- at the same moment --------------------------------------------------------------------------------


@pytest.mark.usefixtures("fresh_db")
@pytest.mark.parametrize("asked", [BUY_500, BRACKET_500], ids=["alone", "bracket"])
def test_replacing_races_with_fills(chain: Market, asked: dict[str, Any]) -> None:
    """Whatever comes first: each share is bought by one of the two orders, and no more than the new quantity."""
    trader = margin_trader(chain, size_cap=True)
    for round_ in range(10):
        order = send(trader, asked)
        chain.judge()
        answers: list[Any] = []
        change: Callable[[], object] = lambda: answers.append(trader.replace(order["id"], qty="450"))  # noqa: B023, E731
        quotes = ["SPY 99.98 100.02 300 200"] * (1 + round_ % 2)
        at_once(change, lambda: play(chain, quotes))  # noqa: B023
        play(chain, ["SPY 99.98 100.02 900 900"])
        status = answers[0].status_code
        rows = list(
            Order.objects.filter(account_id=trader.account.id, closed_at__isnull=False, side="buy").order_by(
                "-number"
            )[:2]
        )
        bought = Decimal(held(trader)["SPY"])
        old = trader.row(order["id"])
        if status == 200:
            new = trader.row(answers[0].json()["data"]["id"])
            assert (old.status, new.status) == ("replaced", "filled")
            assert old.filled_qty + new.filled_qty == bought == 450
            assert new.qty == 450 - old.filled_qty
            assert new in rows
        else:
            assert status == 409
            assert (old.status, bought) == ("filled", Decimal(500))
        if asked is BRACKET_500:
            play(chain, ["SPY 105.00 105.10 900 900", "SPY 105.00 105.10 900 900"])
        else:
            trader.send("DELETE", "/positions/SPY")
            play(chain, ["SPY 99.98 100.02 900 900"])
        assert held(trader) == {}
        assert trader.read("/account")["cash_held"] == "0.00"
        assert not Order.objects.filter(account_id=trader.account.id, closed_at__isnull=True).exists()
        play(chain, ["SPY 99.98 100.02 300 200"])
    adds_up(trader)
    assert Fill.objects.count() == Fill.objects.values("order_id", "fill_seq").distinct().count()
