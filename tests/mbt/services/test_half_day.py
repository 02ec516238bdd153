"""2015-12-24 in GOOG: the session ends at 13:00 in New York, through the whole stack."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from mbt import books
from mbt.engine.orders import OrderStatus, OrderType, Side, TimeInForce
from mbt.engine.tickets import Ticket
from mbt.models import Fill, Order
from mbt.services.engine.paper_day import PaperDay
from raxx.kernel.clock import to_ns
from raxx.market.feeds.replay import ReplayFeed

OPEN = datetime(2015, 12, 24, 14, 30, tzinfo=UTC)
CLOSE = datetime(2015, 12, 24, 18, 0, tzinfo=UTC)
NEXT_OPEN = datetime(2015, 12, 28, 14, 30, tzinfo=UTC)


def buy(name: str, limit: str, tif: TimeInForce) -> Ticket:
    return Ticket(
        symbol="GOOG",
        side=Side.BUY,
        qty=Decimal(1),
        order_type=OrderType.LIMIT,
        time_in_force=tif,
        limit_price=Decimal(limit),
        client_order_id=name,
    )


@pytest.mark.tapes
@pytest.mark.usefixtures("fresh_db")
def test_day_orders_end_at_13_00_and_nothing_fills_until_the_next_session(tapes: Path) -> None:
    day = PaperDay(
        ReplayFeed([tapes / "quotes_1min_GOOG_201512.csv.gz"], name="replay:half"), Decimal("100000.00")
    )
    day.open(OPEN)
    day.advance(to_ns(OPEN.replace(hour=15)))
    quote = day.quote("GOOG")
    assert quote is not None
    resting = day.submit(buy("far", "700.00", TimeInForce.DAY))
    kept = day.submit(buy("kept", "700.00", TimeInForce.GTC))
    assert resting is not None
    assert kept is not None
    day.advance(to_ns(CLOSE) - 1)
    assert Order.objects.get(pk=resting.pk).status == OrderStatus.NEW
    day.advance(to_ns(CLOSE))
    row = Order.objects.get(pk=resting.pk)
    assert row.status == OrderStatus.EXPIRED
    assert row.closed_at == CLOSE
    assert row.cash_hold == 0
    assert Order.objects.get(pk=kept.pk).status == OrderStatus.NEW

    # After the close the tape goes on until 20:00; through all of it nothing fills.
    late = day.submit(buy("late", "800.00", TimeInForce.DAY))
    assert late is not None
    day.advance(to_ns(NEXT_OPEN) - 1)
    assert Order.objects.get(pk=late.pk).status == OrderStatus.ACCEPTED
    assert not Fill.objects.exists()
    day.advance(to_ns(NEXT_OPEN.replace(hour=15)))
    fill = Fill.objects.get()
    # Sent overnight, it arrives with the first quote of Monday's session and gets its touch, not its limit.
    assert fill.order_id == late.pk
    assert fill.rule == "limit.marketable"
    assert fill.price == fill.nbbo_ask < 800
    assert fill.filled_at >= NEXT_OPEN
    assert books.verify()[1] == []
    day.close()
