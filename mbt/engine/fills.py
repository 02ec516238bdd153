"""Whether a quote fills an order, and at what price. The rules as prose: docs/rules/fills.md.

A rule never changes. A better one gets the next version number, and old fills keep replaying under theirs.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec

from mbt.engine.orders import FRESH, FillPreference, Order, OrderType, Progress, Side, TimeInForce
from mbt.engine.packages import LegFill, PackageQuote, allocate, net_of
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.money import down_to, from_ticks
from raxx.market.contracts import AssetClass, parse_symbol, price_step
from raxx.market.quotes import Quote, QuoteCondition, condition
from raxx.market.sessions import Session

VERSION = 1
PACKAGE_STEP = 100  # net prices lie on whole cents
SHARE_STEP = Decimal("0.000000001")  # an amount of money buys shares to so many decimals

Market: TypeAlias = Quote | PackageQuote

# What most fills ask for: Python 3.11 looks a member up at twenty times the cost of a name.
_BUY, _CONSERVATIVE = Side.BUY, FillPreference.CONSERVATIVE
_LIMIT: Final = OrderType.LIMIT


class Rule(StrEnum):
    """What gave a fill its price."""

    MARKET_TOUCH = "market.touch"
    MARKET_MID = "market.mid"
    LIMIT_MARKETABLE = "limit.marketable"
    LIMIT_RESTING = "limit.resting"
    LIMIT_MID = "limit.mid"
    LIMIT_JOINED = "limit.joined"
    STOP_TOUCH = "stop.touch"
    STOP_LIMIT_MARKETABLE = "stop_limit.marketable"
    TRAILING_STOP_TOUCH = "trailing_stop.touch"


class Why(StrEnum):
    """Why a quote did not fill an order, or why an order ended without one."""

    NO_QUOTE = "NO_QUOTE"
    STALE_QUOTE = "STALE_QUOTE"
    ONE_SIDED_QUOTE = "ONE_SIDED_QUOTE"
    CROSSED_QUOTE = "CROSSED_QUOTE"
    OUTSIDE_SESSION = "OUTSIDE_SESSION"
    HALTED = "HALTED"
    LIMIT_NOT_REACHED = "LIMIT_NOT_REACHED"
    STOP_NOT_REACHED = "STOP_NOT_REACHED"
    SIZE_TOO_SMALL = "SIZE_TOO_SMALL"
    OCO_SIBLING_FILLED = "OCO_SIBLING_FILLED"
    PARENT_ENDED = "PARENT_ENDED"
    GROUP_CANCELED = "GROUP_CANCELED"
    POSITION_GONE = "POSITION_GONE"
    CASH_GONE = "CASH_GONE"
    CORPORATE_ACTION = "CORPORATE_ACTION"


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`qty` at `price` (1/10,000 dollar; of a package its net), and the rule and the quote that gave it.
    A package has `legs`, whose prices add up to the net."""

    price: int
    qty: Decimal
    rule: Rule
    version: int
    quote: Market
    legs: tuple[LegFill, ...] = ()


class Rest(msgspec.Struct, frozen=True, gc=False):
    """No fill on this quote, which was usable."""

    why: Why


class _Freshness(msgspec.Struct, frozen=True):
    effective_ns: int
    max_age_ns: dict[AssetClass, int]


# How old the NBBO in force may be when an order arrives. Stocks of this kind are re-quoted within
# half a minute (the longest silence on the recorded IBM tape is 30 s); an option's quote stands for
# up to 16 minutes at the 90th percentile (recorded GOOG chain). Newest last.
_FRESHNESS = (
    _Freshness(
        effective_ns=0, max_age_ns={AssetClass.EQUITY: 120 * SECOND_NS, AssetClass.OPTION: 1_800 * SECOND_NS}
    ),
)


def max_age_ns(asset_class: AssetClass, at_ns: int) -> int:
    """The oldest a quote of that class may be, under the setting in force at `at_ns`."""
    setting = next(f for f in reversed(_FRESHNESS) if f.effective_ns <= at_ns)
    return setting.max_age_ns[asset_class]


