"""Minimise a linear cost over whole numbers, exactly: a dual simplex on integers, with cuts and branches.

All costs are ≥ 0, so starting with everything at zero no change of a variable can make the solution cheaper; the
dual simplex keeps that true while it repairs the constraints one by one. Its cost is therefore a lower bound at
every step, and a branch ends as soon as it reaches the best solution known. A solution that is not whole is cut off
(Gomory's cut: every variable and every slack is a whole number here); if the next one is not whole either, the
problem is split in two. Every row of the table is kept as integers over one common denominator of its own: no rounding, no tolerance.
"""

from collections.abc import Mapping, Sequence
from math import gcd
from typing import NamedTuple

_BLAND_AFTER = 200  # pivots; from then on by smallest index, which cannot go round in circles


class Row(NamedTuple):
    """Σ coefficient × variable ≥ bound."""

    coefficients: Mapping[int, int]
    bound: int


class Solution(NamedTuple):
    """`values` is None when nothing below the given limit was found. `is_proved`: no better one exists."""

    cost: int
    values: tuple[int, ...] | None
    is_proved: bool


def minimise(costs: Sequence[int], rows: Sequence[Row], *, below: int, pivots_max: int) -> Solution:
    """The cheapest solution in whole numbers ≥ 0 that costs less than `below`.

    `costs` are ≥ 0. No new branch is begun after `pivots_max` steps. The first variable that is not whole
    is split, so those that decide most belong at the beginning. Deterministic.
    """
    best, best_values, pivots = below, None, 0
    waiting = [_Table.start(costs, rows)]
    while waiting:
        if pivots >= pivots_max:
            return Solution(best, best_values, is_proved=False)
        table = waiting.pop()
        is_alive = table.tighten(best)
        pivots += table.pivots
        if not is_alive:
            continue
        fraction = table.first_fraction()
        if fraction is None:
            best, best_values = table.cost(), table.values()
        else:
            waiting += table.branches(fraction)
    return Solution(best, best_values, is_proved=True)


