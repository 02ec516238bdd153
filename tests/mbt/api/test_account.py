"""Account, positions and activities: their shapes, and that they tell one story."""

import re
from decimal import Decimal
from typing import Any

import pytest

from mbt import books
from mbt.models import Fill
from tests.mbt.paper_tools import Market, Trader, problem

MONEY = re.compile(r"-?[0-9]+\.[0-9]{2}")
INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z")


def amounts(of: dict[str, Any], *names: str) -> dict[str, Decimal]:
    """These fields as decimals, once each is seen to be a string of dollars and cents."""
    for name in names:
        assert isinstance(of[name], str), name
        assert MONEY.fullmatch(of[name]), (name, of[name])
    return {name: Decimal(of[name]) for name in names}


def test_a_new_account(trader: Trader, market: Market) -> None:
    response = trader.get("/account")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert set(response.json()) == {"data", "meta"}
    account = response.json()["data"]
    assert INSTANT.fullmatch(account.pop("created_at"))
    assert account == {
        "id": str(trader.account.id), "account_type": "cash", "status": "active", "feed": market.feed,
        "currency": "USD", "cash": "100000.00", "cash_held": "0.00", "buying_power": "100000.00",
        "equity": "100000.00", "long_market_value": "0.00", "short_market_value": "0.00",
        "initial_margin": "0.00", "maintenance_margin": "0.00", "options_level": 2, "unrealized_pl": "0.00", "realized_pl": "0.00",
        "settled_cash": "100000.00", "unsettled": [], "restriction": None, "violations": [], "day_trading": None,
        "simulated": True,
    }  # fmt: skip
    assert response.json()["meta"] == {"marked_at": "2026-11-20T15:30:02Z"}
    assert trader.read("/positions") == []
    [opening] = trader.read("/activities")
    assert (opening["activity_type"], opening["amount"]) == ("adjustment", "100000.00")
    assert [opening[name] for name in ("symbol", "side", "qty", "price", "realized_pl", "order_id")] == [
        None
    ] * 6


def test_a_day_adds_up_to_the_cent(trader: Trader, market: Market) -> None:
    """Hand arithmetic: 10 × 100.02 = 1,000.20; 2.5 × 100.02 = 250.05; 1 × 1.25 × 100 = 125.00;
    4 × 101.00 = 404.00 of a cost of 1,250.25 × 4 / 12.5 = 400.08; profit 3.92."""
    option = "SPY261218C00100000"
    market.quote(option, "1.20", "1.25")
    trader.order(order_type="market", qty="10")
    trader.order(order_type="market", qty="2.5")
    trader.order(symbol=option, order_type="market", qty="1")
    resting = trader.order(qty="20", limit_price="95.00")
    market.quote("SPY", "101.00", "101.04")
    selling = trader.order(side="sell", qty="4", limit_price="101.00")
    market.judge()

    account = trader.read("/account")
    money = amounts(account, "cash", "cash_held", "buying_power", "equity", "long_market_value", "unrealized_pl", "realized_pl")  # fmt: skip
    assert money == {
        "cash": Decimal("99028.75"),  # 100,000 − 1,000.20 − 250.05 − 125.00 + 404.00
        "cash_held": Decimal("1900.00"),
        "buying_power": Decimal("97128.75"),
        "long_market_value": Decimal("981.17"),  # 8.5 × 101.02 = 858.67, and 1.225 × 100 = 122.50
        "equity": Decimal("100009.92"),
        "unrealized_pl": Decimal("6.00"),  # 858.67 − 850.17 = 8.50, and 122.50 − 125.00 = −2.50
        "realized_pl": Decimal("3.92"),
    }
    stock, contract = trader.read("/positions")
    assert INSTANT.fullmatch(stock.pop("opened_at"))
    assert stock == {
        "symbol": "SPY", "asset_class": "equity", "multiplier": 1, "side": "long", "qty": "8.5",
        "qty_available": "8.5", "avg_entry_price": "100.02", "cost_basis": "850.17", "mark_price": "101.02",
        "market_value": "858.67", "unrealized_pl": "8.50", "realized_pl": "3.92",
    }  # fmt: skip
    assert (contract["symbol"], contract["multiplier"], contract["avg_entry_price"]) == (option, 100, "1.25")
    assert (contract["mark_price"], contract["market_value"]) == ("1.225", "122.50")
    assert trader.read("/positions/SPY")["cost_basis"] == "850.17"

    lines = trader.read("/activities")
    assert sum(Decimal(line["amount"]) for line in lines) == money["cash"]
    assert [line["amount"] for line in lines if line["order_id"] == selling["id"]] == ["404.00"]
    assert [line["realized_pl"] for line in lines if line["side"] == "sell"] == ["3.92"]
    for line in lines:
        assert trader.read(f"/activities/{line['id']}") == line
        assert INSTANT.fullmatch(line["occurred_at"])
    fills = {str(fill.pk): fill for fill in Fill.objects.filter(order__account_id=trader.account.id)}
    for line in lines[:-1]:
        fill = fills.pop(line["ref_id"])
        assert (str(fill.order_id), fill.symbol, fill.side) == (
            line["order_id"],
            line["symbol"],
            line["side"],
        )
        assert (Decimal(line["qty"]), Decimal(line["price"])) == (fill.qty, fill.price)
    assert not fills
    assert trader.read(f"/orders/{resting['id']}")["cash_hold"] == "1900.00"
    assert books.verify(trader.account.id) == (1, [])