def usable(quote: Quote | None, order: Order, *, session: Session, now_ns: int) -> Why | None:
    """None when the quote can fill `order` at `now_ns`, else the reason why it cannot.

    It must belong to the hours of the order that are open now, be fresh, two-sided and not crossed. A
    locked quote (bid = ask) is a price. `session` is the one in progress in those hours or the next.
    """
    hours = order.hours
    if not session.is_open(now_ns, hours):
        return Why.OUTSIDE_SESSION
    if quote is None:
        return Why.NO_QUOTE
    if quote.ts != now_ns:  # it was in force before
        if not session.is_open(quote.ts, hours):
            return Why.OUTSIDE_SESSION
        if now_ns - quote.ts > max_age_ns(order.asset_class, now_ns):
            return Why.STALE_QUOTE
    if 0 < quote.bid <= quote.ask:
        return None
    return Why.ONE_SIDED_QUOTE if condition(quote) is QuoteCondition.ONE_SIDED else Why.CROSSED_QUOTE


def decide(
    order: Order, market: Market, progress: Progress = FRESH, *, arriving: bool
) -> tuple[Fill | Rest, Progress]:
    """What a usable quote does to `order`, and the order's progress after it.

    `arriving`: this is the first usable quote that the order meets; afterwards it rests.
    Source: docs/rules/fills.md; NBBO as in 17 CFR 242.600(b).
    """
    if order.type is _LIMIT:
        return _limit(order, market, progress, arriving=arriving, marketable=_MARKETABLE)
    match order.type:
        case OrderType.MARKET:
            return _market(order, market, progress, arriving=arriving)
        case OrderType.STOP:
            return _stop(order, market, progress)
        case OrderType.STOP_LIMIT:
            return _stop_limit(order, market, progress, arriving=arriving)
        case OrderType.TRAILING_STOP:
            return _trailing_stop(order, market, progress)


def touch(order: Order, market: Market) -> int:
    """The side of the market that the order trades against."""
    return market.ask if order.side is _BUY else market.bid


