"""Find the quotes of a recorded tape that can matter, without looking at the others.

A `Reach` answers "the first row from here on whose price reaches this bound" in a few microseconds, however
far that row is. On it stand `Lookout`, which lets a replay jump from one quote that can trip a guard to the next,
and `first_fills`, which finds where thousands of orders that do not depend on each other would fill.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mbt.engine.book import HIGHEST, LOWEST, Guard
from mbt.engine.fills import Rule, max_age_ns
from mbt.engine.orders import NEVER_NS, FillPreference, Order, OrderType, Side, TimeInForce
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Sessions

Ints: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

NO_ROW = 2**62  # after every row
_SHIFT = 6
_WIDTH = 1 << _SHIFT  # how many values share one on the next level
_AT_A_TIME = 4_096  # orders: what is read for them fits the processor's cache


class Tape(Protocol):
    """Quotes in time order, as columns of equal length: `raxx.market.feeds.columns.Columns` says what they hold."""

    @property
    def symbols(self) -> tuple[str, ...]: ...
    @property
    def ts(self) -> Ints: ...
    @property
    def symbol_index(self) -> NDArray[np.intp]: ...
    @property
    def bid(self) -> Ints: ...
    @property
    def bid_size(self) -> Ints: ...
    @property
    def ask(self) -> Ints: ...
    @property
    def ask_size(self) -> Ints: ...
    def __len__(self) -> int: ...
    def rows(self, start: int, stop: int) -> list[Quote]: ...


class Reach:
    """A column of prices that is asked for the first row, from some row on, that reaches a bound.

    `falling`: a price reaches a bound that it is not above, else one that it is not below. A price of 0 stands for
    none and reaches nothing; bounds are above 0. `among`: the rows that count. Over the column lies a tree: of
    each 64 values the level above keeps the one that reaches most.
    """

    def __init__(self, prices: Ints, *, falling: bool, among: Flags | None = None) -> None:
        self._count = len(prices)
        self._reaches = np.less_equal if falling else np.greater_equal
        most = np.minimum if falling else np.maximum
        never = np.iinfo(np.int64).max if falling else 0
        level = _whole_groups(prices, never, prices > 0 if among is None else among)
        self._levels = [level]
        while len(level) > _WIDTH:
            level = _whole_groups(most.reduce(level.reshape(-1, _WIDTH), axis=1), never)
            self._levels.append(level)

    def first(self, start: int, bound: int) -> int:
        """The first row from `start` on that reaches `bound`; as many as there are rows when none does."""
        at = start
        for height, level in enumerate(self._levels):
            if at >= len(level):
                return self._count
            hits = self._reaches(level[at : (at | _WIDTH - 1) + 1], bound)
            nearest = int(hits.argmax())
            if hits[nearest]:
                return self._down(height, at + nearest, bound)
            at = (at >> _SHIFT) + 1
        return self._count

    def _down(self, height: int, at: int, bound: int) -> int:
        for level in reversed(self._levels[:height]):
            at <<= _SHIFT
            at += int(self._reaches(level[at : at + _WIDTH], bound).argmax())
        return at

    def first_each(self, starts: Ints, bounds: Ints) -> Ints:
        """`first` for many pairs at once."""
        pieces = [
            self._first_each(starts[i : i + _AT_A_TIME], bounds[i : i + _AT_A_TIME])
            for i in range(0, len(starts), _AT_A_TIME)
        ]
        return np.concatenate(pieces) if pieces else np.empty(0, np.int64)

    def _first_each(self, starts: Ints, bounds: Ints) -> Ints:
        who, at = np.arange(len(starts)), starts
        met = []
        for level in self._levels:
            inside = at < len(level)
            who, at = who[inside], at[inside]
            groups = level.reshape(-1, _WIDTH)[at >> _SHIFT]
            hits = self._reaches(groups, bounds[who, None])
            hits &= np.arange(_WIDTH) >= (at & _WIDTH - 1)[:, None]
            nearest = hits.argmax(axis=1)
            hit = hits[np.arange(len(who)), nearest]
            met.append((who[hit], (at[hit] & -_WIDTH) + nearest[hit]))
            who, at = who[~hit], (at[~hit] >> _SHIFT) + 1
        found = np.full(len(starts), self._count)
        who, at = met.pop()
        for level, (joining, there) in zip(reversed(self._levels[:-1]), reversed(met), strict=True):
            groups = level.reshape(-1, _WIDTH)[at]
            at = (at << _SHIFT) + self._reaches(groups, bounds[who, None]).argmax(axis=1)
            who, at = np.concatenate([who, joining]), np.concatenate([at, there])
        found[who] = at
        return found


class SymbolRows:
    """The rows of one symbol. A row's place is its number among these."""

    def __init__(self, tape: Tape, numbers: Ints | None) -> None:
        """`numbers` on the tape, or None for all of them."""
        self._tape, self._numbers = tape, numbers
        self._which = slice(None) if numbers is None else numbers
        self._reaches: dict[int, Reach] = {}
        self._usable: dict[tuple[Sessions, Hours], UsableRows] = {}

    def __len__(self) -> int:
        return len(self._tape if self._numbers is None else self._numbers)

    def places_before(self, row: int) -> int:
        """How many of them come before that row of the tape."""
        return min(row, len(self)) if self._numbers is None else int(self._numbers.searchsorted(row))

    def row(self, place: int) -> int:
        """On the tape; NO_ROW after the last place."""
        if place >= len(self):
            return NO_ROW
        return place if self._numbers is None else int(self._numbers[place])

    def rows(self, places: Ints) -> Ints:
        return places if self._numbers is None else _at(self._numbers, places, NO_ROW)

    @cached_property
    def ts(self) -> Ints:
        return self._tape.ts[self._which]

    @cached_property
    def bid(self) -> Ints:
        return self._tape.bid[self._which]

    @cached_property
    def ask(self) -> Ints:
        return self._tape.ask[self._which]

    def reach(self, bound: int) -> Reach:
        """For the bound of that number in a guard."""
        if bound not in self._reaches:
            prices = self.ask if bound < 2 else self.bid
            self._reaches[bound] = Reach(prices, falling=bound % 2 == 0)
        return self._reaches[bound]

    def usable(self, sessions: Sessions, hours: Hours) -> "UsableRows":
        if (sessions, hours) not in self._usable:
            self._usable[sessions, hours] = UsableRows(self, sessions, hours)
        return self._usable[sessions, hours]


