"""What an order is, and how its status may change."""

from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from raxx.market.contracts import AssetClass

NEVER_NS = 2**63 - 1


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    DAY = "day"  # until the close of its session
    GTC = "gtc"  # until canceled
    IOC = "ioc"  # at once or not at all
    FOK = "fok"  # whole and at once or not at all; the same as IOC while fills are always whole


class OrderStatus(StrEnum):
    ACCEPTED = "accepted"  # taken, not yet judged against a usable quote
    NEW = "new"  # working: judged once, now resting in the book
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"  # taken, then found impossible to book


_S = OrderStatus

# The state machine, whole. What is not listed is illegal.
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.ACCEPTED: frozenset({_S.NEW, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REPLACED, _S.REJECTED}),
    _S.NEW: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REPLACED, _S.REJECTED}),
    _S.PARTIALLY_FILLED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.CANCELED, _S.EXPIRED, _S.REPLACED}),
    _S.FILLED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REPLACED: frozenset(),
    _S.REJECTED: frozenset(),
}
OPEN_STATUSES = frozenset(status for status, following in TRANSITIONS.items() if following)


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An accepted order as the engine works it.

    `number` is the order of acceptance: at one instant the lower number goes first. `limit` is in
    1/10,000 dollar, 0 for a market order. `qty` is shares or contracts. It acts from `accepted_ns`
    and is over at `expires_ns` (NEVER_NS: good till canceled). Instants are nanoseconds UTC.
    """

    id: UUID
    number: int
    account_id: UUID
    symbol: str
    asset_class: AssetClass
    multiplier: int
    side: Side
    type: OrderType
    tif: TimeInForce
    qty: Decimal
    limit: int
    accepted_ns: int
    expires_ns: int

    @property
    def is_immediate(self) -> bool:
        return self.tif is TimeInForce.IOC or self.tif is TimeInForce.FOK