class _Table:
    """Basic variables as linear functions of the others: denominator × basic = row[0] + Σ row[k] × other[k].

    `count` variables are the problem's, the rest slacks. The last row is the cost; it has no basic variable.
    """

    __slots__ = ("basic", "count", "denominators", "others", "pivots", "rows")

    def __init__(
        self, rows: list[list[int]], denominators: list[int], basic: list[int], others: list[int], count: int
    ) -> None:
        self.rows, self.denominators, self.basic, self.others = rows, denominators, basic, others
        self.count, self.pivots = count, 0

    @classmethod
    def start(cls, costs: Sequence[int], rows: Sequence[Row]) -> "_Table":
        count = len(costs)
        table = []
        for row in rows:
            line = [-row.bound] + [0] * count
            for k, coefficient in row.coefficients.items():
                line[k + 1] = coefficient
            table.append(line)
        table.append([0, *costs])
        slacks = list(range(count, count + len(rows)))
        return cls(table, [1] * len(table), slacks, list(range(count)), count)

    def cost(self) -> int:
        return self.rows[-1][0] // self.denominators[-1]

    def values(self) -> tuple[int, ...]:
        found = [0] * self.count
        for row, denominator, variable in zip(self.rows, self.denominators, self.basic, strict=False):
            if variable < self.count:
                found[variable] = row[0] // denominator
        return tuple(found)

    def tighten(self, below: int) -> bool:
        """Repair, and cut off what is not whole, once. False when nothing that costs less than `below` is left."""
        if not self.repair(below):
            return False
        broken = self._fractions()
        if not broken:
            return True
        self._cut(min(broken, key=lambda k: (self.denominators[k], self.basic[k])))
        return self.repair(below)

    def first_fraction(self) -> int | None:
        """The row of the first of the problem's variables that is not whole."""
        return min(self._fractions(), key=self.basic.__getitem__, default=None)

    def _fractions(self) -> list[int]:
        return [
            k
            for k, variable in enumerate(self.basic)
            if variable < self.count and self.rows[k][0] % self.denominators[k]
        ]

    def branches(self, k: int) -> "list[_Table]":
        """The table with the variable of row `k` at most the whole number before, and at least the one after.

        The nearer one comes last: it is looked at first.
        """
        row, denominator = self.rows[k], self.denominators[k]
        below = row[0] // denominator
        at_least = [row[0] - (below + 1) * denominator, *row[1:]]
        at_most = [below * denominator - row[0], *(-value for value in row[1:])]
        tables = []
        is_nearer_above = 2 * (row[0] % denominator) >= denominator
        for extra in (at_most, at_least) if is_nearer_above else (at_least, at_most):
            table = _Table(
                self.rows.copy(), self.denominators.copy(), self.basic.copy(), self.others.copy(), self.count
            )
            table._add(extra, denominator)
            tables.append(table)
        return tables

    def _cut(self, k: int) -> None:
        """Of row `k` keep the fractions: variable + Σ a × other = b for whole numbers needs Σ frac(a) × other ≥ frac(b)."""
        row, denominator = self.rows[k], self.denominators[k]
        self._add([-(row[0] % denominator), *(-value % denominator for value in row[1:])], denominator)

    def _add(self, row: list[int], denominator: int) -> None:
        """A constraint more: its slack becomes a basic variable."""
        self.rows.insert(-1, row)
        self.denominators.insert(-1, denominator)
        self.basic.append(len(self.basic) + len(self.others))

    def repair(self, below: int) -> bool:
        """Make every variable ≥ 0. False when that is impossible, or costs `below` or more."""
        last = self.pivots + _BLAND_AFTER
        while True:
            if self.rows[-1][0] > (below - 1) * self.denominators[-1]:
                return False
            leaving = self._leaving(by_index=self.pivots > last)
            if leaving is None:
                return True
            entering = self._entering(self.rows[leaving])
            if entering is None:
                return False
            self._pivot(leaving, entering)
            self.pivots += 1

    def _leaving(self, *, by_index: bool) -> int | None:
        """The row of a negative variable: the most negative one."""
        rows, basic = self.rows, self.basic
        negative = [k for k in range(len(basic)) if rows[k][0] < 0]
        if not negative:
            return None
        if by_index:
            return min(negative, key=basic.__getitem__)
        return min(negative, key=lambda k: (rows[k][0] // self.denominators[k], basic[k]))

    def _entering(self, row: list[int]) -> int | None:
        """The column that costs least for each unit that it repairs; of equal ones the smallest variable."""
        costs, others = self.rows[-1], self.others
        best = None
        for k in range(1, len(row)):
            gain = row[k]
            if gain > 0:
                if best is None:
                    best = k
                    continue
                difference = costs[k] * row[best] - costs[best] * gain
                if difference < 0 or (difference == 0 and others[k - 1] < others[best - 1]):
                    best = k
        return best

    def _pivot(self, r: int, c: int) -> None:
        """Exchange the basic variable of row `r` with the other one of column `c`."""
        rows, denominators = self.rows, self.denominators
        row, denominator = rows[r], denominators[r]
        gain = row[c]
        for k, old in enumerate(rows):
            factor = old[c]
            if k == r or not factor:
                continue
            if gain == 1:  # as in most: a leg is one leg
                new = [a - factor * b for a, b in zip(old, row, strict=True)]
            else:
                new = [gain * a - factor * b for a, b in zip(old, row, strict=True)]
            new[c] = factor * denominator
            below = gain * denominators[k]
            if below > 1 and (common := gcd(below, *new)) > 1:
                new, below = [value // common for value in new], below // common
            rows[k], denominators[k] = new, below
        exchanged = [-value for value in row]
        exchanged[c] = denominator
        rows[r], denominators[r] = exchanged, gain
        self.basic[r], self.others[c - 1] = self.others[c - 1], self.basic[r]
