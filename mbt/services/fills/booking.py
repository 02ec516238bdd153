"""What the engine decided becomes the record: many decisions in one transaction, each exactly once.

The engine hands over decisions in the order in which they fell. Accounts, then orders, then positions are
locked; the pure functions of `mbt.engine.account` book each fill; `store` writes everything at once.
A decision about an order that is over meanwhile (its owner canceled it first) changes nothing.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from audit import log, pseudonym
from mbt import events, selectors
from mbt.engine.account import Part, Position, Posting, Unbookable, book_fill, parts_of, post
from mbt.engine.fills import Fill, Market, Why
from mbt.engine.holds import (
    NOTHING,
    Reserved,
    after_fill,
    after_resize,
    after_sibling,
    closed_by,
    closes,
    uncovered,
)
from mbt.engine.matching import Activated, Advanced, Closed, Decision, Filled, Refused, Resized, Rested
from mbt.engine.nearest import Nearest
from mbt.engine.orders import OPEN_STATUSES, Order, OrderStatus, Progress
from mbt.engine.packages import PackageQuote
from mbt.engine.settlement import owed
from mbt.models import Account
from mbt.selectors import TRIGGER, adjusted_classes
from mbt.selectors.order_rows import open_of
from mbt.services.fills import store
from mbt.services.fills.store import OrderRow, PositionRow
from raxx.kernel import outbox
from raxx.kernel.clock import exchange_date, from_ns, to_ns
from raxx.kernel.ids import new_id
from raxx.kernel.money import from_ticks
from raxx.market import calendar
from raxx.market.listing import STANDARD_ONLY

_PRICE_STEP = Decimal("0.000001")
_ACTIONS = {
    OrderStatus.ACCEPTED: events.ORDER_ACTIVATED,
    OrderStatus.NEW: events.ORDER_WORKING,
    OrderStatus.PARTIALLY_FILLED: events.ORDER_FILLED,
    OrderStatus.FILLED: events.ORDER_FILLED,
    OrderStatus.CANCELED: events.ORDER_CANCELED,
    OrderStatus.EXPIRED: events.ORDER_EXPIRED,
    OrderStatus.REJECTED: events.ORDER_REJECTED,
}


@dataclass(frozen=True, slots=True)
class Applied:
    """How many decisions took effect, and how many came too late. `stale`: orders that the engine must read anew."""

    effective: int
    too_late: int
    stale: frozenset[UUID] = frozenset()


@transaction.atomic
def apply(decisions: Sequence[Decision], *, feed: str, position_ns: int, now: datetime) -> Applied:
    """Settle `decisions` of the engine of `feed`, which has matched every quote up to `position_ns`. Those about
    accounts that are set aside change nothing.

    `now` is the wall clock, for the engine's own state.
    """
    aside = set_aside_among({decision.order.account_id for decision in decisions})
    applied = settle(
        [d for d in decisions if d.order.account_id not in aside] if aside else decisions, feed=feed
    )
    store.write_position(feed, position_ns, now)
    left = frozenset(decision.order.id for decision in decisions if decision.order.account_id in aside)
    return Applied(applied.effective, len(decisions) - applied.effective, applied.stale | left)


def set_aside_among(accounts: Collection[UUID]) -> set[UUID]:
    """Those of these accounts that are set aside: `isolation`."""
    rows = Account.objects.filter(pk__in=list(accounts), set_aside_at__isnull=False)
    return set(rows.values_list("pk", flat=True)) if accounts else set()


@transaction.atomic
def settle(decisions: Sequence[Decision], *, feed: str) -> Applied:
    """Settle `decisions` as a part of something else: the engine's position is not touched."""
    batch = _Batch(feed, store.lock(decisions))
    for decision in decisions:
        batch.settle(decision)
    store.write(batch.changes)
    log.record_many(batch.entries)
    outbox.add_many(topic=events.ORDERS_TOPIC, events=batch.announcements)
    return Applied(batch.effective, len(decisions) - batch.effective, frozenset(batch.stale))


def note_nearest(found: Mapping[UUID, Nearest]) -> None:
    """Record how near the market came to orders. It explains and decides nothing, so it waits for nobody."""
    if found:
        store.write_nearest({order_id: _nearest_facts(nearest) for order_id, nearest in found.items()})


