"""Quotes of the options: the chain of each stock once a second, of which only what changed is sent."""

import numpy as np

from raxx.kernel.clock import SECOND_NS
from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market.feeds.columns import Ints
from raxx.market.feeds.practice import exact, grid, pricing
from raxx.market.feeds.practice.grid import REFRESH_S, Increments, Rows
from raxx.market.feeds.practice.listing import Chain
from raxx.market.feeds.practice.paths import YEAR_NS
from raxx.market.feeds.practice.world import World

_MS_NS = SECOND_NS // 1_000
_SIZE_STRIDE = 1 << 32  # keeps the counters of one minute's sizes apart from the next minute's
_NOT_SENT = -1


class OptionQuotes:
    """The options of one day. Symbol numbers are those of `chain.symbols`."""

    def __init__(self, world: World, chain: Chain) -> None:
        self._world, self._chain = world, chain
        self._stocks = np.arange(len(world.underlyings))
        self._time_keys = world.keys("chain time")
        series = chain.series_underlying
        underlying = series[chain.pair_series]
        roots = Increments.of(
            [f"{u.symbol}300101C00001000" for u in world.underlyings], grid.OPTION_THRESHOLD
        )
        self._increments = roots.pick(underlying)
        self._skew = world.column(lambda u: u.style.skew)[series]
        self._curvature = world.column(lambda u: u.style.curvature)[series]
        self._usual = world.usual_volatility[series]
        self._half_spread = world.column(lambda u: u.style.option_half_spread * TICKS_PER_DOLLAR)[series]
        self._slope = world.column(lambda u: u.style.option_spread_slope)[series]
        self._contracts = np.repeat(world.column(lambda u: u.style.contracts)[underlying], 2)
        self._contract_underlying = np.repeat(underlying, 2)
        self._contract_series = np.repeat(chain.pair_series, 2)
        self._keys = np.array([exact.key(world.seed, "size", symbol) for symbol in chain.symbols], np.uint64)
        self._phases = grid.phases(self._keys)
        self._bid = np.full(len(chain.symbols), _NOT_SENT, np.int64)
        self._ask = self._bid.copy()

    def take_over(self, before: "OptionQuotes") -> None:
        """Remember what was sent the day before."""
        numbers = {symbol: number for number, symbol in enumerate(before._chain.symbols)}
        known = [(n, numbers[s]) for n, s in enumerate(self._chain.symbols) if s in numbers]
        here, there = (np.array(side, np.intp) for side in zip(*known, strict=True))
        self._bid[here], self._ask[here] = before._bid[there], before._ask[there]

    def sent(self, second: int) -> Rows:
        chain = self._chain
        moment_ms = exact.draw(self._time_keys, np.full_like(self._stocks, second)) % np.uint64(1_000)
        at_ns = second * SECOND_NS + moment_ms.astype(np.int64) * _MS_NS
        bid, ask = self._prices(at_ns)
        refresh = (second + self._phases) % REFRESH_S == 0
        # Expired options stay listed for the day: an empty quote withdraws the last one, and nobody
        # can fill on it.
        expired = (at_ns[chain.series_underlying] >= chain.series_close_ns)[self._contract_series]
        bid[expired] = ask[expired] = 0
        send = np.flatnonzero(refresh | (bid != self._bid) | (ask != self._ask))
        self._bid, self._ask = bid, ask

        bid, ask = bid[send], ask[send]
        minute = (second + self._phases[send]) // REFRESH_S * _SIZE_STRIDE
        keys, usual = self._keys[send], self._contracts[send]
        bid_size = grid.sizes(keys, minute + 2 * bid, usual)
        ask_size = grid.sizes(keys, minute + 2 * ask + 1, usual)
        bid_size[bid == 0] = 0
        ask_size[ask == 0] = 0
        return [at_ns[self._contract_underlying[send]], send, bid, bid_size, ask, ask_size]

    def _prices(self, at_ns: Ints) -> tuple[Ints, Ints]:
        """Bids and asks of all contracts in ticks, each chain at the instant of its stock."""
        chain, world = self._chain, self._world
        spots = world.spots(self._stocks, at_ns)
        volatility = world.volatility(self._stocks, at_ns, spots.excess)
        width = world.width(self._stocks, at_ns)

        stock = chain.series_underlying
        years = np.maximum(chain.series_close_ns - at_ns[stock], 1) / YEAR_NS
        at_the_money = pricing.variance_at_the_money(years, volatility[stock], self._usual)
        # Wider quotes for what is worth more and for what lasts longer. The slope stays far below 1,
        # so bids and asks rise and fall with the values and no two strikes cross each other.
        half = self._half_spread * width[stock] * (1.0 + np.sqrt(years))
        slope = self._slope * width[stock] * (1.0 + np.sqrt(years))

        series = chain.pair_series
        pair_stock = stock[series]
        log_moneyness = chain.pair_log_strike - spots.log_price[pair_stock]
        variance = pricing.total_variance(
            log_moneyness, at_the_money[series], self._skew[series], self._curvature[series]
        )
        worth = pricing.values(spots.price[pair_stock], chain.pair_strike, log_moneyness, variance)
        bids, asks = [], []
        for value in worth:  # calls, then puts
            margin = half[series] + slope[series] * value
            bids.append(self._increments.down(value - margin))
            asks.append(self._increments.up(value + margin))
        return np.stack(bids, axis=1).ravel(), np.stack(asks, axis=1).ravel()
