"""An account's whole record as plain lines."""

from decimal import Decimal
from uuid import UUID

from mbt.engine.ledger import ActivityLine, EventLine, FillLine, Ledger, OrderLine, PositionLine
from mbt.models import Account, Activity, Fill, Order, Position
from raxx.kernel.clock import to_ns


def ledger(account_id: UUID) -> Ledger:
    """The account's whole record as plain lines; `digest` of it identifies what happened."""
    account = Account.objects.get(pk=account_id)
    rows = list(Order.objects.filter(account_id=account_id))
    names = {row.pk: row.client_order_id for row in rows}
    history = list(Activity.objects.filter(account_id=account_id).order_by("occurred_at", "line", "id"))
    held: dict[str, PositionLine] = {}
    for position in Position.objects.filter(account_id=account_id):
        sofar = held.get(position.symbol, PositionLine(position.symbol, Decimal(0), Decimal(0), Decimal(0)))
        held[position.symbol] = PositionLine(
            position.symbol,
            sofar.qty + position.qty,
            sofar.cost + position.cost,
            sofar.realized + position.realized,
        )
    return Ledger(
        cash=account.cash_balance,
        orders=[
            OrderLine(
                row.client_order_id, row.symbol, row.side, row.order_type, row.time_in_force, row.qty, row.limit_price,
                to_ns(row.accepted_at), row.status, to_ns(row.closed_at) if row.closed_at else None, row.reason,
            )
            for row in rows
        ],
        fills=[
            FillLine(
                names[fill.order_id], fill.symbol, fill.side, fill.qty, fill.price, to_ns(fill.filled_at), fill.quote_ns,
                fill.nbbo_bid, fill.nbbo_bid_size, fill.nbbo_ask, fill.nbbo_ask_size, fill.rule, fill.rule_version,
            )
            for fill in Fill.objects.filter(order__account_id=account_id)
        ],
        activities=[
            ActivityLine(
                row.activity_type, row.symbol, row.amount, to_ns(row.occurred_at), names[row.order_id] if row.order_id else ""
            )
            for row in history
        ],
        positions=list(held.values()),
        events=[
            EventLine(
                row.activity_type, row.symbol, row.side, row.qty, row.price, row.amount, row.cost, row.realized,
                to_ns(row.occurred_at), row.line, row.note,
            )
            for row in history
            if row.activity_type not in (Activity.Type.FILL, Activity.Type.ADJUSTMENT)
        ],
    )  # fmt: skip
