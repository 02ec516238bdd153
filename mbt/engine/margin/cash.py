"""What a cash account sets aside for its options. Source: docs/rules/margin.md#cash-accounts."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from mbt.engine.margin.book import Book, Holding, OptionLeg, books
from mbt.engine.margin.charges import ZERO, both, dollars, show
from mbt.engine.margin.groups import Group, Part, grouped, uncharged
from mbt.engine.margin.requirement import NO_CLASSES, Requirement
from mbt.engine.margin.rules import OptionClass
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import up_to_cents
from raxx.market.contracts import Right


class UncoveredShort(RaxxError):
    """A cash account cannot hold this short position."""

    code = "UNCOVERED_SHORT"
    http_status = 403


def cash_requirement(
    holdings: Iterable[Holding], *, marks: Mapping[str, int], classes: Mapping[str, OptionClass] = NO_CLASSES
) -> Requirement:
    """Dollars of cash that may not be spent: the strikes of short puts. What is long is paid for already.

    Short calls are covered by whole lots of stock. Long options cover nothing, so there are no spreads.
    Raises UncoveredShort for a short call without stock and for short stock.
    """
    found = tuple(group for book in books(holdings, marks=marks, classes=classes) for group in _groups(book))
    total = up_to_cents(sum((group.maintenance for group in found), ZERO))
    return Requirement(initial=total, maintenance=total, groups=found, initial_groups=found, is_least=True)


def _groups(book: Book) -> list[Group]:
    if book.shares < 0:
        raise _uncovered(book.underlying, "A cash account cannot be short stock; buy it back first.")
    lots, found = book.lots, []
    for leg in book.shorts:
        if leg.right is Right.PUT:
            found.append(_cash_secured(book, leg))
            continue
        if leg.qty > lots or book.stock is None:
            raise _uncovered(
                leg.instrument.symbol, f"Each call needs {book.multiplier} shares of {book.underlying}."
            )
        lots -= leg.qty
        shares = Decimal(leg.qty * book.multiplier)
        parts = [Part(book.stock, shares), Part(leg.instrument, Decimal(-leg.qty))]
        found.append(uncharged(book, parts))
    rest = book.shares - (book.lots - lots) * book.multiplier
    if rest and book.stock:
        found.append(uncharged(book, [Part(book.stock, rest)]))
    return found + [uncharged(book, [Part(leg.instrument, Decimal(leg.qty))]) for leg in book.longs]


def _cash_secured(book: Book, leg: OptionLeg) -> Group:
    strike = dollars(leg.strike)
    parts = [Part(leg.instrument, Decimal(-leg.qty))]
    return grouped(
        book, parts, charge=both(strike, show(strike)), count=Decimal(leg.qty), size=book.multiplier
    )


def _uncovered(symbol: str, remedy: str) -> UncoveredShort:
    return UncoveredShort(
        f"{symbol}: a cash account holds short calls only against stock. {remedy}",
        field="symbol", rule="a cash account has no uncovered short positions", value=symbol, remedy=remedy,
    )  # fmt: skip
