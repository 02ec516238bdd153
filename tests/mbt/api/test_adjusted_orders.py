"""Contracts that a split has changed, through the API: shown, previewed, closed, rolled, opened, denied.

XYZ is split 3 for 2 while Alice holds spreads of it: her 45 and 51 calls are 30 and 34 calls on 150 shares. XYZ then
stands at 31.99 / 32.01. Amounts are reckoned by hand: a dollar of such a contract's price is 150 dollars.
"""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from audit.pseudonym import OPERATOR_SHELL
from console.services.switches import set_switch
from console.switches import Mode
from mbt import books
from mbt.engine.corporate import Split
from mbt.services.events.corporate_actions import apply_actions
from raxx.kernel import clock
from raxx.kernel.ids import new_id
from tests.mbt.conftest import MORNING
from tests.mbt.paper_tools import Market, Trader, problem

OLD_45, OLD_51, OLD_LATER = "XYZ261218C00045000", "XYZ261218C00051000", "XYZ270115C00045000"
CALL_30, CALL_34, LATER_30 = "XYZ1261218C00030000", "XYZ1261218C00034000", "XYZ1270115C00030000"
STANDARD = "XYZ261218C00032000"
SPREAD = f"-1 {CALL_30} +1 {CALL_34}"


@pytest.fixture
def split(_database: None) -> Iterator[Market]:
    symbols = ("XYZ", OLD_45, OLD_51, OLD_LATER, STANDARD)
    market = Market(f"test-{new_id().hex}", now_ns=MORNING, symbols=symbols)
    for symbol, bid, ask in (
        ("XYZ", "47.99", "48.01"), (OLD_45, "4.10", "4.30"), (OLD_51, "1.50", "1.70"), (OLD_LATER, "5.10", "5.30"),
    ):  # fmt: skip
        market.quote(symbol, bid, ask)
    yield market
    market.close()


def happen(market: Market, *, quoted: bool = True) -> None:
    """The split, and what the market says after it."""
    event = Split(symbol="XYZ", ex_date=date(2026, 11, 20), new=3, old=2, close=480_000)
    apply_actions(
        feed=market.feed, after=date(2026, 11, 19), day=date(2026, 11, 20), at_ns=market.now_ns, actions=[event],
        quotes_of=dict,
    )  # fmt: skip
    market.quote("XYZ", "31.99", "32.01")
    for symbol, bid, ask in (
        (CALL_30, "2.70", "2.90"), (CALL_34, "1.00", "1.10"), (LATER_30, "3.40", "3.60"), (STANDARD, "1.00", "1.10"),
    ):  # fmt: skip
        if quoted or symbol == STANDARD:
            market.quote(symbol, bid, ask)


@pytest.fixture
def alice(split: Market) -> Trader:
    """A margin account, short two 45/51 call spreads."""
    trader = Trader.opened(feed=split.feed, cash="10000.00", account_type="margin")
    send(trader, package(f"-1 {OLD_45}", f"+1 {OLD_51}", qty="2"))
    split.judge()
    return trader


def package(*legs: str, qty: str = "1", **terms: object) -> dict[str, Any]:
    named = [text.split() for text in legs]
    return {
        "order_class": "mleg", "qty": qty, "order_type": "market", "time_in_force": "day",
        "legs": [
            {"symbol": symbol, "side": "buy" if count[0] == "+" else "sell", "ratio": int(count[1:])}
            for count, symbol in named
        ],
    } | terms  # fmt: skip


def single(symbol: str, side: str, qty: str = "1", **terms: object) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "side": side,
        "qty": qty,
        "order_type": "market",
        "time_in_force": "day",
    } | terms


