"""Structures through the API: listed with what closing them costs, closed and rolled as one order.

The chain: out of the money by 10, 5, 0 dollars 0.40/0.50, 1.20/1.30, 3.00/3.20; in January one dollar more.
"""

from decimal import Decimal
from typing import Any

import pytest

from mbt import books
from mbt.models import Account, Order, Position
from tests.mbt.api.order_kinds import everything, held, margin_trader, option, package, send, state
from tests.mbt.api.test_races import at_once
from tests.mbt.paper_tools import Market, Trader, problem

P90, P95, C105, C110 = map(option, ("90P", "95P", "105C", "110C"))
CONDOR = f"+1 {P90} -1 {P95} -1 {C105} +1 {C110}"
PUTS, CALLS = f"+1 {P90} -1 {P95}", f"-1 {C105} +1 {C110}"
AT_MARKET = {"order_type": "market", "time_in_force": "day"}


def limit(price: str, tif: str = "day") -> dict[str, str]:
    return {"order_type": "limit", "limit_price": price, "time_in_force": tif}


def close(trader: Trader, structure: str, **terms: object) -> Any:  # noqa: ANN401 - Django's test response
    return trader.send("POST", "/structures/close", {"structure": structure, **(AT_MARKET | terms)})


def roll(trader: Trader, structure: str, **terms: object) -> Any:  # noqa: ANN401 - Django's test response
    return trader.send("POST", "/structures/roll", {"structure": structure, **(AT_MARKET | terms)})


def taken(response: Any) -> Any:  # noqa: ANN401 - JSON
    assert response.status_code == 201, response.content
    return response.json()["data"]


def with_condors(market: Market, qty: int = 3) -> Trader:
    trader = margin_trader(market)
    send(trader, package("+1 90P -1 95P -1 105C +1 110C", qty=str(qty)))
    market.judge()
    assert held(trader) == {P90: str(qty), P95: f"-{qty}", C105: f"-{qty}", C110: str(qty)}
    return trader


# -- the list ------------------------------------------------------------------------------------------


def test_an_iron_condor_is_one_structure_with_its_cost(chain: Market) -> None:
    trader = with_condors(chain)
    (shown,) = trader.read("/structures")
    # To close: sell 90P at 0.40, buy 95P at 1.30, buy 105C at 1.30, sell 110C at 0.40; middles 0.45 and 1.25.
    assert shown == {
        "id": CONDOR, "name": "iron condor", "label": "SPY 18 Dec 2026 90/95/105/110 short iron condor ×3",
        "direction": "short", "underlying": "SPY", "qty": "3", "one_order": True,
        "legs": [
            {"symbol": P90, "side": "long", "ratio": "1"}, {"symbol": P95, "side": "short", "ratio": "1"},
            {"symbol": C105, "side": "short", "ratio": "1"}, {"symbol": C110, "side": "long", "ratio": "1"},
        ],
        "natural_price": "1.80", "mid_price": "1.60", "natural_cost": "540.00", "mid_cost": "480.00",
    }  # fmt: skip


def test_what_stands_alone_and_what_has_stock(chain: Market) -> None:
    trader = margin_trader(chain)
    trader.order(qty="150", order_type="market")
    trader.order(symbol=C105, side="sell", qty="1", order_type="market")
    trader.order(symbol=option("100P+"), side="buy", qty="2", order_type="market")
    chain.judge()
    shown = {each["id"]: each for each in trader.read("/structures")}
    covered, rest, put = f"+100 SPY -1 {C105}", "+1 SPY", f"+1 {option('100P+')}"
    assert set(shown) == {covered, rest, put}
    # Stock at 99.98, the call bought back at 1.30: 130.00 - 9,998.00. No single order does it, so it has no net price.
    assert (shown[covered]["name"], shown[covered]["one_order"]) == ("covered call", False)
    assert (shown[covered]["natural_cost"], shown[covered]["natural_price"]) == ("-9868.00", None)
    assert (shown[rest]["qty"], shown[rest]["natural_price"], shown[rest]["natural_cost"]) == (
        "50",
        "-99.98",
        "-4999.00",
    )
    # 4.00 / 4.20, twice: sold for 800.00; the middle 4.10.
    assert (shown[put]["natural_price"], shown[put]["natural_cost"]) == ("-4.00", "-800.00")
    assert (shown[put]["mid_price"], shown[put]["mid_cost"]) == ("-4.10", "-820.00")


