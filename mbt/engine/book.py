"""The working-order index of one symbol: which orders could a new quote touch?

Most quotes touch none. The *guard* says so with one comparison per side, whatever the number of
orders: no order can act while the ask and the bid stay inside their open intervals.
"""

from bisect import bisect_left, bisect_right, insort
from math import inf
from typing import TypeAlias

from mbt.engine.orders import FillPreference, Order, OrderType, Side
from raxx.market.quotes import Quote

# The guard's values when nothing can trigger. Prices are never negative, and 0 stands for a side
# without a quote; so an interval that begins at -1 holds everything.
LOWEST, HIGHEST = -1, 2**62

_Entries = list[tuple[int, int, Order]]
Guard: TypeAlias = tuple[int, int, int, int]  # ask_low, ask_high, bid_low, bid_high


class SymbolBook:
    """Orders of one symbol, and its last quote.

    `waiting` are those that have not met a usable quote yet, `watching` those that must see every
    quote (packages with a leg here, trailing stops, fills inside the spread, what is left of a market
    order). The others lie in four lists, nearest to the market first, then by order number: limits to
    buy and stops to sell act when a price falls, limits to sell and stops to buy when one rises.
    """

    __slots__ = ("_lists", "ask_high", "ask_low", "bid_high", "bid_low", "last", "waiting", "watching")

    def __init__(self) -> None:
        self.last: Quote | None = None
        self.waiting: dict[int, Order] = {}
        self.watching: dict[int, Order] = {}
        # Keys are prices, negated where a falling price acts, so that every list begins nearest.
        self._lists: dict[tuple[Side, bool], _Entries] = {}
        self.set_guard()

    @property
    def guard(self) -> Guard:
        return self.ask_low, self.ask_high, self.bid_low, self.bid_high

    def wait(self, order: Order) -> None:
        self.waiting[order.number] = order
        self.set_guard()

    def watch(self, order: Order) -> None:
        self.watching[order.number] = order
        self.set_guard()

    def rest(self, order: Order, *, triggered: bool = False) -> None:
        """Put in what has met its first usable quote. `triggered`: its stop has been reached."""
        place = _place(order, triggered)
        if place is None:
            self.watch(order)
            return
        kind, key = place
        entries = self._lists.get(kind)
        if entries is None:
            entries = self._lists[kind] = []
        insort(entries, (key, order.number, order))
        if not self.waiting and not self.watching:
            self.set_guard()

    def remove(self, order: Order, *, triggered: bool = False) -> bool:
        """Whether the order was here."""
        if self.waiting.pop(order.number, None) is None and self.watching.pop(order.number, None) is None:
            place = _place(order, triggered)
            if place is None:
                return False
            kind, key = place
            entries = self._lists.get(kind, [])
            index = bisect_left(entries, (key, order.number))
            if index == len(entries) or entries[index][1] != order.number:
                return False
            del entries[index]
        self.set_guard()
        return True

    def reached(self, quote: Quote) -> list[Order]:
        """Resting orders whose price `quote` reaches. They stay in the book."""
        return [
            entry[2]
            for kind, entries in self._lists.items()
            for entry in entries[: _cut(kind, entries, quote)]
        ]

    def forget_reached(self, quote: Quote) -> None:
        """Take out what `reached` gave, in one cut a list. The guard is set afterwards."""
        for kind, entries in self._lists.items():
            del entries[: _cut(kind, entries, quote)]

    def set_guard(self) -> None:
        """Fit the guard to what is in the book."""
        if self.waiting or self.watching:
            # An empty interval: every quote concerns somebody.
            self.ask_low, self.ask_high, self.bid_low, self.bid_high = HIGHEST, LOWEST, HIGHEST, LOWEST
            return
        lists = self._lists
        self.ask_low, self.ask_high, self.bid_low, self.bid_high = LOWEST, HIGHEST, LOWEST, HIGHEST
        if lists.get(_BUY_LIMITS):
            self.ask_low = -lists[_BUY_LIMITS][0][0]
        if lists.get(_BUY_STOPS):
            self.ask_high = lists[_BUY_STOPS][0][0]
        if lists.get(_SELL_STOPS):
            self.bid_low = -lists[_SELL_STOPS][0][0]
        if lists.get(_SELL_LIMITS):
            self.bid_high = lists[_SELL_LIMITS][0][0]


# Side of the orders, and whether they are stops.
_BUY_LIMITS, _SELL_LIMITS = (Side.BUY, False), (Side.SELL, False)
_BUY_STOPS, _SELL_STOPS = (Side.BUY, True), (Side.SELL, True)


def _place(order: Order, triggered: bool) -> tuple[tuple[Side, bool], int] | None:
    """The list of a resting order and its key there; None for one that must see every quote."""
    if order.legs or order.type is OrderType.TRAILING_STOP or order.type is OrderType.MARKET:
        return None
    is_stop = order.type is not OrderType.LIMIT and not triggered
    if is_stop:
        price = order.stop or 0
        return (_BUY_STOPS, price) if order.side is Side.BUY else (_SELL_STOPS, -price)
    if order.preference is not FillPreference.CONSERVATIVE or order.limit is None:
        return None
    return (_BUY_LIMITS, -order.limit) if order.side is Side.BUY else (_SELL_LIMITS, order.limit)


def _cut(kind: tuple[Side, bool], entries: _Entries, quote: Quote) -> int:
    """How many entries, from the front, `quote` reaches. A missing side reaches nothing."""
    if kind == _BUY_LIMITS:
        return bisect_right(entries, (-quote.ask, inf)) if quote.ask else 0
    if kind == _SELL_LIMITS:
        return bisect_right(entries, (quote.bid, inf)) if quote.bid else 0
    if kind == _BUY_STOPS:
        return bisect_right(entries, (quote.ask, inf)) if quote.ask else 0
    return bisect_right(entries, (-quote.bid, inf)) if quote.bid else 0