@dataclass
class _Batch:
    """Locked rows, changed in memory decision by decision."""

    feed: str
    rows: store.LockedRows
    changes: store.Changes = field(default_factory=store.Changes)
    entries: list[log.Entry] = field(default_factory=list)
    announcements: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    effective: int = 0
    # Orders whose fill came too late or could not be booked, and the groups of exits among them.
    unfilled: set[UUID] = field(default_factory=set)
    split: dict[UUID, UUID] = field(default_factory=dict)  # group: the exit that did not fill
    stale: set[UUID] = field(default_factory=set)

    def settle(self, decision: Decision) -> None:
        row = self.rows.orders.get(decision.order.id)
        if row is None or row.status not in OPEN_STATUSES or self._is_unfounded(decision, row):
            if isinstance(decision, Filled):
                self._unfill(decision.order)
            return
        self.effective += 1
        at = from_ns(decision.at_ns)
        match decision:
            case Filled():
                self._fill(decision, row, at)
            case Rested(quote=quote):
                row.working_at, row.arrival = at, _facts(quote)
                self._move(row, OrderStatus.NEW, at)
            case Advanced(progress=progress, quote=quote):
                self._advance(row, progress, quote, at)
            case Closed(status=status, why=why, quote=quote, nearest=nearest):
                if quote is not None and row.working_at is None:
                    row.arrival = _facts(quote)
                if nearest is not None:
                    row.nearest = _nearest_facts(nearest)
                self._close(row, status, at, why or "")
            case Refused(why=why, quote=quote):
                row.refusals.setdefault(why, _facts(quote) | {"at_ns": decision.at_ns})
                self.changes.noted[row.id] = row
            case Activated(order=order, qty=qty):
                self._resize(row, order, qty)
                if row.status == OrderStatus.HELD:
                    self._move(row, OrderStatus.ACCEPTED, at, qty=qty)
                else:
                    self._record(row, events.ORDER_ACTIVATED, at, {"qty": qty})
            case Resized(order=order, taken=taken):
                qty = row.qty - taken if taken else min(row.qty, order.qty)
                if qty <= row.filled_qty:  # its entry was canceled meanwhile, and left it no more than that
                    self.stale.add(row.id)
                    self._close(row, OrderStatus.CANCELED, at, Why.OCO_SIBLING_FILLED)
                    return
                row.qty = qty
                self._resize(row, order, -taken)
                self._record(row, events.ORDER_RESIZED, at, {"qty": row.qty})

    def _fill(self, decision: Filled, row: OrderRow, at: datetime) -> None:
        order, fill = decision.order, decision.fill
        account = self.rows.accounts[row.account_id]
        spendable = account.cash_balance - account.cash_held + row.cash_hold
        parts = parts_of(order, fill)
        positions = self._shorts(row) if account.is_cash and account.shorts else {}
        positions |= {part.symbol: self._position(row, part.symbol) for part in parts}
        booked = book_fill(
            parts, positions=positions, spendable=spendable, cash_account=account.is_cash,
            closes_only=order.is_exit,
            adjusted=adjusted_classes(self.feed, positions) if account.is_cash else STANDARD_ONLY,
        )  # fmt: skip
        if row.working_at is None:  # a rested order keeps the quote it met first
            row.arrival = _facts(fill.quote)
        if isinstance(booked, Unbookable):
            self._close(row, OrderStatus.REJECTED, at, booked)
            self._unfill(order)
            self.stale.add(row.id)  # the engine goes on with what is left of it
            return
        others = {part.symbol: self._reserved_by_others(row, part.symbol) for part in parts}
        for part, posting in zip(parts, booked, strict=True):
            self._post(row, order, part, posting, fill, at)
        filled, leaves = row.filled_qty + fill.qty, decision.leaves
        if order.is_exit and leaves > row.qty - filled:  # its entry was canceled meanwhile, and left it less
            leaves = row.qty - filled
            self.stale.add(row.id)
        self._keep(row, after_fill(_reserved(row), qty=fill.qty, leaves=leaves, parts=parts))
        paid = (row.filled_avg_price or Decimal(0)) * row.filled_qty + from_ticks(fill.price) * fill.qty
        row.filled_qty, row.filled_avg_price = filled, (paid / filled).quantize(_PRICE_STEP)
        if order.notional is not None:
            row.qty = filled
        facts = {"qty": fill.qty, "price": from_ticks(fill.price), "rule": f"{fill.rule}/{fill.version}"}
        if leaves:
            row.working_at = row.working_at or at
            self._move(row, OrderStatus.PARTIALLY_FILLED, at, **facts)
        else:
            self._close(row, OrderStatus.FILLED, at, "", **facts)
        short = [p for p in parts if self._is_short_of(row, p, others[p.symbol], positions[p.symbol].qty)]
        self._drop_uncovered(row, order, parts, [part.symbol for part in short], at)

    def _post(
        self, row: OrderRow, order: Order, part: Part, posting: Posting, fill: Fill, at: datetime
    ) -> None:
        """One leg of a fill: cash, position, the fill's own row and its line of history."""
        account = self.rows.accounts[row.account_id]
        account.cash_balance += posting.cash
        if posting.cash > 0:
            account.unsettled = owed(
                account.unsettled, posting.cash, day=exchange_date(to_ns(at)), asset_class=order.asset_class,
                sessions=calendar.of_feed(self.feed),
            )  # fmt: skip
        self.changes.accounts[account.id] = account
        key = (row.account_id, part.symbol)
        holding = self.rows.positions.get(key)
        if holding is None:
            holding = PositionRow.opened(row.account_id, part.symbol, order.asset_class, part.multiplier, at)
            self.rows.positions[key] = holding
        closes = holding.qty * posting.qty < 0
        was_short = holding.qty < 0
        after = post(Position(holding.qty, holding.cost), posting)
        holding.qty, holding.cost = after.qty, after.cost
        holding.realized += posting.realized
        account.shorts += (holding.qty < 0) - was_short
        if not holding.qty:
            holding.closed_at, holding.qty_held = at, Decimal(0)
            del self.rows.positions[key]  # the next trade opens a new row
        self.changes.positions[holding.id] = holding
        row.fills += 1
        fill_id = new_id()
        self.changes.fills.append(_fill_row(fill_id, order, part, fill, row.fills, at, self.feed))
        self.changes.activities.append({
            "id": new_id(), "account_id": row.account_id, "activity_type": posting.kind, "symbol": part.symbol,
            "side": part.side, "qty": part.qty, "price": from_ticks(part.price), "amount": posting.cash, "cost": posting.cost,
            "realized": posting.realized if closes else None, "order_id": row.id, "ref_id": fill_id, "note": posting.note,
            "occurred_at": at,
        })  # fmt: skip

    # -- orders that a fill leaves without what they would close, or with less cash than they hold -----------

    def _reserved_by_others(self, row: OrderRow, symbol: str) -> Decimal:
        holding = self.rows.positions.get((row.account_id, symbol))
        return holding.qty_held - Decimal(row.position_holds.get(symbol, 0)) if holding else Decimal(0)

    def _is_short_of(self, row: OrderRow, part: Part, others: Decimal, before: Decimal) -> bool:
        """Whether less is held than open orders reserve, `others` beside this one; or it is held on the other side."""
        now = self._position(row, part.symbol).qty
        reserved = others + Decimal(row.position_holds.get(part.symbol, 0))
        if not row.carries:  # its sibling reserves for both, and is told of the fill by itself
            reserved -= part.qty
        return reserved > (abs(now) if now * before > 0 else 0)

    def _drop_uncovered(
        self, row: OrderRow, by: Order, parts: Sequence[Part], symbols: Sequence[str], at: datetime
    ) -> None:
        """Cancel those that can no longer be carried out after a fill, as `mbt.engine.record` does."""
        account = self.rows.accounts[row.account_id]
        has_cash = not account.is_cash or account.cash_held <= max(account.cash_balance, Decimal(0))
        if not symbols and has_cash:
            return
        opened = self._open_orders(row.account_id)
        for symbol in sorted(symbols):
            held = self._position(row, symbol).qty
            found = [(order, _reserved(self.rows.orders[order.id])) for order in opened]
            reserved = [
                (order, order, after_sibling(held_for, parts) if _shares(order, by) else held_for)
                for order, held_for in found
            ]
            for order in uncovered(reserved, symbol=symbol, held=held):
                self._drop_all(order, opened, at, Why.POSITION_GONE)
        for order in reversed(opened) if account.is_cash else ():
            if (
                account.cash_held > max(account.cash_balance, Decimal(0))
                and self.rows.orders[order.id].cash_hold
            ):
                self._drop_all(order, opened, at, Why.CASH_GONE)

    def _open_orders(self, account_id: UUID) -> list[Order]:
        """In order of acceptance; they and what they reserve are locked and in `rows` from now on."""
        found = [selectors.to_engine(row) for row in open_of(account_id)]
        rows, known = self.rows, self.rows.orders
        known.update((row.id, row) for row in store.lock_orders([o.id for o in found if o.id not in known]))
        reserved = {
            (account_id, symbol) for order in found for symbol in known[order.id].position_holds
        } - rows.asked
        rows.asked.update(reserved)
        rows.positions.update(((p.account_id, p.symbol), p) for p in store.lock_positions(reserved))
        return [order for order in found if known[order.id].status in OPEN_STATUSES]

    def _drop_all(self, order: Order, opened: Iterable[Order], at: datetime, why: Why) -> None:
        """End an order with those that share its quantity; exits that wait for one of them end too."""
        for kin in [o for o in opened if o is order or _shares(o, order)]:
            self._drop(self.rows.orders[kin.id], opened, at, why)

    def _drop(self, row: OrderRow, opened: Iterable[Order], at: datetime, why: Why) -> None:
        if row.status not in OPEN_STATUSES:
            return
        self._close(row, OrderStatus.CANCELED, at, why)
        self.stale.add(row.id)
        for waiting in [
            o for o in opened if o.entry_id == row.id and self.rows.orders[o.id].status == OrderStatus.HELD
        ]:
            self._drop(self.rows.orders[waiting.id], opened, at, Why.PARENT_ENDED)

    def _keep(self, row: OrderRow, kept: Reserved) -> None:
        """From now on the order reserves `kept`; the totals of its account move by the difference."""
        freed = _reserved(row) - kept
        self.changes.orders[row.id] = row
        row.cash_hold, row.position_holds = kept.cash, {s: str(qty) for s, qty in kept.positions.items()}
        if freed.cash:
            account = self.rows.accounts[row.account_id]
            account.cash_held -= freed.cash
            self.changes.accounts[account.id] = account
        for symbol, qty in freed.positions.items():
            holding = self.rows.positions.get((row.account_id, symbol))
            if holding is not None:  # else it was closed, and nothing of it is reserved any more
                holding.qty_held -= qty
                self.changes.positions[holding.id] = holding

    def _unfill(self, order: Order) -> None:
        """The engine takes it for filled, and the record does not: what it decided on that is unfounded."""
        self.unfilled.add(order.id)
        if order.group_id is not None:
            self.split.setdefault(order.group_id, order.id)

    def _is_unfounded(self, decision: Decision, row: OrderRow) -> bool:
        """Whether the engine decided it on a fill that the record does not have. It must read the order anew."""
        order, at = decision.order, from_ns(decision.at_ns)
        match decision:
            case Activated() if order.entry_id in self.unfilled:
                entry = self.rows.orders[order.entry_id]
                if entry.status == OrderStatus.REJECTED:
                    self._end_with(row, entry, at)
            case Filled(fill=fill) if order.entry_id is not None and fill.qty > row.qty - row.filled_qty:
                pass  # its entry was canceled with less bought
            case Closed(why=Why.OCO_SIBLING_FILLED) if order.group_id in self.split:
                self._end_beside(row, order, at)
            case Resized(taken=taken) if taken and order.group_id in self.split:
                self._end_beside(row, order, at)
            case _:
                return False
        self.stale.add(row.id)
        return True

    def _end_beside(self, row: OrderRow, order: Order, at: datetime) -> None:
        """An exit whose sibling was rejected ends with it: one group is one decision."""
        sibling = self.rows.orders.get(self.split[order.group_id]) if order.group_id else None
        if sibling is not None and sibling.status == OrderStatus.REJECTED:
            self._close(row, OrderStatus.CANCELED, at, Why.GROUP_CANCELED)

    def _end_with(self, row: OrderRow, entry: OrderRow, at: datetime) -> None:
        """An exit of an entry that was rejected is for what had been bought before, or over."""
        self.changes.orders[row.id] = row
        row.qty -= entry.qty - entry.filled_qty
        if row.qty > row.filled_qty:
            self._record(row, events.ORDER_RESIZED, at, {"qty": row.qty})
            return
        row.qty = max(row.qty, row.filled_qty)
        if row.filled_qty:
            self._close(row, OrderStatus.FILLED, at, "")
            return
        row.qty = entry.qty
        why = Why.OCO_SIBLING_FILLED if entry.filled_qty else Why.PARENT_ENDED
        self._close(row, OrderStatus.CANCELED, at, why)

    def _resize(self, row: OrderRow, order: Order, more: Decimal) -> None:
        """An exit works for `more` than it did, or less; who reserves the position for its group follows."""
        self.changes.orders[row.id] = row
        if not row.carries:
            return
        found = {symbol: self.rows.positions.get((row.account_id, symbol)) for symbol, _ in closed_by(order)}
        # Only what it closes: where the entry closed something itself there may be nothing to reserve.
        free = {s: held.qty * closes(order, s) - held.qty_held for s, held in found.items() if held}
        self._keep(row, after_resize(_reserved(row), order, more=more, free=free))

    def _advance(self, row: OrderRow, progress: Progress, quote: Market, at: datetime) -> None:
        was_triggered = bool(row.progress.get("triggered"))
        row.progress = {"triggered": progress.triggered, "mark": progress.mark, "joined": progress.joined}
        self.changes.noted[row.id] = row
        if progress.triggered and not was_triggered:
            row.refusals.setdefault(TRIGGER, _facts(quote) | {"at_ns": to_ns(at)})
            self._record(row, events.ORDER_TRIGGERED, at, {"bid": quote.bid, "ask": quote.ask})
            self.announcements.append((str(row.id), {"order_id": row.id, "event": "triggered"}))

    def _shorts(self, row: OrderRow) -> dict[str, Position]:
        """What the order's account is short: its puts have set cash aside."""
        return {
            holding.symbol: Position(holding.qty, holding.cost)
            for holding in self.rows.positions.values()
            if holding.account_id == row.account_id and holding.qty < 0
        }

    def _position(self, row: OrderRow, symbol: str) -> Position:
        holding = self.rows.positions.get((row.account_id, symbol))
        return Position(holding.qty, holding.cost) if holding else Position()

    def _close(self, row: OrderRow, status: OrderStatus, at: datetime, reason: str, **facts: object) -> None:
        """End an order: what it still reserves is free again."""
        self._keep(row, NOTHING)
        row.closed_at, row.reason = at, reason
        self._move(row, status, at, **facts)

    def _move(self, row: OrderRow, status: OrderStatus, at: datetime, **facts: object) -> None:
        before, row.status = row.status, status
        self.changes.orders[row.id] = row
        self._record(row, _ACTIONS[status], at, {"status": [before, status], **facts})
        self.announcements.append((str(row.id), {"order_id": row.id, "event": status}))

    def _record(self, row: OrderRow, action: str, at: datetime, changes: dict[str, object]) -> None:
        self.entries.append(log.Entry(
            action=action, actor=pseudonym.ENGINE, object_type="mbt.order", object_id=row.id, at=at, changes=changes,
            reason=row.reason,
        ))  # fmt: skip


