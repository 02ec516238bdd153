"""What the engine decided becomes the record: many decisions in one transaction, each exactly once.

The engine hands over decisions in the order in which they fell. Accounts, then orders, then positions are
locked; the pure functions of `mbt.engine.account` book each fill; `fill_store` writes everything at once.
A decision about an order that is over meanwhile (its owner canceled it first) changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from audit import log, pseudonym
from mbt import events
from mbt.engine.account import Position, Unbookable, book_fill, post
from mbt.engine.fills import Fill
from mbt.engine.matching import Closed, Decision, Filled, Refused, Rested
from mbt.engine.orders import OPEN_STATUSES, Order, OrderStatus, Side
from mbt.models import Activity
from mbt.services import fill_store
from mbt.services.fill_store import OrderRow, PositionRow
from raxx.kernel import outbox
from raxx.kernel.clock import from_ns
from raxx.kernel.ids import new_id
from raxx.kernel.money import from_ticks
from raxx.market.quotes import Quote

_ACTIONS = {
    OrderStatus.NEW: events.ORDER_WORKING,
    OrderStatus.FILLED: events.ORDER_FILLED,
    OrderStatus.CANCELED: events.ORDER_CANCELED,
    OrderStatus.EXPIRED: events.ORDER_EXPIRED,
    OrderStatus.REJECTED: events.ORDER_REJECTED,
}


@dataclass(frozen=True, slots=True)
class Applied:
    """How many decisions took effect, and how many came too late."""

    effective: int
    too_late: int


@transaction.atomic
def apply(decisions: Sequence[Decision], *, feed: str, position_ns: int, now: datetime) -> Applied:
    """Settle `decisions` of the engine of `feed`, which has matched every quote up to `position_ns`.

    `now` is the wall clock, for the engine's own state.
    """
    batch = _Batch(feed, fill_store.lock(decisions))
    for decision in decisions:
        batch.settle(decision)
    fill_store.write(batch.changes)
    log.record_many(batch.entries)
    outbox.add_many(topic=events.ORDERS_TOPIC, events=batch.announcements)
    fill_store.write_position(feed, position_ns, now)
    return Applied(batch.effective, len(decisions) - batch.effective)


@dataclass
class _Batch:
    """Locked rows, changed in memory decision by decision."""

    feed: str
    rows: fill_store.LockedRows
    changes: fill_store.Changes = field(default_factory=fill_store.Changes)
    entries: list[log.Entry] = field(default_factory=list)
    announcements: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    effective: int = 0

    def settle(self, decision: Decision) -> None:
        row = self.rows.orders.get(decision.order.id)
        if row is None or row.status not in OPEN_STATUSES:
            return
        self.effective += 1
        at = from_ns(decision.at_ns)
        match decision:
            case Filled(order=order, fill=fill):
                self._fill(order, row, fill, at)
            case Rested(quote=quote):
                row.working_at, row.arrival = at, _facts(quote)
                self._move(row, OrderStatus.NEW, at)
            case Closed(order=order, status=status, why=why, quote=quote):
                if quote is not None:
                    row.arrival = _facts(quote)
                self._release(order, row)
                self._close(row, status, at, why or "")
            case Refused(why=why, quote=quote):
                row.refusals.setdefault(why, _facts(quote) | {"at_ns": decision.at_ns})
                self.changes.orders[row.id] = row

    def _fill(self, order: Order, row: OrderRow, fill: Fill, at: datetime) -> None:
        account = self.rows.accounts[row.account_id]
        key = (row.account_id, order.symbol)
        holding = self.rows.positions.get(key)
        before = Position(holding.qty, holding.cost) if holding else Position()
        spendable = account.cash_balance - account.cash_held + row.cash_hold
        posting = book_fill(order, fill.price, position=before, spendable=spendable)
        if row.working_at is None:  # a rested order keeps the quote it met first
            row.arrival = _facts(fill.quote)
        self._release(order, row)
        if isinstance(posting, Unbookable):
            self._close(row, OrderStatus.REJECTED, at, posting)
            return
        account.cash_balance += posting.cash
        self.changes.accounts[account.id] = account
        if holding is None:
            holding = PositionRow.opened(row, order, at)
            self.rows.positions[key] = holding
        after = post(before, posting)
        holding.qty, holding.cost = after.qty, after.cost
        holding.realized += posting.realized
        if not holding.qty:
            holding.closed_at = at
            del self.rows.positions[key]  # the next buy opens a new row
        self.changes.positions[holding.id] = holding
        price = from_ticks(fill.price)
        fill_id = new_id()
        self.changes.fills.append(_fill_row(fill_id, order, fill, at, self.feed))
        self.changes.activities.append({
            "id": new_id(), "account_id": row.account_id, "activity_type": Activity.Type.FILL, "symbol": order.symbol,
            "side": order.side, "qty": fill.qty, "price": price, "amount": posting.cash,
            "realized": posting.realized if order.side is Side.SELL else None, "order_id": row.id,
            "ref_id": fill_id, "occurred_at": at,
        })  # fmt: skip
        row.filled_qty, row.filled_avg_price = fill.qty, price
        self._close(
            row, OrderStatus.FILLED, at, "", qty=fill.qty, price=price, rule=f"{fill.rule}/{fill.version}"
        )

    def _release(self, order: Order, row: OrderRow) -> None:
        """Give back what the order held."""
        if order.side is Side.BUY:
            account = self.rows.accounts[row.account_id]
            account.cash_held -= row.cash_hold
            row.cash_hold = Decimal(0)
            self.changes.accounts[account.id] = account
            return
        holding = self.rows.positions[(row.account_id, order.symbol)]
        holding.qty_held -= order.qty
        self.changes.positions[holding.id] = holding

    def _close(self, row: OrderRow, status: OrderStatus, at: datetime, reason: str, **facts: object) -> None:
        row.closed_at, row.reason = at, reason
        self._move(row, status, at, **facts)

    def _move(self, row: OrderRow, status: OrderStatus, at: datetime, **facts: object) -> None:
        before, row.status = row.status, status
        self.changes.orders[row.id] = row
        self.entries.append(log.Entry(
            action=_ACTIONS[status], actor=pseudonym.ENGINE, object_type="mbt.order", object_id=row.id, at=at,
            changes={"status": [before, status], **facts}, reason=row.reason,
        ))  # fmt: skip
        self.announcements.append((str(row.id), {"order_id": row.id, "event": status}))


def _facts(quote: Quote | None) -> dict[str, Any]:
    """A quote as the receipt keeps it; prices in 1/10,000 dollar."""
    if quote is None:
        return {}
    return {
        "quote_ns": quote.ts,
        "bid": quote.bid,
        "bid_size": quote.bid_size,
        "ask": quote.ask,
        "ask_size": quote.ask_size,
    }


def _fill_row(fill_id: UUID, order: Order, fill: Fill, at: datetime, feed: str) -> dict[str, Any]:
    quote = fill.quote
    return {
        "id": fill_id, "order_id": order.id, "fill_seq": 1, "symbol": order.symbol, "side": order.side, "qty": fill.qty,
        "price": from_ticks(fill.price), "filled_at": at, "nbbo_bid": from_ticks(quote.bid),
        "nbbo_bid_size": quote.bid_size, "nbbo_ask": from_ticks(quote.ask), "nbbo_ask_size": quote.ask_size,
        "quote_ns": quote.ts, "feed": feed, "rule": fill.rule, "rule_version": fill.version,
    }  # fmt: skip
