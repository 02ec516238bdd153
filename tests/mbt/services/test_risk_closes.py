"""What the engine sends to close a risk is not refused for money or for want of a mark."""

from collections.abc import Callable
from decimal import Decimal as D

import pytest

from mbt import books
from mbt.engine.orders import TimeInForce
from mbt.models import Account, Order
from tests.mbt.services.desk import Desk, Rows, held, ticket

Market = Callable[..., Desk]
P95, P90, C60 = "XYZ261120P00095000", "XYZ261120P00090000", "OTHR261218C00060000"


def day(*, wide: bool = True) -> Rows:
    """Friday 20 November 2026, the day on which the puts expire: XYZ falls to 93.00 and their market is wide."""
    rows: Rows = [
        ("2026-11-20 14:30", "XYZ", "99.98", "100.02"), ("2026-11-20 14:30", P95, "1.20", "1.30"),
        ("2026-11-20 14:30", P90, "0.40", "0.50"),
    ]  # fmt: skip
    for hour in (18, 19, 20):
        for minute in range(0, 60, 10):
            when = f"2026-11-20 {hour}:{minute:02}"
            rows += [
                (when, "XYZ", "92.98", "93.02"),
                (when, P95, "2.00", "6.00" if wide else "2.10"),
                (when, P90, "0.05", "0.50"),
            ]
    return rows


@pytest.mark.parametrize("wide", [False, True])
def test_a_spread_that_costs_more_to_close_than_there_is_free_is_closed(desk: Market, wide: bool) -> None:
    """Assigned, the 95 put takes 9,500 and with it 4,750 of margin; the account has 3,070. The spread requires 500;
    closing it costs 5.95, with 3 % 612.85: 112.85 more, and nothing is free."""
    market = desk(day(wide=wide))
    market.advance("2026-11-20 14:31")
    account = market.open("3000.00")
    market.trade(account, f"-1 {P95}", f"+1 {P90}")
    market.send(account, ticket("+50 XYZ", limit="99.00", tif=TimeInForce.GTC, name="stock"))
    assert Account.objects.get(pk=account.id).cash_balance == D("3070.00")
    market.advance("2026-11-20 20:58")
    closed = [order for order in Order.objects.all() if order.client_order_id.startswith("risk-close-")]
    assert [(order.status, order.filled_avg_price) for order in closed] == [
        ("filled", D("5.95") if wide else D("2.05"))
    ]
    assert set(held(account)) == {"XYZ"}  # bought as the market fell
    assert books.verify()[1] == []
