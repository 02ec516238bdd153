"""What docs/rules/margin.md says about one book, by trying every legal grouping there is.

This is the yardstick for the product's margin engine, so it shares no code with it: no import from the product, no
lemma, no search strategy. Every way to take positions out of the book is asked whether the chapter knows it as a
group; the requirement is the cheapest way to use up the whole book with such groups. Only for small books.

Do not make it clever, and do not mend it to agree with the engine: mend whichever of the two departs from the chapter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Literal

D = Decimal
ZERO = D(0)
SHARES = 100  # a contract
LONG_RATE, RATE, FLOOR_RATE = D("0.25"), D("0.20"), D("0.10")


@dataclass(frozen=True, slots=True)
class Leg:
    """One position. `units`: contracts, or whole lots of 100 shares; negative when short. Dollars a share."""

    kind: Literal["stock", "call", "put"]
    units: int
    strike: Decimal = ZERO
    expiry: int = 0  # a day number
    mark: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Market:
    """The price of the underlying and the rates of the chapter's first table."""

    price: Decimal
    long_rate: Decimal = LONG_RATE
    rate: Decimal = RATE
    floor_rate: Decimal = FLOOR_RATE


@dataclass(frozen=True, slots=True)
class Need:
    """Dollars, exact."""

    initial: Decimal
    maintenance: Decimal


Counts = tuple[int, ...]  # how many units of each leg


def least(legs: tuple[Leg, ...], market: Market) -> Need:
    """The least initial and the least maintenance requirement, each over all groupings."""
    whole = tuple(abs(leg.units) for leg in legs)
    groups = [(counts, need) for counts in _parts(whole) if (need := charge(legs, counts, market))]

    @cache
    def cheapest(left: Counts, which: str) -> Decimal:
        if not any(left):
            return ZERO
        first = next(k for k, count in enumerate(left) if count)
        found: Decimal = min(
            getattr(need, which) + cheapest(tuple(have - used for have, used in zip(left, counts, strict=True)), which)
            for counts, need in groups
            if counts[first] and all(used <= have for used, have in zip(counts, left, strict=True))
        )  # fmt: skip
        return found

    return Need(cheapest(whole, "initial"), cheapest(whole, "maintenance"))


def one_by_one(legs: tuple[Leg, ...], market: Market) -> Need:
    """Every unit a group of its own: what a grouping may never exceed."""
    needs = []
    for k, leg in enumerate(legs):
        alone = charge(legs, tuple(int(k == n) for n in range(len(legs))), market)
        assert alone is not None
        needs += [alone] * abs(leg.units)
    return Need(sum((need.initial for need in needs), ZERO), sum((need.maintenance for need in needs), ZERO))


def _parts(whole: Counts) -> Iterator[Counts]:
    """Every way to take something out of the book."""
    return (counts for counts in product(*(range(count + 1) for count in whole)) if any(counts))


def charge(legs: tuple[Leg, ...], counts: Counts, market: Market) -> Need | None:
    """What these units require as one group, or None when the chapter knows no such group."""
    used = [(leg, count) for leg, count in zip(legs, counts, strict=True) if count]
    stock = [(leg, count) for leg, count in used if leg.kind == "stock"]
    options = [(leg, count) for leg, count in used if leg.kind != "stock"]
    if stock:
        if stock[0][1] != 1 or any(count != 1 for _, count in options):
            return None
        return _lot(stock[0][0], [leg for leg, _ in options], market)
    shorts = [(leg, count) for leg, count in options if leg.units < 0]
    longs = [(leg, count) for leg, count in options if leg.units > 0]
    if not shorts:
        return Need(ZERO, ZERO) if sum(counts) == 1 else None
    if longs:
        return _spread(shorts, longs)
    if any(count != 1 for _, count in shorts):
        return None
    if len(shorts) == 1:
        return _same(_naked(shorts[0][0], market))
    if len(shorts) == 2 and {leg.kind for leg, _ in shorts} == {"call", "put"}:
        return _same(_both_sides_short(shorts[0][0], shorts[1][0], market))
    return None


