"""The engine's writes, in SQL of its own: rows of a whole batch locked by three statements and written by
one per table, each taking its rows as one JSON array.

Measured: this persists tens of times as many fills a second as saving them one by one.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection

from mbt.engine.matching import Decision
from raxx.kernel.ids import new_id


class AccountRow(msgspec.Struct):
    id: UUID
    cash_balance: Decimal
    cash_held: Decimal
    shorts: int
    is_cash: bool
    unsettled: dict[str, str]


class OrderRow(msgspec.Struct):
    """`carries`: it reserves the position for its group, or stands alone. `fills` is how many it has. `arrival`,
    `refusals` and `nearest` are what a batch adds: they are not read, and what is stored already stays, of the
    nearest misses the nearer."""

    id: UUID
    account_id: UUID
    status: str
    reason: str
    qty: Decimal
    cash_hold: Decimal
    position_holds: dict[str, str]
    filled_qty: Decimal
    filled_avg_price: Decimal | None
    working_at: datetime | None
    closed_at: datetime | None
    progress: dict[str, Any]
    carries: bool
    fills: int
    arrival: dict[str, Any] | None = None
    refusals: dict[str, Any] = {}
    nearest: dict[str, Any] | None = None


class PositionRow(msgspec.Struct):
    id: UUID
    account_id: UUID
    symbol: str
    asset_class: str
    multiplier: int
    qty: Decimal
    qty_held: Decimal
    cost: Decimal
    realized: Decimal
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def opened(
        cls, account_id: UUID, symbol: str, asset_class: str, multiplier: int, at: datetime
    ) -> "PositionRow":
        """A position about to get its first fill."""
        zero = Decimal(0)
        return cls(new_id(), account_id, symbol, asset_class, multiplier, zero, zero, zero, zero, at, None)


@dataclass(frozen=True, slots=True)
class LockedRows:
    """Open positions by (account, symbol); `asked`: those that were looked for, open or not."""

    accounts: dict[UUID, AccountRow]
    orders: dict[UUID, OrderRow]
    positions: dict[tuple[UUID, str], PositionRow]
    asked: set[tuple[UUID, str]]


@dataclass(slots=True)
class Changes:
    """What a batch leaves behind; rows are written once, in their last state. `noted`: orders that only learned
    something of the market, a mark that moved or a quote that could not be used."""

    accounts: dict[UUID, AccountRow] = field(default_factory=dict)
    orders: dict[UUID, OrderRow] = field(default_factory=dict)
    noted: dict[UUID, OrderRow] = field(default_factory=dict)
    positions: dict[UUID, PositionRow] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    activities: list[dict[str, Any]] = field(default_factory=list)


_LOCK_ACCOUNTS = "SELECT id, cash_balance, cash_held, shorts, account_type = 'cash', unsettled FROM mbt_accounts WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
_LOCK_ORDERS = """
SELECT id, account_id, status, reason, qty, cash_hold, position_holds, filled_qty, filled_avg_price, working_at, closed_at,
       progress, group_id IS NULL OR role = 'take_profit',
       CASE WHEN filled_qty > 0 THEN (SELECT count(*) FROM mbt_fills f WHERE f.order_id = o.id) ELSE 0 END
  FROM mbt_orders o WHERE id = ANY(%s) ORDER BY id FOR UPDATE OF o
"""
# What an order trades, and of a cash account what it is short: its puts have set cash aside.
_LOCK_POSITIONS = """
SELECT p.id, p.account_id, p.symbol, p.asset_class, p.multiplier, p.qty, p.qty_held, p.cost, p.realized, p.opened_at, p.closed_at
  FROM mbt_positions p
 WHERE p.closed_at IS NULL AND ((p.account_id, p.symbol) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))
       OR (p.account_id = ANY(%s) AND p.qty < 0))
 ORDER BY p.id FOR UPDATE
"""

_UPDATE_ACCOUNTS = """
UPDATE mbt_accounts a SET cash_balance = t.cash_balance, cash_held = t.cash_held, shorts = t.shorts, unsettled = t.unsettled
  FROM json_to_recordset(%s::json) AS t(id uuid, cash_balance numeric, cash_held numeric, shorts int, unsettled jsonb)
 WHERE a.id = t.id
