"""The broker-style alternative: one worst expiration for each underlying, premiums left out.

Source: docs/rules/margin.md#the-broker-style-model.
"""

from collections.abc import Iterator
from decimal import Decimal

from mbt.engine.margin import options, stock
from mbt.engine.margin.book import Book, Expiry, OptionLeg
from mbt.engine.margin.charges import ZERO, Charge, both, dollars, show
from mbt.engine.margin.groups import NOTHING, Group, Part, grouped, stock_beside, stock_left, uncharged
from mbt.engine.margin.rules import MarginRules
from raxx.market.contracts import Right

Legs = list[tuple[OptionLeg, int]]  # signed contracts


def groups(book: Book, rules: MarginRules) -> tuple[Group, ...]:
    """Stock by its own rules, calls that nothing covers as naked, and of all expirations the dearest."""
    uncovered = _calls_without_longs(book)
    covered, naked = _by_stock(book, uncovered)
    found = [*_stock(book, rules, covered)]
    for leg, qty in naked.items():
        part = Part(leg.instrument, Decimal(-qty))
        charge = options.naked(leg, book, rules)
        found.append(grouped(book, [part], charge=charge, count=Decimal(qty), size=book.multiplier))
    return (*found, *_expirations(book, uncovered))


def _calls_without_longs(book: Book) -> dict[OptionLeg, int]:
    """Of each expiration the short calls beyond the number of long calls alive then, the highest strikes first."""
    found: dict[OptionLeg, int] = {}
    for expiry in sorted({leg.expires for leg in book.shorts}):
        shorts = [leg for leg in book.shorts if leg.expires == expiry and leg.right is Right.CALL]
        alive = sum(leg.qty for leg in book.longs if leg.expires >= expiry and leg.right is Right.CALL)
        excess = sum(leg.qty for leg in shorts) - alive
        for leg in sorted(shorts, key=lambda leg: leg.strike, reverse=True):
            taken = min(leg.qty, max(0, excess))
            excess -= taken
            if taken:
                found[leg] = taken
    return found


def _by_stock(book: Book, calls: dict[OptionLeg, int]) -> tuple[dict[OptionLeg, int], dict[OptionLeg, int]]:
    """The calls that long stock covers, and those that stay naked."""
    left = book.lots if book.owns_stock else 0
    covered, naked = {}, {}
    for leg, qty in calls.items():
        taken = min(qty, left)
        left -= taken
        if taken:
            covered[leg] = taken
        if qty > taken:
            naked[leg] = qty - taken
    return covered, naked


def _stock(book: Book, rules: MarginRules, covered: dict[OptionLeg, int]) -> Iterator[Group]:
    for leg, qty in covered.items():
        parts = [*stock_beside(book, qty), Part(leg.instrument, Decimal(-qty))]
        charge = stock.covered_call(stock.lot_of(book, rules), dollars(leg.strike))
        yield grouped(book, parts, charge=charge, count=Decimal(qty), size=book.multiplier)
    yield from stock_left(book, rules, sum(covered.values()))


def _expirations(book: Book, uncovered: dict[OptionLeg, int]) -> Iterator[Group]:
    """Each expiration's own options as one group; the one that loses most is charged, the others are not."""
    left = [(leg, uncovered.get(leg, 0) - leg.qty) for leg in book.shorts]
    shorts = [(leg, qty) for leg, qty in left if qty]
    longs = [(leg, leg.qty) for leg in book.longs]
    losses = {expiry: _loss(expiry, shorts, longs) for expiry in sorted({leg.expires for leg, _ in shorts})}
    worst = max(losses, key=lambda expiry: losses[expiry][0], default=None)
    for expiry in sorted({leg.expires for leg, _ in [*shorts, *longs]}):
        parts = [
            Part(leg.instrument, Decimal(qty)) for leg, qty in [*shorts, *longs] if leg.expires == expiry
        ]
        if expiry not in losses:
            yield uncharged(book, parts)
            continue
        loss, at = losses[expiry]
        charge = _SPARED
        if expiry == worst:
            formula = f"largest loss at expiry {show(dollars(loss))}, at {show(dollars(at))},"
            charge = both(dollars(loss), formula) if loss else NOTHING
        yield grouped(
            book, parts, charge=charge, count=Decimal(1 if charge.maintenance else 0), size=book.multiplier
        )


_SPARED = Charge(ZERO, ZERO, "", "0.00, another expiration loses as much or more")


def _loss(expiry: Expiry, shorts: Legs, longs: Legs) -> tuple[int, int]:
    """Of the shorts that expire then with all longs alive then: the largest loss, and at which price."""
    legs = [(leg, qty) for leg, qty in shorts if leg.expires == expiry]
    legs += [(leg, qty) for leg, qty in longs if leg.expires >= expiry]
    points = [0, *sorted({leg.strike for leg, _ in legs})]
    loss, at = max((-sum(qty * options.payoff(leg, at) for leg, qty in legs), at) for at in points)
    return max(0, loss), at
