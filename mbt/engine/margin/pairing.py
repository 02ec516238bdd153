"""Find the grouping of one book that requires least: the counts of its uses.

They are an integer program, which is solved exactly. A greedy choice limits the search from above, and stands in for
books that are too large to search. Source: docs/rules/margin.md#the-least-requirement.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from math import gcd
from operator import mul
from typing import NamedTuple

from mbt.engine.margin import options
from mbt.engine.margin.book import Book, Expiry, OptionLeg
from mbt.engine.margin.charges import Charge, dollars
from mbt.engine.margin.integer_program import Row, minimise
from mbt.engine.margin.uses import Use, spreads
from raxx.market.contracts import Right

SEARCHED_LEGS_MAX = 16  # beyond it the greedy choice is taken as it is
SEARCHED_PIVOTS_MAX = 3_000


class Goal(Enum):
    """Which of the two requirements is to be least."""

    MAINTENANCE = "maintenance"
    INITIAL = "initial"

    def of(self, charge: Charge) -> Decimal:
        return charge.maintenance if self is Goal.MAINTENANCE else charge.initial


class Choice(NamedTuple):
    """How often each use is made. `is_least`: proved to be the least there is."""

    counts: tuple[int, ...]
    is_least: bool


def choose(book: Book, candidates: Sequence[Use], goal: Goal) -> Choice:
    """The counts that make the goal least.

    A book of up to 16 legs is searched to the end, or for 3,000 steps of arithmetic.
    """
    program = _Program(book, candidates, goal)
    greedy = program.greedy()
    values, is_proved = program.search(below=greedy)
    return Choice(values or greedy, is_proved)


def improve(book: Book, candidates: Sequence[Use], goal: Goal, than: Choice) -> Choice | None:
    """The counts that make the goal least, or None when there are none cheaper than those given."""
    values, is_proved = _Program(book, candidates, goal).search(below=than.counts)
    return Choice(values, is_proved) if values else None


class _Program:
    """The costs and constraints of one book in whole numbers.

    Variables: a count for each use, then the loss of each expiry that has a spread, in steps that divide every strike.
    """

    def __init__(self, book: Book, candidates: Sequence[Use], goal: Goal) -> None:
        self.book, self.candidates = book, candidates
        self.expiries = sorted({use.expiry for use in candidates if use.expiry})
        self.step = gcd(*(leg.strike for leg in (*book.shorts, *book.longs))) or 1
        per_use = [book.multiplier * goal.of(use.charge) if use.charge else Decimal(0) for use in candidates]
        per_step = book.multiplier * dollars(self.step)
        # The unit of cost is the largest of which every cost is a whole number.
        places = max(_places(amount) for amount in (per_step, *per_use))
        self.step_cost = int(per_step.scaleb(places))
        self.use_costs = [int(amount.scaleb(places)) for amount in per_use]
        unit = gcd(self.step_cost, *self.use_costs)
        self.step_cost //= unit
        self.use_costs = [cost // unit for cost in self.use_costs]
        self.costs = [*self.use_costs, *(self.step_cost for _ in self.expiries)]
        self.rows = [*self._legs(), *self._lots(), *self._balances(), *self._losses()]

    def cost(self, counts: Sequence[int]) -> int:
        found = spreads(self.book, self.candidates, counts).values()
        losses = sum(options.largest_loss(list(legs.items()))[0] for legs in found)
        fixed: int = sum(map(mul, self.use_costs, counts))
        return fixed + losses // self.step * self.step_cost

    def search(self, *, below: Sequence[int]) -> tuple[tuple[int, ...] | None, bool]:
        """Counts that cost less than those given, if any, and whether it is proved that none cost still less."""
        book = self.book
        if len(book.shorts) + len(book.longs) + bool(book.lots) > SEARCHED_LEGS_MAX:
            return None, False
        found = minimise(self.costs, self.rows, below=self.cost(below), pivots_max=SEARCHED_PIVOTS_MAX)
        return found.values and found.values[: len(self.candidates)], found.is_proved

    def greedy(self) -> tuple[int, ...]:
        """What saves most against every position alone, as often as it can be had, then the next.

        Pairs of a short and a long are taken at their own width. Charged together they cost no more, so this
        never requires more than every position on its own.
        """
        shorts, longs = [leg.qty for leg in self.book.shorts], [leg.qty for leg in self.book.longs]
        lots = self.book.lots
        counts = [0] * len(self.candidates)
        for saving, uses_together in self._savings():
            if saving < 0:
                break
            wanted = [self.candidates[k] for k in uses_together]
            left = [shorts[j] for use in wanted for j in use.shorts]
            left += [longs[i] for use in wanted for i in use.longs]
            count = min([*left, lots] if wanted[0].lots else left)
            for use in wanted:
                for j in use.shorts:
                    shorts[j] -= count
                for i in use.longs:
                    longs[i] -= count
            lots -= count * wanted[0].lots
            for k in uses_together:
                counts[k] += count
        return tuple(counts)

    def _savings(self) -> list[tuple[int, tuple[int, ...]]]:
        """(what is saved, uses made together), the best first; of equal ones the simplest, then the nearest."""
        plain = next((cost for use, cost in zip(self.candidates, self.use_costs, strict=True) if use.lots), 0)
        found: list[tuple[int, tuple[int, ...]]] = []
        for k, use in enumerate(self.candidates):
            if use.charge:
                alone = sum(self.use_costs[j] for j in use.shorts) + plain * use.lots
                found.append((alone - self.use_costs[k], (k,)))
        for short, long in self._pairs():
            j, i = self.candidates[short].shorts[0], self.candidates[long].longs[0]
            width = options.largest_loss([(self.book.shorts[j], -1), (self.book.longs[i], 1)])[0]
            found.append((self.use_costs[j] - width // self.step * self.step_cost, (short, long)))
        return sorted(found, key=lambda each: -each[0])

    def _pairs(self) -> list[tuple[int, int]]:
        """Uses that put a short and a long of its right into one spread: same expiry first, then nearest strikes."""
        book, members = self.book, list(enumerate(self.candidates))
        pairs = [
            (short, long)
            for short, sold in members
            for long, bought in members
            if sold.expiry and sold.shorts and bought.longs and sold.expiry == bought.expiry
            if book.shorts[sold.shorts[0]].right is book.longs[bought.longs[0]].right
        ]

        def distance(pair: tuple[int, int]) -> tuple[Expiry, Expiry, int]:
            short, long = (
                book.shorts[self.candidates[pair[0]].shorts[0]],
                book.longs[self.candidates[pair[1]].longs[0]],
            )
            return short.expires, long.expires, abs(short.strike - long.strike)

        return sorted(pairs, key=distance)

    def _legs(self) -> list[Row]:
        """Every short contract is in exactly one use, every long one in at most one."""
        rows = []
        for j, leg in enumerate(self.book.shorts):
            rows += _exactly({k: 1 for k, use in enumerate(self.candidates) if j in use.shorts}, leg.qty)
        for i, leg in enumerate(self.book.longs):
            held = {k: -1 for k, use in enumerate(self.candidates) if i in use.longs}
            if held:
                rows.append(Row(held, -leg.qty))
        return rows

    def _lots(self) -> list[Row]:
        held = {k: 1 for k, use in enumerate(self.candidates) if use.lots}
        return _exactly(held, self.book.lots) if held else []

    def _balances(self) -> list[Row]:
        """In the spread of an expiry there are as many longs as shorts of each right."""
        rows = []
        for expiry in self.expiries:
            for right in (Right.CALL, Right.PUT):
                members = self._members(expiry, right)
                if members:
                    rows += _exactly({k: sign for k, (_, sign) in members.items()}, 0)
        return rows

    def _losses(self) -> list[Row]:
        """The loss of an expiry is at least what its spread loses at the strike of each long in it."""
        rows = []
        for t, expiry in enumerate(self.expiries, start=len(self.candidates)):
            members = self._members(expiry, Right.CALL) | self._members(expiry, Right.PUT)
            for at in sorted({leg.strike for leg, sign in members.values() if sign > 0}):
                gains = {k: sign * options.payoff(leg, at) // self.step for k, (leg, sign) in members.items()}
                if any(gain < 0 for gain in gains.values()):
                    rows.append(Row({**gains, t: 1}, 0))
        return rows

    def _members(self, expiry: Expiry, right: Right) -> dict[int, tuple[OptionLeg, int]]:
        """Of the uses in the spread of an expiry: the leg, and 1 for a long, −1 for a short."""
        book = self.book
        found = {
            k: (book.shorts[use.shorts[0]], -1) if use.shorts else (book.longs[use.longs[0]], 1)
            for k, use in enumerate(self.candidates)
            if use.expiry == expiry and use.charge is None
        }
        return {k: member for k, member in found.items() if member[0].right is right}


def _exactly(coefficients: dict[int, int], bound: int) -> list[Row]:
    return [Row(coefficients, bound), Row({k: -value for k, value in coefficients.items()}, -bound)]


def _places(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
