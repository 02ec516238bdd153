"""The working-order index of one symbol: which orders could a new quote touch?

Most quotes touch none. The *guard* says so with one comparison per side, whatever the number of
orders: no order can act while ask > guard.ask and bid < guard.bid.
"""

from bisect import bisect_left, bisect_right, insort
from math import inf

from mbt.engine.orders import Order, Side
from raxx.market.quotes import Quote

# The guard's values when nothing can trigger, and when everything must be looked at. Prices are
# never negative, and 0 stands for a side without a quote.
NOTHING_ASK, NOTHING_BID = -1, 2**62
ANYTHING_ASK, ANYTHING_BID = 2**62, -1


class SymbolBook:
    """Orders of one symbol, and its last quote.

    `waiting` are those that have not met a usable quote yet; every quote concerns them. Resting
    limits lie in two lists, nearest to the market first: buys by falling, sells by rising limit,
    then by order number.
    """

    __slots__ = ("_buys", "_sells", "guard_ask", "guard_bid", "last", "waiting")

    def __init__(self) -> None:
        self.last: Quote | None = None
        self.waiting: dict[int, Order] = {}
        self._buys: list[tuple[int, int, Order]] = []
        self._sells: list[tuple[int, int, Order]] = []
        self.guard_ask, self.guard_bid = NOTHING_ASK, NOTHING_BID

    def wait(self, order: Order) -> None:
        self.waiting[order.number] = order
        self.set_guard()

    def rest(self, order: Order) -> None:
        side, key = self._place(order)
        insort(side, (key, order.number, order))
        if not self.waiting:
            self.set_guard()

    def remove(self, order: Order) -> bool:
        """Whether the order was here."""
        if self.waiting.pop(order.number, None) is None:
            side, key = self._place(order)
            index = bisect_left(side, (key, order.number))
            if index == len(side) or side[index][1] != order.number:
                return False
            del side[index]
        self.set_guard()
        return True

    def reached(self, quote: Quote) -> list[Order]:
        """Resting orders whose limit the opposite side of `quote` reaches. They stay in the book."""
        found = []
        if quote.ask:
            found += [entry[2] for entry in self._buys[: bisect_right(self._buys, (-quote.ask, inf))]]
        if quote.bid:
            found += [entry[2] for entry in self._sells[: bisect_right(self._sells, (quote.bid, inf))]]
        return found

    def forget(self, waiting: list[Order], reached: list[Order]) -> None:
        """Take out what `waiting` and `reached` gave, in one cut per side. The guard is set afterwards."""
        for order in waiting:
            del self.waiting[order.number]
        buys = sum(1 for order in reached if order.side is Side.BUY)
        del self._buys[:buys]
        del self._sells[: len(reached) - buys]

    def set_guard(self) -> None:
        if self.waiting:
            self.guard_ask, self.guard_bid = ANYTHING_ASK, ANYTHING_BID
            return
        self.guard_ask = -self._buys[0][0] if self._buys else NOTHING_ASK
        self.guard_bid = self._sells[0][0] if self._sells else NOTHING_BID

    def _place(self, order: Order) -> tuple[list[tuple[int, int, Order]], int]:
        return (self._buys, -order.limit) if order.side is Side.BUY else (self._sells, order.limit)
