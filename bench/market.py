"""A market and a book of resting orders for the engine's yardsticks, the same for the same arguments."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from sys import intern
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import numpy as np

from mbt.engine.orders import Order, OrderType, Side, TimeInForce
from raxx.market.contracts import AssetClass
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

Value = TypeVar("Value")

SYMBOLS = 500
BATCH = 100  # quotes in a frame
OPEN_NS = 1_699_972_200 * 1_000_000_000  # 2023-11-14, 9:30 in New York
STEP_NS = 10_000  # between quotes: 100,000 a second
CENT = 100  # in ticks
ACCOUNTS = 1_000

# The market is open for as long as a yardstick may run, so that what is measured is the hot path.
CLOSE_NS = OPEN_NS + 10**18
OPEN_ALL_DAY = Sessions("BENCH", [Session(date(2023, 11, 14), OPEN_NS - 10**15, CLOSE_NS)])


class WireQuote(msgspec.Struct, rename={"kind": "T", "symbol": "S", "bid_venue": "bx", "bid": "bp", "bid_size": "bs",
                                        "ask_venue": "ax", "ask": "ap", "ask_size": "as", "ts": "t", "flags": "c", "tape": "z"}):  # fmt: skip
    """A quote with all that a provider sends along and nobody reads."""

    kind: str
    symbol: str
    bid_venue: str
    bid: int
    bid_size: int
    ask_venue: str
    ask: int
    ask_size: int
    ts: int
    flags: list[str]
    tape: str


def names(count: int = SYMBOLS) -> list[str]:
    """Tickers of three and four letters."""
    dice = random.Random(20)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(dice.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=dice.choice((3, 4))))] = None
    return list(found)


def quotes(count: int, *, symbols: int = SYMBOLS, seed: int = 7, step: float = 0.0002) -> list[Quote]:
    """A random walk of each symbol, in whole cents; bid below ask always. `step` is one quote's deviation."""
    dice = np.random.default_rng(seed)
    which = dice.integers(0, symbols, count)
    moves = dice.normal(0, step, count)
    walk = np.zeros(count)
    for symbol in range(symbols):
        rows = np.flatnonzero(which == symbol)
        walk[rows] = np.cumsum(moves[rows])
    middle = _start(which) * np.exp(walk)
    half = np.maximum(CENT // 2, middle * 0.0001)
    bid = np.floor((middle - half) / CENT).astype(np.int64) * CENT
    ask = np.maximum(np.ceil((middle + half) / CENT).astype(np.int64) * CENT, bid + CENT)
    sizes = dice.integers(1, 40, (2, count)) * 100
    ts = OPEN_NS + np.arange(count) * STEP_NS
    columns = (column.tolist() for column in (ts, bid, sizes[0], ask, sizes[1]))
    return list(map(Quote, map(names().__getitem__, which.tolist()), *columns))


def batches(found: Sequence[Quote], size: int = BATCH) -> Iterator[Sequence[Quote]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]


def lean_frames(found: Sequence[Quote]) -> list[bytes]:
    """JSON of the fields that a `Quote` has, a frame of `BATCH` each."""
    return [msgspec.json.encode(batch) for batch in batches(found)]


def wire_frames(found: Sequence[Quote]) -> list[bytes]:
    """JSON of all the fields that a provider sends."""
    return [
        msgspec.json.encode([
            WireQuote("q", q.symbol, "V", q.bid, q.bid_size, "Q", q.ask, q.ask_size, q.ts, ["R"], "C") for q in batch
        ])
        for batch in batches(found)
    ]  # fmt: skip


@dataclass
class OrderMaker:
    """Resting limit orders on both sides, a share of `distance` (0.1 to 1.9 times it) off the market.

    Each has objects of its own where one that came from the database has, and shares what `selectors.to_engine` shares:
    nothing more, to look small.
    """

    distance: float
    made: int = 0
    shared: dict[object, Any] = field(default_factory=dict)

    def book(self, count: int) -> list[Order]:
        tickers = names()
        start = _start(np.arange(SYMBOLS)).tolist()
        return [self.order(tickers[i % SYMBOLS], int(start[i % SYMBOLS])) for i in range(count)]

    def successor(self, order: Order, quote: Quote) -> Order:
        """Takes the place of a filled order, so that the book stays at its size."""
        return self.order(order.symbol, (quote.bid + quote.ask) // 2)

    def order(self, symbol: str, middle: int) -> Order:
        self.made += 1
        number = self.made
        dice = number * 2_654_435_761 % 2**32  # Knuth's multiplicative hash: even, and the same every time
        side = Side.BUY if dice & 1 else Side.SELL
        away = self.distance * (0.1 + 1.8 * (dice >> 1) / 2**31)
        limit = middle * (1 - away) if side is Side.BUY else middle * (1 + away)
        return Order(
            id=UUID(int=number), number=number, account_id=self._one(UUID(int=number % ACCOUNTS)), symbol=intern(symbol),
            asset_class=AssetClass.EQUITY, multiplier=1, side=side, type=OrderType.LIMIT, tif=TimeInForce.DAY,
            qty=self._one(Decimal(f"{100 + number % 400}.000000000")), limit=max(1, int(limit) // CENT) * CENT,
            accepted_ns=OPEN_NS - 1_000_000_000 + number, expires_ns=self._one(int(f"{CLOSE_NS}")),
            underlying=intern(symbol),
        )  # fmt: skip

    def _one(self, value: Value) -> Value:
        found: Value = self.shared.setdefault(value, value)
        return found


def _start(which: np.ndarray) -> np.ndarray:
    """The first price of a symbol in ticks: from 20 to 410 dollars."""
    return (20 + 10 * (which % 40)) * 100 * CENT
