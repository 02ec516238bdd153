"""Whether a quote fills an order, and at what price. The rules as prose: docs/rules/fills.md.

A rule never changes. A better one gets the next version number, and old fills keep replaying under theirs.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

from mbt.engine.orders import Order, OrderType, Side
from raxx.kernel.clock import SECOND_NS
from raxx.market.contracts import AssetClass
from raxx.market.quotes import Quote, QuoteCondition, condition
from raxx.market.sessions import Session

VERSION = 1


class Rule(StrEnum):
    """What gave a fill its price."""

    MARKET_TOUCH = "market.touch"
    LIMIT_MARKETABLE = "limit.marketable"
    LIMIT_RESTING = "limit.resting"


class Why(StrEnum):
    """Why a quote did not fill an order."""

    NO_QUOTE = "NO_QUOTE"
    STALE_QUOTE = "STALE_QUOTE"
    ONE_SIDED_QUOTE = "ONE_SIDED_QUOTE"
    CROSSED_QUOTE = "CROSSED_QUOTE"
    OUTSIDE_SESSION = "OUTSIDE_SESSION"
    LIMIT_NOT_REACHED = "LIMIT_NOT_REACHED"


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`qty` at `price` (1/10,000 dollar), and the rule and the quote that gave it."""

    price: int
    qty: Decimal
    rule: Rule
    version: int
    quote: Quote


class Rest(msgspec.Struct, frozen=True, gc=False):
    """No fill on this quote. `unusable`: the quote could not have filled any order."""

    why: Why

    @property
    def unusable(self) -> bool:
        return self.why is not Why.LIMIT_NOT_REACHED


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


def usable(quote: Quote | None, *, asset_class: AssetClass, session: Session, now_ns: int) -> Why | None:
    """None when the quote can fill orders at `now_ns`, else the reason why it cannot.

    It must belong to the session that is open now, be fresh, two-sided and not crossed. A locked
    quote (bid = ask) is a price.
    """
    if not session.is_open(now_ns):
        return Why.OUTSIDE_SESSION
    if quote is None:
        return Why.NO_QUOTE
    if not session.is_open(quote.ts):
        return Why.OUTSIDE_SESSION
    if now_ns - quote.ts > max_age_ns(asset_class, now_ns):
        return Why.STALE_QUOTE
    state = condition(quote)
    if state is QuoteCondition.ONE_SIDED:
        return Why.ONE_SIDED_QUOTE
    if state is QuoteCondition.CROSSED:
        return Why.CROSSED_QUOTE
    return None


def decide(
    order: Order, quote: Quote | None, *, arriving: bool, session: Session, now_ns: int
) -> Fill | Rest:
    """What `quote`, the NBBO in force at `now_ns`, does to `order`.

    `arriving`: this is the first usable quote that the order meets; afterwards it rests. `session`
    is the one in progress at `now_ns` or the next. The whole quantity fills or nothing does.
    Source: docs/rules/fills.md; NBBO as in 17 CFR 242.600(b).
    """
    problem = usable(quote, asset_class=order.asset_class, session=session, now_ns=now_ns)
    if problem is not None or quote is None:
        return Rest(problem or Why.NO_QUOTE)
    touch = quote.ask if order.side is Side.BUY else quote.bid
    if order.type is OrderType.MARKET:
        return _fill(order, quote, touch, Rule.MARKET_TOUCH)
    reached = touch <= order.limit if order.side is Side.BUY else touch >= order.limit
    if not reached:
        return Rest(Why.LIMIT_NOT_REACHED)
    if arriving:
        return _fill(order, quote, touch, Rule.LIMIT_MARKETABLE)
    # A resting order is the one that gets hit: it trades at its own price, however far the quote jumped through.
    return _fill(order, quote, order.limit, Rule.LIMIT_RESTING)


def _fill(order: Order, quote: Quote, price: int, rule: Rule) -> Fill:
    return Fill(price=price, qty=order.qty, rule=rule, version=VERSION, quote=quote)
