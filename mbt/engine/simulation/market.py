"""A small made-up market: four underlyings, two expirations of options, a week and the days around it.

Prices are whole 1/10,000 dollars and chance is the caller's `Random`, so that a seed gives one market, everywhere.
"""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import chain
from math import isqrt
from random import Random

from mbt.engine.corporate import (
    CashDividend,
    CashMerger,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
    adjusted_classes,
    contract_change,
)
from raxx.kernel.clock import EXCHANGE_ZONE, SECOND_NS, to_ns
from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market.contracts import AssetClass, Instrument, Right, osi, parse_symbol, price_step
from raxx.market.listing import OptionClass, is_adjusted
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

MINUTE_NS = 60 * SECOND_NS
DAYS = 5
INDEX = "XSP"  # not traded itself; its options are settled in cash
# A class that trades to 16:15, one in pennies, one in nickels, one settled in cash.
UNDERLYINGS = ("SPY", "KO", "ZINC", INDEX)
_FIRST_MONDAY = date(2013, 1, 7)
_WEEKS = 690  # to 2026
_STRIKE_STEPS = ((10, 5_000), (50, 10_000), (200, 25_000), (10**6, 50_000))  # below so many dollars
LOWEST = 5_000  # no stock falls below 50 cents
_START_PRICES = (4, 9, 24, 47, 101, 260, 410)  # dollars


@dataclass(frozen=True)
class Week:
    """Five days of trading in a run of weekdays, and the two expirations."""

    sessions: Sessions
    days: tuple[Session, ...]
    expiries: tuple[date, date]


def week(seed: int) -> Week:
    """The week of that seed, anywhere in some thirteen years; one day of it ends at 13:00."""
    rng = Random(seed)  # noqa: S311 - no secret
    monday = _FIRST_MONDAY + timedelta(weeks=rng.randrange(_WEEKS))
    half = monday + timedelta(days=rng.randrange(DAYS))
    near = monday + timedelta(days=rng.choice((0, 2, 2, 3, 4)))
    far = monday + timedelta(days=11 if near.weekday() == DAYS - 1 else rng.choice((4, 11)))
    around = (monday + timedelta(days=n) for n in range(-7, 42))
    sessions = Sessions("SIMULATED", [_session(d, early=d == half) for d in around if d.weekday() < 5])
    days = tuple(s for s in sessions if monday <= s.date < monday + timedelta(days=DAYS))
    return Week(sessions, days, (near, far))


def _session(day: date, *, early: bool) -> Session:
    def at(hour: int, minute: int = 0) -> int:
        return to_ns(datetime.combine(day, time(hour, minute), EXCHANGE_ZONE))

    close_ns = at(13) if early else at(16)
    return Session(
        date=day, open_ns=at(9, 30), close_ns=close_ns, early_close=early, late_close_ns=close_ns + 15 * MINUTE_NS,
        extended_open_ns=at(4), extended_close_ns=at(17) if early else at(20),
    )  # fmt: skip


@dataclass
class Stock:
    """One underlying: its price, what moves it in a day (parts of 10,000), and its listed contracts."""

    symbol: str
    price: int
    daily: int
    options: list[Instrument] = field(default_factory=list)

    @property
    def listed(self) -> list[Instrument]:
        """Its standard contracts; the others are what corporate actions have made of such."""
        return [option for option in self.options if not is_adjusted(option.underlying)]

    @property
    def classes(self) -> list[list[Instrument]]:
        """All its contracts, those of one root together, the standard ones first."""
        roots = dict.fromkeys(option.underlying for option in [*self.listed, *self.options])
        return [[option for option in self.options if option.underlying == root] for root in roots]


