"""Stock, alone and with the options that are grouped with it: dollars a share.

Initial is always half of the value, whatever stands beside it; an option that the stock covers adds nothing.
Source: docs/rules/margin.md#stock.
"""

from decimal import Decimal
from typing import NamedTuple

from mbt.engine.margin.charges import ZERO, Charge, in_the_money, out_of_the_money, show, show_rate
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


def plain(stock: Stock) -> Charge:
    initial, initial_formula = _initial(stock)
    maintenance, formula = _long(stock) if stock.is_long else _short(stock)
    return Charge(initial, maintenance, initial_formula, formula)


def covered_call(stock: Stock, strike: Decimal) -> Charge:
    """The stock is worth no more than the strike; the rest of its value stands against the call."""
    rate, itm = _long_rate(stock), in_the_money(True, strike, stock.price)
    capped = min(stock.price, strike)
    return _with(stock, rate * capped + itm, f"{show_rate(rate)} × {show(capped)}{_plus(itm)}")


def covered_put(stock: Stock, strike: Decimal) -> Charge:
    base, itm = plain(stock), in_the_money(False, strike, stock.price)
    return _with(stock, base.maintenance + itm, f"{base.maintenance_formula}{_plus(itm)}")


def protective_put(stock: Stock, strike: Decimal) -> Charge:
    return _with(stock, *_offset(stock, strike, is_call=False))


def protective_call(stock: Stock, strike: Decimal) -> Charge:
    return _with(stock, *_offset(stock, strike, is_call=True))


def collar(stock: Stock, put: Decimal, call: Decimal) -> Charge:
    """Long stock, long put, short call at a higher strike."""
    rules, otm = stock.rules, out_of_the_money(False, put, stock.price)
    rate, itm = _long_rate(stock), in_the_money(True, call, stock.price)
    floor, cap = rules.offset_rate * put + otm, rate * call + itm
    formula = f"min({show_rate(rules.offset_rate)} × {show(put)}{_plus(otm)}, {show_rate(rate)} × {show(call)}{_plus(itm)})"
    return _with(stock, min(floor, cap), formula)


def short_collar(stock: Stock, call: Decimal, put: Decimal) -> Charge:
    """Short stock, long call, short put: the protective call, and the put that the stock covers."""
    amount, formula = _offset(stock, call, is_call=True)
    itm = in_the_money(False, put, stock.price)
    return _with(stock, amount + itm, f"{formula}{_plus(itm)}")


def conversion(stock: Stock, strike: Decimal) -> Charge:
    """Long stock, long put, short call of one strike; of short stock the reverse."""
    rate, itm = stock.rules.offset_rate, in_the_money(stock.is_long, strike, stock.price)
    return _with(stock, rate * strike + itm, f"{show_rate(rate)} × {show(strike)}{_plus(itm)}")


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


def _offset(stock: Stock, strike: Decimal, *, is_call: bool) -> tuple[Decimal, str]:
    """A long option beside the stock: a tenth of its strike and the way to it, but no more than the stock alone."""
    alone, rate = plain(stock), stock.rules.offset_rate
    otm = out_of_the_money(is_call, strike, stock.price)
    formula = f"min({show_rate(rate)} × {show(strike)}{_plus(otm)}, {alone.maintenance_formula})"
    return min(rate * strike + otm, alone.maintenance), formula


def _with(stock: Stock, maintenance: Decimal, formula: str) -> Charge:
    initial, initial_formula = _initial(stock)
    return Charge(initial, maintenance, initial_formula, formula)


def _plus(amount: Decimal) -> str:
    return f" + {show(amount)}" if amount > ZERO else ""
