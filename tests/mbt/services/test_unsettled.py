"""Proceeds that are still to come: kept on the account by fills and events alike, and equal to its history."""

import random
from datetime import UTC, date, datetime
from decimal import Decimal as D

from mbt.engine import settlement
from mbt.engine.account import Kind, Posting
from mbt.events import OPTION_SETTLED
from mbt.models import Account, Activity
from mbt.services.events.applying import Decided, Record, apply_event
from raxx.kernel.clock import exchange_date, to_ns
from raxx.market import calendar
from raxx.market.contracts import AssetClass, parse_symbol
from tests.mbt.paper_tools import Market, Trader

DAY_S = 24 * 3600
PUT = "SPY261218P00095000"


def test_what_an_exercise_sells_settles_like_a_trade(market: Market, trader: Trader) -> None:
    at = datetime(2026, 11, 20, 22, tzinfo=UTC)
    postings = [
        Posting(kind=Kind.EXERCISE, symbol=PUT, qty=D(1), cost=D(0), note="bought before"),
        Posting(kind=Kind.EXERCISE, symbol=PUT, qty=D(-1), cost=D(0), note="exercised"),
        Posting(kind=Kind.EXERCISE, symbol="SPY", qty=D(100), cost=D(0), note="bought before"),
        Posting(kind=Kind.EXERCISE, symbol="SPY", qty=D(-100), cash=D("9500.00"), realized=D("9500.00"), note="delivered"),
        Posting(kind=Kind.DIVIDEND, symbol="SPY", cash=D("12.00"), realized=D("12.00"), note="there at once"),
    ]  # fmt: skip
    decided = Decided(postings=postings, records=[Record(OPTION_SETTLED, {"symbol": PUT})])
    apply_event(trader.account.id, name="exercise", at_ns=to_ns(at), decide=lambda state: decided)
    assert Account.objects.get(pk=trader.account.id).unsettled == {"2026-11-21": "9500.00"}


def test_it_is_what_the_history_says(market: Market, trader: Trader) -> None:
    """The same amounts by the pure functions, from every line of the history."""
    rng = random.Random(7)
    sessions = calendar.of_feed(market.feed)
    for _ in range(40):
        symbol = rng.choice(["SPY", "AAPL"])
        trader.order(symbol=symbol, qty=str(rng.randint(1, 20)), order_type="market")
        market.judge()
        position = {p["symbol"]: p["qty"] for p in trader.read("/positions")}[symbol]
        sold = rng.randint(0, int(position))
        if sold:
            trader.order(symbol=symbol, side="sell", qty=str(sold), order_type="market")
            market.judge()
        if rng.random() < 0.3:
            market.pass_time(DAY_S)
            market.quote("SPY", "99.98", "100.02")
            market.quote("AAPL", "200.00", "200.10")
        today = exchange_date(market.now_ns)
        moves = []
        for row in Activity.objects.filter(account_id=trader.account.id):
            day = exchange_date(to_ns(row.occurred_at))
            is_sale = row.activity_type == "fill" and row.side == "sell"
            settles = settlement.settlement_date(day, AssetClass.EQUITY, sessions) if is_sale else day
            moves.append(
                settlement.Move(row.amount, min(day, today), settles if is_sale else min(day, today))
            )
        shown = trader.read("/account")
        assert {
            date.fromisoformat(due["settles"]): D(due["amount"]) for due in shown["unsettled"]
        } == settlement.unsettled(moves, today)
        assert D(shown["settled_cash"]) == settlement.settled_cash(moves, today)


def test_days_gone_by_are_dropped() -> None:
    sessions = calendar.always()
    due: dict[str, str] = {}
    for day in range(20, 25):
        for amount in ("1.00", "0.50"):
            due = settlement.owed(
                due, D(amount), day=date(2026, 11, day), asset_class=AssetClass.EQUITY, sessions=sessions
            )  # fmt: skip
    assert due == {"2026-11-25": "1.50"}
    assert settlement.still_due(due, date(2026, 11, 25)) == {}
    # T+2 until 27 May 2024, T+1 for options: both are due on the Wednesday after Memorial Day.
    ny = calendar.xnys()
    due = settlement.owed({}, D(5), day=date(2024, 5, 24), asset_class=AssetClass.EQUITY, sessions=ny)
    due = settlement.owed(
        due, D(7), day=date(2024, 5, 24), asset_class=parse_symbol(PUT).asset_class, sessions=ny
    )
    assert due == {"2024-05-29": "5", "2024-05-28": "7"}
    assert settlement.still_due(due, date(2024, 5, 28)) == {date(2024, 5, 29): D(5)}
