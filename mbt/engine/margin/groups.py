"""The proof of a requirement: its groups, each with the legs that it uses, a name, and the formula with numbers in it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import combinations

import msgspec

from mbt.engine.margin import stock
from mbt.engine.margin.book import Book, OptionLeg
from mbt.engine.margin.charges import ZERO, Charge, dollars, show
from mbt.engine.margin.options import largest_loss
from mbt.engine.margin.rules import MarginRules
from mbt.engine.margin.uses import Use, spreads
from mbt.engine.strategies import Name, recognise
from raxx.kernel.money import CENT
from raxx.market.contracts import Instrument, Right

NOTHING = Charge(ZERO, ZERO, "0.00, paid in full", "0.00, paid in full")


class Part(msgspec.Struct, frozen=True):
    """What a group uses of one holding: signed contracts or shares."""

    instrument: Instrument
    qty: Decimal


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Positions that are charged together. Amounts in dollars, exact; only totals are rounded. `lots`: how many shares
    of each stock stand beside one contract, where that is not 100."""

    name: Name
    label: str
    underlying: str
    legs: tuple[Part, ...]
    formula: str
    initial: Decimal
    maintenance: Decimal
    lots: Mapping[str, Decimal] = {}


Legs = Mapping[OptionLeg, int]  # signed contracts


def of_choice(
    book: Book, rules: MarginRules, candidates: Sequence[Use], counts: Sequence[int]
) -> tuple[Group, ...]:
    """The groups that `counts` of the candidate uses make of a book, in the order of their first legs."""
    found = [*_charged(book, candidates, counts), *_stock_alone(book, rules, candidates, counts)]
    for legs in spreads(book, candidates, counts).values():
        found += [_spread(book, piece) for piece in _pieces(legs)]
    found += _idle(book, candidates, counts)
    return tuple(sorted(found, key=lambda group: [_order(part) for part in group.legs]))


def grouped(book: Book, parts: Iterable[Part], *, charge: Charge, count: Decimal, size: int = 1) -> Group:
    """A group that requires `charge` a unit, of `count` contracts or lots of `size` units each."""
    parts, lots = tuple(parts), dict(book.deliverable.shares) if book.is_adjusted else {}
    structure = recognise(
        ((part.instrument, part.qty) for part in parts), underlying=book.underlying, lots=lots
    )
    return Group(
        name=structure.name, label=structure.label, underlying=book.underlying, legs=parts,
        formula=_formula(charge, count, size),
        initial=_tidy(charge.initial * count * size), maintenance=_tidy(charge.maintenance * count * size),
        lots=lots,
    )  # fmt: skip


def uncharged(book: Book, parts: Iterable[Part]) -> Group:
    return grouped(book, parts, charge=NOTHING, count=ZERO)


def covering_shares(groups: Iterable[Group]) -> dict[str, Decimal]:
    """The shares that short calls stand on, by symbol: who delivers them leaves a call naked."""
    found: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for group in groups:
        if any(part.instrument.right is Right.CALL and part.qty < 0 for part in group.legs):
            for part in group.legs:
                if part.instrument.right is None and part.qty > 0:
                    found[part.instrument.symbol] += part.qty
    return dict(found)


def _charged(book: Book, candidates: Sequence[Use], counts: Sequence[int]) -> Iterator[Group]:
    """The groups that have a charge of their own: naked options, straddles, stock with options."""
    for use, count in zip(candidates, counts, strict=True):
        if count and use.charge and (use.shorts or use.longs):
            parts = stock_beside(book, count) if use.lots else []
            parts += [Part(book.shorts[j].instrument, Decimal(-count)) for j in use.shorts]
            parts += [Part(book.longs[i].instrument, Decimal(count)) for i in use.longs]
            yield grouped(book, parts, charge=use.charge, count=Decimal(count), size=book.multiplier)


def _stock_alone(
    book: Book, rules: MarginRules, candidates: Sequence[Use], counts: Sequence[int]
) -> Iterator[Group]:
    """The lots that nothing is grouped with, and what is less than a lot."""
    used = sum(
        count for use, count in zip(candidates, counts, strict=True) if use.lots and (use.shorts or use.longs)
    )
    yield from stock_left(book, rules, used)


def stock_left(book: Book, rules: MarginRules, used: int) -> Iterator[Group]:
    """The stock of a book without the lots that options use."""
    for held in book.stock:
        shares = abs(held.qty) - used * held.each
        if shares:
            one = stock.Stock(held.instrument.symbol, dollars(held.price), held.qty > 0, rules)
            parts = [Part(held.instrument, shares.copy_sign(held.qty))]
            yield grouped(book, parts, charge=stock.alone(one), count=shares)


def stock_beside(book: Book, count: int) -> list[Part]:
    """The stock that stands beside so many contracts."""
    return [Part(held.instrument, (held.each * count).copy_sign(held.qty)) for held in book.stock]


def _idle(book: Book, candidates: Sequence[Use], counts: Sequence[int]) -> Iterator[Group]:
    """Long options that stand beside nothing."""
    for i, leg in enumerate(book.longs):
        left = leg.qty - sum(count for use, count in zip(candidates, counts, strict=True) if i in use.longs)
        if left:
            yield uncharged(book, [Part(leg.instrument, Decimal(left))])