"""
# The ids are given once more because PostgreSQL takes a JSON document for 100 rows: without them it reads
# the whole table to settle a single order, as long as that table is small.
_UPDATE_ORDERS = """
UPDATE mbt_orders o SET status = t.status, reason = t.reason, qty = t.qty, cash_hold = t.cash_hold,
       position_holds = t.position_holds, progress = t.progress, filled_qty = t.filled_qty,
       filled_avg_price = t.filled_avg_price, working_at = t.working_at, closed_at = t.closed_at,
       arrival = coalesce(t.arrival, o.arrival), refusals = t.refusals || o.refusals,
       nearest = CASE WHEN o.nearest IS NULL OR o.nearest->'to_stop' <> t.nearest->'to_stop'
            OR (o.nearest->>'away')::bigint > (t.nearest->>'away')::bigint THEN coalesce(t.nearest, o.nearest)
            ELSE o.nearest END
  FROM json_to_recordset(%s::json) AS t(id uuid, status text, reason text, qty numeric, cash_hold numeric,
       position_holds jsonb, progress jsonb, filled_qty numeric, filled_avg_price numeric, working_at timestamptz, closed_at timestamptz, arrival jsonb, refusals jsonb, nearest jsonb)
 WHERE o.id = t.id AND o.id = ANY(%s)
"""
_UPDATE_NOTED = """
UPDATE mbt_orders o SET progress = t.progress, refusals = t.refusals || o.refusals
  FROM json_to_recordset(%s::json) AS t(id uuid, progress jsonb, refusals jsonb) WHERE o.id = t.id AND o.id = ANY(%s)
