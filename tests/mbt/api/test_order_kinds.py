"""Every kind of order over HTTP: what is taken and what is not, what it holds, when it fills, and what is told of it.

The tables say what docs/rules/fills.md and docs/rules/contingent-orders.md say; prices are reckoned by hand from the
quotes of `order_kinds.open_chain`.
"""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from mbt import books
from mbt.models import Fill
from raxx.kernel.clock import to_ns
from raxx.kernel.ids import new_id
from tests.mbt.api.order_kinds import (
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
from tests.mbt.paper_tools import Market, Trader

C100, C105, P95 = option("100C"), option("105C"), option("95P")
VERTICAL = "+1 100C -1 105C"  # at its touch 3.20 - 1.20 = 2.00; its opposite 1.30 - 3.00 = -1.70


# -- the whole vocabulary --------------------------------------------------------------------------------

TYPES = ("market", "limit", "stop", "stop_limit", "trailing_stop")
TIFS = ("day", "gtc", "ioc", "fok", "opg", "cls")
CLASSES = ("simple", "bracket", "oto with a profit", "oto with a loss", "oco")
STOCK: dict[str, dict[str, object]] = {
    "market": {}, "limit": {"limit_price": "99.00"}, "stop": {"stop_price": "101.00"},
    "stop_limit": {"stop_price": "101.00", "limit_price": "101.50"}, "trailing_stop": {"trail_price": "2.50"},
    "profit": {"take_profit": {"limit_price": "105.00"}}, "loss": {"stop_loss": {"stop_price": "95.00", "limit_price": "94.50"}},
}  # fmt: skip
OPTION: dict[str, dict[str, object]] = {
    "market": {}, "limit": {"limit_price": "2.50"}, "stop": {"stop_price": "3.50"},
    "stop_limit": {"stop_price": "3.50", "limit_price": "3.60"}, "trailing_stop": {"trail_percent": "12.5"},
    "profit": {"take_profit": {"limit_price": "4.00"}}, "loss": {"stop_loss": {"stop_price": "2.00"}},
}  # fmt: skip
PACKAGE: dict[str, dict[str, object]] = {
    "market": {}, "limit": {"limit_price": "1.50"}, "stop": {"stop_price": "2.50"},
    "stop_limit": {"stop_price": "2.50", "limit_price": "2.60"}, "trailing_stop": {"trail_price": "0.25"},
    "profit": {"take_profit": {"limit_price": "-2.50"}}, "loss": {"stop_loss": {"stop_price": "-1.00"}},
}  # fmt: skip
KINDS = {"stock": STOCK, "option": OPTION, "package": PACKAGE}


def ticket(what: str, order_type: str, tif: str, cls: str) -> dict[str, Any]:
    terms = KINDS[what]
    wanted: dict[str, Any] = {"order_type": order_type, "time_in_force": tif, **terms[order_type]}
    name = cls.split()[0]
    if cls in ("bracket", "oco") or "profit" in cls:
        wanted |= terms["profit"]
    if cls in ("bracket", "oco") or "loss" in cls:
        wanted |= terms["loss"]
    if what == "package":
        return package(VERTICAL, **wanted) | ({"order_class": name} if cls == "oco" else {})
    if cls == "oco":  # both are exits of what is held; its limit is that of the take-profit
        wanted = {k: v for k, v in wanted.items() if k != "limit_price"} | {"side": "sell"}
    symbol = {"stock": "SPY", "option": C100}[what]
    return {"symbol": symbol, "side": "buy", "qty": "1", "order_class": name, **wanted}


def is_an_order(what: str, order_type: str, tif: str, cls: str) -> bool:
    """Whether the terms go together, whatever the time."""
    if what == "package" and (order_type not in ("market", "limit") or cls == "oco"):
        return False
    if cls == "oco":
        return order_type == "limit" and tif in ("day", "gtc")
    if cls != "simple":
        return order_type in ("market", "limit") and tif in ("day", "gtc")
    if order_type not in ("market", "limit"):
        return tif in ("day", "gtc")
    return what == "stock" or tif not in ("opg", "cls")


def is_in_time(what: str, order_type: str, tif: str, *, open_now: bool) -> bool:
    if open_now:
        return tif != "opg"
    return tif not in ("ioc", "fok") and not (order_type == "market" and what != "stock")


@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize(
    ("when", "account_type"), [("at 10:30", "cash"), ("at 10:30", "margin"), ("at 20:00", "margin")]
)
@pytest.mark.parametrize("what", KINDS)
def test_every_combination_is_taken_or_refused_with_a_remedy(what: str, when: str, account_type: str) -> None:
    hour = {
        "at 10:30": datetime(2026, 11, 20, 15, 30, tzinfo=UTC),
        "at 20:00": datetime(2026, 11, 20, 1, tzinfo=UTC),
    }
    for market in opened(f"replay:kinds-{new_id().hex}", to_ns(hour[when])):
        trader = (
            margin_trader(market)
            if account_type == "margin"
            else Trader.opened(feed=market.feed, cash="1000000.00")
        )
        with_positions(trader, market)
        taken = 0
        for order_type, tif, cls in product(TYPES, TIFS, CLASSES):
            market.pass_time()  # the feed is alive, however long the test takes
            asked = ticket(what, order_type, tif, cls)
            if not is_an_order(what, order_type, tif, cls):
                refused(trader, asked, 422, "INVALID_INPUT")
            elif not is_in_time(what, order_type, tif, open_now=when == "at 10:30"):
                refused(trader, asked, 422, "OUTSIDE_SESSION")
            elif what == "package" and account_type == "cash":
                refused(trader, asked, 403, "UNCOVERED_SHORT")  # no option covers another here
            else:
                taken += 1
                order = send(trader, asked)
                group = members(trader, order["id"]) if cls != "simple" else {"": order}
                check_group(group, asked, cls)
                for member in group.values():
                    told(trader, member["id"])
                trader.cancel(order["id"])
                for member in group.values():
                    assert state(trader, member["id"])[0] == "canceled"
        assert trader.read("/account")["cash_held"] == "0.00"
        assert books.verify(trader.account.id) == (1, [])
        expected = sum(
            is_an_order(what, *combination)
            and is_in_time(what, *combination[:2], open_now=when == "at 10:30")
            for combination in product(TYPES, TIFS, CLASSES)
        )
        assert taken == (0 if what == "package" and account_type == "cash" else expected)


def check_group(group: dict[str, Any], asked: dict[str, Any], cls: str) -> None:
    """The members that the ticket asks for, with its terms."""
    roles = {
        "simple": {""}, "bracket": {"entry", "take_profit", "stop_loss"}, "oto with a profit": {"entry", "take_profit"},
        "oto with a loss": {"entry", "stop_loss"}, "oco": {"take_profit", "stop_loss"},
    }  # fmt: skip
    assert set(group) == roles[cls]
    main = group.get("entry") or group.get("take_profit") or group[""]
    exits = [member for member in group.values() if member is not main]
    for member in exits:
        assert member["status"] == ("accepted" if cls == "oco" else "held")
        assert (member["qty"], member["time_in_force"]) == (main["qty"], main["time_in_force"])
        assert member["client_order_id"] != main["client_order_id"]
        assert (member["cash_hold"], member["position_holds"]) == ("0.00", {})
        if cls != "oco":
            opposite = {"buy": "sell", "sell": "buy"}
            assert [leg["side"] for leg in member["legs"]] == [opposite[leg["side"]] for leg in main["legs"]]
            assert all(leg["effect"] == "close" for leg in member["legs"])
            assert main["legs"] or member["side"] == "sell"
            assert member["entry_id"] == main["id"]
    if "take_profit" in asked:
        profit = group["take_profit"]
        assert (profit["order_type"], Decimal(profit["limit_price"])) == (
            "limit",
            Decimal(asked["take_profit"]["limit_price"]),
        )
    if "stop_loss" in asked:
        loss, wanted = group["stop_loss"], asked["stop_loss"]
        assert loss["order_type"] == ("stop_limit" if "limit_price" in wanted else "stop")
        assert Decimal(loss["stop_price"]) == Decimal(wanted["stop_price"])
        assert (loss["limit_price"] is None) == ("limit_price" not in wanted)
    if cls in ("bracket", "oco"):
        assert group["take_profit"]["group_id"] == group["stop_loss"]["group_id"] is not None


# -- what fills, at what price, by which rule ------------------------------------------------------------

RISING, FALLING = "SPY 101.10 101.20", "SPY 98.70 98.80"
SELL = {"side": "sell"}
NEVER = ("canceled", "0", None, "LIMIT_NOT_REACHED")


def stock(order_type: str, tif: str = "day", **terms: Any) -> dict[str, Any]:  # noqa: ANN401 - terms of any kind
    return {
        "symbol": "SPY",
        "side": "buy",
        "qty": "10",
        "order_type": order_type,
        "time_in_force": tif,
        **terms,
    }


def call(order_type: str, tif: str = "day", **terms: Any) -> dict[str, Any]:  # noqa: ANN401 - terms of any kind
    return stock(order_type, tif, **{"symbol": C100, "qty": "2", **terms})


def filled(price: str, qty: str = "10") -> tuple[str, str, str, None]:
    return "filled", qty, price, None


# Ticket; the quotes that follow, a second apart; what becomes of it; the rule of its fill.
FILLS: list[tuple[dict[str, Any], list[str], tuple[str, str, str | None, str | None], str]] = [
    *[(stock("market", tif), [], filled("100.02"), "market.touch") for tif in ("day", "gtc", "ioc", "fok")],
    (stock("market", **SELL), [], filled("99.98"), "market.touch"),
    (stock("market", qty="0.5"), [], filled("100.02", "0.5"), "market.touch"),
    (stock("market", qty=None, notional="1000.00"), [], filled("100.02", "9.998000399"), "market.touch"),  # 1000 / 100.02
    *[(stock("limit", tif, limit_price="100.05"), [], filled("100.02"), "limit.marketable") for tif in ("day", "gtc", "ioc", "fok")],
    (stock("limit", limit_price="99.97", **SELL), [], filled("99.98"), "limit.marketable"),
    (stock("limit", "gtc", limit_price="99.50"), ["SPY 99.60 99.70", "SPY 99.30 99.40"], filled("99.50"), "limit.resting"),
    (stock("limit", limit_price="101.00", **SELL), [RISING], filled("101.00"), "limit.resting"),
    (stock("limit", "ioc", limit_price="99.50"), ["SPY 99.30 99.40"], NEVER, ""),
    (stock("limit", "fok", limit_price="99.50"), ["SPY 99.30 99.40"], NEVER, ""),
    (stock("limit", limit_price="99.50"), [RISING], ("new", "0", None, None), ""),
    (stock("stop", stop_price="101.20"), ["SPY 101.00 101.10", RISING], filled("101.20"), "stop.touch"),
    (stock("stop", "gtc", stop_price="99.00", **SELL), [FALLING], filled("98.70"), "stop.touch"),
    (stock("stop", stop_price="100.00"), [], filled("100.02"), "stop.touch"),  # the market is there already
    (stock("stop", stop_price="102.00"), [RISING], ("new", "0", None, None), ""),
    (stock("stop_limit", stop_price="101.00", limit_price="101.50"), [RISING], filled("101.20"), "stop_limit.marketable"),
    (stock("stop_limit", stop_price="101.00", limit_price="101.10"), [RISING], ("new", "0", None, None), ""),
    (stock("stop_limit", stop_price="101.00", limit_price="101.10"), [RISING, "SPY 100.90 101.00"], filled("101.10"), "limit.resting"),
    (stock("stop_limit", "gtc", stop_price="99.00", limit_price="98.60", **SELL), [FALLING], filled("98.70"), "stop_limit.marketable"),
    # Mark 101.00, level 100.00: 99.95 is through it.
    (stock("trailing_stop", trail_price="1.00", **SELL), ["SPY 101.00 101.04", "SPY 100.50 100.54", "SPY 99.95 99.99"], filled("99.95"), "trailing_stop.touch"),
    # Mark 99.04, level 99.04 x 1.01 = 100.0304, up to 100.04.
    (stock("trailing_stop", "gtc", trail_percent="1"), ["SPY 99.00 99.04", "SPY 99.99 100.03"], ("new", "0", None, None), ""),
    (stock("trailing_stop", "gtc", trail_percent="1"), ["SPY 99.00 99.04", "SPY 100.00 100.04"], filled("100.04"), "trailing_stop.touch"),
    *[(call("market", tif), [], filled("3.20", "2"), "market.touch") for tif in ("day", "gtc", "ioc", "fok")],
    (call("market", fill_preference="mid"), [], filled("3.10", "2"), "market.mid"),
    (call("market", fill_preference="mid", **SELL), [], filled("3.10", "2"), "market.mid"),
    (call("limit", limit_price="3.05", fill_preference="mid"), ["100C 2.90 3.10"], filled("3.00", "2"), "limit.mid"),
    (call("limit", limit_price="3.05"), ["100C 2.90 3.10"], ("new", "0", None, None), ""),
    # The middle of 2.95 / 3.15 is 3.05, above the limit; the bid, where the order stood, has left 3.00.
    (call("limit", limit_price="3.00", fill_preference="aggressive"), ["100C 2.95 3.15"], filled("3.00", "2"), "limit.joined"),
    (call("limit", limit_price="3.00", fill_preference="mid"), ["100C 2.95 3.15"], ("new", "0", None, None), ""),
    (call("limit", "ioc", limit_price="3.10"), [], NEVER, ""),
    (call("limit", "ioc", limit_price="3.10", fill_preference="mid"), [], filled("3.10", "2"), "limit.mid"),
    (call("stop", stop_price="3.50"), ["100C 3.60 3.80"], filled("3.80", "2"), "stop.touch"),
    (call("trailing_stop", trail_price="0.50", **SELL), ["100C 4.00 4.20", "100C 3.40 3.60"], filled("3.40", "2"), "trailing_stop.touch"),
    *[(package(VERTICAL, time_in_force=tif), [], filled("2.00", "1"), "market.touch") for tif in ("day", "gtc", "ioc", "fok")],
    # Its bid is 3.00 - 1.30 = 1.70, the middle 1.85.
    (package(VERTICAL, fill_preference="mid"), [], filled("1.85", "1"), "market.mid"),
    (package(VERTICAL, order_type="limit", limit_price="1.90", fill_preference="mid"), [], filled("1.85", "1"), "limit.mid"),
    (package(VERTICAL, order_type="limit", limit_price="2.10", qty="3"), [], filled("2.00", "3"), "limit.marketable"),
    (package(VERTICAL, order_type="limit", limit_price="1.80"), ["100C 2.80 3.00"], filled("1.80", "1"), "limit.resting"),
    (package(VERTICAL, order_type="limit", limit_price="1.90"), ["100C 2.80 3.00"], filled("1.80", "1"), "limit.resting"),  # its ask
    (package(VERTICAL, order_type="limit", limit_price="1.70", fill_preference="aggressive"), ["100C 2.95 3.25"], filled("1.70", "1"), "limit.joined"),
    (package("-1 100C +1 105C", order_type="limit", limit_price="-1.70"), [], filled("-1.70", "1"), "limit.marketable"),  # 1.30 - 3.00
    (package("-1 100C +1 105C", order_type="limit", limit_price="-1.90"), ["100C 3.20 3.40"], filled("-1.90", "1"), "limit.resting"),
    (package("+1 95P -1 90P -1 105C +1 110C", order_type="limit", limit_price="-0.20"), ["90P 0.90 1.00"], filled("-0.30", "1"), "limit.resting"),
    (package(VERTICAL, order_type="limit", limit_price="1.90", time_in_force="ioc"), ["100C 2.80 3.00"], NEVER, ""),
    (package(VERTICAL, order_type="limit", limit_price="1.90", time_in_force="fok"), ["100C 2.80 3.00"], NEVER, ""),
    (package(VERTICAL, order_type="limit", limit_price="2.00", time_in_force="fok"), [], filled("2.00", "1"), "limit.marketable"),
]  # fmt: skip


def named(asked: dict[str, Any]) -> str:
    what = "package" if asked.get("legs") else "stock" if asked["symbol"] == "SPY" else "call"
    words = [
        asked[name]
        for name in ("side", "order_type", "time_in_force", "limit_price", "fill_preference")
        if asked.get(name)
    ]
    return "-".join([what, *words])


def play(market: Market, quotes: list[str]) -> None:
    market.judge()
    for text in quotes:
        name, bid, ask, *sizes = text.split()
        symbol = name if name in ("SPY", "AAPL") else option(name)
        shown = (int(sizes[0]), int(sizes[1])) if sizes else (500, 500)
        market.quote(symbol, bid if bid != "-" else None, ask if ask != "-" else None, sizes=shown)


@pytest.mark.parametrize(
    ("asked", "quotes", "expected", "rule"),
    [pytest.param(*case, id=f"{n}-{named(case[0])}") for n, case in enumerate(FILLS)],
)
def test_it_fills_on_the_right_quote(
    chain: Market,
    asked: dict[str, Any],
    quotes: list[str],
    expected: tuple[str, str, str | None, str | None],
    rule: str,
) -> None:
    trader = margin_trader(chain)
    order = send(trader, {name: value for name, value in asked.items() if value is not None})
    play(chain, quotes)
    assert state(trader, order["id"]) == expected
    headline, story, facts = told(trader, order["id"])
    fills = list(Fill.objects.filter(order_id=order["id"]))
    assert {fill.rule for fill in fills} == ({rule} if rule else set())
    if rule:
        assert f"(rule {rule}, version 1)" in story
        assert Decimal(facts["fill_price"]) == Decimal(expected[2] or 0)
        assert ("Bought" if order["side"] == "buy" else "Sold") in headline
        account = trader.read("/account")
        assert Decimal(account["cash"]) == 1_000_000 + Decimal(facts["amount"])
        assert account["cash_held"] == "0.00"
        if order["legs"]:
            assert sum(leg_value(fill) for fill in fills) == Decimal(facts["amount"])
            assert all(fill.nbbo_bid <= fill.price <= fill.nbbo_ask for fill in fills)
    else:
        assert trader.read("/positions") == []
    assert books.verify(trader.account.id) == (1, [])


def leg_value(fill: Fill) -> Decimal:
    value = fill.price * fill.qty * 100
    return -value if fill.side == "buy" else value


# -- orders that belong together -------------------------------------------------------------------------

EXITS: dict[str, Any] = {"take_profit": {"limit_price": "105.00"}, "stop_loss": {"stop_price": "95.00"}}
BRACKET = stock("market", order_class="bracket", **EXITS)
PROFIT, LOSS = "SPY 105.10 105.14", "SPY 94.80 94.90"
SIBLING = ("canceled", "0", None, "OCO_SIBLING_FILLED")
GROUPS: list[tuple[str, dict[str, Any], list[str], dict[str, tuple[str, str, str | None, str | None]]]] = [
    ("target", BRACKET, [PROFIT], {"entry": filled("100.02"), "take_profit": filled("105.00"), "stop_loss": SIBLING}),
    ("stopped", BRACKET, [LOSS], {"entry": filled("100.02"), "take_profit": SIBLING, "stop_loss": filled("94.80")}),
    ("between", BRACKET, [RISING], {"entry": filled("100.02"), "take_profit": ("new", "0", None, None), "stop_loss": ("new", "0", None, None)}),
    ("held", stock("limit", limit_price="98.00", order_class="bracket", **EXITS), [PROFIT, RISING],
     {"entry": ("new", "0", None, None), "take_profit": ("held", "0", None, None), "stop_loss": ("held", "0", None, None)}),
    ("short", stock("market", side="sell", order_class="bracket", take_profit={"limit_price": "95.00"}, stop_loss={"stop_price": "105.00"}),
     [LOSS], {"entry": filled("99.98"), "take_profit": filled("95.00"), "stop_loss": SIBLING}),
    ("stop with a limit", stock("market", order_class="bracket", take_profit={"limit_price": "105.00"}, stop_loss={"stop_price": "95.00", "limit_price": "94.85"}),
     [LOSS, "SPY 94.85 94.95"], {"entry": filled("100.02"), "take_profit": SIBLING, "stop_loss": filled("94.85")}),
    ("oto", stock("market", order_class="oto", take_profit={"limit_price": "105.00"}), [LOSS, PROFIT],
     {"entry": filled("100.02"), "take_profit": filled("105.00")}),
    ("oto loss", stock("market", order_class="oto", stop_loss={"stop_price": "95.00"}), [PROFIT, LOSS],
     {"entry": filled("100.02"), "stop_loss": filled("94.80")}),
    ("an option's", call("market", order_class="bracket", take_profit={"limit_price": "4.00"}, stop_loss={"stop_price": "2.00"}),
     ["100C 1.90 2.10"], {"entry": filled("3.20", "2"), "take_profit": SIBLING, "stop_loss": filled("1.90", "2")}),
    ("an option's at mid", call("market", order_class="bracket", fill_preference="mid", take_profit={"limit_price": "4.00"}, stop_loss={"stop_price": "2.00"}),
     ["100C 3.95 4.09"], {"entry": filled("3.10", "2"), "take_profit": filled("4.02", "2"), "stop_loss": SIBLING}),
    # The opposite is bought for 1.30 - 4.00 = -2.70, which is its ask, better than the limit.
    ("a package's target", package(VERTICAL, take_profit={"limit_price": "-2.50"}, stop_loss={"stop_price": "-1.00"}), ["100C 4.00 4.10"],
     {"entry": filled("2.00", "1"), "take_profit": filled("-2.70", "1"), "stop_loss": SIBLING}),
    # 1.30 - 2.20 = -0.90: the opposite brings less than 1.00.
    ("a package's stop", package(VERTICAL, qty="2", take_profit={"limit_price": "-2.50"}, stop_loss={"stop_price": "-1.00"}), ["100C 2.20 2.30"],
     {"entry": filled("2.00", "2"), "take_profit": SIBLING, "stop_loss": filled("-0.90", "2")}),
    # Sold for 1.70; bought back for 1.60 - 1.20 = 0.40.
    ("a credit's target", package("-1 100C +1 105C", take_profit={"limit_price": "0.50"}, stop_loss={"stop_price": "3.00"}), ["100C 1.50 1.60"],
     {"entry": filled("-1.70", "1"), "take_profit": filled("0.40", "1"), "stop_loss": SIBLING}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "quotes", "expected"), [pytest.param(*case[1:], id=case[0]) for case in GROUPS]
)
def test_orders_that_belong_together(
    chain: Market,
    asked: dict[str, Any],
    quotes: list[str],
    expected: dict[str, tuple[str, str, str | None, str | None]],
) -> None:
    trader = margin_trader(chain)
    order = send(trader, asked)
    play(chain, quotes)
    group = members(trader, order["id"])
    assert {role: state(trader, member["id"]) for role, member in group.items()} == expected
    done = expected["entry"][0] == "filled" and "filled" in [
        s[0] for role, s in expected.items() if role != "entry"
    ]
    assert bool(held(trader)) == (expected["entry"][0] == "filled" and not done)
    if done:
        assert trader.read("/account")["cash_held"] == "0.00"
    for role, member in group.items():
        headline = told(trader, member["id"])[0]
        if expected[role] == SIBLING:
            assert "the other exit of the pair filled" in headline
        if expected[role][0] == "held":
            assert headline.startswith("Held: it begins to work when its entry fills")
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize("what", ["stock", "option"])
def test_an_oco_closes_what_is_held(chain: Market, what: str) -> None:
    trader = margin_trader(chain)
    with_positions(trader, chain)
    order = send(trader, {**ticket(what, "limit", "gtc", "oco"), "qty": "2"})
    symbol = order["symbol"]
    assert order["position_holds"] == {symbol: "2"}
    assert trader.read(f"/positions/{symbol}")["qty_available"] == "0"
    refused(trader, stock("market", symbol=symbol, qty="1", side="sell"), 403, "INSUFFICIENT_QUANTITY")
    play(chain, [PROFIT] if what == "stock" else ["100C 1.80 1.90"])
    found = {role: state(trader, member["id"])[:3] for role, member in members(trader, order["id"]).items()}
    assert found == (
        {"take_profit": ("filled", "2", "105.00"), "stop_loss": ("canceled", "0", None)}
        if what == "stock"
        else {"take_profit": ("canceled", "0", None), "stop_loss": ("filled", "2", "1.80")}
    )
    assert symbol not in held(trader)
    assert books.verify(trader.account.id) == (1, [])


def test_exits_where_there_is_nothing_to_exit_from(chain: Market) -> None:
    trader = margin_trader(chain)
    refused(trader, ticket("stock", "limit", "day", "oco"), 403, "MISPLACED_EXITS")
    with_positions(trader, chain)
    closing = stock("limit", side="sell", qty="2", limit_price="100.00", order_class="bracket",
                    take_profit={"limit_price": "95.00"}, stop_loss={"stop_price": "105.00"})  # fmt: skip
    refused(trader, closing, 403, "MISPLACED_EXITS")


@pytest.mark.parametrize(
    ("exits", "field"),
    [
        ({"take_profit": {"limit_price": "94.00"}, "stop_loss": {"stop_price": "95.00"}}, "stop_loss.stop_price"),
        ({"take_profit": {"limit_price": "99.50"}, "stop_loss": {"stop_price": "95.00"}}, "take_profit.limit_price"),
        ({"take_profit": {"limit_price": "105.00"}, "stop_loss": {"stop_price": "100.50"}}, "stop_loss.stop_price"),
        ({"take_profit": {"limit_price": "105.001"}, "stop_loss": {"stop_price": "95.00"}}, "take_profit.limit_price"),
        ({"take_profit": {"limit_price": "105.00"}}, "stop_loss"),
        ({"stop_loss": {"stop_price": "95.00"}}, "take_profit"),
        ({}, "take_profit"),
        ({"take_profit": {}, "stop_loss": {"stop_price": "95.00"}}, "take_profit.limit_price"),
        ({"take_profit": {"limit_price": "105.00", "stop_price": "1.00"}, "stop_loss": {"stop_price": "95.00"}}, "take_profit.stop_price"),
        ({"take_profit": {"limit_price": "105.00"}, "stop_loss": {"limit_price": "95.00"}}, "stop_loss.stop_price"),
        ({"take_profit": "105.00", "stop_loss": {"stop_price": "95.00"}}, "take_profit"),
    ],
)  # fmt: skip
def test_exits_must_make_sense(chain: Market, exits: dict[str, Any], field: str) -> None:
    trader = margin_trader(chain)
    details = refused(
        trader, stock("limit", limit_price="100.00", order_class="bracket", **exits), 422, "INVALID_INPUT"
    )
    assert details["field"] == field


def test_exits_that_have_sold_what_was_bought_lie_dormant(chain: Market) -> None:
    """With the size cap an entry fills in parts. Its exits follow, sell, wait for more, and sell that."""
    trader = margin_trader(chain, size_cap=True)
    order = send(trader, stock("market", qty="500", order_class="bracket", **EXITS))
    ids = {role: member["id"] for role, member in members(trader, order["id"]).items()}
    play(chain, [])  # 200 are offered at 100.02
    assert state(trader, ids["entry"]) == ("partially_filled", "200", "100.02", None)
    assert trader.read("/positions/SPY")["qty_available"] == "0"
    play(chain, ["SPY 105.00 105.04 300 0"])  # nobody sells; 200 of ours are bought
    assert held(trader) == {}
    assert state(trader, ids["take_profit"]) == ("partially_filled", "200", "105.00", None)
    assert state(trader, ids["stop_loss"])[0] == "new"
    for role in ("take_profit", "stop_loss"):
        assert told(trader, ids[role])[0].startswith(
            "Dormant: all that its entry has bought so far is closed again"
        )
        assert trader.read(f"/orders/{ids[role]}")["position_holds"] == {}
    play(chain, ["SPY 105.10 105.14 500 0", "SPY 94.00 94.10 500 0"])  # nothing is there to sell
    assert state(trader, ids["stop_loss"])[:2] == ("new", "0")
    assert trader.read(f"/orders/{ids['stop_loss']}")["qty"] == "300"
    play(chain, ["SPY 99.98 100.02 300 300"])
    assert state(trader, ids["entry"]) == ("filled", "500", "100.02", None)
    assert held(trader) == {"SPY": "300"}
    play(chain, ["SPY 105.00 105.04 200 300", "SPY 105.00 105.04 200 300"])
    assert state(trader, ids["take_profit"]) == ("filled", "500", "105.00", None)
    assert state(trader, ids["stop_loss"]) == SIBLING
    assert held(trader) == {}
    # 500 x (105.00 - 100.02)
    assert trader.read("/account")["cash"] == "1002490.00"
    assert books.verify(trader.account.id) == (1, [])


def test_canceling_an_entry_leaves_exits_for_what_it_bought(chain: Market) -> None:
    trader = margin_trader(chain, size_cap=True)
    order = send(trader, stock("market", qty="500", order_class="bracket", **EXITS))
    ids = {role: member["id"] for role, member in members(trader, order["id"]).items()}
    play(chain, [])
    assert trader.cancel(ids["entry"]).status_code == 200
    assert state(trader, ids["entry"]) == ("canceled", "200", "100.02", None)
    assert "200 of 500 had been filled" in told(trader, ids["entry"])[0]
    assert {trader.read(f"/orders/{ids[role]}")["qty"] for role in ("take_profit", "stop_loss")} == {"200"}
    play(chain, ["SPY 94.80 94.90"])
    assert state(trader, ids["stop_loss"]) == ("filled", "200", "94.80", None)
    assert state(trader, ids["take_profit"]) == SIBLING
    assert books.verify(trader.account.id) == (1, [])


def test_canceling_a_dormant_entry_ends_its_exits(chain: Market) -> None:
    trader = margin_trader(chain, size_cap=True)
    order = send(trader, stock("market", qty="500", order_class="bracket", **EXITS))
    ids = {role: member["id"] for role, member in members(trader, order["id"]).items()}
    play(chain, ["SPY 105.00 105.04 300 0"])
    trader.cancel(ids["entry"])
    assert state(trader, ids["take_profit"]) == ("filled", "200", "105.00", None)
    assert state(trader, ids["stop_loss"]) == SIBLING
    play(chain, ["SPY 94.80 94.90", "SPY 105.00 105.04"])
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize("role", ["take_profit", "stop_loss"])
@pytest.mark.parametrize("when", ["held", "active", "partly"])
def test_canceling_an_exit_cancels_its_sibling_and_an_open_entry(chain: Market, role: str, when: str) -> None:
    trader = margin_trader(chain, size_cap=True)
    terms = stock("limit", limit_price="99.00" if when == "held" else "100.02", qty="500" if when == "partly" else "100",
                  order_class="bracket", **EXITS)  # fmt: skip
    order = send(trader, terms)
    play(chain, [])
    ids = {name: member["id"] for name, member in members(trader, order["id"]).items()}
    trader.cancel(ids[role])
    found = {name: state(trader, id_) for name, id_ in ids.items()}
    entry = {
        "held": ("canceled", "0", None, "GROUP_CANCELED"), "active": ("filled", "100", "100.02", None),
        "partly": ("canceled", "200", "100.02", "GROUP_CANCELED"),
    }  # fmt: skip
    other = "stop_loss" if role == "take_profit" else "take_profit"
    assert found == {
        "entry": entry[when], role: ("canceled", "0", None, None), other: ("canceled", "0", None, "GROUP_CANCELED"),
    }  # fmt: skip
    play(chain, [PROFIT, LOSS, "SPY 98.00 98.10"])
    assert held(trader) == ({} if when == "held" else {"SPY": "100" if when == "active" else "200"})
    assert trader.read("/account")["cash_held"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])
