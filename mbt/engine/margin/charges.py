"""What one group requires per share of its contracts, and how to say it. Amounts are dollars, unrounded."""

from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from raxx.kernel.money import from_ticks

ZERO = Decimal(0)


class Charge(NamedTuple):
    """Requirement a share, and the formula that gives it, with the numbers in it."""

    initial: Decimal
    maintenance: Decimal
    initial_formula: str
    maintenance_formula: str


def both(amount: Decimal, formula: str) -> Charge:
    """An option's requirement is the same at the trade and afterwards."""
    return Charge(amount, amount, formula, formula)


def dollars(ticks: int) -> Decimal:
    return from_ticks(ticks)


def in_the_money(is_call: bool, strike: Decimal, price: Decimal) -> Decimal:
    return max(ZERO, price - strike if is_call else strike - price)


def out_of_the_money(is_call: bool, strike: Decimal, price: Decimal) -> Decimal:
    return in_the_money(not is_call, strike, price)


@lru_cache(4_096)  # the legal groups of a book name few prices, each many times
def show(amount: Decimal) -> str:
    """Dollars with at least two decimals and as many more as there are."""
    text = f"{amount.normalize():f}"
    decimals = len(text.partition(".")[2])
    return f"{amount:,.{max(2, decimals)}f}"


@lru_cache(64)
def show_rate(rate: Decimal) -> str:
    return f"{(rate * 100).normalize():f}%"
