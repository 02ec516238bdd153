"""The hot path of an order, in SQL of its own: statements that lock and read, one that writes.

Measured: serializers and the ORM cost several times what the order itself does. Everything that is
decided is decided in `mbt.services.orders` and the engine; here rows are only read and written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.db import InternalError, ProgrammingError, connection

from audit.log import Entry
from audit.log import values as audit_values
from console import switches
from console.switches import Scope
from mbt import selectors
from mbt.engine.buying_power import AccountType, AccountView, Holding
from mbt.engine.cost import Trade
from mbt.engine.margin import MarginRules
from mbt.engine.margin import Model as MarginModel
from mbt.engine.orders import FillPreference, Side
from mbt.events import ORDERS_TOPIC
from mbt.models import Order
from mbt.services.restrictions.day_trading import DayTradeFacts
from raxx.kernel import outbox
from raxx.kernel.clock import MILLISECOND_NS
from raxx.market.contracts import Instrument, parse_symbol
from raxx.market.listing import OptionClass, instrument_of, stock_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Locked:
    """The account, locked until the end of the transaction, without its holdings; and what its feed knows of
    the instruments asked for. Whatever restricts it is told by the last four."""

    status: str
    account: AccountView
    instruments: dict[str, Instrument]
    stop: switches.State
    has_shorts: bool
    restricted_until: date | None
    restriction: str
    unsettled: str  # JSON
    day_trades: DayTradeFacts


_LOCK = """
SELECT a.status, a.account_type, a.cash_balance, a.cash_held, a.fill_preference, a.size_cap, a.latency_ms,
       a.options_level, a.naked_shorts, a.shorts > 0, a.margin_model, a.restricted_until, a.restriction, a.unsettled,
       a.day_trade_rules, a.pattern_since, a.closing_equity,
       ARRAY(SELECT i.symbol FROM market_instruments i WHERE i.feed = a.feed AND i.symbol = ANY(%s)), {gate}
  FROM mbt_accounts a
 WHERE a.id = %s FOR UPDATE OF a
"""

_GATE = switches.SQL_GATE.format(keys="%s::text[] || ARRAY['account:' || a.id, 'user:' || a.user_id]")

# The account's lock covers its positions and orders: whoever changes them holds it. Of the open orders only what
# they would sell counts; exits that share a quantity count once, and for what their entry has bought.
_BOOK = """
SELECT 0::bigint AS place, symbol, qty, qty_held, '' AS side, '[]'::jsonb AS legs
  FROM mbt_positions WHERE account_id = %(id)s AND closed_at IS NULL
 UNION ALL
SELECT o.number, o.symbol, o.qty - o.filled_qty - coalesce(e.qty - e.filled_qty, 0), 0, o.side, o.legs
  FROM mbt_orders o LEFT JOIN mbt_orders e ON e.id = o.entry_id AND e.closed_at IS NULL
 WHERE o.account_id = %(id)s AND o.closed_at IS NULL AND o.status <> 'held' AND (o.side = 'sell' OR o.legs <> '[]')
   AND NOT (o.role = 'stop_loss' AND o.group_id IS NOT NULL)
 ORDER BY place
"""

_INSERT = """
WITH o AS (
  INSERT INTO mbt_orders (id, account_id, client_order_id, fingerprint, symbol, asset_class, multiplier, side, qty, notional,
    order_type, limit_price, stop_price, trail_price, trail_percent, time_in_force, hours, fill_preference, size_cap, legs,
    order_class, role, entry_id, group_id, status, reason, cash_hold, position_holds, filled_qty, replaces_id, accepted_at,
    arrives_ns, expires_at, refusals, progress)
  VALUES (%(id)s, %(account)s, %(client_order_id)s, %(fingerprint)s, %(symbol)s, %(asset_class)s, %(multiplier)s, %(side)s,
    %(qty)s, %(notional)s, %(order_type)s, %(limit_price)s, %(stop_price)s, %(trail_price)s, %(trail_percent)s,
    %(time_in_force)s, %(hours)s, %(fill_preference)s, %(size_cap)s, %(legs)s, %(order_class)s, %(role)s, %(entry)s,
    %(group)s, %(status)s, '', %(cash_hold)s, %(position_holds)s, 0, %(replaces)s, %(accepted_at)s, %(arrives_ns)s,
    %(expires_at)s, '{}', '{}')
  ON CONFLICT (account_id, client_order_id) DO NOTHING
  RETURNING number),
held AS (UPDATE mbt_accounts SET cash_held = cash_held + %(cash_hold)s FROM o WHERE id = %(account)s AND %(cash_hold)s > 0),
offered AS (
  UPDATE mbt_positions p SET qty_held = p.qty_held + h.value::numeric
    FROM o, json_each_text(%(position_holds)s::json) h
   WHERE p.account_id = %(account)s AND p.symbol = h.key AND p.closed_at IS NULL),
recorded AS (
  INSERT INTO audit_log (at, actor_ref, action, object_type, object_id, changes, reason, request_id, mac)
  SELECT %(a_at)s, %(a_actor)s, %(a_action)s, %(a_type)s, %(a_id)s, %(a_changes)s::jsonb, %(a_reason)s, %(a_request)s,
    %(a_mac)s FROM o),
announced AS (
  INSERT INTO outbox (topic, key, payload) SELECT %(topic)s, %(key)s, %(payload)s::jsonb FROM o RETURNING id)