def test_offered_shares_are_not_available_twice(trader: Trader, market: Market) -> None:
    trader.order(order_type="market", qty="10")
    market.judge()
    trader.order(side="sell", qty="7", limit_price="110.00")
    held = trader.read("/positions/SPY")
    assert (held["qty"], held["qty_available"]) == ("10", "3")


def test_a_position_that_was_sold_is_gone_and_its_profit_stays(trader: Trader, market: Market) -> None:
    trader.order(order_type="market", qty="10")
    market.quote("SPY", "99.00", "99.02")
    trader.order(order_type="market", side="sell", qty="10")
    market.judge()
    assert trader.read("/positions") == []
    problem(trader.get("/positions/SPY"), 404, "NOT_FOUND", "symbol")
    account = trader.read("/account")
    assert (account["cash"], account["equity"], account["realized_pl"]) == ("99989.80", "99989.80", "-10.20")
    assert books.verify(trader.account.id) == (1, [])


@pytest.mark.parametrize(("bid", "ask"), [(None, "100.02"), ("99.98", None), (None, None)])
def test_what_cannot_be_marked_is_null_and_never_zero(
    trader: Trader, market: Market, bid: str | None, ask: str | None
) -> None:
    trader.order(order_type="market", qty="10")
    market.judge()
    market.quote("SPY", bid, ask)
    account = trader.read("/account")
    assert (account["cash"], account["buying_power"]) == ("98999.80", "98999.80")
    assert [account[name] for name in ("equity", "long_market_value", "unrealized_pl")] == [None] * 3
    held = trader.read("/positions/SPY")
    assert [held[name] for name in ("mark_price", "market_value", "unrealized_pl")] == [None] * 3
    assert (held["qty"], held["cost_basis"]) == ("10", "1000.20")


def test_symbols_of_positions_are_read_strictly(trader: Trader, market: Market) -> None:
    option = "SPY261218C00100000"
    market.quote(option, "1.20", "1.25")
    trader.order(symbol=option, order_type="market")
    market.judge()
    assert trader.read("/positions/SPY   261218C00100000")["symbol"] == option
    for text in ("spy", "SPY ", "SPY%00", "٣", "%ED%A0%80", "A" * 5_000, "SPY261318C00100000"):
        problem(trader.get(f"/positions/{text}"), 422, "UNKNOWN_SYMBOL", "symbol")
    problem(trader.get("/positions/NOPE"), 404, "NOT_FOUND", "symbol")


def test_activities_by_type_and_time(trader: Trader, market: Market) -> None:
    trader.order(order_type="market", qty="1")
    market.quote("SPY", "99.98", "100.02", after_s=60)
    trader.order(order_type="market", qty="2")
    market.judge()
    later, earlier = trader.read("/activities?type=fill")
    assert (later["qty"], earlier["qty"]) == ("2", "1")
    assert [line["activity_type"] for line in trader.read("/activities?type=adjustment")] == ["adjustment"]
    cut = later["occurred_at"]
    assert trader.read(f"/activities?type=fill&from={cut}") == [later]
    assert trader.read(f"/activities?type=fill&to={cut}") == [earlier]
    assert trader.read(f"/activities?type=fill&from={earlier['occurred_at']}&to={cut}") == [earlier]
    assert trader.read(f"/activities?type=fill&from={cut}&to={earlier['occurred_at']}") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("type=gift", "type"), ("type=", "type"), ("from=yesterday", "from"), ("to=2026-11-20", "to"),
        ("from=2026-11-20T14:30:00", "from"), ("since=2026-11-20T14:30:00Z", "since"), ("type=fill&type=fill", "type"),
    ],
)  # fmt: skip
def test_bad_filters_are_refused_by_name(trader: Trader, query: str, field: str) -> None:
    problem(trader.get(f"/activities?{query}"), 422, "INVALID_INPUT", field)
