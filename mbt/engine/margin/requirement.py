"""What an account must have for the positions it holds, and why. Source: docs/rules/margin.md."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from mbt.engine.margin import pairing, universal
from mbt.engine.margin.book import Book, Holding, books
from mbt.engine.margin.groups import Group, of_choice
from mbt.engine.margin.lending import lend
from mbt.engine.margin.pairing import Goal
from mbt.engine.margin.rules import MarginRules, Model
from mbt.engine.margin.uses import uses
from raxx.kernel.money import up_to_cents
from raxx.market.listing import STANDARD_ONLY, OptionClass


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars, each the sum of its groups, rounded up to the cent once.

    `groups` is the grouping with the least maintenance; their maintenance adds up to `maintenance`.
    `initial_groups` is the one with the least initial requirement, nearly always the same; their initial amounts add
    up to `initial`. `is_least` is False when a book was too large to search to the end.
    """

    initial: Decimal
    maintenance: Decimal
    groups: tuple[Group, ...]
    initial_groups: tuple[Group, ...]
    is_least: bool


class Found(NamedTuple):
    """What one book requires."""

    groups: tuple[Group, ...]
    initial_groups: tuple[Group, ...]
    is_least: bool


def requirement(
    holdings: Iterable[Holding],
    *,
    marks: Mapping[str, int],
    rules: MarginRules,
    adjusted: Mapping[str, OptionClass] = STANDARD_ONLY,
    known: dict[Book, Found] | None = None,
) -> Requirement:
    """The least that the rules allow for these holdings, underlying by underlying.

    `marks` in 1/10,000 dollar, by symbol, and of each underlying by its ticker. `adjusted`: the option classes that
    corporate actions changed, by root. `known`: books met before under the same rules, for who asks about many
    holdings that differ in one underlying; new ones are added. Raises NoMark, UnknownDeliverable.
    """
    known = {} if known is None else known
    sorted_out = books(holdings, marks=marks, adjusted=adjusted)
    found = for_initial = [_once(book, rules, known) for book in sorted_out]
    is_divided = True
    if any(book.is_adjusted for book in sorted_out) and any(book.stock for book in sorted_out):
        by_maintenance = lend(sorted_out, lambda book: _maintenance(_once(book, rules, known)))
        by_initial = lend(sorted_out, lambda book: _initial(_once(book, rules, known)))
        found = [_once(book, rules, known) for book in by_maintenance.books]
        for_initial = [_once(book, rules, known) for book in by_initial.books]
        is_divided = by_maintenance.is_least and by_initial.is_least
    groups = tuple(group for each in found for group in each.groups)
    initial_groups = tuple(group for each in for_initial for group in each.initial_groups)
    return Requirement(
        initial=up_to_cents(sum((group.initial for group in initial_groups), Decimal(0))),
        maintenance=up_to_cents(sum((group.maintenance for group in groups), Decimal(0))),
        groups=groups,
        initial_groups=initial_groups,
        is_least=is_divided and all(each.is_least for each in (*found, *for_initial)),
    )


def _maintenance(found: Found) -> Decimal:
    return sum((group.maintenance for group in found.groups), Decimal(0))


def _initial(found: Found) -> Decimal:
    return sum((group.initial for group in found.initial_groups), Decimal(0))


def _once(book: Book, rules: MarginRules, known: dict[Book, Found]) -> Found:
    found = known.get(book)
    if found is None:
        found = known[book] = _of_book(book, rules)
    return found


def _of_book(book: Book, rules: MarginRules) -> Found:
    if rules.model is Model.UNIVERSAL_SPREAD:
        groups = universal.groups(book, rules)
        return Found(groups, groups, is_least=True)
    candidates = uses(book, rules)
    choice = pairing.choose(book, candidates, Goal.MAINTENANCE)
    groups = of_choice(book, rules, candidates, choice.counts)
    # Options require the same at the trade and afterwards: only stock can make another grouping better for one of them.
    cheaper = pairing.improve(book, candidates, Goal.INITIAL, choice) if book.lots else None
    if cheaper is None:
        return Found(groups, groups, choice.is_least)
    initial_groups = of_choice(book, rules, candidates, cheaper.counts)
    return Found(groups, initial_groups, choice.is_least and cheaper.is_least)