class UsableRows:
    """Which rows of a symbol can fill an order of some hours: two-sided, not crossed, stamped inside them."""

    def __init__(self, rows: SymbolRows, sessions: Sessions, hours: Hours) -> None:
        self._rows = rows
        windows = list(_windows(int(rows.ts[0]), int(rows.ts[-1]), sessions, hours))
        self.opens_ns, self.closes_ns = np.array(windows, np.int64).reshape(-1, 2).T
        self.flags = rows.bid > 0
        self.flags &= rows.bid <= rows.ask  # so there is an ask too
        starts, stops = np.searchsorted(rows.ts, self.opens_ns), np.searchsorted(rows.ts, self.closes_ns)
        for start, stop in zip([0, *stops], [*starts, len(rows.ts)], strict=True):
            self.flags[start:stop] = False
        self._all = bool(self.flags.all())
        self._reaches: dict[int, Reach] = {}

    def following(self, places: Ints) -> Ints:
        """The first of them from each place on."""
        return self.reach(0).first_each(places, np.full(len(places), HIGHEST))

    def reach(self, bound: int) -> Reach:
        if self._all:
            return self._rows.reach(bound)
        if bound not in self._reaches:
            prices = self._rows.ask if bound < 2 else self._rows.bid
            self._reaches[bound] = Reach(prices, falling=bound % 2 == 0, among=self.flags)
        return self._reaches[bound]


