"""Money and prices: one module parses, rounds and converts.

Money is `Decimal` dollars, kept to the cent. A price on the hot path is an integer count of
1/10,000 dollar ("ticks"), the finest US price increment; 0 means that there is no price.
"""

import decimal
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

TICKS_PER_DOLLAR = 10_000
CENT = Decimal("0.01")

# ASCII digits only, no exponent, no underscore, no sign other than a leading minus: Decimal()
# alone would take "1_000", Arabic digits, "NaN" and "1e308".
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,12})?", re.ASCII)


def forbid_floats() -> None:
    """Make mixing floats into Decimal arithmetic raise, in this thread and all later ones."""
    for context in (decimal.DefaultContext, decimal.getcontext()):
        context.traps[decimal.FloatOperation] = True


def parse_number(text: str) -> Decimal | None:
    """The decimal number that `text` plainly spells, or None. Source: docs/rules/numbers.md."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def to_cents(amount: Decimal) -> Decimal:
    """Dollars rounded half-even to the cent."""
    return amount.quantize(CENT, rounding=ROUND_HALF_EVEN)


def up_to_cents(amount: Decimal) -> Decimal:
    """Dollars rounded up to the cent: for what is held back, never for what is paid."""
    return amount.quantize(CENT, rounding=ROUND_CEILING)


def down_to(amount: Decimal, step: Decimal) -> Decimal:
    """`amount` rounded down to a whole number of steps."""
    return (amount / step).to_integral_value(rounding=ROUND_FLOOR) * step


def to_ticks(price: Decimal) -> int:
    """Dollars to 1/10,000 dollar. Raises ValueError when the price is finer than that."""
    scaled = price * TICKS_PER_DOLLAR
    ticks = int(scaled)
    if ticks != scaled:
        raise ValueError(f"{price} is finer than 1/10,000 dollar")
    return ticks


def from_ticks(ticks: int) -> Decimal:
    """1/10,000 dollar to dollars, with four decimals."""
    return Decimal(ticks).scaleb(-4)


def show_price(ticks: int) -> str:
    """A price as people write it: two decimals, or as many of four as it needs. `0` is a dash."""
    if not ticks:
        return "—"
    whole, rest = divmod(ticks, TICKS_PER_DOLLAR)
    text = f"{whole:,}.{rest:04d}"
    return text[:-2] if text.endswith("00") else text
