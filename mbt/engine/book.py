"""The working-order index of one symbol: which orders could a new quote touch?

Most quotes touch none. The *guard* says so with one comparison per side, whatever the number of
orders: no order can act while the ask and the bid stay inside their open intervals.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from math import inf
from typing import TypeAlias

from mbt.engine.nearest import (
    POINTS,
    Log,
    Moment,
    Noted,
    Point,
    acts_on_fall,
    best_since,
    last_point,
    looks_at_ask,
    thin,
    unbeaten_before,
)
from mbt.engine.orders import FillPreference, Order, OrderType, Side
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours

# The guard's values when nothing can trigger. Prices are never negative, and 0 stands for a side
# without a quote; so an interval that begins at -1 holds everything.
LOWEST, HIGHEST = -1, 2**62

Guard: TypeAlias = tuple[int, int, int, int]  # ask_low, ask_high, bid_low, bid_high

_OPEN: Guard = (LOWEST, HIGHEST, LOWEST, HIGHEST)  # what no quote leaves
_SHUT: Guard = (HIGHEST, LOWEST, HIGHEST, LOWEST)  # what every quote leaves, because it concerns somebody

# Resting orders lie by the number of the guard's bound that acts on them. Even ones act when a price falls; the
# first two look at the ask.
_BUY_LIMITS, _BUY_STOPS, _SELL_STOPS, _SELL_LIMITS = _KINDS = range(4)

# As in fills.py: names for what every order that comes and goes is asked.
_BUY, _LIMIT, _CONSERVATIVE = Side.BUY, OrderType.LIMIT, FillPreference.CONSERVATIVE

# Key, order number, order, and since when quotes count for its nearest miss (None: since it arrived). Keys are
# prices, negated where a falling price acts, so that every list begins with the nearest to the market.
_Entry: TypeAlias = tuple[int, int, Order, Point | None]
Entries: TypeAlias = list[_Entry]

_THIN_EVERY = 32  # entries of a log


class SymbolBook:
    """Orders of one symbol, and its last quote.

    `waiting` are those that have not met a usable quote yet, `watching` those that must see every
    quote (packages with a leg here, trailing stops, fills inside the spread, what is left of a market
    order). The others lie in four lists, nearest to the market first, then by order number: limits to
    buy and stops to sell act when a price falls, limits to sell and stops to buy when one rises.

    `guard` is the band in which no order can act. The four bounds with which the matcher compares every quote may
    be narrower: where nearest misses are kept, a quote that comes nearer to some kind of orders than any since the
    newest of them rested is to be noted. The longer no order comes, the rarer are such record lows and highs.
    """

    __slots__ = (
        "_best_prices", "_bests", "_between", "_lists", "_log", "_logs", "_open_hours", "ask_high", "ask_low", "bid_high", "bid_low", "guard",
        "last", "waiting", "watching",
    )  # fmt: skip

    def __init__(self, open_hours: frozenset[Hours] = frozenset()) -> None:
        """`open_hours`: see `turn`."""
        self.last: Quote | None = None
        self.waiting: dict[int, Order] = {}
        self.watching: dict[int, Order] = {}
        self._lists: list[Entries | None] = [None, None, None, None]
        # Of each kind the best quote since its newest order rested, and a log of those that were so when another order
        # came, for each part of the day. The prices stand beside, since every fill asks for all four; where there is no
        # quote, one that any betters.
        self._bests: list[Noted | None] = [None, None, None, None]
        self._best_prices = list(_SHUT)
        self._between: Point = -1  # where the last order rested that did so between quotes of one stamp
        self._logs: dict[frozenset[Hours], list[Log]] = {}
        self._log: list[Log] | None = None
        self.turn(open_hours)

    def wait(self, order: Order) -> None:
        self.waiting[order.number] = order
        self.set_guard()

    def watch(self, order: Order) -> None:
        self.watching[order.number] = order
        self.set_guard()

    def rest(
        self,
        order: Order,
        *,
        triggered: bool = False,
        since: Moment | None = None,
        quote: Quote | None = None,
    ) -> None:
        """Put in what has met its first usable quote: `quote`, if it just did. `triggered`: its stop has been
        reached. `since`: from when on quotes count for its nearest miss; by default from its arrival on."""
        kind, key = _place(order, triggered)
        if kind is None:
            self.watch(order)
            return
        entries = self._lists[kind]
        if entries is None:
            entries = self._lists[kind] = []
        counts_from: Point | None = None
        log = self._log if self._log is not None else self._log_now()
        if log is not None:
            self._log = log
            if not entries:
                self._forget_logs(kind)
            self._put_away(log, kind)
            if since is not None:
                point = since * POINTS
                if quote is not None:
                    # After what came before it, of its own stamp too.
                    point = max(point, last_point(log[kind]) + 1)
                    if point > since * POINTS:
                        self._between = max(self._between, point)
                    self._bests[kind] = (point, quote)
                    self._best_prices[kind] = quote.ask if looks_at_ask(kind) else quote.bid
                if since != arrival(order):  # else one number less to keep
                    counts_from = point
        insort(entries, (key, order.number, order, counts_from))
        if entries[0][1] == order.number or quote is not None:
            self.set_guard()
        elif log is not None and self.guard is not _SHUT:
            self._loosen(kind)

    def remove(self, order: Order, *, triggered: bool = False) -> bool:
        """Whether the order was here."""
        if self.waiting.pop(order.number, None) is None and self.watching.pop(order.number, None) is None:
            found = self._find(order, triggered)
            if found is None:
                return False
            _, entries, index = found
            del entries[index]
        self.set_guard()
        return True

    def cuts(self, quote: Quote) -> list[tuple[Entries, int]]:
        """The lists of resting orders whose price `quote` reaches, and how many from the front. A missing side
        reaches nothing."""
        found = []
        for kind, entries in enumerate(self._lists):
            if entries:
                price = quote.ask if kind < _SELL_STOPS else quote.bid
                key = price if kind % 2 else -price
                if entries[0][0] <= key and price:
                    found.append((entries, bisect_right(entries, (key, inf))))
        return found

    def cut(self, cuts: list[tuple[Entries, int]]) -> None:
        """Take out what `cuts` gave. The guard is set afterwards."""
        for entries, count in cuts:
            del entries[:count]

    def set_guard(self) -> None:
        """Fit the guard to what is in the book."""
        if self.waiting or self.watching:
            self.ask_low, self.ask_high, self.bid_low, self.bid_high = self.guard = _SHUT
            return
        buy_limits, buy_stops, sell_stops, sell_limits = self._lists
        ask_low = -buy_limits[0][0] if buy_limits else LOWEST
        ask_high = buy_stops[0][0] if buy_stops else HIGHEST
        bid_low = -sell_stops[0][0] if sell_stops else LOWEST
        bid_high = sell_limits[0][0] if sell_limits else HIGHEST
        self.guard = ask_low, ask_high, bid_low, bid_high
        if self._log is not None:
            # A quote as good as the best so far need not be noted.
            lowest_ask, highest_ask, lowest_bid, highest_bid = self._best_prices
            if buy_limits and lowest_ask > ask_low:
                ask_low = lowest_ask - 1
            if buy_stops and highest_ask < ask_high:
                ask_high = highest_ask + 1
            if sell_stops and lowest_bid > bid_low:
                bid_low = lowest_bid - 1
            if sell_limits and highest_bid < bid_high:
                bid_high = highest_bid + 1
        self.ask_low, self.ask_high, self.bid_low, self.bid_high = ask_low, ask_high, bid_low, bid_high

    # -- nearest misses --------------------------------------------------------------------------

    def turn(self, open_hours: frozenset[Hours]) -> None:
        """From now on these hours are open, and usable quotes count for the orders of these; of none, if none are."""
        if self._log is not None:
            for kind in _KINDS:
                self._put_away(self._log, kind)
        self._open_hours = open_hours
        self._log = self._log_now() if any(self._lists) else None
        self.set_guard()

    def _log_now(self) -> list[Log] | None:
        """Of this part of the day. The many symbols without orders have none."""
        return self._logs.setdefault(self._open_hours, [[], [], [], []]) if self._open_hours else None

    def note(self, quote: Quote) -> bool:
        """Remember a usable quote that is the best for some kind of orders since the newest of them rested. Whether
        it may also act on an order."""
        guard, ask, bid = self.guard, quote.ask, quote.bid
        if self._log is None or not 0 < bid <= ask:
            return not (guard[0] < ask < guard[1] and guard[2] < bid < guard[3])
        if guard is _SHUT:
            return self._note_what_acts(quote)
        noted = quote if self._between < 0 else self._noted(quote)
        if ask <= self.ask_low:
            if ask <= guard[0]:
                return self._note_what_acts(quote)
            self._bests[_BUY_LIMITS], self._best_prices[_BUY_LIMITS] = noted, ask
            self.ask_low = ask - 1
        if bid >= self.bid_high:
            if bid >= guard[3]:
                return self._note_what_acts(quote)
            self._bests[_SELL_LIMITS], self._best_prices[_SELL_LIMITS] = noted, bid
            self.bid_high = bid + 1
        if ask >= self.ask_high:
            if ask >= guard[1]:
                return self._note_what_acts(quote)
            self._bests[_BUY_STOPS], self._best_prices[_BUY_STOPS] = noted, ask
            self.ask_high = ask + 1
        if bid <= self.bid_low:
            if bid <= guard[2]:
                return self._note_what_acts(quote)
            self._bests[_SELL_STOPS], self._best_prices[_SELL_STOPS] = noted, bid
            self.bid_low = bid - 1
        return False

    def _note_what_acts(self, quote: Quote) -> bool:
        """The same of a quote outside of the guard. The bounds follow when the guard is set again."""
        noted = quote if self._between < 0 else self._noted(quote)
        lists, ask, bid = self._lists, quote.ask, quote.bid
        lowest_ask, highest_ask, lowest_bid, highest_bid = self._best_prices
        if ask < lowest_ask and lists[_BUY_LIMITS]:
            self._bests[_BUY_LIMITS], self._best_prices[_BUY_LIMITS] = noted, ask
        if ask > highest_ask and lists[_BUY_STOPS]:
            self._bests[_BUY_STOPS], self._best_prices[_BUY_STOPS] = noted, ask
        if bid < lowest_bid and lists[_SELL_STOPS]:
            self._bests[_SELL_STOPS], self._best_prices[_SELL_STOPS] = noted, bid
        if bid > highest_bid and lists[_SELL_LIMITS]:
            self._bests[_SELL_LIMITS], self._best_prices[_SELL_LIMITS] = noted, bid
        return True

    def _noted(self, quote: Quote) -> Noted:
        """Behind the order that has rested between quotes of its stamp, if one has."""
        between = self._between
        return quote if between < 2 * POINTS * quote.ts else (between, quote)

    def anyone(self) -> Order | None:
        """Any order of this symbol: they have their underlying in common."""
        for orders in (self.waiting, self.watching):
            for order in orders.values():
                if not order.legs:
                    return order
        return next((entries[0][2] for entries in self._lists if entries), None)

    def nearest(self, order: Order, *, triggered: bool = False) -> tuple[Moment, Quote] | None:
        """The usable quote that came nearest to a resting order since it does so, and since when that is. None where
        none is known."""
        found = self._find(order, triggered)
        if found is None:
            return None
        kind, entries, index = found
        since = _since(entries[index])
        bests = [
            (since // POINTS, best)
            for open_hours, logs in self._logs.items()
            if order.hours in open_hours
            and (best := best_since(self._whole(logs, kind), since, kind)) is not None
        ]
        sign = 1 if acts_on_fall(kind) else -1
        by_ask = looks_at_ask(kind)
        return min(bests, key=lambda b: (sign * (b[1].ask if by_ask else b[1].bid), b[1].ts), default=None)

    def nearer_since(self, moment: Moment) -> Iterator[Order]:
        """Resting orders to which a quote may have come nearer from a moment on than any before."""
        for kind, entries in enumerate(self._lists):
            found = [
                unbeaten_before(self._whole(logs, kind), moment * POINTS, kind)
                for logs in self._logs.values()
            ]
            known = [before for before in found if before is not None]
            if entries and known:
                earliest = min(known)
                yield from [entry[2] for entry in entries if _since(entry) > earliest]

    def _put_away(self, log: list[Log], kind: int) -> None:
        """Into the log with the best so far: what comes from now on is compared with itself alone."""
        best = self._bests[kind]
        if best is not None:
            log[kind].append(best)
            self._no_best(kind)
            if not len(log[kind]) % _THIN_EVERY:
                thin(log[kind], kind)

    def _whole(self, log: list[Log], kind: int) -> Log:
        best = self._bests[kind] if log is self._log else None
        return log[kind] if best is None else [*log[kind], best]

    def _no_best(self, kind: int) -> None:
        self._bests[kind], self._best_prices[kind] = None, _SHUT[kind]

    def _loosen(self, kind: int) -> None:
        """The next quote on these orders' side of the market is to be noted, whatever it is."""
        if kind == _BUY_LIMITS:
            self.ask_low = HIGHEST
        elif kind == _SELL_LIMITS:
            self.bid_high = LOWEST
        elif kind == _BUY_STOPS:
            self.ask_high = LOWEST
        else:
            self.bid_low = HIGHEST

    def _forget_logs(self, kind: int) -> None:
        self._no_best(kind)
        for logs in self._logs.values():
            logs[kind].clear()

    def _find(self, order: Order, triggered: bool) -> tuple[int, Entries, int] | None:
        """The kind, the list and the place in it of a resting order."""
        kind, key = _place(order, triggered)
        entries = self._lists[kind] if kind is not None else None
        if kind is None or not entries:
            return None
        index = bisect_left(entries, (key, order.number))
        if index == len(entries) or entries[index][1] != order.number:
            return None
        return kind, entries, index


def list_of(order: Order, *, triggered: bool) -> int | None:
    """The list in which an order rests; None when it must see every quote."""
    return _place(order, triggered)[0]


def arrival(order: Order) -> Moment:
    """When an order that is no exit begins to count: after the quotes of the instant at which it acts."""
    return 2 * max(order.arrives_ns, order.accepted_ns) + 1


def _since(entry: _Entry) -> Point:
    return arrival(entry[2]) * POINTS if entry[3] is None else entry[3]


def _place(order: Order, triggered: bool) -> tuple[int | None, int]:
    """The list of a resting order and its key there; no list for one that must see every quote."""
    if order.legs:
        return None, 0
    buys = order.side is _BUY
    if order.type is not _LIMIT and not triggered:
        if order.stop is None:  # a market order, or a stop that trails
            return None, 0
        return (_BUY_STOPS, order.stop) if buys else (_SELL_STOPS, -order.stop)
    if order.preference is not _CONSERVATIVE or order.limit is None:
        return None, 0
    return (_BUY_LIMITS, -order.limit) if buys else (_SELL_LIMITS, order.limit)
