"""How near the market came to orders that it did not fill.

No quote is looked at once per order. Of the quotes since an order rested, the one that came nearest is the first that
no later one has beaten. So all orders of a symbol that wait for the same side of its market share one *log*: for each
of them that rested after the one before, the best quote since then.
"""

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from mbt.engine.fills import Market, middle, stop_level, touch
from mbt.engine.orders import FillPreference, Order, OrderType, Progress, Side
from raxx.market.quotes import Quote

# A point of the matcher's own time line: 2t stands for "at t, before the quotes stamped t", 2t + 1 for "at t,
# after them". Where an order rests between two quotes of one stamp, logs need points between: so many fit in.
POINTS = 1 << 16
Moment: TypeAlias = int
Point: TypeAlias = int
# A quote counts from its own stamp on; one that was in force when an order came, from then on, which stands beside it.
Noted: TypeAlias = Quote | tuple[Point, Quote]
Log: TypeAlias = list[Noted]


class Nearest(msgspec.Struct, frozen=True, gc=False):
    """At `at_ns` the market came within `away` (1/10,000 dollar) of acting on an order. 0 or less: its price was
    there, and the quote did not show the size. `to_stop`: what it came near to is the order's stop, not its limit."""

    at_ns: int
    away: int
    to_stop: bool
    quote: Market


def nearest_at(order: Order, market: Market, progress: Progress, at_ns: int) -> Nearest | None:
    """How near a usable market is to acting on a resting order; None where its price is not what it waits for."""
    buys, to_stop = order.side is Side.BUY, waits_for_stop(order, progress)
    if to_stop:
        near = touch(order, market)
        level = stop_level(order, progress.mark or near)
        return Nearest(at_ns, level - near if buys else near - level, to_stop, market)
    if order.limit is None:
        return None
    inside = order.preference is not FillPreference.CONSERVATIVE
    price = middle(order, market) if inside else touch(order, market)
    return Nearest(at_ns, price - order.limit if buys else order.limit - price, to_stop, market)


def waits_for_stop(order: Order, progress: Progress) -> bool:
    return order.type not in (OrderType.MARKET, OrderType.LIMIT) and not progress.triggered


def best_since(log: Log, since: Point, kind: int) -> Quote | None:
    """Of the quotes of a log from a moment on the one that came nearest; of equals the first."""
    best: Quote | None = None
    best_rank = 0
    for moment, quote, rank in _backwards(log, kind):
        if moment < since:
            break
        if best is None or rank <= best_rank:
            best, best_rank = quote, rank
    return best


def unbeaten_before(log: Log, moment: Point, kind: int) -> Point | None:
    """The moment of the last quote before `moment` which none from then on has beaten; -1 where all are. None when
    nothing was noted from then on. What rested by that time is as near to its price as it was."""
    best: int | None = None
    for at, _, rank in _backwards(log, kind):
        if at >= moment:
            best = rank if best is None else min(best, rank)
        elif best is None:
            return None
        elif rank <= best:
            return at
    return None if best is None else -1


def thin(log: Log, kind: int) -> None:
    """Forget the quotes that a later one has beaten: from whatever moment on, the best is one of the others."""
    kept: Log = []
    best = 0
    for moment, quote, rank in _backwards(log, kind):
        if not kept or rank <= best:
            kept.append((moment, quote))
            best = rank
    log[:] = reversed(kept)


def last_point(log: Log) -> Point:
    """Of the newest quote of a log; -1 where it is empty."""
    if not log:
        return -1
    newest = log[-1]
    return newest[0] if isinstance(newest, tuple) else 2 * POINTS * newest.ts


def looks_at_ask(kind: int) -> bool:
    """Orders lie by the number of the bound of the guard that acts on them: ask low, ask high, bid low, bid high."""
    return kind < 2


def acts_on_fall(kind: int) -> bool:
    return kind % 2 == 0


def _backwards(log: Log, kind: int) -> Iterator[tuple[Point, Quote, int]]:
    """The quotes of a log, last first, with their moments and ranks: the lower, the nearer."""
    by_ask, sign = looks_at_ask(kind), 1 if acts_on_fall(kind) else -1
    for entry in reversed(log):
        moment, quote = entry if isinstance(entry, tuple) else (2 * POINTS * entry.ts, entry)
        yield moment, quote, sign * (quote.ask if by_ask else quote.bid)