def _shares(order: Order, other: Order) -> bool:
    """Whether they share one quantity."""
    return order.id != other.id and order.group_id is not None and order.group_id == other.group_id


def _reserved(row: OrderRow) -> Reserved:
    return Reserved(row.cash_hold, {symbol: Decimal(qty) for symbol, qty in row.position_holds.items()})


def _nearest_facts(nearest: Nearest) -> dict[str, Any]:
    return {
        **_facts(nearest.quote), "at_ns": nearest.at_ns, "away": nearest.away, "to_stop": nearest.to_stop,
    }  # fmt: skip


def _facts(quote: Market | None) -> dict[str, Any]:
    """A quote as the receipt keeps it; prices in 1/10,000 dollar."""
    if quote is None:
        return {}
    facts: dict[str, Any] = {
        "quote_ns": quote.ts,
        "bid": quote.bid,
        "bid_size": quote.bid_size,
        "ask": quote.ask,
        "ask_size": quote.ask_size,
    }
    if isinstance(quote, PackageQuote):
        facts["legs"] = [_facts(leg) for leg in quote.legs]
    return facts


def _fill_row(
    fill_id: UUID, order: Order, part: Part, fill: Fill, seq: int, at: datetime, feed: str
) -> dict[str, Any]:
    quote = part.quote
    return {
        "id": fill_id, "order_id": order.id, "fill_seq": seq, "symbol": part.symbol, "side": part.side, "qty": part.qty,
        "price": from_ticks(part.price), "filled_at": at, "nbbo_bid": from_ticks(quote.bid),
        "nbbo_bid_size": quote.bid_size, "nbbo_ask": from_ticks(quote.ask), "nbbo_ask_size": quote.ask_size,
        "quote_ns": quote.ts, "feed": feed, "rule": fill.rule, "rule_version": fill.version,
    }  # fmt: skip