def middle(order: Order, market: Market) -> int:
    """The midpoint on the legal step, rounded against the trader, never beyond the touch."""
    total = market.bid + market.ask
    step = PACKAGE_STEP if order.legs else price_step(parse_symbol(order.symbol), total // 2)
    if order.side is Side.BUY:
        return min(-(-total // (2 * step)) * step, market.ask)
    return max(total // (2 * step) * step, market.bid)


def stop_level(order: Order, mark: int) -> int:
    """Where a stop triggers; a trailing stop's follows `mark`, the best price so far."""
    if order.type is not OrderType.TRAILING_STOP:
        return order.stop or 0
    away = 1 if order.side is Side.BUY else -1
    if order.trail is not None:
        return mark + away * order.trail
    exact = mark * (1 + away * (order.trail_percent or Decimal(0)) / 100)
    step = price_step(parse_symbol(order.symbol), int(exact))
    whole, rest = divmod(exact, step)
    return int(whole + (1 if rest and order.side is Side.BUY else 0)) * step


def is_triggered(order: Order, market: Market, level: int) -> bool:
    return market.ask >= level if order.side is Side.BUY else market.bid <= level


_MARKETABLE, _RESTING = Rule.LIMIT_MARKETABLE, Rule.LIMIT_RESTING

# -- one rule family each ---------------------------------------------------------------------------


def _market(
    order: Order, market: Market, progress: Progress, *, arriving: bool
) -> tuple[Fill | Rest, Progress]:
    if order.preference is FillPreference.CONSERVATIVE or not arriving:
        return _fill(order, market, progress, touch(order, market), Rule.MARKET_TOUCH)
    return _fill(order, market, progress, middle(order, market), Rule.MARKET_MID)


def _limit(
    order: Order, market: Market, progress: Progress, *, arriving: bool, marketable: Rule
) -> tuple[Fill | Rest, Progress]:
    limit = _limit_of(order)
    if order.preference is not _CONSERVATIVE:
        return _limit_in_the_spread(order, market, progress, limit, arriving=arriving)
    price = touch(order, market)
    if not _at_least_as_good(order, price, limit):
        return Rest(Why.LIMIT_NOT_REACHED), progress
    if arriving:
        return _fill(order, market, progress, price, marketable)
    # A resting order is the one that gets hit: it trades at its own price, however far the quote jumped through.
    # A package that the market has come past trades at its ask instead: each leg stays inside its own NBBO.
    return _fill(order, market, progress, price if order.legs else limit, _RESTING)


def _limit_in_the_spread(
    order: Order, market: Market, progress: Progress, limit: int, *, arriving: bool
) -> tuple[Fill | Rest, Progress]:
    had_joined = progress.joined
    if order.preference is FillPreference.AGGRESSIVE:
        joins = market.bid >= limit if order.side is Side.BUY else market.ask <= limit
        if joins is not had_joined:
            progress = msgspec.structs.replace(progress, joined=joins)
    mid = middle(order, market)
    if _at_least_as_good(order, mid, limit):
        return _fill(order, market, progress, mid, Rule.LIMIT_MID)
    if had_joined and not progress.joined and not arriving:
        return _fill(order, market, progress, limit, Rule.LIMIT_JOINED)
    return Rest(Why.LIMIT_NOT_REACHED), progress


def _stop(order: Order, market: Market, progress: Progress) -> tuple[Fill | Rest, Progress]:
    if not progress.triggered and not is_triggered(order, market, stop_level(order, 0)):
        return Rest(Why.STOP_NOT_REACHED), progress
    return _fill(order, market, _triggered(progress), touch(order, market), Rule.STOP_TOUCH)


def _stop_limit(
    order: Order, market: Market, progress: Progress, *, arriving: bool
) -> tuple[Fill | Rest, Progress]:
    if progress.triggered:
        return _limit(order, market, progress, arriving=arriving, marketable=Rule.STOP_LIMIT_MARKETABLE)
    if not is_triggered(order, market, stop_level(order, 0)):
        return Rest(Why.STOP_NOT_REACHED), progress
    return _limit(order, market, _triggered(progress), arriving=True, marketable=Rule.STOP_LIMIT_MARKETABLE)


def _trailing_stop(order: Order, market: Market, progress: Progress) -> tuple[Fill | Rest, Progress]:
    best = market.ask if order.side is Side.BUY else market.bid
    mark = progress.mark or best
    if progress.triggered or is_triggered(order, market, stop_level(order, mark)):
        after = _triggered(msgspec.structs.replace(progress, mark=mark))
        return _fill(order, market, after, touch(order, market), Rule.TRAILING_STOP_TOUCH)
    mark = min(mark, best) if order.side is Side.BUY else max(mark, best)
    if mark != progress.mark:
        progress = msgspec.structs.replace(progress, mark=mark)
    return Rest(Why.STOP_NOT_REACHED), progress


def _fill(
    order: Order, market: Market, progress: Progress, price: int, rule: Rule
) -> tuple[Fill | Rest, Progress]:
    qty = _worth(order, price) if order.notional is not None else order.qty - progress.filled
    if order.size_cap and order.notional is None:
        shown = market.ask_size if order.side is Side.BUY else market.bid_size
        if not shown or (order.tif is TimeInForce.FOK and shown < qty):
            return Rest(Why.SIZE_TOO_SMALL), progress
        qty = min(qty, Decimal(shown))
    legs: tuple[LegFill, ...] = ()
    if isinstance(market, PackageQuote):
        prices = allocate(order.legs, market, price)
        price = net_of(order.legs, prices)
        legs = tuple(
            LegFill(leg, p, qty * leg.ratio, quote)
            for leg, p, quote in zip(order.legs, prices, market.legs, strict=True)
        )
    fill = Fill(price=price, qty=qty, rule=rule, version=VERSION, quote=market, legs=legs)
    # Every fill passes here, and msgspec.structs.replace takes three times as long.
    filled, joined = progress.filled + qty, progress.joined
    return fill, Progress(filled, progress.triggered, progress.mark, joined, progress.arrived)


def _worth(order: Order, price: int) -> Decimal:
    """What the order's amount of money trades at `price`."""
    qty = down_to((order.notional or Decimal(0)) / (from_ticks(price) * order.multiplier), SHARE_STEP)
    return min(qty, order.qty) if order.side is Side.SELL else qty


def _triggered(progress: Progress) -> Progress:
    return progress if progress.triggered else msgspec.structs.replace(progress, triggered=True)


def _limit_of(order: Order) -> int:
    if order.limit is None:
        raise ValueError(f"order {order.id} has no limit price")
    return order.limit


def _at_least_as_good(order: Order, price: int, limit: int) -> bool:
    return price <= limit if order.side is _BUY else price >= limit