SELECT (SELECT number FROM o), (SELECT id FROM announced)
"""


def lock(account_id: UUID, symbols: Sequence[str]) -> Locked | None:
    """Lock the account, and pass the gate of the kill switches. None: there is no such account.

    Raises TradingDisabled when the gate itself fails: a switch that cannot be read counts as on.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute(_LOCK.format(gate=_GATE), [list(symbols), _stops_of(symbols), account_id])
            row = cursor.fetchone()
    except (ProgrammingError, InternalError):
        log.error("orders refused: account and kill switches cannot be read", exc_info=True)
        switches.require_open(switches.state_of(None, []), reduces=False)
        raise
    if row is None:
        return None
    status, kind, balance, held, preference, size_cap, latency_ms, level, naked, has_shorts, model, *rest = (
        row
    )
    until, restriction, unsettled, day_trade_rules, pattern_since, closing_equity, known, active = rest
    account = AccountView(
        type=AccountType(kind), cash=balance, cash_held=held, holdings={}, size_cap=size_cap,
        fill_preference=FillPreference(preference), latency_ns=latency_ms * MILLISECOND_NS,
        options_level=level, naked_shorts=naked, rules=MarginRules(model=MarginModel(model)),
    )  # fmt: skip
    return Locked(
        status,
        account,
        {symbol: parse_symbol(symbol) for symbol in known},
        switches.state_of(active, [switches.EVERYTHING, switches.PAPER]),
        has_shorts,
        until,
        restriction,
        unsettled,
        DayTradeFacts(day_trade_rules, pattern_since, closing_equity),
    )


def _stops_of(symbols: Sequence[str]) -> list[str]:
    """The kill switches that concern every account that would trade these; an option is its underlying's too."""
    named = set(symbols)
    for option in (each for each in map(parse_symbol, symbols) if each.expiry is not None):
        named |= {option.underlying, stock_of(option.underlying)}
    return [
        switches.EVERYTHING,
        switches.PAPER,
        *(switches.key(Scope.SYMBOL, name) for name in sorted(named)),
    ]


def with_book(account: AccountView, account_id: UUID, feed: str) -> AccountView:
    """A locked account with its open positions, and what its open orders would sell, in order of acceptance; and the
    adjusted classes, if any of that is of one."""
    with connection.cursor() as cursor:
        cursor.execute(_BOOK, {"id": account_id})
        rows = [(*row[:5], msgspec.json.decode(row[5])) for row in cursor.fetchall()]
    named = {name for row in rows for name in (row[1], *(leg["symbol"] for leg in row[5]))}
    adjusted = account.adjusted or selectors.adjusted_classes(feed, named)
    return msgspec.structs.replace(
        account,
        adjusted=adjusted,
        holdings={symbol: Holding(qty, held) for place, symbol, qty, held, _, _ in rows if not place},
        pending=tuple(
            _trades(symbol, side, qty, legs, adjusted) for place, symbol, qty, _, side, legs in rows if place
        ),
    )


def _trades(
    symbol: str,
    side: str,
    qty: Decimal,
    legs: Sequence[Mapping[str, Any]],
    adjusted: Mapping[str, OptionClass],
) -> tuple[Trade, ...]:
    parts = [(leg["symbol"], leg["side"], leg["ratio"]) for leg in legs] or [(symbol, side, 1)]
    return tuple(
        Trade(instrument_of(name, adjusted), (qty if way == Side.BUY else -qty) * ratio)
        for name, way, ratio in parts
    )


def insert(order: Order, *, entry: Entry) -> int | None:
    """Write an accepted order with its holds, its audit row and its announcement.

    Returns the order's number. None: the client_order_id is taken, and nothing was written.
    """
    payload = msgspec.json.encode({"order_id": order.id, "event": order.status}).decode()
    audit_row = audit_values(entry)
    parameters: dict[str, Any] = {
        "id": order.id, "account": order.account_id, "client_order_id": order.client_order_id,
        "fingerprint": order.fingerprint, "symbol": order.symbol, "asset_class": order.asset_class,
        "multiplier": order.multiplier, "side": order.side, "qty": order.qty, "notional": order.notional,
        "order_type": order.order_type, "limit_price": order.limit_price, "stop_price": order.stop_price,
        "trail_price": order.trail_price, "trail_percent": order.trail_percent, "time_in_force": order.time_in_force,
        "hours": order.hours, "fill_preference": order.fill_preference, "size_cap": order.size_cap,
        "legs": msgspec.json.encode(order.legs).decode(), "order_class": order.order_class, "role": order.role,
        "entry": order.entry_id, "group": order.group_id, "status": order.status, "cash_hold": order.cash_hold,
        "position_holds": msgspec.json.encode(order.position_holds).decode(), "replaces": order.replaces_id,
        "accepted_at": order.accepted_at, "arrives_ns": order.arrives_ns, "expires_at": order.expires_at,
        "topic": ORDERS_TOPIC, "key": str(order.id), "payload": payload,
        **dict(zip(("a_at", "a_actor", "a_action", "a_type", "a_id", "a_changes", "a_reason", "a_request", "a_mac"), audit_row, strict=True)),
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, parameters)
        number, event_id = cursor.fetchone()
    if number is None:
        return None
    outbox.bell([outbox.Event(event_id, ORDERS_TOPIC, str(order.id), payload)])
    return int(number)