"""
# Nearer is less far away, or to the limit of an order whose stop is triggered by now. Rows that somebody works on
# are left for the next time: this holds none while it waits for another.
_UPDATE_NEAREST = """
WITH free AS (SELECT id FROM mbt_orders WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
UPDATE mbt_orders o SET nearest = t.nearest
  FROM json_to_recordset(%s::json) AS t(id uuid, nearest jsonb), free
 WHERE o.id = t.id AND o.id = free.id AND (o.nearest IS NULL OR o.nearest->'to_stop' <> t.nearest->'to_stop'
       OR (o.nearest->>'away')::bigint > (t.nearest->>'away')::bigint)
"""
_NEAREST_AT_ONCE = 500  # orders
_UPSERT_POSITIONS = """
INSERT INTO mbt_positions (id, account_id, symbol, asset_class, multiplier, qty, qty_held, cost, realized, opened_at, closed_at)
SELECT t.* FROM json_to_recordset(%s::json) AS t(id uuid, account_id uuid, symbol text, asset_class text, multiplier int,
       qty numeric, qty_held numeric, cost numeric, realized numeric, opened_at timestamptz, closed_at timestamptz)
ON CONFLICT (id) DO UPDATE SET qty = excluded.qty, qty_held = excluded.qty_held, cost = excluded.cost,
       realized = excluded.realized, closed_at = excluded.closed_at
"""
_INSERT_FILLS = """
INSERT INTO mbt_fills (id, order_id, fill_seq, symbol, side, qty, price, filled_at, nbbo_bid, nbbo_bid_size, nbbo_ask,
       nbbo_ask_size, quote_ns, feed, rule, rule_version)
SELECT t.* FROM json_to_recordset(%s::json) AS t(id uuid, order_id uuid, fill_seq int, symbol text, side text, qty numeric,
       price numeric, filled_at timestamptz, nbbo_bid numeric, nbbo_bid_size int, nbbo_ask numeric,
       nbbo_ask_size int, quote_ns bigint, feed text, rule text, rule_version smallint)
"""
_INSERT_ACTIVITIES = """
INSERT INTO mbt_activities (id, account_id, activity_type, symbol, side, qty, price, amount, cost, realized, order_id, ref_id, note, occurred_at)
SELECT t.* FROM json_to_recordset(%s::json) AS t(id uuid, account_id uuid, activity_type text, symbol text, side text, qty numeric,
       price numeric, amount numeric, cost numeric, realized numeric, order_id uuid, ref_id uuid, note text, occurred_at timestamptz)
"""
_UPSERT_STATE = """
INSERT INTO mbt_engine_state (feed, position_ns, updated_at) VALUES (%s, %s, %s)
ON CONFLICT (feed) DO UPDATE SET position_ns = excluded.position_ns, updated_at = excluded.updated_at
"""


def lock(decisions: Sequence[Decision]) -> LockedRows:
    """Lock what the decisions touch: accounts, then orders, then positions, each in a fixed order."""
    orders = {decision.order.id: decision.order for decision in decisions}
    if not orders:
        return LockedRows({}, {}, {}, set())
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_ACCOUNTS, [list({order.account_id for order in orders.values()})])
        accounts = [AccountRow(*row) for row in cursor.fetchall()]
        for account in accounts:
            account.unsettled = msgspec.json.decode(str(account.unsettled))
        rows = lock_orders(orders)
    held = {
        (order.account_id, symbol)
        for order in orders.values()
        for symbol in ([leg.symbol for leg in order.legs] or [order.symbol])
    }
    positions = lock_positions(held, writers=[row.id for row in accounts if row.is_cash and row.shorts])
    return LockedRows(
        {row.id: row for row in accounts},
        {row.id: row for row in rows},
        {(p.account_id, p.symbol): p for p in positions},
        held,
    )


def lock_positions(
    held: Collection[tuple[UUID, str]], *, writers: Collection[UUID] = ()
) -> list[PositionRow]:
    """Lock the open positions among these (account, symbol), and all that the `writers` are short of, of accounts that
    are locked."""
    accounts, symbols = [account for account, _ in held], [symbol for _, symbol in held]
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_POSITIONS, [accounts, symbols, list(writers)])
        return [PositionRow(*row) for row in cursor.fetchall()]


def lock_orders(ids: Iterable[UUID]) -> list[OrderRow]:
    """Lock these orders, of accounts that are locked."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_ORDERS, [list(ids)])
        rows = [OrderRow(*row) for row in cursor.fetchall()]
    for row in rows:  # a raw cursor gives JSON as text
        row.position_holds = msgspec.json.decode(str(row.position_holds))
        row.progress = msgspec.json.decode(str(row.progress))
    return rows


def write(changes: Changes) -> None:
    """Write a batch. Order and position rows come before the fills and activities that name them."""
    _many(_UPDATE_ACCOUNTS, changes.accounts.values())
    _many(_UPDATE_ORDERS, changes.orders.values(), list(changes.orders))
    noted = [row for order_id, row in changes.noted.items() if order_id not in changes.orders]
    _many(_UPDATE_NOTED, noted, [row.id for row in noted])
    _many(_UPSERT_POSITIONS, changes.positions.values())
    _many(_INSERT_FILLS, changes.fills)
    _many(_INSERT_ACTIVITIES, changes.activities)


def write_nearest(found: Mapping[UUID, dict[str, Any]]) -> None:
    """Note how near the market came to these orders, wherever that is nearer than what is known."""
    listed = [{"id": order_id, "nearest": nearest} for order_id, nearest in found.items()]
    with connection.cursor() as cursor:
        for start in range(0, len(listed), _NEAREST_AT_ONCE):
            some = listed[start : start + _NEAREST_AT_ONCE]
            document = msgspec.json.encode(some).decode()
            cursor.execute(_UPDATE_NEAREST, [[order["id"] for order in some], document])


def write_position(feed: str, position_ns: int, now: datetime) -> None:
    """Note how far the engine has come."""
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT_STATE, [feed, position_ns, now])


def _many(sql: str, rows: Iterable[object], *more: list[UUID]) -> None:
    """One statement over all rows; `more` are its other parameters. Decimals travel as strings, so that
    nothing is rounded on the way."""
    listed = list(rows)
    if listed:
        with connection.cursor() as cursor:
            cursor.execute(sql, [msgspec.json.encode(listed).decode(), *more])