class Market:
    """The prices of a week as they move."""

    def __init__(self, rng: Random, expiries: tuple[date, date]) -> None:
        self._rng = rng
        self.expiries = expiries
        self.stocks = [self._listed(symbol) for symbol in UNDERLYINGS]
        self.adjusted: dict[str, OptionClass] = {}

    @property
    def options(self) -> list[Instrument]:
        return list(chain.from_iterable(stock.options for stock in self.stocks))

    def prices(self) -> dict[str, int]:
        return {stock.symbol: stock.price for stock in self.stocks}

    def all_quotes(self, at_ns: int, day: date) -> tuple[Quote, ...]:
        """A plain quote of everything."""
        found = [self._stock_quote(stock, at_ns) for stock in self.stocks]
        for stock in self.stocks:
            found += [self._option_quote(stock, option, at_ns, day) for option in stock.options]
        return tuple(found)

    def move(self, at_ns: int, day: date) -> tuple[Quote, ...]:
        """Some underlyings move, now and then far; some of their quotes follow, not all of them sound."""
        rng, found = self._rng, []
        for stock in self.stocks if rng.random() < 0.3 else rng.sample(self.stocks, rng.randint(1, 2)):
            reach = rng.randint(200, 1_500) if rng.random() < 0.02 else stock.daily // 4
            stock.price = max(LOWEST, stock.price * (10_000 + rng.randint(-reach, reach)) // 10_000)
            found.append(self._spoilt(self._stock_quote(stock, at_ns)))
            share = rng.choice((0.2, 0.5, 1.0))
            found += [
                self._spoilt(self._option_quote(stock, option, at_ns, day))
                for option in stock.options
                if option.expiry is not None and option.expiry >= day and rng.random() < share
            ]
        return tuple(found)

    def find(self, symbol: str) -> Stock | None:
        return next((stock for stock in self.stocks if stock.symbol == symbol), None)

    def follow(self, event: Event) -> None:
        """After a corporate action: the price and the contracts are the new ones."""
        stock = self.find(event.symbol)
        if stock is None:
            return
        changes = [contract_change(event, option.symbol, self.adjusted) for option in stock.options]
        self.adjusted = adjusted_classes(event, self.adjusted)
        stock.options = [
            parse_symbol(change.new) if change else option
            for change, option in zip(changes, stock.options, strict=True)
        ]
        match event:
            case Split(new=new, old=old):
                stock.price = max(LOWEST, stock.price * old // new)
            case CashDividend(amount=amount):
                stock.price = max(LOWEST, stock.price - int(amount * TICKS_PER_DOLLAR))
            case SymbolChange(new_symbol=symbol):
                stock.symbol = symbol
            case SpinOff(new_symbol=symbol, new_price=new_price):
                self.stocks.append(Stock(symbol, new_price, stock.daily))
            case CashMerger():
                self.stocks.remove(stock)
                self.stocks[0].options += stock.options  # there is still a market for what is cash now
            case StockMerger(new_symbol=symbol):
                self.stocks.remove(stock)
                into = self.find(symbol)
                if into is not None:
                    into.options += stock.options
        for one in self.stocks:
            if not one.listed:
                one.options += self._series(one)

    # -- the parts ---------------------------------------------------------------------------------

    def _listed(self, symbol: str) -> Stock:
        dollars = 400 if symbol == INDEX else self._rng.choice(_START_PRICES)
        price = dollars * TICKS_PER_DOLLAR + 2 * self._rng.randrange(2_500)
        stock = Stock(symbol, price, self._rng.randint(40, 300))
        stock.options += self._series(stock)
        return stock

    def _series(self, stock: Stock) -> list[Instrument]:
        """Five strikes around the price, two expirations, both rights."""
        step = next(step for below, step in _STRIKE_STEPS if stock.price < below * TICKS_PER_DOLLAR)
        middle = stock.price // step * step
        strikes = [middle + n * step for n in (-2, -1, 0, 1, 2) if middle + n * step > 0]
        return [
            parse_symbol(osi(stock.symbol, expiry, right, strike))
            for expiry in self.expiries
            for strike in strikes
            for right in Right
        ]

    def _stock_quote(self, stock: Stock, at_ns: int) -> Quote:
        step = 100 if stock.price >= TICKS_PER_DOLLAR else 1
        half = stock.price * self._rng.randint(1, 10) // 10_000
        bid = max((stock.price - half) // step * step, step)
        ask = max(-((-stock.price - half) // step) * step, bid + step)
        return self._sized(stock.symbol, at_ns, bid, ask, 100)

    def _option_quote(self, stock: Stock, option: Instrument, at_ns: int, day: date) -> Quote:
        days = max((option.expiry - day).days, 0) if option.expiry else 0
        above = self._delivered(stock, option) - option.strike
        worth = max(0, above if option.right is Right.CALL else -above)
        at_the_money = stock.price * stock.daily * isqrt(100 * days + 25) // 250_000
        if option.underlying in self.adjusted and self.adjusted[option.underlying].delivers_cash_alone:
            at_the_money = 0
        middle = worth + max(0, at_the_money - abs(above) // 3)
        half = middle * self._rng.randint(1, 6) // 200
        low = max(middle - half, 0)
        bid = low // price_step(option, low) * price_step(option, low)
        high = middle + half
        step = price_step(option, high)
        ask = max(-(-high // step) * step, bid + price_step(option, bid))
        return self._sized(option.symbol, at_ns, bid, ask, 1)

    def _delivered(self, stock: Stock, option: Instrument) -> int:
        """What a contract delivers, for each of its shares."""
        changed = self.adjusted.get(option.underlying)
        if changed is None:
            return stock.price
        prices = self.prices()
        found = changed.deliverable
        shares = sum(int(qty) * prices.get(symbol, 0) for symbol, qty in found.shares)
        return (shares + int(found.cash * TICKS_PER_DOLLAR)) // changed.multiplier

    def _sized(self, symbol: str, at_ns: int, bid: int, ask: int, lot: int) -> Quote:
        bid_size = lot * self._rng.randint(1, 40) if bid else 0
        return Quote(symbol, at_ns, bid, bid_size, ask, lot * self._rng.randint(1, 40))

    def _spoilt(self, quote: Quote) -> Quote:
        """Now and then a quote is locked, crossed, or has one side or none."""
        chance = self._rng.random()
        if chance > 0.06 or not quote.bid:
            return quote
        if chance < 0.015:
            return Quote(quote.symbol, quote.ts, quote.bid, quote.bid_size, quote.bid, quote.ask_size)
        if chance < 0.03:
            return Quote(quote.symbol, quote.ts, quote.ask, quote.bid_size, quote.bid, quote.ask_size)
        if chance < 0.04:
            return Quote(quote.symbol, quote.ts, 0, 0, quote.ask, quote.ask_size)
        if chance < 0.05:
            return Quote(quote.symbol, quote.ts, quote.bid, quote.bid_size, 0, 0)
        return Quote(quote.symbol, quote.ts, 0, 0, 0, 0)


def is_stock(instrument: Instrument) -> bool:
    return instrument.asset_class is AssetClass.EQUITY
