"""How near the market came to orders that it did not fill: told while they rest, and after they end."""

from decimal import Decimal
from typing import Any

import pytest

from mbt.engine.ledger import digest
from mbt.models import Account, Order
from mbt.selectors import ledger
from mbt.services.engine import Engine
from raxx.kernel.clock import show_exchange_time
from raxx.market.quotes import Quote
from tests.mbt.paper_tools import Market, Trader

NEAR, WING = "SPY261218C00105000", "SPY261218C00110000"


def told(trader: Trader, order: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The nearest miss of an order as data, and its sentence."""
    data = trader.why(order["id"])
    [sentence] = [s for s in data["sentences"] if "The market came within" in s or "without the size" in s]
    return data["nearest_miss"], sentence


def is_of(miss: dict[str, Any], quote: Quote, distance: str, price: str = "limit") -> bool:
    assert Decimal(miss["distance"]) == Decimal(distance), miss
    assert (miss["price"], miss["at_ns"], miss["quote_ns"]) == (price, quote.ts, quote.ts), miss
    assert [Decimal(miss["bid"]) * 10_000, miss["bid_size"]] == [quote.bid, quote.bid_size], miss
    assert [Decimal(miss["ask"]) * 10_000, miss["ask_size"]] == [quote.ask, quote.ask_size], miss
    return True


def test_at_first_the_quote_that_it_met(trader: Trader, market: Market) -> None:
    order = trader.order()
    market.judge()
    miss, sentence = told(trader, order)
    assert (Decimal(miss["distance"]), Decimal(miss["ask"])) == (Decimal("10.02"), Decimal("100.02"))
    assert sentence.startswith("The market came within $10.02 of its limit, at ")
    assert sentence.endswith(" ET (ask $100.02).")


def test_the_quote_in_force_now_counts_at_once(trader: Trader, market: Market) -> None:
    order = trader.order()
    market.judge()
    now = market.quote("SPY", "90.00", "90.07")
    data = trader.why(order["id"])
    assert is_of(data["nearest_miss"], now, "0.07")
    assert data["facts"]["distance_to_fill"] == "0.07"


def test_after_a_minute_the_record_has_what_is_gone_again(trader: Trader, market: Market) -> None:
    order = trader.order()
    market.judge()
    near = market.quote("SPY", "89.95", "90.03", after_s=2)
    market.quote("SPY", "95.00", "95.02", after_s=2)
    assert told(trader, order)[0]["distance"] == "5.02"  # not recorded yet: the quote in force
    market.pass_time(60)
    miss, sentence = told(trader, order)
    assert is_of(miss, near, "0.03")
    assert (
        sentence
        == f"The market came within $0.03 of its limit, at {show_exchange_time(near.ts)} (ask $90.03)."
    )
    market.quote("SPY", "90.03", "90.05", after_s=2)
    market.pass_time(60)
    assert is_of(told(trader, order)[0], near, "0.03")  # what came later was farther away


def test_canceled_and_expired_orders_still_say_it(trader: Trader, exchange: Market) -> None:
    trader = Trader.opened(feed=exchange.feed)
    exchange.quote("SPY", "99.98", "100.02")
    canceled, expires = trader.order(), trader.order(limit_price="80.00")
    exchange.judge()
    near = exchange.quote("SPY", "89.95", "90.03")
    exchange.quote("SPY", "95.00", "95.02")
    assert trader.cancel(canceled["id"]).status_code == 200
    exchange.engine.forget([trader.row(canceled["id"]).pk])  # as the engine does when it hears of the cancel
    assert is_of(told(trader, canceled)[0], near, "0.03")
    exchange.pass_time(9 * 3_600)
    assert trader.read(f"/orders/{expires['id']}")["status"] == "expired"
    assert is_of(told(trader, expires)[0], near, "10.03")


def test_a_restart_in_the_middle_forgets_nothing(trader: Trader, market: Market) -> None:
    first, second = trader.order(), trader.order(limit_price="80.00")
    market.judge()
    near = market.quote("SPY", "89.95", "90.03", after_s=2)
    market.quote("SPY", "95.00", "95.02", after_s=2)
    market.engine.note_nearest()  # as it does when it stops
    market.engine = Engine(market.engine.feed, market.board)
    market.engine.start()
    market.quote("SPY", "90.10", "90.12")
    third = trader.order()
    market.judge()
    later = market.quote("SPY", "90.05", "90.09")
    market.quote("SPY", "95.00", "95.02")
    market.pass_time(61)
    assert is_of(told(trader, first)[0], near, "0.03")
    assert is_of(told(trader, second)[0], near, "10.03")
    assert is_of(told(trader, third)[0], later, "0.09")  # it was not there before


def test_a_stop_says_how_near_its_trigger_was(trader: Trader, market: Market) -> None:
    trader.order(order_type="market", qty="5", limit_price=None)
    market.judge()
    order = trader.order(side="sell", order_type="stop", stop_price="95.00", limit_price=None)
    market.judge()
    near = market.quote("SPY", "95.02", "95.06")
    data = trader.why(order["id"])
    assert is_of(data["nearest_miss"], near, "0.02", "stop")
    assert data["facts"]["distance_to_trigger"] == "0.02"
    market.quote("SPY", "99.00", "99.06")
    market.pass_time(61)
    _, sentence = told(trader, order)
    assert (
        sentence
        == f"The market came within $0.02 of its stop, at {show_exchange_time(near.ts)} (bid $95.02)."
    )


def test_of_a_package_it_is_the_net_price(trader: Trader, market: Market) -> None:
    trader = Trader.opened(feed=market.feed, account_type="margin")
    Account.objects.filter(pk=trader.account.id).update(options_level=3)
    market.quote("SPY", "99.98", "100.02")
    market.quote(NEAR, "2.00", "2.10")
    market.quote(WING, "0.80", "0.90")
    legs = [{"symbol": NEAR, "side": "buy", "ratio": 1}, {"symbol": WING, "side": "sell", "ratio": 1}]
    order = trader.order(order_class="mleg", symbol=None, side=None, legs=legs, limit_price="1.00")
    market.judge()
    near = market.quote(WING, "1.05", "1.15")  # 2.10 - 1.05
    market.quote(NEAR, "2.20", "2.30")
    market.pass_time(61)
    miss, sentence = told(trader, order)
    assert (Decimal(miss["distance"]), miss["at_ns"], Decimal(miss["ask"])) == (
        Decimal("0.05"),
        near.ts,
        Decimal("1.05"),
    )
    assert "within $0.05 of its limit" in sentence
    assert "(a debit of $1.05 at the touch)" in sentence


def test_an_order_that_filled_has_none(trader: Trader, market: Market) -> None:
    order = trader.order(limit_price="99.00")
    market.judge()
    market.quote("SPY", "98.90", "98.95")
    assert trader.why(order["id"])["nearest_miss"] is None


@pytest.mark.parametrize("terms", [{"order_type": "market"}, {"order_type": "limit"}])
def test_the_ledger_knows_nothing_of_it(trader: Trader, market: Market, terms: dict[str, str]) -> None:
    order = trader.order(**terms)
    market.judge()
    market.quote("SPY", "90.00", "90.01")
    market.pass_time(61)
    before = digest(ledger(trader.account.id))
    noted = Order.objects.filter(pk=order["id"], nearest__isnull=False).update(nearest=None)
    assert noted == (terms["order_type"] == "limit")
    assert digest(ledger(trader.account.id)) == before
