"""The record of an account as plain lines, and one digest over them.

Two accounts with equal digests have had the same orders, fills, events and activities, at the same instants and
prices, and hold the same. The lines name no database id, so a replay on another machine gives the same.
"""

from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256

import msgspec

from mbt.engine.account import Part
from mbt.engine.fills import Fill
from mbt.engine.orders import Order
from raxx.kernel.clock import from_ns, to_ns
from raxx.kernel.money import from_ticks


class OrderLine(msgspec.Struct, frozen=True, gc=False):
    """One order and its end. `limit` in dollars or None; `closed_ns` None while it is open."""

    client_order_id: str
    symbol: str
    side: str
    type: str
    tif: str
    qty: Decimal
    limit: Decimal | None
    accepted_ns: int
    status: str
    closed_ns: int | None
    reason: str

    @classmethod
    def of(cls, order: Order, name: str, status: str, closed_ns: int | None, reason: str) -> "OrderLine":
        """`closed_ns` as fine as the engine knows it."""
        return cls(
            name, order.symbol, order.side, order.type, order.tif, order.qty,
            None if order.limit is None else from_ticks(order.limit), whole_us(order.accepted_ns), status,
            None if closed_ns is None else whole_us(closed_ns), reason,
        )  # fmt: skip


class FillLine(msgspec.Struct, frozen=True, gc=False):
    """One fill with the NBBO that gave it; prices in dollars."""

    client_order_id: str
    symbol: str
    side: str
    qty: Decimal
    price: Decimal
    filled_ns: int
    quote_ns: int
    bid: Decimal
    bid_size: int
    ask: Decimal
    ask_size: int
    rule: str
    rule_version: int

    @classmethod
    def of(cls, name: str, part: Part, fill: Fill, at_ns: int) -> "FillLine":
        """What the order `name` traded of one symbol by `fill`."""
        quote = part.quote
        return cls(
            name, part.symbol, part.side, part.qty, from_ticks(part.price), whole_us(at_ns), quote.ts,
            from_ticks(quote.bid), quote.bid_size, from_ticks(quote.ask), quote.ask_size, fill.rule, fill.version,
        )  # fmt: skip


class ActivityLine(msgspec.Struct, frozen=True, gc=False):
    """One change of cash, in dollars, whatever caused it."""

    type: str
    symbol: str
    amount: Decimal
    occurred_ns: int
    client_order_id: str


class EventLine(msgspec.Struct, frozen=True, gc=False):
    """One line of an event that was no fill: what it changed, in units of the position and in dollars."""

    type: str
    symbol: str
    side: str
    qty: Decimal | None
    price: Decimal | None
    amount: Decimal
    cost: Decimal | None
    realized: Decimal | None
    occurred_ns: int
    line: int
    note: str


class PositionLine(msgspec.Struct, frozen=True, gc=False):
    """What is held at the end, and what it earned so far."""

    symbol: str
    qty: Decimal
    cost: Decimal
    realized: Decimal


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """An account's whole record. `cash` in dollars."""

    cash: Decimal
    orders: list[OrderLine]
    fills: list[FillLine]
    activities: list[ActivityLine]
    positions: list[PositionLine]
    events: list[EventLine] = []


def digest(ledger: Ledger) -> str:
    """64 hex digits of SHA-256 over the canonical text of every line, sorted."""
    total = sha256(f"cash|{_plain(ledger.cash)}\n".encode())
    groups: tuple[tuple[str, Iterable[msgspec.Struct]], ...] = (
        ("order", ledger.orders),
        ("fill", ledger.fills),
        ("activity", ledger.activities),
        ("position", ledger.positions),
        ("event", ledger.events),
    )
    for name, lines in groups:
        for text in sorted(
            "|".join(_plain(value) for value in msgspec.structs.astuple(line)) for line in lines
        ):
            total.update(f"{name}|{text}\n".encode())
    return total.hexdigest()


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return "" if value is None else str(value)


def whole_us(ns: int) -> int:
    """Nanoseconds cut to the microsecond, which is as fine as the database keeps an instant."""
    return to_ns(from_ns(ns))