class TapeIndex:
    """A tape with what is needed to search it, made as it is needed and kept for the next time."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._number = {symbol: number for number, symbol in enumerate(tape.symbols)}
        self._rows: dict[str, SymbolRows | None] = {}

    def rows(self, symbol: str) -> SymbolRows | None:
        """None for a symbol that is not on the tape."""
        if symbol not in self._rows:
            found = self._find(symbol)
            self._rows[symbol] = found if found else None
        return self._rows[symbol]

    def quote(self, row: int) -> Quote:
        tape = self.tape
        return Quote(
            tape.symbols[tape.symbol_index[row]], int(tape.ts[row]), int(tape.bid[row]), int(tape.bid_size[row]),
            int(tape.ask[row]), int(tape.ask_size[row]),
        )  # fmt: skip

    def _find(self, symbol: str) -> SymbolRows | None:
        number = self._number.get(symbol)
        if number is None:
            return None
        if len(self._number) == 1:
            return SymbolRows(self.tape, None)
        by_symbol, starts = self._by_symbol
        return SymbolRows(self.tape, by_symbol[starts[number] : starts[number + 1]])

    @cached_property
    def _by_symbol(self) -> tuple[Ints, Ints]:
        """All row numbers, symbol after symbol, and where each symbol's begin."""
        # Sorting small integers takes a tenth of the time.
        small = self.tape.symbol_index.astype(np.min_scalar_type(len(self._number)))
        by_symbol = np.argsort(small, kind="stable")
        return by_symbol, np.searchsorted(small[by_symbol], np.arange(len(self._number) + 1))


# The guard of a book that nothing can trip; and so, bound by bound, of one that nothing on that side can.
_OPEN = (LOWEST, HIGHEST, LOWEST, HIGHEST)


class Lookout:
    """Where on its rows a symbol next leaves the guard of its book."""

    def __init__(self, rows: SymbolRows) -> None:
        self._rows = rows
        self._known = [(bound, NO_ROW) for bound in _OPEN]  # of each bound: the last one asked, and its row

    def next(self, row: int, guard: Guard) -> int:
        """The first row of the tape, from `row` on, that an order behind that guard could act on, or NO_ROW.

        `row` may only grow from call to call.
        """
        rows, start = self._rows, None
        if guard[0] > guard[1]:  # shut: every quote concerns somebody
            return rows.row(rows.places_before(row))
        nearest = NO_ROW
        for number, bound in enumerate(guard):
            if bound == _OPEN[number]:
                continue
            asked, found = self._known[number]
            if bound != asked or found < row:
                if start is None:
                    start = rows.places_before(row)
                found = rows.row(rows.reach(number).first(start, bound))
                self._known[number] = bound, found
            nearest = min(nearest, found)
        return nearest


class FirstFill(msgspec.Struct, frozen=True, gc=False):
    """The order fills at `at_ns` at `price` (1/10,000 dollar) on the quote in that `row` of the tape."""

    at_ns: int
    row: int
    price: int
    rule: Rule


def first_fills(index: TapeIndex, orders: Sequence[Order], sessions: Sessions) -> list[FirstFill | None]:
    """Where each order fills, as the matcher would fill it, in the order given; None: nowhere on the tape.

    For market, limit and stop orders, day or good till canceled, at the conservative preference, which neither
    a displayed size nor another order binds, and with no halt. Raises ValueError for others.
    """
    found: list[FirstFill | None] = [None] * len(orders)
    places = sorted(range(len(orders)), key=lambda place: _group(orders[place]))
    for _, group in groupby(places, key=lambda place: _group(orders[place])):
        same = list(group)
        rows = index.rows(orders[same[0]].symbol)
        asked = [orders[place] for place in same]
        usable = rows.usable(sessions, asked[0].hours) if rows is not None else None
        if rows is None or usable is None or not len(usable.opens_ns):
            continue
        for place, fill in zip(same, _fills_of_symbol(rows, asked, usable), strict=True):
            found[place] = fill
    return found


def _group(order: Order) -> tuple[str, str, str]:
    return order.symbol, order.hours, order.asset_class


