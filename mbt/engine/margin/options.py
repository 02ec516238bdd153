"""Options without stock: naked, short on both sides, and spreads at their largest loss. Dollars a unit.

Source: docs/rules/margin.md#naked-options and #spreads.
"""

from collections.abc import Sequence
from decimal import Decimal

from mbt.engine.margin.book import Book, OptionLeg
from mbt.engine.margin.charges import Charge, both, dollars, in_the_money, out_of_the_money, show, show_rate
from mbt.engine.margin.rules import MarginRules
from raxx.market.contracts import Right


def naked(leg: OptionLeg, book: Book, rules: MarginRules) -> Charge:
    """The option's mark, and a part of the underlying that shrinks as the option is further out of the money."""
    is_call = leg.right is Right.CALL
    premium, strike, price = dollars(leg.mark), dollars(leg.strike), dollars(book.price)
    if book.is_adjusted and not book.deliverable.shares:
        return _of_cash_alone(premium, in_the_money(is_call, strike, price))
    rate, floor_rate = rules.option_rate(book.ticker), rules.option_floor_rate(book.ticker)
    otm, floor_of = out_of_the_money(is_call, strike, price), price if is_call else strike
    amount = premium + max(rate * price - otm, floor_rate * floor_of)
    minus = f" − {show(otm)}" if otm else ""
    formula = f"{show(premium)} + max({show_rate(rate)} × {show(price)}{minus}, {show_rate(floor_rate)} × {show(floor_of)})"
    minimum = rules.contract_minimum / book.multiplier
    if minimum > amount:
        return both(minimum, f"minimum {show(rules.contract_minimum)} a contract / {book.multiplier}")
    return both(amount, formula)


def _of_cash_alone(premium: Decimal, itm: Decimal) -> Charge:
    """What is delivered never moves, so neither does what the contract is in the money."""
    return both(max(premium, itm), f"max({show(premium)}, {show(itm)} in the money)")


def straddle(call: tuple[Charge, Decimal], put: tuple[Charge, Decimal]) -> Charge:
    """A short call and a short put, each as (naked charge, mark): the greater, and the mark of the other."""
    greater, other = sorted((call, put), key=lambda side: (side[0].maintenance, -side[1]), reverse=True)
    amount = greater[0].maintenance + other[1]
    return both(amount, f"{greater[0].maintenance_formula} + {show(other[1])}")


def payoff(leg: OptionLeg, at: int) -> int:
    """What one long unit of the option is worth at expiry with the underlying at `at`, in 1/10,000 dollar."""
    return max(0, at - leg.strike if leg.right is Right.CALL else leg.strike - at)


def largest_loss(legs: Sequence[tuple[OptionLeg, int]]) -> tuple[int, int]:
    """Of (leg, signed contracts): the largest loss at expiry in 1/10,000 dollar, premiums left out, and where.

    Looked for at the strikes of long options only. With as many longs as shorts of each right nothing changes
    beyond the outermost strikes, and between them the payoff only turns upwards at a long option's strike.
    """
    worst, where = 0, 0
    for at in sorted({leg.strike for leg, qty in legs if qty > 0}):
        loss = -sum(qty * payoff(leg, at) for leg, qty in legs)
        if loss > worst:
            worst, where = loss, at
    return worst, where
