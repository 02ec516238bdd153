"""The hot path of an order, in SQL of its own: one statement that locks and reads, one that writes.

Measured: serializers and the ORM cost several times what the order itself does. Everything that is
decided is decided in `mbt.services.orders` and the engine; here rows are only read and written.
"""

from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import structlog
from django.db import InternalError, ProgrammingError, connection

from audit.log import Entry
from audit.log import values as audit_values
from console import switches
from mbt.events import ORDERS_TOPIC
from mbt.models import Order
from raxx.kernel import outbox
from raxx.market.contracts import Instrument, parse_symbol

log = structlog.get_logger(__name__)


class Locked(NamedTuple):
    """The account, locked until the end of the transaction, and the instrument if its feed knows it."""

    status: str
    feed: str
    cash_balance: Decimal
    cash_held: Decimal
    instrument: Instrument | None
    switches: switches.States


class LockedPosition(NamedTuple):
    id: UUID
    qty: Decimal
    qty_held: Decimal


_LOCK = """
SELECT a.status, a.feed, a.cash_balance, a.cash_held, i.symbol, {gate}
  FROM mbt_accounts a
  LEFT JOIN market_instruments i ON i.feed = a.feed AND i.symbol = %s
 WHERE a.id = %s FOR UPDATE OF a
"""

_LOCK_POSITION = """
SELECT id, qty, qty_held FROM mbt_positions
 WHERE account_id = %s AND symbol = %s AND closed_at IS NULL FOR UPDATE
"""

_INSERT = """
WITH o AS (
  INSERT INTO mbt_orders (id, account_id, client_order_id, symbol, asset_class, multiplier, side, qty, order_type,
    limit_price, time_in_force, status, reason, cash_hold, filled_qty, replaces_id, accepted_at, expires_at, refusals)
  VALUES (%(id)s, %(account)s, %(client_order_id)s, %(symbol)s, %(asset_class)s, %(multiplier)s, %(side)s, %(qty)s,
    %(order_type)s, %(limit_price)s, %(time_in_force)s, 'accepted', '', %(cash_hold)s, 0, %(replaces)s,
    %(accepted_at)s, %(expires_at)s, '{}')
  ON CONFLICT (account_id, client_order_id) DO NOTHING
  RETURNING number),
held AS (UPDATE mbt_accounts SET cash_held = cash_held + %(cash_hold)s FROM o WHERE id = %(account)s AND %(cash_hold)s > 0),
offered AS (UPDATE mbt_positions SET qty_held = qty_held + %(qty)s FROM o WHERE id = %(position)s),
recorded AS (
  INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, reason, request_id)
  SELECT %(a_at)s, %(a_actor)s, %(a_action)s, %(a_type)s, %(a_id)s, %(a_changes)s::jsonb, %(a_reason)s, %(a_request)s FROM o),
announced AS (
  INSERT INTO outbox (topic, key, payload) SELECT %(topic)s, %(key)s, %(payload)s::jsonb FROM o RETURNING id)
SELECT (SELECT number FROM o), (SELECT id FROM announced)
"""


def lock(account_id: UUID, symbol: str) -> Locked | None:
    """Lock the account, and pass the gate of the kill switches. None: there is no such account.

    Raises TradingDisabled when the gate itself fails: a switch that cannot be read counts as on.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LOCK.format(gate=switches.SQL_GATE), [symbol, account_id])
            row = cursor.fetchone()
    except (ProgrammingError, InternalError):
        log.error("orders refused: account and kill switches cannot be read", exc_info=True)
        switches.require_open(switches.states_of(None))
        raise
    if row is None:
        return None
    status, feed, balance, held, known, active = row
    instrument = parse_symbol(known) if known else None
    return Locked(status, feed, balance, held, instrument, switches.states_of(active))


def lock_position(account_id: UUID, symbol: str) -> LockedPosition | None:
    """The open position, locked after its account."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_POSITION, [account_id, symbol])
        row = cursor.fetchone()
    return LockedPosition(*row) if row else None


def insert(order: Order, *, position: LockedPosition | None, entry: Entry) -> int | None:
    """Write an accepted order with its hold, its audit row and its announcement.

    Returns the order's number. None: the client_order_id is taken, and nothing was written.
    """
    payload = msgspec.json.encode({"order_id": order.id, "event": "accepted"}).decode()
    audit_row = audit_values(entry)
    parameters: dict[str, Any] = {
        "id": order.id, "account": order.account_id,
        "client_order_id": order.client_order_id, "symbol": order.symbol, "asset_class": order.asset_class,
        "multiplier": order.multiplier, "side": order.side, "qty": order.qty, "order_type": order.order_type,
        "limit_price": order.limit_price, "time_in_force": order.time_in_force, "cash_hold": order.cash_hold,
        "replaces": order.replaces_id, "accepted_at": order.accepted_at, "expires_at": order.expires_at,
        "position": position.id if position else None,
        "topic": ORDERS_TOPIC, "key": str(order.id), "payload": payload,
        **dict(zip(("a_at", "a_actor", "a_action", "a_type", "a_id", "a_changes", "a_reason", "a_request"), audit_row, strict=True)),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, parameters)
        number, event_id = cursor.fetchone()
    if number is None:
        return None
    outbox.bell([outbox.Event(event_id, ORDERS_TOPIC, str(order.id), payload)])
    return int(number)
