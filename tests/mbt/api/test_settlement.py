"""Cash accounts and settlement: the worked examples of docs/rules/settlement.md, through the API and the engine."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from audit.models import AuditEntry
from mbt import books
from mbt.models import Account, Violation
from mbt.services.restrictions import settling
from raxx.kernel.clock import to_ns
from tests.mbt.paper_tools import Market, Trader, problem

# The market of these tests never closes: a trade settles on the next calendar day.
DAY_S = 24 * 3600


@pytest.fixture
def bob(market: Market) -> Trader:
    """A cash account with 10,000 dollars; SPY is at 99.98 / 100.02, AAPL at 200.00 / 200.10."""
    trader = Trader.opened(feed=market.feed, cash="10000.00")
    Account.objects.filter(pk=trader.account.id).update(fee_schedule="none")
    return trader


def trade(market: Market, trader: Trader, symbol: str, side: str, qty: str) -> str:
    order = trader.order(symbol=symbol, side=side, qty=qty, order_type="market")
    market.judge()
    row = trader.read(f"/orders/{order['id']}")
    assert row["status"] == "filled", row["reason"]
    return str(order["id"])


def next_day(market: Market) -> None:
    """The evening passes; SPY and AAPL are quoted as before."""
    market.pass_time(DAY_S)
    market.quote("SPY", "99.98", "100.02")
    market.quote("AAPL", "200.00", "200.10")


def preview(trader: Trader, **ticket: object) -> Any:  # noqa: ANN401 - JSON
    usual = {"symbol": "SPY", "side": "buy", "qty": "1", "order_type": "market", "time_in_force": "day"}
    response = trader.send("POST", "/orders/preview", usual | ticket)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def codes(found: Any) -> list[str]:  # noqa: ANN401 - JSON
    return [warning["code"] for warning in found["warnings"]]


def test_settled_and_unsettled_cash(market: Market, bob: Trader) -> None:
    # Buy 50 at 100.02 = 5,001.00; sell them at 99.98 = 4,999.00, which settles on the next day, 21 November.
    trade(market, bob, "SPY", "buy", "50")
    trade(market, bob, "SPY", "sell", "50")
    account = bob.read("/account")
    # 10,000 - 5,001 + 4,999 = 9,998 are agreed; 4,999 of it are still to come.
    assert (account["cash"], account["settled_cash"]) == ("9998.00", "4999.00")
    assert account["unsettled"] == [{"settles": "2026-11-21", "amount": "4999.00"}]
    next_day(market)
    account = bob.read("/account")
    assert (account["settled_cash"], account["unsettled"], account["violations"]) == ("9998.00", [], [])


def good_faith(market: Market, trader: Trader, symbol: str = "AAPL") -> tuple[str, str]:
    """Turn settled cash over once, spend the unsettled proceeds, and sell too early: purchase and sale."""
    trade(market, trader, "SPY", "buy", "95")
    trade(market, trader, "SPY", "sell", "95")
    return trade(market, trader, symbol, "buy", "45"), trade(market, trader, symbol, "sell", "45")


def test_a_good_faith_violation_is_found_recorded_and_shown(market: Market, bob: Trader) -> None:
    purchase, sale = good_faith(market, bob)
    assert bob.read("/account")["violations"] == []  # the day is looked at in its evening
    next_day(market)
    [found] = bob.read("/account")["violations"]
    # 95 SPY cost 9,501.90, which leaves 498.10 settled; 45 AAPL cost 9,004.50, so most of it is the proceeds of SPY.
    assert found == {
        "kind": "good_faith", "day": "2026-11-20", "symbol": "AAPL", "purchase_id": purchase, "sale_id": sale,
        "fine_from": "2026-11-21",
        "message": (
            "AAPL was bought on 2026-11-20 with the proceeds of SPY, which settle on 2026-11-21, and sold on 2026-11-20, "
            "before they had."
        ),
        "remedy": "Hold AAPL until 2026-11-21, or buy with settled cash.",
    }  # fmt: skip
    [entry] = AuditEntry.objects.filter(object_id=bob.account.id, action="mbt.account.violation")
    assert (entry.reason, entry.changes["purchase"]) == ("good_faith", purchase)
    assert (
        settling.review(feed=market.feed, day=date(2026, 11, 20), at_ns=market.now_ns) == 0
    )  # once is enough
    assert Violation.objects.count() == 1
    assert books.verify(bob.account.id) == (1, [])


def test_a_preview_warns_of_what_would_be_one(market: Market, bob: Trader) -> None:
    trade(market, bob, "SPY", "buy", "95")
    assert codes(preview(bob, side="sell", qty="95")) == []  # paid with settled cash
    trade(market, bob, "SPY", "sell", "95")
    # Free and settled: 10,000 - 9,501.90 = 498.10. 45 AAPL at 200.10 are 9,004.50: 8,506.40 of it have not settled.
    found = preview(bob, symbol="AAPL", qty="45")
    assert codes(found) == ["UNSETTLED_FUNDS"]
    [warning] = found["warnings"]
    assert "$8,506.40 that settles on 2026-11-21" in warning["message"]
    assert codes(preview(bob, symbol="AAPL", qty="2")) == []  # 400.20 are settled
    trade(market, bob, "AAPL", "buy", "45")
    found = preview(bob, symbol="AAPL", side="sell", qty="1")
    assert codes(found) == ["GOOD_FAITH_VIOLATION"]
    assert found["accepted"]
    next_day(market)
    assert codes(preview(bob, symbol="AAPL", side="sell", qty="1")) == []


def test_the_third_violation_restricts_the_account_to_settled_cash(market: Market, bob: Trader) -> None:
    for _ in range(3):
        good_faith(market, bob)
        next_day(market)
    account = bob.read("/account")
    assert len(account["violations"]) == 3
    # The third is of 22 November: 90 days from then is 20 February 2027.
    assert account["restriction"] == {"because": "good_faith", "until": "2027-02-20"}
    [entry] = AuditEntry.objects.filter(object_id=bob.account.id, action="mbt.account.restricted")
    assert entry.changes["until"] == "2027-02-20"
    cash = Decimal(account["cash"])
    trade(market, bob, "SPY", "buy", "80")  # 8,001.60
    trade(market, bob, "SPY", "sell", "80")  # 7,998.40, which settle tomorrow
    free = cash - Decimal("8001.60")
    account = bob.read("/account")
    assert account["buying_power"] == f"{free:.2f}"
    # 10 SPY at 101.00 need 1,010.00.
    details = problem(bob.place(qty="30", limit_price="101.00"), 403, "SETTLED_CASH_ONLY", "qty")
    most = int(free // 101)
    assert (details["qty_max"], details["available"], details["needed"]) == (
        str(most),
        f"{free:.2f}",
        "3030.00",
    )
    assert (details["settles"], details["fine_from"]) == ("2026-11-24 7998.40", "2026-11-24")
    assert details["remedy"] == f"Reduce to {most} shares, or wait until 2026-11-24."
    assert preview(bob, qty="30")["denial"]["code"] == "SETTLED_CASH_ONLY"
    # More than there will ever be is no question of settlement.
    problem(bob.place(qty="500", limit_price="101.00"), 403, "INSUFFICIENT_BUYING_POWER", "qty")
    assert bob.order(qty=str(most), limit_price="101.00")["cash_hold"] == f"{most * 101}.00"
    next_day(market)
    bob.order(qty="30", limit_price="101.00")


def test_a_restriction_ends_on_its_day(market: Market, bob: Trader) -> None:
    Account.objects.filter(pk=bob.account.id).update(
        restricted_until=date(2026, 11, 20), restriction="good_faith"
    )
    trade(market, bob, "SPY", "buy", "95")
    trade(market, bob, "SPY", "sell", "95")
    assert bob.read("/account")["restriction"] is None
    bob.order(qty="90", limit_price="100.00")


def test_only_accounts_that_need_it_are_looked_at(market: Market, bob: Trader) -> None:
    friday = datetime(2026, 11, 20, 22, tzinfo=UTC)
    trade(market, bob, "SPY", "buy", "10")
    assert settling.review(feed=market.feed, day=friday.date(), at_ns=to_ns(friday)) == 0