def send(trader: Trader, ticket: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    response = trader.send("POST", "/orders", ticket)
    assert response.status_code == 201, response.content
    return response.json()["data"]


def test_what_is_shown(split: Market, alice: Trader) -> None:
    """A spread of 4.00 x 150 = 600, twice. The 30 call at 2.80 is worth 420 dollars, short two of them 840."""
    happen(split)
    shown = {row["symbol"]: row for row in alice.read("/positions")}
    assert (shown[CALL_30]["multiplier"], shown[CALL_30]["market_value"]) == (150, "-840.00")
    margin = alice.read("/account/margin")
    (group,) = margin["requirement"]["groups"]
    assert (group["label"], group["maintenance"]) == (
        "XYZ1 18 Dec 2026 30/34 call credit spread ×2",
        "1200.00",
    )
    assert group["formula"] == "width 600.00 × 2 = 1,200.00"
    (structure,) = alice.read("/structures")
    # 2.90 - 1.00 at the touch, 150 dollars for a dollar, and two of them.
    assert (structure["id"], structure["qty"]) == (SPREAD, "2")
    assert (structure["natural_price"], structure["natural_cost"]) == ("1.90", "570.00")


def test_a_preview_tells_what_an_order_needs(split: Market, alice: Trader) -> None:
    happen(split)
    found = alice.send("POST", "/orders/preview", package(f"+1 {CALL_30}", f"-1 {CALL_34}", qty="2")).json()[
        "data"
    ]
    assert (found["accepted"], found["denial"]) == (True, None)
    assert found["structure"] == "XYZ1 18 Dec 2026 30/34 call debit spread ×2"
    assert (found["debit"], found["after"]["maintenance"]) == ("587.10", "0.00")  # 1.90 x 1.03 x 300
    assert found["position_holds"] == {CALL_30: "2", CALL_34: "2"}
    alone = alice.send("POST", "/orders/preview", single(CALL_34, "sell")).json()["data"]
    assert alone["accepted"] is False
    assert alone["denial"]["details"]["instead"] == f"buy 1 {CALL_30}, sell 1 {CALL_34}"


def test_closed_by_its_structure(split: Market, alice: Trader) -> None:
    happen(split)
    terms = {"structure": SPREAD, "order_type": "limit", "limit_price": "1.90", "time_in_force": "day"}
    order = alice.send("POST", "/structures/close", terms).json()["data"]
    assert (order["qty"], order["structure"]) == ("2", "XYZ1 18 Dec 2026 30/34 call debit spread ×2")
    before = alice.read("/account")["cash"]
    split.judge()
    assert alice.read(f"/orders/{order['id']}")["status"] == "filled"
    assert alice.read("/positions") == []
    assert float(before) - float(alice.read("/account")["cash"]) == 570.0
    why = alice.why(order["id"])
    assert "XYZ1 18 Dec 2026 30/34 call debit spread ×2" in f"{why}"
    assert books.verify(alice.account.id) == (1, [])


def test_everything_is_closed(split: Market, alice: Trader) -> None:
    happen(split)
    response = alice.send("DELETE", "/positions", None)
    assert response.status_code in (200, 207), response.content
    split.judge()
    assert alice.read("/positions") == []
    assert books.verify(alice.account.id) == (1, [])


def test_one_position_is_closed_and_the_other_would_be_naked(split: Market, alice: Trader) -> None:
    happen(split)
    problem(alice.send("DELETE", f"/positions/{CALL_34}", None), 403, "NOT_APPROVED")
    assert alice.send("DELETE", f"/positions/{CALL_30}?qty=1", None).status_code == 200
    split.judge()
    assert {p["symbol"]: p["qty"] for p in alice.read("/positions")} == {CALL_30: "-1", CALL_34: "2"}


def test_rolled_to_a_later_month(split: Market) -> None:
    trader = Trader.opened(feed=split.feed, cash="5000.00")
    send(trader, single(OLD_45, "buy"))
    split.judge()
    happen(split)
    terms = {
        "structure": f"+1 {CALL_30}", "expiration": "2027-01-15", "order_type": "limit", "limit_price": "0.90",
        "time_in_force": "day",
    }  # fmt: skip
    order = trader.send("POST", "/structures/roll", terms).json()["data"]
    assert order["cash_hold"] == "135.00"
    split.judge()
    assert [(p["symbol"], p["cost_basis"]) for p in trader.read("/positions")] == [(LATER_30, "540.00")]
    mixed = package(f"-1 {LATER_30}", f"+1 {STANDARD}", order_type="limit", limit_price="-1.00")
    details = problem(trader.send("POST", "/orders", mixed), 422, "INVALID_INPUT", "legs")
    assert (
        details["rule"]
        == "the prices of all legs count alike; one dollar of these is 100 and 150 dollars a contract"
    )


def test_opened_while_it_is_quoted(split: Market) -> None:
    trader = Trader.opened(feed=split.feed, cash="5000.00")
    happen(split, quoted=False)
    details = problem(
        trader.send("POST", "/orders", single(CALL_30, "buy", order_type="limit", limit_price="2.90")),
        422,
        "CLOSING_ONLY",
        "symbol",
    )
    assert details["remedy"] == "Trade a standard contract of XYZ."
    assert (
        "nobody has quoted"
        in trader.send(
            "POST", "/orders", single(CALL_30, "buy", order_type="limit", limit_price="2.90")
        ).json()["error"]["message"]
    )
    split.quote(CALL_30, "2.70", "2.90")
    order = send(trader, single(CALL_30, "buy", qty="2", order_type="limit", limit_price="2.90"))
    assert order["cash_hold"] == "870.00"
    split.judge()
    assert trader.read("/account")["cash"] == "4130.00"


def test_a_switch_that_stops_the_stock_stops_it_too(split: Market, alice: Trader) -> None:
    happen(split)
    set_switch(key="symbol:XYZ", mode=Mode.HALTED, reason="news", actor=OPERATOR_SHELL, now=clock.now())
    problem(alice.send("POST", "/orders", single(CALL_30, "buy")), 503, "TRADING_DISABLED")


def test_a_covered_call_needs_150_shares(split: Market, open_split: Callable[..., Trader]) -> None:
    few, enough = open_split("99"), open_split("100")
    happen(split)
    details = problem(few.send("POST", "/orders", single(CALL_30, "sell")), 403, "UNCOVERED_SHORT")
    assert details["remedy"] == "Each call needs 150 shares of XYZ."
    send(enough, single(CALL_30, "sell"))
    split.judge()
    details = problem(enough.send("POST", "/orders", single("XYZ", "sell")), 403, "UNCOVERED_SHORT")
    assert details["remedy"] == "Each call needs 150 shares of XYZ."
    (group,) = enough.read("/account/margin")["requirement"]["groups"]
    assert group["label"] == "XYZ1 18 Dec 2026 30 covered call"


@pytest.fixture
def open_split(split: Market) -> Callable[[str], Trader]:
    def opened(shares: str) -> Trader:
        trader = Trader.opened(feed=split.feed, cash="20000.00")
        trader.order(symbol="XYZ", qty=shares, order_type="market", limit_price=None)
        split.judge()
        return trader

    return opened
