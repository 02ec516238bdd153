"""Halts reach the engine, hold up orders, survive a restart, and are told: docs/rules/halts.md."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mbt.engine.orders import OrderStatus
from mbt.models import Halt, Order
from mbt.services.engine import Engine
from mbt.services.engine.halts import known_at
from raxx.kernel.clock import SECOND_NS, to_ns
from raxx.kernel.ids import new_id
from raxx.market.feeds.base import Batch
from raxx.market.status import Reason, TradingStatus
from tests.mbt.paper_tools import HandFeed, Market, Trader

MORNING = to_ns(datetime(2026, 11, 20, 15, 30, tzinfo=UTC))  # 10:30 in New York
CALL = "SPY261218C00105000"


@pytest.fixture
def market(_database: None) -> Iterator[Market]:
    market = Market(f"test-{new_id().hex}", now_ns=MORNING)
    market.quote("SPY", "99.98", "100.02")
    market.quote(CALL, "1.90", "2.00")
    yield market
    market.close()


@pytest.fixture
def trader(market: Market) -> Trader:
    return Trader.opened(feed=market.feed)


def hear(
    market: Market, symbol: str, reason: Reason | None, *, minutes: float | None = None
) -> TradingStatus:
    """The market says so now."""
    market.engine.take_in()
    market.now_ns += SECOND_NS
    until = None if minutes is None else market.now_ns + round(minutes * 60) * SECOND_NS
    status = TradingStatus(symbol, market.now_ns, reason, until)
    market.engine.advance(Batch([], market.now_ns, (status,)))
    return status


def status_of(trader: Trader, order: dict[str, str]) -> str:
    return str(trader.read(f"/orders/{order['id']}")["status"])


def test_an_order_waits_out_a_pause_and_says_so(market: Market, trader: Trader) -> None:
    resting = trader.order(qty="5", limit_price="99.00")
    market.judge()
    hear(market, "SPY", Reason.PRICE_BAND, minutes=5)
    order = trader.order(qty="10", order_type="market")
    market.quote("SPY", "98.90", "98.95", after_s=60)  # would fill both
    assert (status_of(trader, resting), status_of(trader, order)) == ("new", "accepted")
    told = trader.why(order["id"])
    assert told["headline"] == (
        "Waiting: Trading in SPY stands still since 2026-11-20 10:30:03.000 ET, until 10:35:03.000 ET, because its price "
        "stayed at a band for fifteen seconds (LUDP). It acts on the first usable quote after the halt."
    )
    assert (told["facts"]["halt_reason"], told["facts"]["halted_until"]) == (
        "LUDP",
        "2026-11-20 10:35:03.000 ET",
    )
    assert any("it was not filled because trading in it was halted" in line for line in told["sentences"])
    market.pass_time(5 * 60)
    assert status_of(trader, order) == "accepted"  # the quote in force is still from before the end
    market.quote("SPY", "98.80", "98.85")
    assert (status_of(trader, resting), status_of(trader, order)) == ("filled", "filled")
    row = trader.read(f"/orders/{order['id']}")
    assert row["filled_avg_price"] == "98.85"
    # The story tells of the halt when it is over.
    told = trader.why(order["id"])
    assert any(
        "Trading in SPY stood still from 2026-11-20 10:30:03.000 ET" in line for line in told["sentences"]
    )


def test_an_order_that_may_not_wait_ends(market: Market, trader: Trader) -> None:
    hear(market, "SPY", Reason.NEWS_PENDING)
    order = trader.order(qty="10", limit_price="101.00", time_in_force="ioc")
    market.judge()
    row = trader.read(f"/orders/{order['id']}")
    assert (row["status"], row["reason"]) == ("canceled", "HALTED")
    told = trader.why(order["id"])
    assert "when it ends is not known" in " ".join(told["sentences"])


def test_options_stand_still_with_their_stock_and_a_halt_of_one_does_not_stop_the_stock(
    market: Market, trader: Trader
) -> None:
    hear(market, CALL, Reason.OPERATIONAL)
    stock, option = (
        trader.order(qty="1", order_type="market"),
        trader.order(symbol=CALL, qty="1", order_type="market"),
    )
    market.quote(CALL, "1.90", "2.00")
    market.judge()
    assert (status_of(trader, stock), status_of(trader, option)) == ("filled", "accepted")
    hear(market, CALL, None)
    market.quote(CALL, "1.90", "2.00")
    assert status_of(trader, option) == "filled"
    hear(market, "SPY", Reason.NEWS_PENDING)
    option = trader.order(symbol=CALL, qty="1", order_type="market")
    market.quote(CALL, "1.90", "2.00")
    assert status_of(trader, option) == "accepted"


def test_a_breaker_stops_everything(market: Market, trader: Trader) -> None:
    hear(market, "*", Reason.MARKET_7, minutes=15)
    order = trader.order(qty="1", order_type="market")
    market.quote("SPY", "93.00", "93.02")
    assert status_of(trader, order) == "accepted"
    assert "All trading stands still" in trader.why(order["id"])["headline"]
    market.quote("SPY", "93.00", "93.02", after_s=15 * 60)
    assert status_of(trader, order) == "filled"


def test_a_preview_warns_of_a_halt(market: Market, trader: Trader) -> None:
    hear(market, "SPY", Reason.NEWS_RELEASED)
    ticket = {"symbol": CALL, "side": "buy", "qty": "1", "order_type": "market", "time_in_force": "day"}
    found = trader.send("POST", "/orders/preview", ticket).json()["data"]
    assert [warning["code"] for warning in found["warnings"]] == ["HALTED"]
    assert "because news is out and being read (T2)" in found["warnings"][0]["message"]


def test_a_halt_survives_a_restart(market: Market, trader: Trader) -> None:
    order = trader.order(qty="10", limit_price="99.00")
    market.judge()
    status = hear(market, "SPY", Reason.NEWS_PENDING)
    assert known_at(market.feed, market.now_ns) == [status]
    assert known_at(market.feed, status.ts - 1) == []  # an engine that goes back before it hears it anew

    market.engine = Engine(HandFeed(market.feed, ["SPY", CALL]), market.board)
    market.engine.start()
    market.quote("SPY", "98.90", "98.95")
    assert status_of(trader, order) == "new"
    hear(market, "SPY", None)
    market.quote("SPY", "98.90", "98.95")
    assert status_of(trader, order) == "filled"
    [row] = Halt.objects.filter(feed=market.feed)
    assert (row.reason, row.until_ns) == ("T1", market.now_ns - SECOND_NS)
    assert Order.objects.get(pk=order["id"]).status == OrderStatus.FILLED


def test_quotes_of_the_instant_come_after_its_halt_and_those_before_do_not(
    market: Market, trader: Trader
) -> None:
    order = trader.order(qty="10", limit_price="99.00")
    market.judge()
    halt_ns = market.now_ns + 2 * SECOND_NS
    quote = market.engine.last_quote("SPY")
    assert quote is not None
    cheap = type(quote)("SPY", halt_ns, 989_000, 300, 989_500, 200)
    market.now_ns = halt_ns
    halt = TradingStatus("SPY", halt_ns, Reason.PRICE_BAND, halt_ns + 300 * SECOND_NS)
    market.engine.advance(Batch([cheap], halt_ns, (halt,)))
    assert status_of(trader, order) == "new"
    other = trader.order(qty="10", limit_price="98.00")
    market.judge()
    assert status_of(trader, other) == "accepted"


def test_a_paced_tape_tells_the_engine(tmp_path: Path) -> None:
    """The file beside the tape is enough; see tests/market/feeds/test_trading_halts.py for its form."""
    from raxx.market.feeds.replay import ReplayFeed

    path = tmp_path / "quotes_SPY_20261120.csv"
    path.write_text(f"ts_ns_utc,symbol,bid,bid_size,ask,ask_size\n{MORNING},SPY,99.98,3,100.02,2\n")
    path.with_name("quotes_SPY_20261120.halts.csv").write_text(
        f"from_ns_utc,symbol,until_ns_utc,reason\n{MORNING + SECOND_NS},SPY,,T12\n"
    )
    feed = ReplayFeed(path)
    feed.start(None)
    [told] = feed.advance_to(MORNING + SECOND_NS).statuses
    assert (told.symbol, told.reason) == ("SPY", Reason.INFORMATION_REQUESTED)
