"""The engine's in-memory replay against the independent brute-force computation, order by order."""

from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from mbt.engine.account import Position
from mbt.engine.orders import NEVER_NS, Order, OrderType, Side, TimeInForce
from mbt.engine.replay import Submit, replay
from raxx.kernel.money import to_ticks
from raxx.market import calendar
from raxx.market.contracts import AssetClass
from raxx.market.feeds.tape import read_tape
from tests.oracle import brute_force
from tests.oracle.sample_orders import sample

ACCOUNT = UUID(int=1)
PLENTY = Decimal("1000000000.00")


def engine_order(order: brute_force.Order, session_close_ns: int) -> Order:
    tif = TimeInForce(order.tif)
    return Order(
        id=UUID(int=order.number + 1_000), number=order.number, account_id=ACCOUNT, symbol=order.symbol,
        asset_class=AssetClass.EQUITY, multiplier=1, side=Side(order.side), type=OrderType(order.type), tif=tif,
        qty=order.qty, limit=to_ticks(order.limit_price) if order.limit_price else None, accepted_ns=order.submit_ns,
        expires_ns=NEVER_NS if tif is TimeInForce.GTC else session_close_ns,
    )  # fmt: skip


@pytest.mark.tapes
@pytest.mark.parametrize("name", ["quotes_tick_IBM_20131007", "quotes_tick_AIG_20131007"])
def test_500_random_orders_fill_when_and_where_brute_force_says(tapes: Path, name: str) -> None:
    path = tapes / f"{name}.csv.gz"
    sampled = sample(path, 20131007, 500)
    tape = read_tape(path)
    sessions = calendar.xnys()
    quotes = tape.rows(0, len(tape))
    submits = [
        Submit(engine_order(o, sessions.current_or_next(o.submit_ns).close_ns), f"o{o.number}", Decimal(0))
        for o in sampled
    ]
    expected = brute_force.outcomes(
        sampled, brute_force.load_tape(path), brute_force.load_sessions(tapes / "sessions.csv")
    )

    ledger = replay(
        submits, quotes, sessions, cash=PLENTY, positions={sampled[0].symbol: Position(Decimal(10**8), PLENTY)},
        start_ns=quotes[0].ts - 1, end_ns=quotes[-1].ts,
    )  # fmt: skip

    fills = {line.client_order_id: line for line in ledger.fills}
    ends = {line.client_order_id: line for line in ledger.orders}
    for order, outcome in zip(sampled, expected, strict=True):
        key = f"o{order.number}"
        if outcome.kind == "filled":
            fill = fills[key]
            assert (fill.filled_ns, fill.price, fill.rule) == (outcome.at_ns, outcome.price, outcome.rule), (
                order
            )
            assert outcome.quote is not None
            assert (fill.quote_ns, fill.bid, fill.ask) == (
                outcome.quote.ts_ns,
                outcome.quote.bid,
                outcome.quote.ask,
            ), order
        elif outcome.kind == "working":
            assert ends[key].status in ("new", "accepted"), order
        else:
            assert (ends[key].status, ends[key].closed_ns, ends[key].reason) == (
                outcome.kind, outcome.at_ns, outcome.reason or "",
            ), order  # fmt: skip
    assert len(fills) == sum(outcome.kind == "filled" for outcome in expected) > 100