def _spread(book: Book, legs: Legs) -> Group:
    parts = [Part(leg.instrument, Decimal(qty)) for leg, qty in legs.items()]
    structure = recognise(((part.instrument, part.qty) for part in parts), underlying=book.underlying)
    loss, at = largest_loss(list(legs.items()))
    amount = _tidy(dollars(loss * book.multiplier))
    each = _loss_formula(legs, loss, at, int(structure.quantity))
    factors = [book.multiplier, int(structure.quantity)]
    times = "".join(f" × {factor}" for factor in factors if factor != 1)
    formula = f"{each}{times} = {amount:,.2f}" if loss else "0.00, no loss at expiry"
    return Group(
        name=structure.name, label=structure.label, underlying=book.underlying, legs=tuple(parts),
        formula=formula, initial=amount, maintenance=amount,
    )  # fmt: skip


def _loss_formula(legs: Legs, loss: int, at: int, quantity: int) -> str:
    """What one unit of the structure loses: by its width, by its two sides, or by the price where it loses most."""
    if len(legs) == 2:
        return f"width {show(dollars(loss // quantity))}"
    sides = [largest_loss([(leg, q) for leg, q in legs.items() if leg.right is right])[0] for right in Right]
    if all(any(leg.right is right for leg in legs) for right in Right) and max(sides) == loss:
        calls, puts = (show(dollars(side // quantity)) for side in sides)
        return f"max(puts {puts}, calls {calls})"
    return f"largest loss at expiry {show(dollars(loss // quantity))}, at {show(dollars(at))},"


def _pieces(legs: Legs) -> list[Legs]:
    """Take the spreads of one expiry apart into structures with names, as long as the sum stays what it was."""
    rest = dict(legs)
    found: list[Legs] = []
    while rest and _is_custom(rest):
        for piece in _candidates(rest):
            times = _times(piece, rest)
            if times:
                found.append({leg: qty * times for leg, qty in piece.items()})
                rest = _without(rest, piece, times)
                break
        else:
            break
    return [*found, rest] if rest else found


def _is_custom(legs: Legs) -> bool:
    return recognise(((leg.instrument, qty) for leg, qty in legs.items()), underlying="").name is Name.CUSTOM


def _candidates(legs: Legs) -> Iterator[Legs]:
    """Each short against each long, the nearest strikes first; then two of those together that have a name."""
    pairs = [
        (short, long)
        for short, sold in legs.items()
        for long, bought in legs.items()
        if sold < 0 < bought and short.right is long.right
    ]
    pairs.sort(key=lambda pair: (pair[1].expires, abs(pair[0].strike - pair[1].strike)))
    yield from ({short: -1, long: 1} for short, long in pairs)
    for (short, long), (other_short, other_long) in combinations(pairs, 2):
        four: dict[OptionLeg, int] = defaultdict(int)
        for leg, qty in ((short, -1), (other_short, -1), (long, 1), (other_long, 1)):
            four[leg] += qty
        if not _is_custom(four):
            yield four


def _times(piece: Legs, rest: Legs) -> int:
    """How often the piece can be taken out of the rest without a change of the sum.

    The sum of both grows ever faster with that number, so the numbers that do not change it have no gaps.
    """
    whole, each = largest_loss(list(rest.items()))[0], largest_loss(list(piece.items()))[0]
    low, high = 0, min(abs(rest[leg]) // abs(qty) for leg, qty in piece.items())
    while low < high:
        middle = (low + high + 1) // 2
        remaining = _without(rest, piece, middle)
        if middle * each + largest_loss(list(remaining.items()))[0] == whole:
            low = middle
        else:
            high = middle - 1
    return low


def _without(legs: Legs, piece: Legs, times: int) -> dict[OptionLeg, int]:
    return {leg: left for leg, qty in legs.items() if (left := qty - times * piece.get(leg, 0))}


def _formula(charge: Charge, count: Decimal, size: int) -> str:
    if not count:
        return charge.maintenance_formula
    maintenance = _product(charge.maintenance_formula, charge.maintenance, count, size)
    if charge.initial_formula == charge.maintenance_formula:
        return maintenance
    return (
        f"initial {_product(charge.initial_formula, charge.initial, count, size)}; maintenance {maintenance}"
    )


def _product(formula: str, amount: Decimal, count: Decimal, size: int) -> str:
    shown = f"({formula})" if _is_sum(formula) else formula
    factors = [f"{size}"] * (size != 1) + [f"{count.normalize():f}"] * (count != 1)
    return f"{' × '.join([shown, *factors])} = {show(amount * count * size)}"


def _is_sum(formula: str) -> bool:
    """Whether there is a sum outside of all brackets."""
    outside = formula
    while "(" in outside:
        outside = re.sub(r"\([^()]*\)", "", outside)
    return " + " in outside


def _tidy(amount: Decimal) -> Decimal:
    """The same amount, with two decimals where they say it all."""
    cents = amount.quantize(CENT)
    return cents if cents == amount else amount.normalize()


def _order(part: Part) -> tuple[str, int, str]:
    instrument = part.instrument
    return str(instrument.expiry or ""), instrument.strike, instrument.symbol
