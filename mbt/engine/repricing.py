"""Quotes across a corporate action: what the market said before it, in terms of what there is after it. Pure.

Until the first quote of the new day these stand in for it, so that what an account is worth does not jump with
the number of its shares. They fill nothing: their stamps are of the day before.
"""

from collections.abc import Mapping
from fractions import Fraction

from mbt.engine.corporate import (
    CashDividend,
    CashMerger,
    Classes,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
    adjusted_classes,
    contract_change,
)
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.listing import class_of
from raxx.market.quotes import Quote


def reprice(event: Event, quotes: Mapping[str, Quote], adjusted: Classes) -> dict[str, Quote]:
    """The quotes that `event` changes, by the symbol they are of afterwards. `quotes`: all in force before it;
    `adjusted`: the adjusted option classes as they were until then."""
    after = adjusted_classes(event, adjusted)
    found = _stock(event, quotes)
    for symbol, quote in quotes.items():
        if parse_symbol(symbol).asset_class is not AssetClass.OPTION:
            continue
        change = contract_change(event, symbol, adjusted)
        if change is not None:
            # A contract is worth what it was worth; so many of the new ones are it.
            before = class_of(parse_symbol(change.old).underlying, adjusted).multiplier
            now = class_of(parse_symbol(change.new).underlying, after).multiplier * change.each
            found[change.new] = _scaled(quote, change.new, Fraction(before, now))
    return found


def _stock(event: Event, quotes: Mapping[str, Quote]) -> dict[str, Quote]:
    quote = quotes.get(event.symbol)
    match event:
        case CashDividend() | CashMerger():
            return {}
        case Split() if quote is not None:
            return {event.symbol: _scaled(quote, event.symbol, Fraction(event.old, event.new))}
        case SymbolChange() if quote is not None:
            return {event.new_symbol: _scaled(quote, event.new_symbol, Fraction(1))}
        case StockMerger() if quote is not None and event.new_symbol not in quotes:
            return {event.new_symbol: _at(quote, event.new_symbol, event.price)}
        case SpinOff() if quote is not None:
            part = Fraction(event.price, event.price * event.old + event.new_price * event.new) * event.old
            found = {event.symbol: _scaled(quote, event.symbol, part)}
            if event.new_symbol not in quotes:
                found[event.new_symbol] = _at(quote, event.new_symbol, event.new_price)
            return found
        case _:
            return {}


def _scaled(quote: Quote, symbol: str, factor: Fraction) -> Quote:
    return Quote(
        symbol, quote.ts, round(quote.bid * factor), quote.bid_size, round(quote.ask * factor), quote.ask_size
    )


def _at(quote: Quote, symbol: str, price: int) -> Quote:
    """Both sides at one price, as of the instant of `quote`."""
    return Quote(symbol, quote.ts, price, quote.bid_size, price, quote.ask_size)
