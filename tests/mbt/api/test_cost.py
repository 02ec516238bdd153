"""What a request costs the database: few statements, and no more of them for longer lists."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.mbt.paper_tools import Market, Trader

pytestmark = pytest.mark.usefixtures("fresh_db", "flags_stay_known")


def statements(act: Callable[[], Any]) -> list[str]:
    """What a successful request sends to the database, but for BEGIN and COMMIT."""
    with CaptureQueriesContext(connection) as captured:
        response = act()
    assert response.status_code in (200, 201), response.content
    return [q["sql"] for q in captured.captured_queries if q["sql"] not in ("BEGIN", "COMMIT")]


@pytest.mark.parametrize(
    "terms", [{"order_type": "market"}, {"order_type": "limit"}, {"qty": "2", "time_in_force": "ioc"}]
)
def test_a_buy_is_three_statements_once_warm(trader: Trader, terms: dict[str, object]) -> None:
    """Whose key, lock and look, write."""
    trader.place()
    found = statements(lambda: trader.place(**terms))
    assert len(found) == 3, found


def test_a_sell_also_locks_its_position(trader: Trader, market: Market) -> None:
    trader.order(order_type="market", qty="10")
    market.judge()
    found = statements(lambda: trader.place(side="sell", limit_price="110.00"))
    assert len(found) == 4, found


def test_lists_and_accounts_cost_the_same_however_much_there_is(trader: Trader, market: Market) -> None:
    paths = ("/account", "/positions", "/orders", "/activities")

    def costs() -> list[int]:
        return [len(statements(lambda: trader.get(path))) for path in paths]  # noqa: B023 - at once

    trader.order(order_type="market", qty="1")
    market.judge()
    trader.read("/account")
    before = costs()
    assert before == [6, 2, 2, 2]
    market.quote("SPY261218C00100000", "1.20", "1.25")
    for symbol in ("SPY", "AAPL", "SPY261218C00100000") * 4:
        trader.order(symbol=symbol, order_type="market", qty="1")
        replaced = trader.order(symbol=symbol, limit_price="0.50")
        trader.replace(replaced["id"], limit_price="0.40")
    market.judge()
    assert len(trader.read("/orders")) == 37
    assert costs() == before


def test_one_order_and_its_story(trader: Trader, market: Market) -> None:
    order = trader.order(order_type="market", qty="1")
    resting = trader.order()
    market.judge()
    trader.read("/account")
    assert len(statements(lambda: trader.get(f"/orders/{order['id']}"))) == 2
    assert len(statements(lambda: trader.get(f"/orders/{order['id']}/explain"))) == 4
    assert len(statements(lambda: trader.get(f"/orders/{resting['id']}/explain"))) == 2
