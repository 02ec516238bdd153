"""Every end and every state of an order, told in sentences that hold the numbers and no codes."""

import re
from decimal import Decimal
from typing import Any

import pytest

from mbt.engine.fills import Why
from mbt.models import Fill
from tests.mbt.paper_tools import Market, Trader

CODES = re.compile(r"[A-Z]{2,}_[A-Z_]+|Side\.|Why\.|Rule\.|<|None|Decimal|e[+-]?[0-9]{2}")
OPTION = "SPY261218C00100000"


def why(trader: Trader, order: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Headline, the sentences as one text, facts: once what holds for every explanation is checked."""
    body = trader.get(f"/orders/{order['id']}/explain").json()
    assert body["meta"] == {"order_id": order["id"]}
    assert set(body["data"]) == {"headline", "sentences", "facts", "nearest_miss"}
    headline, sentences, facts = (body["data"][name] for name in ("headline", "sentences", "facts"))
    shown = trader.read(f"/orders/{order['id']}")
    for sentence in (headline, *sentences):
        assert not CODES.search(sentence), sentence
        assert sentence.endswith((".", ")")), sentence
        assert sentence[0].isupper(), sentence
    for name in ("status", "reason", "side", "qty", "symbol", "order_type", "time_in_force", "limit_price"):
        assert facts[name] == shown[name], name
    amount = f"{shown['qty']} {'contract' if shown['asset_class'] == 'option' else shown['symbol']}"
    assert amount in sentences[0]
    assert "Accepted 2026-11-2" in sentences[0]
    if shown["limit_price"]:
        assert f"${Decimal(shown['limit_price']):,.2f} or better" in sentences[0]
    return headline, " ".join(sentences), facts


def agree(order: dict[str, Any], facts: dict[str, Any]) -> None:
    """The facts of a fill are those of its row."""
    fill = Fill.objects.get(order_id=order["id"])
    assert Decimal(facts["fill_price"]) == fill.price
    assert Decimal(facts["fill_qty"]) == fill.qty
    assert Decimal(facts["nbbo_bid"]) == fill.nbbo_bid
    assert Decimal(facts["nbbo_ask"]) == fill.nbbo_ask
    sizes = (facts["nbbo_bid_size"], facts["nbbo_ask_size"], facts["quote_ns"])
    assert sizes == (fill.nbbo_bid_size, fill.nbbo_ask_size, fill.quote_ns)
    assert (facts["rule"], facts["rule_version"], facts["feed"]) == (fill.rule, fill.rule_version, fill.feed)
    [activity] = fill.order.activities.all()
    assert facts["amount"] == f"{activity.amount:.2f}"


def test_filled_at_the_market(trader: Trader, market: Market) -> None:
    order = trader.order(order_type="market", qty="10")
    market.judge()
    headline, story, facts = why(trader, order)
    assert headline == "Bought 10 SPY at $100.02, paid $1,000.20, at 10:30:02.000 ET."
    assert "the NBBO was bid $99.98, ask $100.02 (sizes 300 × 200, 1,000 ms old)" in story
    assert "market order trades at the touch" in story
    assert "(rule market.touch, version 1)" in story
    agree(order, facts)
    assert (facts["slippage_from_mid_per_unit"], facts["price_improvement_per_unit"]) == ("0.02", None)
    assert facts["quote_age_ms"] == 1000


def test_filled_on_arrival_better_than_its_limit(trader: Trader, market: Market) -> None:
    order = trader.order(limit_price="100.05")
    market.judge()
    headline, story, facts = why(trader, order)
    assert "at $100.02, paid $100.02" in headline
    assert "That is $0.03 better than the limit." in story
    assert "(rule limit.marketable, version 1)" in story
    agree(order, facts)
    assert facts["price_improvement_per_unit"] == "0.03"


def test_filled_while_resting(trader: Trader, market: Market) -> None:
    order = trader.order(qty="3", limit_price="99.00")
    market.quote("SPY", "98.00", "98.50", after_s=2)
    headline, story, facts = why(trader, order)
    assert "Bought 3 SPY at $99.00, paid $297.00" in headline
    assert "the NBBO was bid $99.98, ask $100.02; that did not reach the limit, so the order rested" in story
    assert "the NBBO was bid $98.00, ask $98.50" in story
    assert "(rule limit.resting, version 1)" in story
    assert "The touch was $98.50" in story
    agree(order, facts)


def test_sold_contracts_at_a_locked_market(trader: Trader, market: Market) -> None:
    market.quote(OPTION, "1.20", "1.25")
    trader.order(symbol=OPTION, order_type="market", qty="2")
    market.quote(OPTION, "1.30", "1.30")
    order = trader.order(symbol=OPTION, side="sell", order_type="market", qty="2")
    market.judge()
    headline, story, facts = why(trader, order)
    assert headline.startswith(f"Sold 2 contracts of {OPTION} at $1.30, received $260.00")
    assert "The market was locked; bid = ask is a price." in story
    agree(order, facts)
    assert facts["slippage_from_mid_per_unit"] == "0"


def test_resting_with_its_distance(trader: Trader, market: Market) -> None:
    buy = trader.order(limit_price="99.50")
    trader.order(order_type="market", qty="5")
    market.judge()
    sell = trader.order(side="sell", limit_price="101.25", time_in_force="gtc")
    market.judge()
    headline, story, facts = why(trader, buy)
    assert headline == "Resting: the best ask is $100.02 and must fall by $0.52 to reach $99.50."
    assert "It expires at 2026-11-21 00:00:00.000 ET." in story
    assert (facts["distance_to_fill"], facts["nbbo_bid"], facts["nbbo_ask"]) == ("0.52", "99.98", "100.02")
    headline, story, facts = why(trader, sell)
    assert headline == "Resting: the best bid is $99.98 and must rise by $1.27 to reach $101.25."
    assert "expires" not in story
    market.quote("SPY", None, "100.02")
    assert (
        why(trader, sell)[0]
        == "Resting: there is no bid now. It fills when a usable quote has its bid at $101.25 or better."
    )
    market.quote("SPY", "99.60", "99.40")  # crossed: reaches the limit, and does not fill
    headline, story, _ = why(trader, buy)
    assert "reaches $99.50; it fills at the first usable quote like that" in headline
    assert "crossed" in story


def test_waiting_for_the_market_to_open(exchange: Market) -> None:
    trader = Trader.opened(feed=exchange.feed)
    exchange.pass_time(6 * 3_600)
    known, never_quoted = trader.order(order_type="market"), trader.order(symbol="AAPL", limit_price="150.00")
    exchange.judge()
    for order in (known, never_quoted):
        headline, story, _ = why(trader, order)
        assert (
            headline
            == "Waiting: the market is closed. It acts on the first usable quote after 2026-11-23 09:30:00.000 ET."
        )
        assert "It expires at 2026-11-23 16:00:00.000 ET." in story


def test_waiting_for_a_first_quote(trader: Trader, market: Market) -> None:
    order = trader.order(symbol="PENNY", limit_price="0.55")
    market.judge()
    headline, story, _ = why(trader, order)
    assert headline == "Waiting for its first usable quote: two-sided, not crossed and fresh."
    assert "there was no quote of it yet" in story


REFUSALS = [
    ("0.60", "0.50", Why.CROSSED_QUOTE, "crossed", "bid $0.60, ask $0.50"),
    (None, "0.50", Why.ONE_SIDED_QUOTE, "one side only", "no bid, ask $0.50"),
    ("0.50", None, Why.ONE_SIDED_QUOTE, "one side only", "bid $0.50, no ask"),
]


@pytest.mark.parametrize(("bid", "ask", "code", "words", "quoted"), REFUSALS)
def test_quotes_that_could_not_be_used_are_told(
    trader: Trader, market: Market, bid: str | None, ask: str | None, code: Why, words: str, quoted: str
) -> None:
    order = trader.order(symbol="PENNY", limit_price="0.55")
    market.quote("PENNY", bid, ask)
    _, story, _ = why(trader, order)
    assert (
        f"At 10:30:03.000 ET it was not filled because its quote {'was' if words == 'crossed' else 'had'} {words}"
        in story
    )
    assert quoted in story
    assert list(trader.row(order["id"]).refusals) == [Why.NO_QUOTE, code]
    market.quote("PENNY", "0.48", "0.50")
    headline, story, facts = why(trader, order)
    assert headline.startswith("Bought 1 PENNY at $0.50")
    assert words in story
    agree(order, facts)


def test_a_stale_quote_is_told(trader: Trader, market: Market) -> None:
    market.pass_time(121)
    order = trader.order(order_type="market")
    market.judge()
    headline, story, _ = why(trader, order)
    assert headline.startswith("Waiting for its first usable quote")
    assert (
        "At 10:32:03.000 ET it was not filled because its last quote was too old to trade on: bid $99.98, ask $100.02."
        in story
    )


@pytest.mark.parametrize("tif", ["ioc", "fok"])
def test_canceled_because_it_could_not_trade_at_once(trader: Trader, market: Market, tif: str) -> None:
    market.quote("PENNY", "0.60", "0.50")
    cases = [
        (trader.order(time_in_force=tif, limit_price="99.99"), "the market was not at its limit", "bid $99.98, ask $100.02"),
        (trader.order(time_in_force=tif, symbol="PENNY", limit_price="0.55"), "its quote was crossed", "bid $0.60, ask $0.50"),
        (trader.order(time_in_force=tif, symbol=OPTION, limit_price="1.00"), "there was no quote of it yet", ""),
    ]  # fmt: skip
    market.judge()
    for order, words, quoted in cases:
        headline, story, facts = why(trader, order)
        assert headline.startswith(
            "Canceled at 2026-11-20 10:30:03.000 ET: it had to trade at once, and " + words
        )
        assert quoted in story
        assert facts["reason"] in list(Why)


def test_expired(exchange: Market) -> None:
    trader = Trader.opened(feed=exchange.feed)
    rested, waited = trader.order(limit_price="99.00"), trader.order(symbol="AAPL", limit_price="150.00")
    exchange.pass_time(7 * 3_600)
    headline, story, facts = why(trader, rested)
    assert headline == "Expired unfilled at 2026-11-20 16:00:00.000 ET, the end of its time in force."
    assert "While it worked, no usable quote had its ask at $99.00 or better." in story
    assert facts["closed_at"] == "2026-11-20 16:00:00.000 ET"
    headline, story, _ = why(trader, waited)
    assert headline.startswith("Expired unfilled")
    assert "While it waited, no usable quote of it came." in story


def test_canceled_and_replaced_by_the_owner(trader: Trader) -> None:
    canceled, replaced = trader.order(), trader.order()
    trader.cancel(canceled["id"])
    trader.replace(replaced["id"], limit_price="91.00")
    assert why(trader, canceled)[0] == "Canceled by its owner at 2026-11-20 10:30:02.000 ET."
    assert (
        why(trader, replaced)[0] == "Replaced at 2026-11-20 10:30:02.000 ET by an order with changed terms."
    )


def test_rejected_because_the_fill_cost_more_than_was_free(exchange: Market) -> None:
    """A market buy sent after the close holds the last ask and 3 %; it opens 5 % higher."""
    trader = Trader.opened(feed=exchange.feed, cash="1035.00")
    exchange.pass_time(6 * 3_600)
    order = trader.order(order_type="market", qty="10")
    assert order["cash_hold"] == "1030.21"
    exchange.pass_time(65 * 3_600)  # Monday, 09:30 and after
    exchange.quote("SPY", "104.99", "105.02")
    headline, _, facts = why(trader, order)
    assert headline.startswith("Rejected at 2026-11-23")
    assert "it would have cost more cash than was free" in headline
    assert facts["reason"] == "INSUFFICIENT_CASH"
    account = trader.read("/account")
    assert (account["cash"], account["cash_held"], account["buying_power"]) == ("1035.00", "0.00", "1035.00")


def test_what_was_told_stays_told(trader: Trader, market: Market) -> None:
    """Explanations come from the record: a later market changes nothing about them."""
    order = trader.order(order_type="market", qty="10")
    market.judge()
    told = trader.get(f"/orders/{order['id']}/explain").content
    market.quote("SPY", "50.00", "50.10")
    market.vanish()
    assert trader.get(f"/orders/{order['id']}/explain").content == told