def test_without_quotes_a_structure_has_no_cost(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed)
    trader.order(symbol=C105, qty="1", order_type="market")
    chain.judge()
    chain.quote(C105, None, "1.30")
    (shown,) = trader.read("/structures")
    assert (shown["id"], shown["natural_price"], shown["natural_cost"]) == (f"+1 {C105}", None, None)
    assert Trader.opened(feed=chain.feed).read("/structures") == []


# -- closing -------------------------------------------------------------------------------------------


def test_a_structure_is_closed_in_parts_each_with_all_its_legs(chain: Market) -> None:
    trader = with_condors(chain)
    order = taken(close(trader, CONDOR, qty="1"))
    assert {(leg["symbol"], leg["side"], leg["effect"]) for leg in order["legs"]} == {
        (P90, "sell", "close"), (P95, "buy", "close"), (C105, "buy", "close"), (C110, "sell", "close"),
    }  # fmt: skip
    assert (order["qty"], order["cash_hold"]) == ("1", "0.00")
    assert order["position_holds"] == {P90: "1", P95: "1", C105: "1", C110: "1"}
    chain.judge()
    assert state(trader, order["id"]) == ("filled", "1", "1.80", None)
    assert held(trader) == {P90: "2", P95: "-2", C105: "-2", C110: "2"}
    order = taken(close(trader, CONDOR, **limit("1.60", "gtc")))
    assert (order["qty"], order["time_in_force"]) == ("2", "gtc")
    chain.judge()
    assert state(trader, order["id"])[0] == "new"
    details = problem(close(trader, CONDOR, qty="1"), 403, "INSUFFICIENT_QUANTITY", "legs")
    assert details["available"] == "0"  # it is being closed
    chain.quote(C105, "1.00", "1.10")  # ask of the whole 1.60
    assert state(trader, order["id"])[:3] == ("filled", "2", "1.60")
    assert held(trader) == {}
    assert trader.read("/account")["initial_margin"] == "0.00"
    assert books.verify(trader.account.id) == (1, [])


def test_one_side_of_a_condor_is_closed_by_its_legs(chain: Market) -> None:
    trader = with_condors(chain)
    details = problem(
        close(trader, CALLS), 422, "INVALID_INPUT", "qty"
    )  # it is no structure of the account as such
    assert details["remedy"] == "Send qty, or the id of one that GET structures lists."
    order = taken(close(trader, CALLS, qty="3"))
    chain.judge()
    assert state(trader, order["id"]) == ("filled", "3", "0.90", None)
    assert held(trader) == {P90: "3", P95: "-3"}
    assert [each["id"] for each in trader.read("/structures")] == [PUTS]


def test_too_many_are_denied_with_the_number_that_is_taken(chain: Market) -> None:
    trader = with_condors(chain)
    details = problem(close(trader, CONDOR, qty="4"), 403, "INSUFFICIENT_QUANTITY", "legs")
    assert details["qty_max"] == "3"
    assert close(trader, CONDOR, qty=details["qty_max"]).status_code == 201


def test_closing_never_opens(chain: Market) -> None:
    trader = margin_trader(chain)
    before = everything(trader)
    for structure in (CONDOR, f"+1 {C105}", f"-1 {C105}", "+1 SPY"):
        for terms in ({"qty": "1"}, {}):
            details = problem(close(trader, structure, **terms), 409, "NOTHING_TO_CLOSE", "structure")
            assert details["held"] == "0"
    assert everything(trader) == before
    # The other way round than it is held.
    send(trader, package("+1 90P -1 95P"))
    chain.judge()
    problem(close(trader, f"-1 {P90} +1 {P95}", qty="1"), 409, "NOTHING_TO_CLOSE", "structure")
    assert Order.objects.count() == 1


