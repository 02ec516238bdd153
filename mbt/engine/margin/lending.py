"""Which stock stands beside adjusted contracts. Source: docs/rules/margin.md#adjusted-contracts.

A book holds the stock of one underlying, and an adjusted contract may deliver another number of shares, or shares of
several companies. So an adjusted root borrows what its contracts deliver, whole contracts' worth at a time, as much as
makes the requirement of all books least.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import NamedTuple

import msgspec

from mbt.engine.margin.book import Book, OptionLeg, Shares
from raxx.market.contracts import Right

TRIED_MAX = 32  # contracts; of more only every so many, and those around the best


class Lent(NamedTuple):
    """The same books, with stock where it is needed. `is_least`: proved to be the best division there is."""

    books: list[Book]
    is_least: bool


def lend(books: Sequence[Book], needs: Callable[[Book], Decimal]) -> Lent:
    """Divide the stock among the books so that together they need least. `needs`: what one book requires.

    Roots come in the order of their names: where two want the same shares the first chooses.
    """
    divided = {(book.underlying, book.is_adjusted): book for book in books}
    is_least, drawn_on = True, set[str]()
    for root in [book for book in books if book.is_adjusted]:
        owners = _owners(root, divided)
        most = _most(root, owners) if owners else 0
        if not most:
            continue
        count = _best(most, partial(_cost, root, owners, needs))
        for book in _moved(root, owners, count):
            divided[book.underlying, book.is_adjusted] = book
        tickers = {owner.underlying for owner in owners}
        is_least = is_least and most <= TRIED_MAX and not drawn_on & tickers
        drawn_on |= tickers
    return Lent(list(divided.values()), is_least)


def _owners(root: Book, divided: Mapping[tuple[str, bool], Book]) -> list[Book]:
    """The books with the stocks that the root's contracts deliver; none where one of these is not held."""
    found = [divided.get((ticker, False)) for ticker, _ in root.deliverable.shares]
    owners = [owner for owner in found if owner is not None and owner.stock]
    return owners if len(owners) == len(found) else []


def _cost(
    root: Book, owners: Sequence[Book], needs: Callable[[Book], Decimal], count: int
) -> tuple[Decimal, int]:
    """What all need with stock for `count` contracts lent; of equals the fewest come first."""
    return sum((needs(book) for book in _moved(root, owners, count)), Decimal(0)), count


def _most(root: Book, owners: Sequence[Book]) -> int:
    """Beside how many contracts there could be stock."""
    ways = {owner.owns_stock for owner in owners}
    if len(ways) > 1:
        return 0
    covered, protected = (Right.CALL, Right.PUT) if ways == {True} else (Right.PUT, Right.CALL)
    wanted = max(_count(root.shorts, covered), _count(root.longs, protected))
    return min([wanted, *(int(abs(_held(owner)) // _each(root, owner)) for owner in owners)])


def _count(legs: Iterable[OptionLeg], right: Right) -> int:
    return sum(leg.qty for leg in legs if leg.right is right)


def _held(owner: Book) -> Decimal:
    return owner.stock[0].qty


def _each(root: Book, owner: Book) -> Decimal:
    return root.deliverable.of(owner.underlying)


def _moved(root: Book, owners: Sequence[Book], count: int) -> list[Book]:
    """The books when stock for `count` contracts has gone over to the root."""
    if not count:
        return [root, *owners]
    lent, left = [], []
    for owner in owners:
        stock, each = owner.stock[0], _each(root, owner)
        qty = (each * count).copy_sign(stock.qty)
        lent.append(Shares(stock.instrument, stock.price, qty, each))
        rest = msgspec.structs.replace(stock, qty=stock.qty - qty)
        left.append(msgspec.structs.replace(owner, stock=(rest,) if rest.qty else ()))
    return [msgspec.structs.replace(root, stock=tuple(lent)), *left]


def _best(most: int, cost: Callable[[int], tuple[Decimal, int]]) -> int:
    step = -(-most // TRIED_MAX)
    rough = min({*range(0, most + 1, step), most}, key=cost)
    return min(range(max(0, rough - step + 1), min(most, rough + step - 1) + 1), key=cost)
