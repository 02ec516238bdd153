"""Day trades of margin accounts under both regimes: docs/rules/day-trading.md, through the API and the engine."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import AuditEntry
from mbt.models import Account
from raxx.kernel.clock import to_ns
from raxx.kernel.ids import new_id
from tests.mbt.paper_tools import Market, Trader, problem

DAY_S = 24 * 3600
# A Monday long before the rule changed, and one after; 10:30 in New York, on a market that never closes.
MAY, JULY = datetime(2026, 5, 4, 14, 30, tzinfo=UTC), datetime(2026, 7, 6, 14, 30, tzinfo=UTC)


def quoted(market: Market) -> Market:
    market.quote("SPY", "99.98", "100.02")
    market.quote("PENNY", "3.99", "4.01")
    return market


@pytest.fixture
def market_at(_database: None) -> Iterator[Callable[[datetime], Market]]:
    opened = []

    def at(moment: datetime) -> Market:
        opened.append(Market(f"test-{new_id().hex}", now_ns=to_ns(moment)))
        return quoted(opened[-1])

    yield at
    for market in opened:
        market.close()


def trader_on(market: Market, cash: str) -> Trader:
    trader = Trader.opened(feed=market.feed, cash=cash, account_type="margin")
    Account.objects.filter(pk=trader.account.id).update(fee_schedule="none")
    return trader


def trade(market: Market, trader: Trader, side: str, qty: str = "10", symbol: str = "SPY") -> None:
    order = trader.order(symbol=symbol, side=side, qty=qty, order_type="market")
    market.judge()
    assert trader.read(f"/orders/{order['id']}")["status"] == "filled"


def round_trip(market: Market, trader: Trader) -> None:
    trade(market, trader, "buy")
    trade(market, trader, "sell")


def test_the_fourth_day_trade_below_the_minimum_is_refused(market_at: Callable[[datetime], Market]) -> None:
    market = market_at(MAY)
    trader = trader_on(market, "10000.00")
    for done in (1, 2, 3):
        round_trip(market, trader)
        shown = trader.read("/account")["day_trading"]
        assert (shown["regime"], shown["day_trades"], shown["pattern_day_trader"]) == (
            "legacy_pdt",
            done,
            False,
        )
    trade(market, trader, "buy")
    ticket = {"side": "sell", "qty": "10", "order_type": "market"}
    # Equity stands at 10,000 less three round trips of 10 x 0.04; there was no close yet, so cash stands for it.
    details = problem(trader.place(**ticket), 403, "PATTERN_DAY_TRADER", "qty")
    assert (details["limit"], details["qty_max"]) == ("25000.00", "0")
    assert details["remedy"] == "Hold the position overnight, or bring the account to 25,000.00."
    previewed = trader.send(
        "POST", "/orders/preview", ticket | {"symbol": "SPY", "time_in_force": "day"}
    ).json()["data"]
    assert previewed["denial"]["code"] == "PATTERN_DAY_TRADER"
    [warning] = previewed["warnings"]
    assert (warning["code"], "day trade 4 of the last 5 sessions" in warning["message"]) == (
        "DAY_TRADE",
        True,
    )
    # Opening more is no day trade; overnight the position may be sold.
    trade(market, trader, "buy", "1")
    market.pass_time(DAY_S)
    quoted(market)
    trade(market, trader, "sell", "11")
    assert trader.read("/account")["day_trading"]["day_trades"] == 3


def test_five_sessions_later_they_no_longer_count(market_at: Callable[[datetime], Market]) -> None:
    market = market_at(MAY)
    trader = trader_on(market, "10000.00")
    for _ in range(3):
        round_trip(market, trader)
    for _ in range(5):  # this market has a session every day
        market.pass_time(DAY_S)
    quoted(market)
    assert trader.read("/account")["day_trading"]["day_trades"] == 0
    round_trip(market, trader)


def test_with_the_minimum_they_make_a_pattern_and_four_times_the_excess(
    market_at: Callable[[datetime], Market],
) -> None:
    market = market_at(MAY)
    trader = trader_on(market, "30000.00")
    for _ in range(4):
        round_trip(market, trader)
    market.pass_time(DAY_S)
    quoted(market)
    shown = trader.read("/account")["day_trading"]
    # Four round trips of 10 x 0.04 cost 1.60; nothing is held, so the excess is the equity: 4 x 29,998.40.
    assert (shown["pattern_day_trader"], shown["last_equity"]) == (True, "29998.40")
    assert shown["day_trading_buying_power"] == "119993.60"
    row = Account.objects.get(pk=trader.account.id)
    assert (row.pattern_since, row.closing_on) == (date(2026, 5, 4), date(2026, 5, 4))
    [entry] = AuditEntry.objects.filter(object_id=row.pk, action="mbt.account.pattern_day_trader")
    assert entry.changes == {"since": "2026-05-04", "day_trades": 4}
    # Below the minimum at a close, the mark stays and the power is gone.
    Account.objects.filter(pk=row.pk).update(closing_equity=Decimal("24999.99"))
    assert trader.read("/account")["day_trading"]["day_trading_buying_power"] == "0.00"
    trade(market, trader, "buy")
    problem(trader.place(side="sell", qty="10", order_type="market"), 403, "PATTERN_DAY_TRADER")


def test_since_june_2026_only_the_maintenance_requirement_counts(
    market_at: Callable[[datetime], Market],
) -> None:
    market = market_at(JULY)
    trader = trader_on(market, "10000.00")
    for _ in range(5):
        round_trip(market, trader)
    trade(market, trader, "buy")
    shown = trader.read("/account")["day_trading"]
    assert (shown["regime"], shown["day_trades"], shown["pattern_day_trader"]) == (
        "intraday_margin",
        5,
        False,
    )
    # 9,998.00 less the half-spread of the last purchase: 9,997.80 - 25 % x 1,000.00.
    assert (shown["day_trading_buying_power"], shown["maintenance_excess"]) == (None, "9747.80")
    trade(market, trader, "sell")


def test_a_short_sale_that_leaves_a_deficit_is_refused(market_at: Callable[[datetime], Market]) -> None:
    market = market_at(JULY)
    trader = trader_on(market, "10000.00")
    # Short at 4.00: initial 50 %, maintenance max(2.50, 100 %) a share below 5.00. So 10,000 dollars carry 2,500
    # shares less what the spread costs: sold at 3.99, a cent below the mark, n shares leave 10,000 - 0.01 n >= 4 n.
    details = problem(
        trader.place(symbol="PENNY", side="sell", qty="4000", limit_price="3.99"), 403, "INTRADAY_MARGIN_DEFICIT", "qty"
    )  # fmt: skip
    assert details["qty_max"] == "2493"  # 10,000 / 4.01 = 2,493.77
    # After 4,000: equity 10,000 - 40, requirement 16,000.
    assert (details["limit"], details["found"]) == ("9960.00", "16000.00")
    assert "Reduce to 2493 shares" in details["remedy"]
    trader.order(symbol="PENNY", side="sell", qty="2493", limit_price="3.99")


@pytest.mark.usefixtures("flags_stay_known")
def test_only_orders_that_need_it_cost_a_statement_more(market_at: Callable[[datetime], Market]) -> None:
    """Under the old rule what closes something, of an account below the minimum."""
    market = market_at(MAY)
    trader = trader_on(market, "10000.00")
    trade(market, trader, "buy")

    def cost(**ticket: str) -> int:
        trader.place(limit_price="200.00", side="sell", qty="1")  # whatever is remembered is
        with CaptureQueriesContext(connection) as captured:
            assert trader.place(**ticket).status_code == 201
        return len(captured.captured_queries)

    opening, closing = cost(limit_price="90.00"), cost(side="sell", qty="1", limit_price="200.00")
    assert closing == opening + 1
    Account.objects.filter(pk=trader.account.id).update(closing_equity=Decimal("25000.00"))
    assert cost(side="sell", qty="1", limit_price="200.00") == opening
    Account.objects.filter(pk=trader.account.id).update(
        closing_equity=None, day_trade_rules="intraday_margin"
    )
    assert cost(side="sell", qty="1", limit_price="200.00") == opening


def test_an_account_may_keep_the_old_rule(market_at: Callable[[datetime], Market]) -> None:
    market = market_at(JULY)
    trader = trader_on(market, "10000.00")
    response = trader.send("PATCH", "/account/settings", {"day_trade_rules": "legacy_pdt"})
    assert response.json()["data"]["day_trade_rules"] == "legacy_pdt"
    for _ in range(3):
        round_trip(market, trader)
    trade(market, trader, "buy")
    problem(trader.place(side="sell", qty="10", order_type="market"), 403, "PATTERN_DAY_TRADER")
