"""Quotes of the stocks: up to four a second of each, at irregular milliseconds."""

import numpy as np

from raxx.kernel.clock import SECOND_NS
from raxx.market.feeds.practice import exact, grid
from raxx.market.feeds.practice.grid import REFRESH_S, Increments, Rows
from raxx.market.feeds.practice.world import World

_TICKS_A_SECOND = 4
_TICK_MS = 1_000 // _TICKS_A_SECOND
_MS_NS = SECOND_NS // 1_000
_ROUND_LOT = 100


class StockQuotes:
    """Symbol numbers are those of the world's underlyings."""

    def __init__(self, world: World) -> None:
        self._world = world
        count = len(world.underlyings)
        self._numbers = np.tile(np.arange(count), _TICKS_A_SECOND)  # tick by tick, in each all stocks
        self._increments = Increments.of(
            [u.symbol for u in world.underlyings] * _TICKS_A_SECOND, grid.STOCK_THRESHOLD
        )
        self._keys = [
            np.tile(world.keys(f"stock {what}"), _TICKS_A_SECOND) for what in ("time", "luck", "bid", "ask")
        ]
        self._phases = grid.phases(world.keys("stock refresh"))
        self._half_spread = world.column(lambda u: u.style.half_spread / 100)[self._numbers]
        self._activity = world.column(lambda u: u.style.activity)[self._numbers]
        self._lots = world.column(lambda u: u.style.lots)[self._numbers]
        self._last = np.full((4, count), -1, np.int64)

    def sent(self, second: int) -> Rows:
        count = len(self._phases)
        times, luck, bids, asks = self._keys
        tick = second * _TICKS_A_SECOND + np.repeat(np.arange(_TICKS_A_SECOND), count)
        moment_ms = (exact.draw(times, tick) % np.uint64(_TICK_MS)).astype(np.int64)
        ts = (tick * _TICK_MS + moment_ms) * _MS_NS
        price = self._world.spots(self._numbers, ts).price
        half = self._half_spread * self._world.width(self._numbers, ts) * price
        bid, ask = self._increments.down(price - half), self._increments.up(price + half)
        bid_size = grid.sizes(bids, tick, self._lots) * _ROUND_LOT
        ask_size = grid.sizes(asks, tick, self._lots) * _ROUND_LOT

        refresh = (second + self._phases) % REFRESH_S == 0
        happens = (exact.uniform(exact.draw(luck, tick)) < self._activity).reshape(-1, count)
        happens[0] |= refresh
        quotes = np.stack([bid, bid_size, ask, ask_size]).reshape(4, -1, count)
        send = np.empty_like(happens)
        for n in range(_TICKS_A_SECOND):
            send[n] = happens[n] & (quotes[:, n] != self._last).any(axis=0)
            self._last = np.where(happens[n], quotes[:, n], self._last)
        send[0] |= refresh
        return [column[send.ravel()] for column in (ts, self._numbers, bid, bid_size, ask, ask_size)]
