"""The record of an account as plain lines, and one digest over them.

Two accounts with equal digests have had the same orders, fills, events and activities, at the same instants and
prices, and hold the same. The lines name no database id, so a replay on another machine gives the same.
"""

from collections.abc import Iterable
from decimal import Decimal
from hashlib import sha256

import msgspec


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