def _same(per_share: Decimal) -> Need:
    return Need(per_share * SHARES, per_share * SHARES)


def _otm(kind: str, strike: Decimal, price: Decimal) -> Decimal:
    return max(ZERO, strike - price if kind == "call" else price - strike)


def _itm(kind: str, strike: Decimal, price: Decimal) -> Decimal:
    return max(ZERO, price - strike if kind == "call" else strike - price)


def _naked(leg: Leg, market: Market) -> Decimal:
    """Section "Naked options"."""
    floor = market.floor_rate * (market.price if leg.kind == "call" else leg.strike)
    return leg.mark + max(market.rate * market.price - _otm(leg.kind, leg.strike, market.price), floor)


def _both_sides_short(one: Leg, other: Leg, market: Market) -> Decimal:
    """Section "Short on both sides": the greater, and the mark of the other; of equals the dearer mark."""
    a, b = _naked(one, market), _naked(other, market)
    if a == b:
        return a + max(one.mark, other.mark)
    return a + other.mark if a > b else b + one.mark


def _spread(shorts: list[tuple[Leg, int]], longs: list[tuple[Leg, int]]) -> Need | None:
    """Section "Spreads"."""
    if len({leg.expiry for leg, _ in shorts}) != 1:
        return None
    if any(leg.expiry < shorts[0][0].expiry for leg, _ in longs):
        return None
    for kind in ("call", "put"):
        if sum(n for leg, n in shorts if leg.kind == kind) != sum(n for leg, n in longs if leg.kind == kind):
            return None
    everything = [*shorts, *longs]
    prices = {ZERO, *(leg.strike for leg, _ in everything)}
    prices.add(max(prices) * 2)
    payoffs = [
        sum(
            (_itm(leg.kind, leg.strike, price) * n * (1 if leg.units > 0 else -1) for leg, n in everything),
            ZERO,
        )
        for price in prices
    ]
    return _same(max(ZERO, -min(payoffs)))


def _lot(stock: Leg, options: list[Leg], market: Market) -> Need | None:
    """Section "Stock": one lot, with no option, one, or a long and a short one."""
    price, is_long = market.price, stock.units > 0
    alone = market.long_rate * price if is_long else _short_stock(price)
    half = D("0.5") * price
    covered_kind, protective_kind = ("call", "put") if is_long else ("put", "call")
    short = [leg for leg in options if leg.units < 0]
    long = [leg for leg in options if leg.units > 0]
    if len(short) > 1 or len(long) > 1:
        return None
    if any(leg.kind != covered_kind for leg in short) or any(leg.kind != protective_kind for leg in long):
        return None
    need: Decimal | None
    if not options:
        need = alone
    elif not long:
        need = _covered(short[0], market, alone, is_long)
    elif not short:
        need = _protected(long[0], market, alone)
    else:
        need = _both(short[0], long[0], market, alone, is_long)
    return None if need is None else Need(half * SHARES, need * SHARES)


def _short_stock(price: Decimal) -> Decimal:
    return max(D("5.00"), D("0.30") * price) if price >= 5 else max(D("2.50"), price)


def _covered(short: Leg, market: Market, alone: Decimal, is_long: bool) -> Decimal:
    itm = _itm(short.kind, short.strike, market.price)
    return (market.long_rate * min(market.price, short.strike) if is_long else alone) + itm


def _protected(long: Leg, market: Market, alone: Decimal) -> Decimal:
    return min(D("0.10") * long.strike + _otm(long.kind, long.strike, market.price), alone)


def _both(short: Leg, long: Leg, market: Market, alone: Decimal, is_long: bool) -> Decimal | None:
    price, itm = market.price, _itm(short.kind, short.strike, market.price)
    if short.expiry == long.expiry and short.strike == long.strike:
        return D("0.10") * short.strike + itm
    if not is_long:
        return _protected(long, market, alone) + itm
    if short.expiry != long.expiry or long.strike >= short.strike:
        return None
    downside = D("0.10") * long.strike + _otm("put", long.strike, price)
    return min(downside, market.long_rate * short.strike + itm)