def test_single_options_and_stock_are_structures_too(chain: Market) -> None:
    trader = margin_trader(chain)
    trader.order(symbol=C105, side="sell", qty="2", order_type="market")
    trader.order(symbol="SPY", qty="10", order_type="market")
    chain.judge()
    # The price of a sale is negative, as everywhere with structures; the order's own limit has no sign.
    problem(close(trader, "+1 SPY", **limit("101.00")), 422, "INVALID_INPUT", "limit_price")
    problem(close(trader, f"-1 {C105}", **limit("-1.00")), 422, "INVALID_INPUT", "limit_price")
    stock = taken(close(trader, "+1 SPY", qty="4", **limit("-99.90")))
    assert (stock["symbol"], stock["side"], stock["qty"], stock["limit_price"]) == (
        "SPY",
        "sell",
        "4",
        "99.90",
    )
    call = taken(close(trader, f"-1 {C105}", **limit("1.30")))
    assert (call["symbol"], call["side"], call["qty"], call["limit_price"]) == (C105, "buy", "2", "1.30")
    chain.judge()
    assert held(trader) == {"SPY": "6"}
    assert books.verify(trader.account.id) == (1, [])


def test_what_takes_several_orders_names_them(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed)
    trader.order(qty="100", order_type="market")
    chain.judge()
    trader.order(symbol=C105, side="sell", qty="1", order_type="market")
    chain.judge()
    covered = f"+100 SPY -1 {C105}"
    details = problem(close(trader, covered), 422, "NOT_ONE_ORDER", "structure")
    assert details["remedy"] == f"Close '-1 {C105}', then '+100 SPY'."
    for each in (f"-1 {C105}", "+100 SPY"):
        taken(close(trader, each, qty="1"))
        chain.judge()
    assert held(trader) == {}


@pytest.mark.parametrize(
    "wrong", ["", "SPY", "+1", "1 SPY", "+0 SPY", "+1 SPY +1 SPY", "+1 SPY261218P", "+1  SPY", "-1 SPY, +1 AAPL", 7, None],
)  # fmt: skip
def test_what_is_no_structure(chain: Market, wrong: object) -> None:
    response = close(margin_trader(chain), wrong, qty="1")  # type: ignore[arg-type]
    assert response.status_code == 422
    assert response.json()["error"]["code"] in ("INVALID_INPUT", "UNKNOWN_SYMBOL")


def test_sent_again_it_is_the_same_order_also_when_nothing_is_left(chain: Market) -> None:
    trader = with_condors(chain)
    first = close(trader, CONDOR, client_order_id="close-1")
    chain.judge()
    assert held(trader) == {}
    again = close(trader, CONDOR, client_order_id="close-1")
    assert again["Idempotent-Replayed"] == "true"
    assert again.json()["data"]["id"] == first.json()["data"]["id"]
    problem(close(trader, CONDOR, qty="2", client_order_id="close-1"), 422, "CLIENT_ORDER_ID_REUSED")
    problem(close(trader, PUTS, client_order_id="close-1"), 422, "CLIENT_ORDER_ID_REUSED")
    assert Order.objects.count() == 2


@pytest.mark.usefixtures("fresh_db")
def test_many_at_once_close_it_once(chain: Market) -> None:
    trader = with_condors(chain)
    answers = at_once(
        *[lambda: close(trader, CONDOR, client_order_id="same")] * 4, *[lambda: close(trader, CONDOR)] * 4
    )
    orders = {answer.json()["data"]["id"] for answer in answers if answer.status_code == 201}
    assert len(orders) == 1
    chain.judge()
    assert held(trader) == {}
    assert books.verify(trader.account.id) == (1, [])


