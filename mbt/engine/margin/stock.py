"""Stock, alone and beside options. Amounts are dollars a unit: a share, or what an adjusted contract delivers.

Source: docs/rules/margin.md#stock.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from mbt.engine.margin.book import Book
from mbt.engine.margin.charges import (
    ZERO,
    Charge,
    dollars,
    in_the_money,
    out_of_the_money,
    show,
    show_rate,
)
from mbt.engine.margin.rules import MarginRules


class Stock(NamedTuple):
    """A long or short position of one ticker at `price` dollars."""

    ticker: str
    price: Decimal
    is_long: bool
    rules: MarginRules

    @property
    def gets_relief(self) -> bool:
        """Options lower what a marginable stock requires, not what one without loan value does."""
        return self.ticker not in self.rules.non_marginable


class Lot(NamedTuple):
    """What stands beside one unit of an option: so many shares of each stock, and `cash` that is delivered too. `alone`:
    what the shares require without the option."""

    stocks: tuple[tuple[Stock, Decimal], ...]
    cash: Decimal
    price: Decimal
    alone: Charge
    rules: MarginRules

    @property
    def is_long(self) -> bool:
        return self.stocks[0][0].is_long

    @property
    def gets_relief(self) -> bool:
        return all(stock.gets_relief for stock, _ in self.stocks)


def lot_of(book: Book, rules: MarginRules) -> Lot:
    """What stands beside a unit of the book's options. It has stock."""
    stocks = tuple(
        (Stock(part.instrument.symbol, dollars(part.price), part.qty > 0, rules), part.each / book.multiplier)
        for part in book.stock
    )
    price = sum((stock.price * qty for stock, qty in stocks), book.cash)
    return Lot(stocks, book.cash, price, _together(stocks), rules)


def alone(stock: Stock) -> Charge:
    """A share that no option stands beside."""
    initial, initial_formula = _initial(stock)
    maintenance, formula = _long(stock) if stock.is_long else _short(stock)
    return Charge(initial, maintenance, initial_formula, formula)


def _together(stocks: Iterable[tuple[Stock, Decimal]]) -> Charge:
    """So many shares of each, without an option. What a contract delivers in cash is nobody's yet."""
    charges = [(alone(stock), qty) for stock, qty in stocks]
    return Charge(
        sum((charge.initial * qty for charge, qty in charges), ZERO),
        sum((charge.maintenance * qty for charge, qty in charges), ZERO),
        _sum((charge.initial_formula, qty) for charge, qty in charges),
        _sum((charge.maintenance_formula, qty) for charge, qty in charges),
    )


def covered_call(lot: Lot, strike: Decimal) -> Charge:
    """The shares are worth no more than the strike brings, after the cash that is delivered with them. The rest of the
    value stands against the call."""
    itm, left = in_the_money(True, strike, lot.price), max(strike - lot.cash, ZERO)
    amount, terms = itm, []
    for stock, qty in lot.stocks:
        rate, counted = _long_rate(stock), min(stock.price * qty, left)
        left -= counted
        amount += rate * counted
        terms.append(f"{show_rate(rate)} × {show(counted)}")
    return _with(lot, amount, f"{' + '.join(terms)}{_plus(itm)}")


def covered_put(lot: Lot, strike: Decimal) -> Charge:
    base, itm = lot.alone, in_the_money(False, strike, lot.price)
    return _with(lot, base.maintenance + itm, f"{base.maintenance_formula}{_plus(itm)}")


def protective_put(lot: Lot, strike: Decimal) -> Charge:
    return _with(lot, *_offset(lot, strike, is_call=False))


def protective_call(lot: Lot, strike: Decimal) -> Charge:
    return _with(lot, *_offset(lot, strike, is_call=True))


def collar(lot: Lot, put: Decimal, call: Decimal) -> Charge:
    """Long stock, long put, short call at a higher strike."""
    rules, otm = lot.rules, out_of_the_money(False, put, lot.price)
    rate, itm = max(_long_rate(stock) for stock, _ in lot.stocks), in_the_money(True, call, lot.price)
    floor, cap = rules.offset_rate * put + otm, rate * call + itm
    formula = f"min({show_rate(rules.offset_rate)} × {show(put)}{_plus(otm)}, {show_rate(rate)} × {show(call)}{_plus(itm)})"
    return _with(lot, min(floor, cap), formula)


def short_collar(lot: Lot, call: Decimal, put: Decimal) -> Charge:
    """Short stock, long call, short put: the protective call, and the put that the stock covers."""
    amount, formula = _offset(lot, call, is_call=True)
    itm = in_the_money(False, put, lot.price)
    return _with(lot, amount + itm, f"{formula}{_plus(itm)}")


def conversion(lot: Lot, strike: Decimal) -> Charge:
    """Long stock, long put, short call of one strike; of short stock the reverse."""
    rate, itm = lot.rules.offset_rate, in_the_money(lot.is_long, strike, lot.price)
    return _with(lot, rate * strike + itm, f"{show_rate(rate)} × {show(strike)}{_plus(itm)}")


def _initial(stock: Stock) -> tuple[Decimal, str]:
    rate = stock.rules.stock_initial if stock.gets_relief else Decimal(1)
    return rate * stock.price, f"{show_rate(rate)} × {show(stock.price)}"


def _long_rate(stock: Stock) -> Decimal:
    rules = stock.rules
    if not stock.gets_relief or stock.price < rules.long_low_price:
        return Decimal(1)
    return min(Decimal(1), rules.long_maintenance * rules.leverage_of(stock.ticker))


def _long(stock: Stock) -> tuple[Decimal, str]:
    rate = _long_rate(stock)
    return rate * stock.price, f"{show_rate(rate)} × {show(stock.price)}"


def _short(stock: Stock) -> tuple[Decimal, str]:
    rules = stock.rules
    is_low = stock.price < rules.short_low_price
    floor = rules.short_low_floor if is_low else rules.short_floor
    rate = (
        rules.short_low_maintenance if is_low else rules.short_maintenance * rules.leverage_of(stock.ticker)
    )
    if not stock.gets_relief:
        rate = max(rate, Decimal(1))
    return max(floor, rate * stock.price), f"max({show(floor)}, {show_rate(rate)} × {show(stock.price)})"


def _offset(lot: Lot, strike: Decimal, *, is_call: bool) -> tuple[Decimal, str]:
    """A long option beside the stock: a tenth of its strike and the way to it, but no more than the stock alone."""
    shares, rate = lot.alone, lot.rules.offset_rate
    otm = out_of_the_money(is_call, strike, lot.price)
    formula = f"min({show_rate(rate)} × {show(strike)}{_plus(otm)}, {shares.maintenance_formula})"
    return min(rate * strike + otm, shares.maintenance), formula


def _with(lot: Lot, maintenance: Decimal, formula: str) -> Charge:
    shares = lot.alone
    return Charge(shares.initial, maintenance, shares.initial_formula, formula)


def _sum(terms: Iterable[tuple[str, Decimal]]) -> str:
    return " + ".join(f"{qty.normalize():f} × {formula}" if qty != 1 else formula for formula, qty in terms)


def _plus(amount: Decimal) -> str:
    return f" + {show(amount)}" if amount > ZERO else ""
