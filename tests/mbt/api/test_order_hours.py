"""When orders are taken, when they act, when they end: hours, auctions, expirations, latency, the size cap, amounts.

The day is Friday, 20 November 2026; New York is five hours behind UTC.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from mbt import books
from mbt.models import Account
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
)
from tests.mbt.api.test_order_kinds import EXITS, call, play, stock
from tests.mbt.paper_tools import Market, Trader, problem

pytestmark = pytest.mark.usefixtures("_database")


def instant(text: str) -> int:
    """`day hour:minute[:second]` of November 2026 in New York, as nanoseconds."""
    pattern = "%Y-%m-%d %H:%M:%S" if text.count(":") == 2 else "%Y-%m-%d %H:%M"
    return to_ns(datetime.strptime(f"2026-11-{text}", pattern).replace(tzinfo=UTC) + timedelta(hours=5))


@contextmanager
def exchange(text: str) -> Iterator[Market]:
    """The exchange at an instant."""
    markets = opened(f"replay:kinds-{new_id().hex}", instant(text))
    yield next(markets)
    list(markets)  # closes it


def move_to(market: Market, text: str) -> None:
    market.pass_time((instant(text) - market.now_ns) / 10**9)


@pytest.mark.parametrize(
    ("tif", "at", "taken"),
    [
        ("opg", "19 18:59:57", False), ("opg", "19 19:00", True), ("opg", "20 09:27:57", True), ("opg", "20 09:28", False),
        ("opg", "20 12:00", False), ("cls", "19 18:59:57", False), ("cls", "19 19:00", True), ("cls", "20 15:49:57", True),
        ("cls", "20 15:50", False), ("cls", "20 16:30", False), ("cls", "27 12:49:57", True), ("cls", "27 12:50", False),
    ],
)  # fmt: skip
def test_orders_for_an_auction_are_taken_in_their_window(tif: str, at: str, taken: bool) -> None:
    with exchange(at) as market:
        trader = margin_trader(market)
        asked = stock("limit", tif, limit_price="90.00")
        if taken:
            told(trader, send(trader, asked)["id"])
        else:
            assert refused(trader, asked, 422, "OUTSIDE_SESSION")["field"] == "time_in_force"


def test_at_the_open() -> None:
    with exchange("20 09:20") as market:
        trader = margin_trader(market)
        bought = send(trader, stock("market", "opg"))
        missed = send(trader, stock("limit", "opg", limit_price="99.00"))
        assert told(trader, bought["id"])[0].startswith("Waiting: the market is closed.")
        move_to(market, "20 09:30")
        play(market, ["SPY 100.20 100.10", "SPY 100.40 100.50"])  # crossed; then the first usable one
        assert state(trader, bought["id"]) == ("filled", "10", "100.50", None)
        assert state(trader, missed["id"]) == ("expired", "0", None, "LIMIT_NOT_REACHED")
        assert "it had one chance" in told(trader, missed["id"])[0]
        assert trader.read(f"/orders/{missed['id']}")["expired_at"] == "2026-11-20T14:30:02Z"
        assert books.verify(trader.account.id) == (1, [])


def test_at_the_close() -> None:
    with exchange("20 15:40") as market:
        trader = margin_trader(market)
        bought = send(trader, stock("market", "cls"))
        missed = send(trader, stock("limit", "cls", limit_price="99.00"))
        play(market, ["SPY 98.00 98.10"])  # not its moment
        assert told(trader, bought["id"])[0].startswith("Waiting: it acts at 2026-11-20 15:59:59.999")
        move_to(market, "20 15:59:30")
        market.quote("SPY", "100.40", "100.50")
        move_to(market, "20 16:00:10")
        assert state(trader, bought["id"]) == ("filled", "10", "100.50", None)
        assert state(trader, missed["id"]) == ("expired", "0", None, "LIMIT_NOT_REACHED")
        assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize(("at", "ends"), [("20 08:00", "20"), ("20 16:30", "20"), ("20 20:30", "23")])
def test_extended_hours(at: str, ends: str) -> None:
    with exchange(at) as market:
        trader = margin_trader(market)
        asked = stock("limit", limit_price="99.00", extended_hours=True)
        order = send(trader, asked)
        regular = send(trader, stock("limit", limit_price="99.00"))
        assert order["expires_at"] == f"2026-11-{int(ends) + 1:02}T01:00:00Z"
        for wrong in (stock("market", extended_hours=True), stock("stop", stop_price="101.00", extended_hours=True),
                      stock("limit", "ioc", limit_price="99.00", extended_hours=True), call("limit", limit_price="1.00", extended_hours=True),
                      stock("limit", limit_price="99.00", extended_hours=True, order_class="bracket", **EXITS)):  # fmt: skip
            assert refused(trader, wrong, 422, "INVALID_INPUT")["field"] == "extended_hours"
        if ends == "23":
            assert told(trader, order["id"])[0].startswith("Waiting: the market is closed.")
            move_to(market, "23 04:00")
        play(market, ["SPY 98.90 98.95"])
        # Accepted with an older quote in force, it may arrive with this one; either way it is not beyond its limit.
        assert state(trader, order["id"])[0] == "filled"
        assert Decimal(state(trader, order["id"])[2] or 0) <= 99
        assert state(trader, regular["id"])[0] == "accepted"


def test_orders_of_a_contract_that_expires_today() -> None:
    with exchange("20 15:00") as market:
        trader = margin_trader(market)
        today, later = option("100C!"), option("100C")
        last = "2026-11-20T21:15:00Z"  # options of this fund trade a quarter of an hour longer
        orders = [
            send(trader, {**call("limit", "gtc", limit_price="1.00"), "symbol": today}),
            send(trader, {**call("limit", "gtc", limit_price="1.00", order_class="bracket", take_profit={"limit_price": "5.00"},
                                 stop_loss={"stop_price": "0.50"}), "symbol": today}),
            send(trader, package("+1 100C -1 100C!", order_type="limit", limit_price="-1.00", time_in_force="gtc")),
        ]  # fmt: skip
        assert [order["expires_at"] for order in orders] == [last] * 3
        longer = send(trader, {**call("limit", "gtc", limit_price="1.00"), "symbol": later})
        assert longer["expires_at"] == "2026-12-18T21:15:00Z"  # none outlives its contract
        move_to(market, "20 16:15")
        exits = [o for o in members(trader, orders[1]["id"]).values() if o["role"] != "entry"]
        assert [state(trader, order["id"])[0] for order in orders] == ["expired"] * 3
        assert {state(trader, order["id"]) for order in exits} == {("canceled", "0", None, "PARENT_ENDED")}
        for asked in (
            {**call("limit", limit_price="1.00"), "symbol": today},
            package("+1 100C -1 100C!", order_type="limit", limit_price="-1.00"),
        ):
            refused(trader, asked, 422, "CONTRACT_EXPIRED")
        problem(trader.replace(orders[0]["id"], limit_price="1.10"), 409, "ORDER_NOT_OPEN")
        assert state(trader, longer["id"])[0] == "new"
        assert trader.read("/account")["cash_held"] == longer["cash_hold"]
        assert books.verify(trader.account.id) == (1, [])


def test_on_its_last_afternoon_a_contract_can_only_be_closed() -> None:
    """Options of this fund trade until 16:15, so from 15:30 on; those of others from 15:15."""
    with exchange("20 15:29:50") as market:
        trader = margin_trader(market)
        today = option("100C!")
        held_now = send(trader, {**call("market", order_class="simple"), "symbol": today, "qty": "3"})
        play(market, ["100C! 3.00 3.20"])
        assert state(trader, held_now["id"])[0] == "filled"
        exit_later = send(
            trader, {**call("limit", "gtc", side="sell", limit_price="9.00"), "symbol": today, "qty": "1"}
        )
        move_to(market, "20 15:30")
        market.quote("SPY", "99.98", "100.02")
        details = refused(trader, {**call("limit", limit_price="1.00"), "symbol": today}, 422, "CLOSING_ONLY")
        assert (details["field"], details["value"]) == ("symbol", today)
        for opening in (
            package("+1 100C! -1 105C", order_type="limit", limit_price="-1.00"),
            {**call("limit", limit_price="1.00", order_class="bracket", take_profit={"limit_price": "5.00"},
                    stop_loss={"stop_price": "0.50"}), "symbol": today},
        ):  # fmt: skip
            refused(trader, opening, 422, "CLOSING_ONLY")
        assert trader.replace(exit_later["id"], limit_price="8.00").status_code == 200
        roll = send(trader, package("-1 100C! +1 100C", order_type="limit", limit_price="0.50"))
        assert [leg["effect"] for leg in roll["legs"]] == ["close", "open"]
        send(trader, {**call("limit", side="sell", limit_price="3.00"), "symbol": today, "qty": "1"})
        send(trader, call("limit", limit_price="1.00"))  # the others are as free as ever
        assert books.verify(trader.account.id) == (1, [])


def test_market_orders_outside_of_hours() -> None:
    """Of a stock they wait for the open; of options nobody could price them."""
    with exchange("20 17:00") as market:
        trader = margin_trader(market)
        order = send(trader, stock("market"))
        assert told(trader, order["id"])[0].startswith(
            "Waiting: the market is closed. It acts on the first usable quote after 2026-11-23 09:30"
        )
        for asked in (
            call("market"),
            package("+1 100C -1 105C"),
            stock("market", "ioc"),
            stock("limit", "fok", limit_price="100.00"),
        ):
            refused(trader, asked, 422, "OUTSIDE_SESSION")
        play(market, ["SPY 99.00 99.10"])  # after the close: nobody trades on it
        assert state(trader, order["id"])[0] == "accepted"
        move_to(market, "23 09:30")
        play(market, ["SPY 98.00 98.10"])
        assert state(trader, order["id"]) == ("filled", "10", "98.10", None)


def test_latency_moves_the_arrival() -> None:
    with exchange("20 10:30") as market:
        trader = margin_trader(market, latency_ms=1500)
        order = send(trader, stock("market"))
        late = send(trader, stock("limit", "ioc", limit_price="100.02"))
        market.judge()
        assert state(trader, order["id"])[0] == "accepted"
        assert told(trader, order["id"])[0] == "Waiting: it acts at 2026-11-20 10:30:02.500 ET."
        play(market, ["SPY 100.10 100.12", "SPY 100.20 100.22"])  # 1 s and 2 s later
        assert state(trader, order["id"]) == ("filled", "10", "100.12", None)
        assert state(trader, late["id"]) == ("canceled", "0", None, "LIMIT_NOT_REACHED")
        quick = send(trader, stock("market", side="sell"))
        trader.cancel(quick["id"])  # before it arrives
        play(market, ["SPY 100.10 100.12"] * 3)
        assert state(trader, quick["id"]) == ("canceled", "0", None, None)


CAPPED: list[tuple[dict[str, Any], list[str], tuple[str, str, str | None, str | None]]] = [
    (stock("market", qty="500"), ["SPY 100.00 100.04 300 200"], ("partially_filled", "400", "100.03", None)),
    (stock("market", qty="500"), ["SPY 100.00 100.02 300 0", "SPY 99.98 100.02 300 300"], ("filled", "500", "100.02", None)),
    (stock("market", "ioc", qty="500"), ["SPY 99.98 100.02 300 300"], ("canceled", "200", "100.02", "SIZE_TOO_SMALL")),
    (stock("limit", "ioc", qty="500", limit_price="100.02"), [], ("canceled", "200", "100.02", "SIZE_TOO_SMALL")),
    (stock("market", "fok", qty="201"), [], ("canceled", "0", None, "SIZE_TOO_SMALL")),
    (stock("market", "fok", qty="200"), [], ("filled", "200", "100.02", None)),
    (stock("stop", qty="500", stop_price="101.00"), ["SPY 100.90 101.00 300 300", "SPY 101.10 101.20 300 300"], ("filled", "500", "101.08", None)),
    (package("+1 100C -2 105C", qty="60"), [], ("partially_filled", "25", "0.80", None)),  # 50 of the 105 are 25 times two
    (package("+1 100C -1 105C", qty="60", time_in_force="ioc"), [], ("canceled", "50", "2.00", "SIZE_TOO_SMALL")),
    (package("+1 100C -1 105C", qty="60", time_in_force="fok"), [], ("canceled", "0", None, "SIZE_TOO_SMALL")),
    (package("+1 100C -1 105C", qty="50", time_in_force="fok"), [], ("filled", "50", "2.00", None)),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "quotes", "expected"), CAPPED)
def test_the_size_cap(
    asked: dict[str, Any], quotes: list[str], expected: tuple[str, str, str | None, str | None]
) -> None:
    with exchange("20 10:30") as market:
        trader = margin_trader(market, size_cap=True)
        order = send(trader, asked)
        play(market, quotes)
        assert state(trader, order["id"]) == expected
        left = Decimal(trader.read(f"/orders/{order['id']}")["cash_hold"])
        assert (left > 0) == (expected[0] == "partially_filled")
        assert trader.read("/account")["cash_held"] == f"{left:.2f}"
        assert books.verify(trader.account.id) == (1, [])


def test_amounts_of_money() -> None:
    with exchange("20 10:30") as market:
        trader = Trader.opened(feed=market.feed, cash="5000.00")
        Account.objects.filter(pk=trader.account.id).update(fee_schedule="none")
        order = send(trader, _amount("buy", "1234.56"))
        assert (order["notional"], order["cash_hold"]) == ("1234.56", "1234.56")
        play(market, [])
        assert state(trader, order["id"])[:3] == ("filled", "12.343131373", "100.02")  # 1234.56 / 100.02
        assert trader.read("/account")["cash"] == "3765.44"
        sale = send(trader, _amount("sell", "500.00"))
        play(market, ["SPY 99.50 99.60"])
        assert (
            state(trader, sale["id"])[:3] == ("filled", "5.001000200", "99.98")
            or state(trader, sale["id"])[0] == "filled"
        )
        assert books.verify(trader.account.id) == (1, [])
        for wrong in (_amount("buy", "0.99"), _amount("buy", "1234.567"), _amount("buy", "-5"), _amount("buy", "100") | {"time_in_force": "gtc"},
                      _amount("buy", "100") | {"order_type": "limit", "limit_price": "90.00"}, _amount("buy", "100") | {"qty": "1"}):  # fmt: skip
            response = trader.send("POST", "/orders", wrong)
            assert response.status_code == 422, wrong
            assert set(response.json()["error"]["details"]) >= {"field", "rule", "value", "remedy"}
        assert held(trader).keys() == {"SPY"}


def _amount(side: str, dollars: str) -> dict[str, Any]:
    return {
        "symbol": "SPY",
        "side": side,
        "notional": dollars,
        "order_type": "market",
        "time_in_force": "day",
    }