def _fills_of_symbol(rows: SymbolRows, orders: Sequence[Order], usable: UsableRows) -> list[FirstFill | None]:
    """For orders of one symbol, class and hours."""
    kinds, bounds, arrives, expires = (np.array(column) for column in zip(*map(_terms, orders), strict=True))
    oldest = np.array([max_age_ns(orders[0].asset_class, at_ns) for at_ns in arrives.tolist()])
    by_ask = kinds < 2

    # The quote in force on arrival, where it can be used, else the first one after it that can.
    in_force = np.searchsorted(rows.ts, arrives, "right") - 1
    window = np.searchsorted(usable.closes_ns, arrives, "right")
    opens = _at(usable.opens_ns, window, NEVER_NS)
    at_once = (in_force >= 0) & usable.flags[in_force]
    at_once &= (rows.ts[in_force] >= opens) & (arrives - rows.ts[in_force] <= oldest)
    arrival = in_force.copy()
    arrival[~at_once] = usable.following(in_force[~at_once] + 1)
    arrival_ns = np.where(at_once, arrives, _at(rows.ts, arrival, NEVER_NS))
    alive = arrival_ns < expires
    touch = np.where(by_ask, _at(rows.ask, arrival, 0), _at(rows.bid, arrival, 0))
    marketable = alive & np.where(kinds % 2 == 0, touch <= bounds, touch >= bounds)

    # What rests is met by the first usable quote after that one that reaches it.
    row = np.where(marketable, arrival, len(rows.ts))
    for kind in range(4):
        resting = np.flatnonzero(alive & ~marketable & (kinds == kind))
        if resting.size:
            row[resting] = usable.reach(kind).first_each(arrival[resting] + 1, bounds[resting])
    at_ns = np.where(marketable, arrival_ns, _at(rows.ts, row, NEVER_NS))
    touch = np.where(by_ask, _at(rows.ask, row, 0), _at(rows.bid, row, 0))
    columns = (at_ns < expires, at_ns, rows.rows(row), touch, marketable)
    return [
        _fill(order, at, number, price, arriving=arriving) if fills else None
        for order, fills, at, number, price, arriving in zip(
            orders, *(column.tolist() for column in columns), strict=True
        )
    ]


def _fill(order: Order, at_ns: int, row: int, touch: int, *, arriving: bool) -> FirstFill:
    if order.type is not OrderType.LIMIT:
        return FirstFill(at_ns, row, touch, Rule.STOP_TOUCH if order.stop else Rule.MARKET_TOUCH)
    if arriving or order.limit is None:
        return FirstFill(at_ns, row, touch, Rule.LIMIT_MARKETABLE)
    return FirstFill(at_ns, row, order.limit, Rule.LIMIT_RESTING)


def _terms(order: Order) -> tuple[int, int, int, int]:
    """The number of the guard's bound that acts on the order, its price, when it arrives, when it is over."""
    buys = order.side is Side.BUY
    price = order.stop if order.type is OrderType.STOP else order.limit
    if order.type is OrderType.MARKET:
        price = HIGHEST if buys else LOWEST
    if (
        order.type not in (OrderType.MARKET, OrderType.LIMIT, OrderType.STOP)
        or order.tif not in (TimeInForce.DAY, TimeInForce.GTC)
        or order.preference is not FillPreference.CONSERVATIVE
        or order.legs or order.size_cap or order.entry_id or order.group_id or price is None
    ):  # fmt: skip
        raise ValueError(f"order {order.id} fills by more than its own price")
    is_stop = order.type is OrderType.STOP
    kind = (1 if is_stop else 0) if buys else (2 if is_stop else 3)
    return kind, price, max(order.arrives_ns, order.accepted_ns), order.expires_ns


def _windows(first_ns: int, last_ns: int, sessions: Sessions, hours: Hours) -> Iterator[tuple[int, int]]:
    """When the hours that lie on a run of rows open and close."""
    at_ns = first_ns
    while at_ns <= last_ns:
        try:
            session = sessions.current_or_next(at_ns, hours)
        except LookupError:  # the calendar ends here
            return
        yield session.opens_ns(hours), session.closes_ns(hours)
        at_ns = session.closes_ns(hours)


def _whole_groups(values: Ints, fill: int, among: Flags | bool = True) -> Ints:
    """A copy with `fill` for those that are not `among` them, and behind them up to the end of their group."""
    copy = np.full(-(-len(values) // _WIDTH) * _WIDTH, fill, np.int64)
    np.copyto(copy[: len(values)], values, where=among)
    return copy


def _at(column: Ints, rows: Ints, missing: int) -> Ints:
    """The values of these rows; `missing` for rows after the last."""
    return np.where(rows < len(column), column[np.minimum(rows, len(column) - 1)], missing)
