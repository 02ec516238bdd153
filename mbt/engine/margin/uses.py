"""Every legal use of the contracts of one book. Source: docs/rules/margin.md#the-least-requirement.

Merging spreads of one expiry never costs more (the chapter's proof), so a grouping is no more than a number for each
*use* of a contract: naked, as one side of a straddle, beside a lot of stock, or in the one spread of an expiry,
which is charged at its largest loss.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from mbt.engine.margin import options, stock
from mbt.engine.margin.book import Book, Expiry, OptionLeg
from mbt.engine.margin.charges import Charge, dollars
from mbt.engine.margin.rules import MarginRules
from raxx.market.contracts import Right


class Use(NamedTuple):
    """One contract of each short and long named (by index in the book), and a lot of stock or none.

    `charge` is None for one contract in the spread of `expiry`: what that costs is decided for all of it together.
    """

    shorts: tuple[int, ...] = ()
    longs: tuple[int, ...] = ()
    lots: int = 0
    charge: Charge | None = None
    expiry: Expiry | None = None


def uses(book: Book, rules: MarginRules) -> list[Use]:
    """Every legal use of the book's contracts, simplest first."""
    return [*_naked(book, rules), *_with_stock(book, rules), *_in_spreads(book)]


def spreads(
    book: Book, candidates: Sequence[Use], counts: Sequence[int]
) -> dict[Expiry, dict[OptionLeg, int]]:
    """The legs, in signed contracts, that are charged together at each expiry of short options."""
    found: dict[Expiry, dict[OptionLeg, int]] = defaultdict(dict)
    for use, count in zip(candidates, counts, strict=True):
        if use.expiry and count:
            for j in use.shorts:
                found[use.expiry][book.shorts[j]] = -count
            for i in use.longs:
                found[use.expiry][book.longs[i]] = count
    return found


def _naked(book: Book, rules: MarginRules) -> list[Use]:
    """Each short alone, and each call with each put where that is cheaper than both alone."""
    charges = [options.naked(leg, book, rules) for leg in book.shorts]
    found = [Use(shorts=(j,), charge=charge) for j, charge in enumerate(charges)]
    for j, call in enumerate(book.shorts):
        for k, put in enumerate(book.shorts):
            if call.right is Right.CALL and put.right is Right.PUT:
                together = options.straddle((charges[j], dollars(call.mark)), (charges[k], dollars(put.mark)))
                if together.maintenance < charges[j].maintenance + charges[k].maintenance:
                    found.append(Use(shorts=(j, k), charge=together))
    return found


def _with_stock(book: Book, rules: MarginRules) -> list[Use]:
    if not book.lots:
        return []
    held = stock.lot_of(book, rules)
    covering, protecting = (Right.CALL, Right.PUT) if held.is_long else (Right.PUT, Right.CALL)
    covered = [j for j, leg in enumerate(book.shorts) if leg.right is covering]
    protective = [i for i, leg in enumerate(book.longs) if leg.right is protecting]
    found = [Use(lots=1, charge=held.alone)]
    for j in covered:
        strike = dollars(book.shorts[j].strike)
        cover = stock.covered_call if held.is_long else stock.covered_put
        found.append(Use(shorts=(j,), lots=1, charge=cover(held, strike)))
    if not held.gets_relief:
        return found
    for i in protective:
        strike = dollars(book.longs[i].strike)
        protect = stock.protective_put if held.is_long else stock.protective_call
        found.append(Use(longs=(i,), lots=1, charge=protect(held, strike)))
    found += [
        Use(shorts=(j,), longs=(i,), lots=1, charge=charge)
        for j in covered
        for i in protective
        if (charge := _on_both_sides(book, held, j, i)) is not None
    ]
    return found


def _on_both_sides(book: Book, held: stock.Lot, j: int, i: int) -> Charge | None:
    """One lot with a short and a long option: collar, conversion and their opposites. None where no rule has it."""
    short, long = book.shorts[j], book.longs[i]
    sold, bought = dollars(short.strike), dollars(long.strike)
    is_together = short.expires == long.expires
    if is_together and short.strike == long.strike:
        return stock.conversion(held, sold)
    if held.is_long:
        return stock.collar(held, bought, sold) if is_together and bought < sold else None
    return stock.short_collar(held, bought, sold)


def _in_spreads(book: Book) -> list[Use]:
    """Each short in the spread of its expiry, and each long in those of the shorts of its right that it outlives."""
    found = []
    for expiry in sorted({leg.expires for leg in book.shorts}):
        shorts = [j for j, leg in enumerate(book.shorts) if leg.expires == expiry]
        longs = [i for i, leg in enumerate(book.longs) if leg.expires >= expiry]
        for right in (Right.CALL, Right.PUT):
            sold = [j for j in shorts if book.shorts[j].right is right]
            bought = [i for i in longs if book.longs[i].right is right]
            if sold and bought:
                found += [Use(shorts=(j,), expiry=expiry) for j in sold]
                found += [Use(longs=(i,), expiry=expiry) for i in bought]
    return found