def test_a_stop_of_new_risk_lets_structures_be_closed_and_not_rolled(
    chain: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    trader = with_condors(chain)
    monkeypatch.setenv("MBT_NEW_ORDERS_DISABLED", "yes")
    assert (
        roll(trader, PUTS, qty="1", expiration="2027-01-15").json()["error"]["code"] == "NEW_ORDERS_DISABLED"
    )
    taken(close(trader, CONDOR))


# -- rolling -------------------------------------------------------------------------------------------


def test_a_spread_is_rolled_out_and_down_as_one_order(chain: Market) -> None:
    trader = margin_trader(chain)
    send(trader, package("-1 100P +1 95P", qty="2"))
    chain.judge()
    structure = f"+1 {P95} -1 {option('100P')}"
    order = taken(
        roll(trader, structure, qty="1", expiration="2027-01-15", strike_shift="-5", **limit("-0.10"))
    )
    assert [(leg["symbol"], leg["side"], leg["effect"]) for leg in order["legs"]] == [
        (P95, "sell", "close"), (option("100P"), "buy", "close"), (option("90P+"), "buy", "open"), (option("95P+"), "sell", "open"),
    ]  # fmt: skip
    assert order["position_holds"] == {P95: "1", option("100P"): "1"}
    chain.judge()
    assert state(trader, order["id"])[0] == "new"
    # Natural: 3.20 - 1.20 + 1.50 - 2.20 = 1.30.
    done = taken(roll(trader, structure, qty="1", expiration="2027-01-15", strike_shift="-5"))
    chain.judge()
    assert state(trader, done["id"]) == ("filled", "1", "1.30", None)
    assert held(trader) == {P95: "1", option("100P"): "-1", option("90P+"): "1", option("95P+"): "-1"}
    trader.cancel(order["id"])
    assert books.verify(trader.account.id) == (1, [])


def test_the_call_of_a_covered_call_is_rolled_and_the_stock_stays(chain: Market) -> None:
    trader = Trader.opened(feed=chain.feed)
    Account.objects.filter(pk=trader.account.id).update(fee_schedule="none")
    trader.order(qty="200", order_type="market")
    chain.judge()
    trader.order(symbol=C105, side="sell", qty="2", order_type="market")
    chain.judge()
    (shown,) = trader.read("/structures")
    order = taken(
        roll(trader, shown["id"], to=[{"symbol": option("110C+")}], **limit("-0.10"), client_order_id="roll")
    )
    assert (order["qty"], [leg["effect"] for leg in order["legs"]]) == ("2", ["close", "open"])
    chain.judge()
    assert state(trader, order["id"]) == ("filled", "2", "-0.10", None)  # 1.30 - 1.40
    assert held(trader) == {"SPY": "200", option("110C+"): "-2"}
    again = roll(
        trader, shown["id"], to=[{"symbol": option("110C+")}], **limit("-0.10"), client_order_id="roll"
    )
    assert (again["Idempotent-Replayed"], again.json()["data"]["id"]) == ("true", order["id"])
    assert books.verify(trader.account.id) == (1, [])


def test_a_condor_is_rolled_side_by_side(chain: Market) -> None:
    trader = with_condors(chain)
    details = problem(roll(trader, CONDOR, expiration="2027-01-15"), 422, "NOT_ONE_ORDER", "structure")
    assert details["remedy"] == f"Roll '{PUTS}', then '{CALLS}'."
    for side in (PUTS, CALLS):
        taken(roll(trader, side, qty="3", expiration="2027-01-15"))
        chain.judge()
    assert held(trader) == {option(f"{name}+"): qty for name, qty in zip(("90P", "95P", "105C", "110C"), ("3", "-3", "-3", "3"), strict=True)}  # fmt: skip
    assert [each["qty"] for each in trader.read("/structures")] == ["3"]


def test_a_leg_that_stays_is_not_traded(chain: Market) -> None:
    """A condor whose short strikes move: four legs in all, the wings stay."""
    trader = with_condors(chain)
    to = [{"symbol": symbol} for symbol in (P90, option("100P"), option("100C"), C110)]
    order = taken(roll(trader, CONDOR, to=to))
    assert {leg["symbol"] for leg in order["legs"]} == {P95, option("100P"), C105, option("100C")}
    chain.judge()
    assert held(trader) == {P90: "3", option("100P"): "-3", option("100C"): "-3", C110: "3"}
    (shown,) = trader.read("/structures")
    assert shown["name"] == "iron butterfly"


def test_strikes_that_overlap_are_two_orders_and_those_that_meet_are_one(chain: Market) -> None:
    trader = margin_trader(chain)
    send(trader, package("+1 90P -1 95P"))
    chain.judge()
    details = problem(roll(trader, PUTS, strike_shift="5"), 422, "NOT_ONE_ORDER", "structure")
    assert details["value"] == P95
    # Two shorts, 95 and 100, moved by five: the 95 becomes what the 100 was.
    trader.order(symbol=option("100P"), side="sell", qty="1", order_type="market")
    chain.judge()
    order = taken(roll(trader, f"-1 {P95} -1 {option('100P')}", qty="1", strike_shift="5"))
    assert {(leg["symbol"], leg["side"]) for leg in order["legs"]} == {(P95, "buy"), (option("105P"), "sell")}


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({}, "to"), ({"strike_shift": "0"}, "to"), ({"expiration": "2026-12-18"}, "to"), ({"expiration": "2027-02-30"}, "expiration"),
        ({"expiration": "soon"}, "expiration"), ({"strike_shift": "-95"}, "strike_shift"), ({"to": [{"symbol": C110}]}, "to"),
        ({"to": [{"symbol": option("95C")}, {"symbol": option("100C")}]}, "to"), ({"to": [{"symbol": "SPY"}, {"symbol": P95}]}, "to"),
        ({"to": [{"symbol": P90}, {"symbol": P95}], "strike_shift": "5"}, "to"), ({"expiration": "2027-01-22"}, "legs"),
        ({"expiration": "2027-01-15", "order_type": "stop", "limit_price": None}, "order_type"),
        ({"expiration": "2027-01-15", "order_type": "limit"}, "limit_price"), ({"expiration": "2027-01-15", "qty": "1.5"}, "qty"),
    ],
)  # fmt: skip
def test_rolls_that_say_nothing_possible(chain: Market, terms: dict[str, Any], field: str) -> None:
    trader = margin_trader(chain)
    send(trader, package("+1 90P -1 95P"))
    chain.judge()
    before = everything(trader)
    asked = {name: value for name, value in terms.items() if value is not None}
    response = roll(trader, PUTS, **asked)
    assert response.status_code == 422, response.content
    assert response.json()["error"]["details"]["field"] == field
    assert everything(trader) == before


