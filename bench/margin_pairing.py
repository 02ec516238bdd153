"""The least-margin grouping: how long an account with one book of eight legs waits for its requirement.

Random books, with names and formulas, as an order asks for them. Beside them the sum of the single positions, which is
what a system does that groups nothing; it must never be the lower one.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from bench.common import SPREAD_COLUMNS, Options, Report, main, percentile, spread_row
from mbt.engine.margin import Holding, MarginRules, Requirement, requirement
from raxx.market.contracts import Instrument, Right, osi, parse_symbol

TITLE = "Least-margin pairing"
RULES = MarginRules()
PRICE = 100
_FIRST_EXPIRY = date(2026, 12, 18)


@dataclass(frozen=True, slots=True)
class Book:
    """`marks` in 1/10,000 dollar."""

    holdings: list[Holding]
    marks: dict[str, int]


def books(count: int, *, legs: int, expiries: int, with_stock: bool) -> list[Book]:
    """`legs` positions each, on one underlying at 100, of up to ten contracts, strikes 5 apart; the same every time."""
    chance = random.Random(20261120)
    return [_book(chance, legs, expiries, with_stock) for _ in range(count)]


def _book(chance: random.Random, legs: int, expiries: int, with_stock: bool) -> Book:
    held: dict[Instrument, int] = {}
    marks = {"XYZ": PRICE * 10_000}
    if with_stock:
        held[parse_symbol("XYZ")] = chance.choice([-1, 1]) * chance.randint(100, 1_000)
    while len(held) < legs:
        strike, right = 5 * chance.randint(14, 26), chance.choice([Right.CALL, Right.PUT])
        expiry = _FIRST_EXPIRY + timedelta(weeks=chance.randrange(expiries))
        option = parse_symbol(osi("XYZ", expiry, right, strike * 10_000))
        held[option] = chance.choice([-1, 1]) * chance.randint(1, 10)
        intrinsic = max(0, PRICE - strike if right is Right.CALL else strike - PRICE)
        marks[option.symbol] = intrinsic * 10_000 + chance.randint(1, 800) * 100
    return Book([Holding(instrument, Decimal(qty)) for instrument, qty in held.items()], marks)


def least(book: Book) -> Requirement:
    return requirement(book.holdings, marks=book.marks, rules=RULES)


def one_by_one(book: Book) -> Decimal:
    """What the same positions require when nothing stands beside anything."""
    return sum(
        (requirement([one], marks=book.marks, rules=RULES).maintenance for one in book.holdings), Decimal(0)
    )


def timed(books: Sequence[Book], work: Callable[[Book], object]) -> list[float]:
    """Milliseconds of the process for each book: the best of three, since the machine is shared."""
    found = []
    for book in books:
        took = []
        for _ in range(3):
            began = time.process_time()
            work(book)
            took.append(time.process_time() - began)
        found.append(min(took) * 1e3)
    return found


def check(found: Sequence[Book]) -> None:
    for book in found:
        answer = least(book)
        assert answer.is_least
        assert answer.maintenance <= one_by_one(book)


def run(options: Options, report: Report) -> None:
    count = options.size(2_000, 40)
    eight = {
        "8 legs, one expiry": books(count, legs=8, expiries=1, with_stock=False),
        "8 legs, three expiries": books(count, legs=8, expiries=3, with_stock=False),
        "8 legs with stock, two expiries": books(count, legs=8, expiries=2, with_stock=True),
    }
    for found in eight.values():
        check(found[: options.size(300, 40)])
    times = {name: timed(found, least) for name, found in eight.items()}
    rows = [spread_row(name, values) for name, values in times.items()]
    few = options.size(100, 5)
    rows.append(
        spread_row("12 legs, three expiries", timed(books(few, legs=12, expiries=3, with_stock=False), least))
    )
    rows.append(
        spread_row("40 legs, greedy", timed(books(few, legs=40, expiries=4, with_stock=False), least))
    )
    rows.append(spread_row("8 legs, one by one", timed(eight["8 legs, three expiries"], one_by_one)))
    report.table("Requirement of one account, with its proof", SPREAD_COLUMNS, rows)
    worst = max(percentile(values, 99) for values in times.values())
    report.goal("pairing of an 8-leg book, p99 of the slowest kind", worst, most=5, unit="ms")


if __name__ == "__main__":
    main(run, TITLE)
