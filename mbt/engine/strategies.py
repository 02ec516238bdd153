"""Recognise an option structure from its legs, and name it. Pure, and independent of the order of legs.

A structure is looked up by its shape: the legs in lowest terms, sorted, each strike replaced by its rank. The table
below is the whole vocabulary; what is not in it is `custom`. Source: docs/rules/structures.md.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from itertools import groupby, pairwise
from math import gcd
from typing import Protocol

import msgspec

from mbt.engine.orders import Side
from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import from_ticks, show_price
from raxx.market import listing
from raxx.market.contracts import SHARES_PER_CONTRACT, AssetClass, Instrument, Right, parse_symbol


class Direction(StrEnum):
    """LONG is the side that is usually bought: it pays a debit. Of structures with stock, the side that owns it."""

    LONG = "long"
    SHORT = "short"


class Name(StrEnum):
    STOCK = "stock"
    CALL = "call"
    PUT = "put"
    CALL_DEBIT_SPREAD = "call debit spread"
    CALL_CREDIT_SPREAD = "call credit spread"
    PUT_DEBIT_SPREAD = "put debit spread"
    PUT_CREDIT_SPREAD = "put credit spread"
    CALL_RATIO_SPREAD = "call ratio spread"  # more contracts short than long
    PUT_RATIO_SPREAD = "put ratio spread"
    CALL_BACKSPREAD = "call backspread"  # more contracts long than short
    PUT_BACKSPREAD = "put backspread"
    STRADDLE = "straddle"
    STRANGLE = "strangle"
    GUTS = "guts"  # a strangle with both options in the money
    SYNTHETIC = "synthetic stock"
    RISK_REVERSAL = "risk reversal"
    CALL_BUTTERFLY = "call butterfly"
    PUT_BUTTERFLY = "put butterfly"
    CALL_CONDOR = "call condor"
    PUT_CONDOR = "put condor"
    IRON_BUTTERFLY = "iron butterfly"
    IRON_CONDOR = "iron condor"
    BOX = "box"
    JADE_LIZARD = "jade lizard"
    REVERSE_JADE_LIZARD = "reverse jade lizard"
    CALL_CALENDAR = "call calendar"
    PUT_CALENDAR = "put calendar"
    DOUBLE_CALENDAR = "double calendar"
    CALL_DIAGONAL = "call diagonal"
    PUT_DIAGONAL = "put diagonal"
    DOUBLE_DIAGONAL = "double diagonal"
    COVERED_CALL = "covered call"
    COVERED_PUT = "covered put"
    COVERED_STRADDLE = "covered straddle"
    COVERED_STRANGLE = "covered strangle"
    PROTECTIVE_PUT = "protective put"
    PROTECTIVE_CALL = "protective call"
    COLLAR = "collar"
    SHORT_COLLAR = "short collar"
    CONVERSION = "conversion"
    REVERSAL = "reverse conversion"
    CUSTOM = "custom"


class Leg(msgspec.Struct, frozen=True):
    """`ratio` is signed, in lowest terms: contracts, or shares of a stock leg (100 to a contract)."""

    instrument: Instrument
    ratio: Decimal


class Structure(msgspec.Struct, frozen=True, kw_only=True):
    """What the legs are, together. The position is `quantity` times the legs.

    `direction` is None for a custom structure. `width` is the distance of strikes in dollars (of two wings the
    wider one), None where there is no such distance.
    """

    name: Name
    direction: Direction | None
    underlying: str
    legs: tuple[Leg, ...]
    quantity: Decimal
    width: Decimal | None

    @property
    def label(self) -> str:
        """`SPY 18 Dec 2026 640/645 call credit spread ×3`."""
        parts = [(leg.instrument, leg.ratio) for leg in self.legs]
        return _label(self.name, self.direction, self.underlying, parts, self.quantity)


# Leg by leg: sign, ratio if not 1, right or S for 100 shares, rank of the strike. Legs are sorted by expiry, strike
# and right; "|" stands between two expiries. The right column is the structure with all signs turned round.
_L, _S = Direction.LONG, Direction.SHORT
_SHAPES: dict[str, tuple[Name, Direction]] = {
    "+S": (Name.STOCK, _L),
    "+C0": (Name.CALL, _L),
    "+P0": (Name.PUT, _L),
    "+C0 +P0": (Name.STRADDLE, _L),
    "+P0 +C1": (Name.STRANGLE, _L),
    "+C0 +P1": (Name.GUTS, _L),
    "+C0 -P0": (Name.SYNTHETIC, _L),
    "-P0 +C1": (Name.RISK_REVERSAL, _L),
    "+C0 -P1": (Name.RISK_REVERSAL, _L),
    "+C0 -2C1 +C2": (Name.CALL_BUTTERFLY, _L),
    "+P0 -2P1 +P2": (Name.PUT_BUTTERFLY, _L),
    "+C0 -C1 -C2 +C3": (Name.CALL_CONDOR, _L),
    "+P0 -P1 -P2 +P3": (Name.PUT_CONDOR, _L),
    "-P0 +C1 +P1 -C2": (Name.IRON_BUTTERFLY, _L),
    "-P0 +P1 +C2 -C3": (Name.IRON_CONDOR, _L),
    "+C0 -P0 -C1 +P1": (Name.BOX, _L),
    "+P0 +C1 -C2": (Name.JADE_LIZARD, _L),
    "-P0 +P1 +C2": (Name.REVERSE_JADE_LIZARD, _L),
    "-C0 | +C0": (Name.CALL_CALENDAR, _L),
    "-P0 | +P0": (Name.PUT_CALENDAR, _L),
    "-P0 -C1 | +P0 +C1": (Name.DOUBLE_CALENDAR, _L),
    "-C0 -P0 | +C0 +P0": (Name.DOUBLE_CALENDAR, _L),
    "-C0 | +C1": (Name.CALL_DIAGONAL, _L),
    "-C1 | +C0": (Name.CALL_DIAGONAL, _L),
    "-P0 | +P1": (Name.PUT_DIAGONAL, _L),
    "-P1 | +P0": (Name.PUT_DIAGONAL, _L),
    "-P1 -C2 | +P0 +C3": (Name.DOUBLE_DIAGONAL, _L),
}
_OPPOSITE = {_L: _S, _S: _L}
_SHAPES |= {
    shape.translate(str.maketrans("+-", "-+")): (name, _OPPOSITE[side])
    for shape, (name, side) in _SHAPES.items()
}
# Those whose opposite has a name of its own.
_SHAPES |= {
    "+C0 -C1": (Name.CALL_DEBIT_SPREAD, _L),
    "-C0 +C1": (Name.CALL_CREDIT_SPREAD, _S),
    "-P0 +P1": (Name.PUT_DEBIT_SPREAD, _L),
    "+P0 -P1": (Name.PUT_CREDIT_SPREAD, _S),
    "+S -C0": (Name.COVERED_CALL, _L),
    "-S +C0": (Name.PROTECTIVE_CALL, _S),
    "-S -P0": (Name.COVERED_PUT, _S),
    "+S +P0": (Name.PROTECTIVE_PUT, _L),
    "+S -C0 -P0": (Name.COVERED_STRADDLE, _L),
    "+S -P0 -C1": (Name.COVERED_STRANGLE, _L),
    "+S +P0 -C1": (Name.COLLAR, _L),
    "-S -P0 +C1": (Name.SHORT_COLLAR, _S),
    "-S +C0 -P1": (Name.SHORT_COLLAR, _S),
    "+S -C0 +P0": (Name.CONVERSION, _L),
    "-S +C0 -P0": (Name.REVERSAL, _S),
}

_WITH_WIDTH = {
    *(Name.CALL_DEBIT_SPREAD, Name.CALL_CREDIT_SPREAD, Name.PUT_DEBIT_SPREAD, Name.PUT_CREDIT_SPREAD),
    *(Name.CALL_RATIO_SPREAD, Name.PUT_RATIO_SPREAD, Name.CALL_BACKSPREAD, Name.PUT_BACKSPREAD, Name.BOX),
    *(Name.CALL_BUTTERFLY, Name.PUT_BUTTERFLY, Name.IRON_BUTTERFLY),
    *(Name.CALL_CONDOR, Name.PUT_CONDOR, Name.IRON_CONDOR),
    *(Name.CALL_DIAGONAL, Name.PUT_DIAGONAL, Name.DOUBLE_DIAGONAL),
}
_WINGED = {Name.CALL_BUTTERFLY, Name.PUT_BUTTERFLY, Name.IRON_BUTTERFLY}
_SAYS_ITS_SIDE = {
    *(Name.CALL_DEBIT_SPREAD, Name.CALL_CREDIT_SPREAD, Name.PUT_DEBIT_SPREAD, Name.PUT_CREDIT_SPREAD),
    *(Name.COVERED_CALL, Name.COVERED_PUT, Name.COVERED_STRADDLE, Name.COVERED_STRANGLE),
    *(Name.PROTECTIVE_PUT, Name.PROTECTIVE_CALL, Name.COLLAR, Name.SHORT_COLLAR, Name.CONVERSION, Name.REVERSAL),
    *(Name.CALL_RATIO_SPREAD, Name.PUT_RATIO_SPREAD, Name.CALL_BACKSPREAD, Name.PUT_BACKSPREAD),
}  # fmt: skip
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

_FIRST = date.min


_Lots = Mapping[str, Decimal]
_STANDARD_LOTS: _Lots = {}


def recognise(
    legs: Iterable[tuple[Instrument, Decimal | int]], *, underlying: str | None = None, lots: _Lots = _STANDARD_LOTS
) -> Structure:  # fmt: skip
    """The structure that `legs` (instrument, signed quantity) make; quantities in contracts and shares.

    Identical contracts are netted. `underlying` is for legs whose symbols do not share one (SPX and SPXW, the stock
    of an adjusted root). `lots`: how many shares of a stock stand beside one contract, where that is not 100. Raises InvalidInput when nothing is left after netting, or when underlyings differ.
    """
    held = _net(legs)
    found = {instrument.underlying for instrument, _ in held}
    if underlying is None:
        if len(found) != 1:
            raise _refused(
                "legs are on one underlying", sorted(found), "Send each underlying's legs on their own."
            )
        underlying = found.pop()
    parts, quantity = _lowest_terms(held, lots)
    name, side = _look_up(parts, lots)
    width = _width(name, parts)
    return Structure(
        name=name, direction=side, underlying=underlying, quantity=quantity, width=width,
        legs=tuple(Leg(instrument, ratio) for instrument, ratio in parts),
    )  # fmt: skip


class Traded(Protocol):
    """A leg of an order: `ratio` contracts of each package."""

    @property
    def symbol(self) -> str: ...
    @property
    def side(self) -> Side: ...
    @property
    def ratio(self) -> int: ...


def called(legs: Iterable[Traded], qty: Decimal) -> str:
    """What so many packages of these legs are called: `SPY 18 Dec 2026 635/640 put credit spread ×3`."""
    parts = [
        (parse_symbol(leg.symbol), qty * leg.ratio * (1 if leg.side is Side.BUY else -1)) for leg in legs
    ]
    return recognise(parts, underlying=named_after(parts[0][0])).label


def named_after(option: Instrument) -> str:
    """What a structure of such options is named after: their underlying; of adjusted ones their root."""
    root = option.underlying
    return root if listing.is_adjusted(root) else listing.stock_of(root)


_Parts = Sequence[tuple[Instrument, Decimal]]


def _net(legs: Iterable[tuple[Instrument, Decimal | int]]) -> _Parts:
    """Stock first, then options by expiry, strike and right."""
    quantities: dict[Instrument, Decimal] = defaultdict(Decimal)
    for instrument, qty in legs:
        quantities[instrument] += qty
    held = [(instrument, qty) for instrument, qty in quantities.items() if qty]
    if not held:
        raise _refused("a structure has at least one leg", "none", "Send legs that do not cancel out.")
    return sorted(held, key=_sort_key)


def _sort_key(part: tuple[Instrument, Decimal]) -> tuple[date, int, str, str]:
    instrument = part[0]
    return instrument.expiry or _FIRST, instrument.strike, instrument.right or "", instrument.symbol


def _lowest_terms(held: _Parts, lots: _Lots) -> tuple[_Parts, Decimal]:
    """Stock counts in lots beside options, on its own by the share. What has no common measure stays whole."""
    if len(held) == 1 and held[0][0].asset_class is AssetClass.EQUITY:
        return [(held[0][0], Decimal(1).copy_sign(held[0][1]))], abs(held[0][1])
    counts = [qty / _lot(instrument, lots) for instrument, qty in held]
    if any(count % 1 for count in counts):
        return held, Decimal(1)
    common = gcd(*map(int, counts))
    return [(instrument, qty / common) for instrument, qty in held], Decimal(common)


def _lot(instrument: Instrument, lots: _Lots) -> Decimal:
    if instrument.asset_class is not AssetClass.EQUITY:
        return Decimal(1)
    return lots.get(instrument.symbol, Decimal(SHARES_PER_CONTRACT))


def _look_up(parts: _Parts, lots: _Lots) -> tuple[Name, Direction | None]:
    if len(parts) == 1 and parts[0][0].asset_class is AssetClass.EQUITY:
        return _SHAPES["+S" if parts[0][1] > 0 else "-S"]
    if _is_mixed(parts):
        return Name.CUSTOM, None
    return _SHAPES.get(_shape(parts, lots)) or _ratio_spread(parts) or (Name.CUSTOM, None)


def _is_mixed(parts: _Parts) -> bool:
    """Whether one option delivers something else than another: strikes do not compare then."""
    roots = {instrument.underlying for instrument, _ in parts if instrument.right}
    return len(roots) > 1 and any(map(listing.is_adjusted, roots))


def _shape(parts: _Parts, lots: _Lots) -> str:
    strikes = sorted({instrument.strike for instrument, _ in parts if instrument.right})
    expiries = groupby((part for part in parts if part[0].right), key=lambda part: part[0].expiry)
    by_expiry = [
        [_token(instrument, ratio, strikes, lots) for instrument, ratio in legs] for _, legs in expiries
    ]
    # What a contract delivers of several stocks is one thing, if it is there of all of them.
    stock = {_token(instrument, ratio, strikes, lots) for instrument, ratio in parts if not instrument.right}
    return " ".join([*sorted(stock), " | ".join(" ".join(tokens) for tokens in by_expiry)]).strip()


def _token(instrument: Instrument, ratio: Decimal, strikes: Sequence[int], lots: _Lots) -> str:
    count = abs(ratio) / _lot(instrument, lots)
    sign, times = "+" if ratio > 0 else "-", "" if count == 1 else f"{count.normalize():f}"
    return f"{sign}{times}" + (
        f"{instrument.right}{strikes.index(instrument.strike)}" if instrument.right else "S"
    )


def _ratio_spread(parts: _Parts) -> tuple[Name, Direction] | None:
    """Two strikes of one right and expiry, one bought, one sold, in unequal numbers."""
    if len(parts) != 2 or not parts[0][0].right:
        return None
    (first, a), (second, b) = parts
    is_pair = (first.right, first.expiry) == (second.right, second.expiry) and first.strike != second.strike
    if not is_pair or a * b > 0:
        return None
    is_call = first.right is Right.CALL
    if a + b < 0:
        return (Name.CALL_RATIO_SPREAD if is_call else Name.PUT_RATIO_SPREAD), _S
    return (Name.CALL_BACKSPREAD if is_call else Name.PUT_BACKSPREAD), _L


def _strikes(parts: _Parts) -> list[int]:
    return sorted({instrument.strike for instrument, _ in parts if instrument.right})


def _width(name: Name, parts: _Parts) -> Decimal | None:
    if name not in _WITH_WIDTH:
        return None
    gaps = _gaps(parts)
    return from_ticks(max(gaps[0], gaps[-1]))


def _gaps(parts: _Parts) -> list[int]:
    return [high - low for low, high in pairwise(_strikes(parts))]


def _label(name: Name, side: Direction | None, underlying: str, parts: _Parts, quantity: Decimal) -> str:
    if name is Name.STOCK:
        return f"{underlying} {side} stock ×{_plain(quantity)}"
    expiries = sorted({instrument.expiry for instrument, _ in parts if instrument.expiry})
    days = "/".join(f"{day.day} {_MONTHS[day.month - 1]} {day.year}" for day in expiries)
    strikes = "/".join(_strike(strike) for strike in _strikes(parts))
    words = [underlying, days, strikes, *_words(name, side, parts)]
    return " ".join(word for word in words if word) + (f" ×{_plain(quantity)}" if quantity != 1 else "")


def _words(name: Name, side: Direction | None, parts: _Parts) -> list[str]:
    if name in _SAYS_ITS_SIDE or side is None:
        return [name]
    gaps = _gaps(parts) if name in _WINGED else []
    return [side, *(["broken-wing"] if gaps and gaps[0] != gaps[-1] else []), name]


def _strike(ticks: int) -> str:
    return show_price(ticks).replace(",", "").removesuffix(".00")


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _refused(rule: str, value: object, remedy: str) -> InvalidInput:
    return InvalidInput(field="legs", rule=rule, value=value, remedy=remedy)