def test_on_its_last_afternoon_a_contract_is_closed_and_not_rolled_into(exchange: Market) -> None:
    """Friday 20 November expires at 16:00; from its last afternoon on it can only be closed."""
    trader = margin_trader(exchange)
    today = "SPY261120P00100000"
    exchange.quote(today, "0.90", "1.00")
    exchange.quote("SPY261218P00095000", "1.20", "1.30")
    trader.order(symbol="SPY261218P00095000", side="sell", qty="1", order_type="market")
    trader.order(symbol=today, side="sell", qty="1", order_type="market")
    exchange.judge()
    exchange.pass_time(5.4 * 3_600)  # 15:54
    exchange.quote("SPY", "99.98", "100.02")
    exchange.quote(today, "0.10", "0.20")
    exchange.quote("SPY261218P00095000", "1.20", "1.30")
    away = roll(trader, "-1 SPY261218P00095000", qty="1", to=[{"symbol": today}])
    assert away.json()["error"]["code"] == "CLOSING_ONLY"
    order = taken(close(trader, f"-1 {today}", qty="1"))
    exchange.judge()
    assert state(trader, order["id"])[0] == "filled"


def test_a_roll_that_costs_too_much_is_denied_with_what_would_be_taken(chain: Market) -> None:
    trader = margin_trader(chain, cash="3000.00")
    send(trader, package("+1 90P -1 95P", qty="5"))
    chain.judge()
    wide = [{"symbol": option("90P+")}, {"symbol": option("100P+")}]
    details = problem(roll(trader, PUTS, to=wide), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert Decimal(details["qty_max"]) > 0
    taken(roll(trader, PUTS, qty=details["qty_max"], to=wide))
    assert Position.objects.filter(qty_held__gt=0).count() == 2
