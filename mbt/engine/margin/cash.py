"""What a cash account sets aside for its options. Source: docs/rules/margin.md#cash-accounts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from mbt.engine.margin.book import Book, Holding, OptionLeg, Shares, books
from mbt.engine.margin.charges import ZERO, Charge, both, dollars, show
from mbt.engine.margin.groups import Group, Part, grouped, uncharged
from mbt.engine.margin.requirement import Requirement
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import up_to_cents
from raxx.market.contracts import Right
from raxx.market.listing import STANDARD_ONLY, Deliverable, OptionClass


class UncoveredShort(RaxxError):
    """A cash account cannot hold this short position."""

    code = "UNCOVERED_SHORT"
    http_status = 403


def cash_requirement(
    holdings: Iterable[Holding], *, adjusted: Mapping[str, OptionClass] = STANDARD_ONLY
) -> Requirement:
    """Dollars of cash that may not be spent: the exercise prices of short puts, and what short calls deliver in cash.
    What is long is paid for already. No price enters it.

    Short calls are covered by the shares that they deliver. Long options cover nothing, so there are no spreads.
    Raises UncoveredShort for a short call without its shares and for short stock.
    """
    sorted_out = books(holdings, marks=None, adjusted=adjusted)
    free = {part.instrument.symbol: part for book in sorted_out for part in book.stock}
    found = tuple(group for book in sorted_out for group in _of_options(book, free))
    # Of the stock what no call stands on.
    found += tuple(
        uncharged(book, [Part(part.instrument, left)])
        for book in sorted_out
        for part in book.stock
        if (left := free[part.instrument.symbol].qty)
    )
    total = up_to_cents(sum((group.maintenance for group in found), ZERO))
    return Requirement(initial=total, maintenance=total, groups=found, initial_groups=found, is_least=True)


def _of_options(book: Book, free: dict[str, Shares]) -> Iterator[Group]:
    """The groups of a book's options. `free`: the stock that no call stands on yet; it is taken from here."""
    for part in book.stock:
        if part.qty < 0:
            raise _uncovered(book.underlying, "A cash account cannot be short stock; buy it back first.")
    for leg in book.shorts:
        yield _cash_secured(book, leg) if leg.right is Right.PUT else _covered(book, leg, free)
    for leg in book.longs:
        yield uncharged(book, [Part(leg.instrument, Decimal(leg.qty))])


def _covered(book: Book, leg: OptionLeg, free: dict[str, Shares]) -> Group:
    """The shares are bound, and what is delivered in cash is set aside."""
    parts = []
    for ticker, each in book.deliverable.shares:
        stock, taken = free.get(ticker), each * leg.qty
        if stock is None or taken > stock.qty:
            raise _uncovered(leg.instrument.symbol, f"Each call needs {_told(book.deliverable)}.")
        free[ticker] = Shares(stock.instrument, stock.price, stock.qty - taken, stock.each)
        parts.append(Part(stock.instrument, taken))
    parts.append(Part(leg.instrument, Decimal(-leg.qty)))
    if not book.cash:
        return uncharged(book, parts)
    return _charged(book, parts, both(book.cash, show(book.cash)), leg)


def _cash_secured(book: Book, leg: OptionLeg) -> Group:
    strike = dollars(leg.strike)
    return _charged(book, [Part(leg.instrument, Decimal(-leg.qty))], both(strike, show(strike)), leg)


def _charged(book: Book, parts: Sequence[Part], charge: Charge, leg: OptionLeg) -> Group:
    return grouped(book, parts, charge=charge, count=Decimal(leg.qty), size=book.multiplier)


def _told(deliverable: Deliverable) -> str:
    """`100 shares of XYZ and 33 shares of KID`."""
    return " and ".join(f"{qty.normalize():f} shares of {name}" for name, qty in deliverable.shares)


def _uncovered(symbol: str, remedy: str) -> UncoveredShort:
    return UncoveredShort(
        f"{symbol}: a cash account holds short calls only against stock. {remedy}",
        field="symbol", rule="a cash account has no uncovered short positions", value=symbol, remedy=remedy,
    )  # fmt: skip
