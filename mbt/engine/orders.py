"""What an order is, and how its status may change."""

from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import msgspec

from raxx.market.contracts import AssetClass
from raxx.market.sessions import Hours

NEVER_NS = 2**63 - 1


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def other(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"


class TimeInForce(StrEnum):
    DAY = "day"  # until the close of its hours
    GTC = "gtc"  # until canceled
    IOC = "ioc"  # at once, as much as there is; the rest is canceled
    FOK = "fok"  # whole and at once or not at all
    OPG = "opg"  # with the session's first usable quote or not at all
    CLS = "cls"  # with the session's last quote or not at all


class OrderClass(StrEnum):
    """How an order belongs with others."""

    SIMPLE = "simple"
    BRACKET = "bracket"  # an entry with a take-profit and a stop-loss
    OTO = "oto"  # an entry with one exit
    OCO = "oco"  # a take-profit and a stop-loss of a position
    MLEG = "mleg"  # a package of option legs; its bracket or OTO too


class FillPreference(StrEnum):
    """Where in the spread an option order is taken to fill. Equities always trade at the touch."""

    CONSERVATIVE = "conservative"
    MID = "mid"
    AGGRESSIVE = "aggressive"


class OrderStatus(StrEnum):
    HELD = "held"  # an exit that its entry has not activated yet
    ACCEPTED = "accepted"  # taken, not yet judged against a usable quote
    NEW = "new"  # working: judged once, now resting in the book
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REPLACED = "replaced"
    REJECTED = "rejected"  # taken, then found impossible to book


_S = OrderStatus
_ENDS = frozenset({_S.CANCELED, _S.EXPIRED, _S.REPLACED})

# The state machine, whole. What is not listed is illegal.
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    _S.HELD: frozenset({_S.ACCEPTED, *_ENDS}),
    _S.ACCEPTED: frozenset({_S.NEW, _S.PARTIALLY_FILLED, _S.FILLED, _S.REJECTED, *_ENDS}),
    _S.NEW: frozenset({_S.PARTIALLY_FILLED, _S.FILLED, _S.REJECTED, *_ENDS}),
    _S.PARTIALLY_FILLED: frozenset({_S.FILLED, _S.REJECTED, *_ENDS}),
    _S.FILLED: frozenset(),
    _S.CANCELED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REPLACED: frozenset(),
    _S.REJECTED: frozenset(),
}
OPEN_STATUSES = frozenset(status for status, following in TRANSITIONS.items() if following)


class Leg(msgspec.Struct, frozen=True, gc=False):
    """One option of a package: `ratio` contracts of it in each package."""

    symbol: str
    side: Side
    ratio: int
    multiplier: int = 100


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An accepted order as the engine works it.

    `number` is the order of acceptance: at one instant the lower number goes first. Prices are in
    1/10,000 dollar. `qty` is shares, contracts or packages. It acts from `arrives_ns` (0: at once, from
    `accepted_ns`) and is over at `expires_ns` (NEVER_NS: good till canceled). Instants are nanoseconds UTC.

    A package has `legs`, no symbol, and is always bought: its net price is signed, a debit positive, a
    credit negative. `trail` or `trail_percent` belong to a trailing stop. `entry_id`: the order whose fill
    activates this exit; exits with one `group_id` share their quantity. `size_cap`: a fill takes no more
    than the size that its quote shows. `notional`: it trades what so many dollars are worth at the price of its
    fill; a sale no more than `qty`. `underlying` is the stock whose halt halts it.
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
    limit: int | None
    accepted_ns: int
    expires_ns: int
    arrives_ns: int = 0
    stop: int | None = None
    trail: int | None = None
    trail_percent: Decimal | None = None
    preference: FillPreference = FillPreference.CONSERVATIVE
    hours: Hours = Hours.REGULAR
    legs: tuple[Leg, ...] = ()
    underlying: str = ""
    size_cap: bool = False
    notional: Decimal | None = None
    entry_id: UUID | None = None
    group_id: UUID | None = None

    @property
    def is_exit(self) -> bool:
        """Whether it is there to close what its entry opens, or what is held."""
        return self.entry_id is not None or self.group_id is not None

    @property
    def is_immediate(self) -> bool:
        """Whether it never waits for a quote: it fills when it arrives, or ends."""
        return self.tif in _IMMEDIATE

    @property
    def fills_once(self) -> bool:
        """Whether what the first usable quote leaves of it ends."""
        return self.tif in _ONCE

    @property
    def unfilled(self) -> OrderStatus:
        """How it ends when its one chance has passed."""
        return _S.EXPIRED if self.tif in _AUCTION else _S.CANCELED


_IMMEDIATE = frozenset({TimeInForce.IOC, TimeInForce.FOK, TimeInForce.CLS})
_ONCE = _IMMEDIATE | {TimeInForce.OPG}
_AUCTION = frozenset({TimeInForce.OPG, TimeInForce.CLS})


class Progress(msgspec.Struct, frozen=True, gc=False):
    """What the quotes so far did to an order that is still open.

    `mark`: the best price that a trailing stop has seen (0: none yet). `joined`: the near side of the market
    stood at the limit or better (aggressive preference). `arrived`: a package has met its first usable quote.
    """

    filled: Decimal = Decimal(0)
    triggered: bool = False
    mark: int = 0
    joined: bool = False
    arrived: bool = False


FRESH = Progress()
