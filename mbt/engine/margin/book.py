"""Sort what an account holds into one book per underlying: stock, long options, short options, prices."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

import msgspec

from mbt.engine.margin.rules import OptionClass
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.market.contracts import SHARES_PER_CONTRACT, AssetClass, Instrument, Right


class NoMark(RaxxError):
    """A requirement needs a price that is not there."""

    code = "NO_MARK"
    http_status = 422


class Holding(msgspec.Struct, frozen=True):
    """`qty` is signed: shares, or whole contracts."""

    instrument: Instrument
    qty: Decimal


# Which of two options lives longer: the day, then the open or the close of it.
Expiry = tuple[date, int]


class OptionLeg(msgspec.Struct, frozen=True):
    """One contract series of a book. `strike` and `mark` in 1/10,000 dollar; `qty` contracts, always positive.

    A long option's `mark` is 0 when there is none: no formula asks for it.
    """

    instrument: Instrument
    right: Right
    strike: int
    expires: Expiry
    qty: int
    mark: int


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on one underlying. `price` in 1/10,000 dollar; `shares` signed; `multiplier` shares a contract.

    Legs are sorted, so that nothing depends on the order of the holdings. `stock` is None when there is none.
    """

    underlying: str
    price: int
    multiplier: int
    stock: Instrument | None
    shares: Decimal
    shorts: tuple[OptionLeg, ...]
    longs: tuple[OptionLeg, ...]

    @property
    def lots(self) -> int:
        """Whole contracts' worth of stock, long or short: 99 shares are none."""
        return int(abs(self.shares) // self.multiplier)


def books(
    holdings: Iterable[Holding], *, marks: Mapping[str, int], classes: Mapping[str, OptionClass]
) -> list[Book]:
    """One book per underlying, and one per root with an adjusted deliverable, by name.

    `marks` in 1/10,000 dollar, by symbol and by ticker of an underlying. Raises NoMark, and InvalidInput for a
    part of a contract.
    """
    net: dict[Instrument, Decimal] = defaultdict(Decimal)
    for holding in holdings:
        net[holding.instrument] += holding.qty
    by_book: dict[_Key, dict[Instrument, Decimal]] = defaultdict(dict)
    for instrument, qty in net.items():
        if qty:
            by_book[_book_of(instrument, classes)][instrument] = qty
    return [_book(key, held, marks, classes) for key, held in sorted(by_book.items())]


def class_of(instrument: Instrument, classes: Mapping[str, OptionClass]) -> OptionClass:
    """A root that `classes` does not name is its own underlying, standard unless it ends in a digit (XYZ1)."""
    root = instrument.underlying
    return classes.get(root) or OptionClass(underlying=root, is_standard=not root[-1].isdigit())


def is_standard(instrument: Instrument, classes: Mapping[str, OptionClass]) -> bool:
    return instrument.multiplier == SHARES_PER_CONTRACT and class_of(instrument, classes).is_standard


# Underlying or adjusted root, shares a contract, whether the deliverable is standard.
_Key = tuple[str, int, bool]


def _book_of(instrument: Instrument, classes: Mapping[str, OptionClass]) -> _Key:
    if instrument.asset_class is AssetClass.EQUITY:
        return instrument.symbol, SHARES_PER_CONTRACT, True
    if is_standard(instrument, classes):
        return class_of(instrument, classes).underlying, SHARES_PER_CONTRACT, True
    return instrument.underlying, instrument.multiplier, False


def _book(
    key: _Key,
    held: Mapping[Instrument, Decimal],
    marks: Mapping[str, int],
    classes: Mapping[str, OptionClass],
) -> Book:
    underlying, multiplier, _ = key
    stock = next((one for one in held if one.asset_class is AssetClass.EQUITY), None)
    legs = sorted(
        (_leg(one, qty, marks, classes) for one, qty in held.items() if one is not stock),
        key=lambda leg: (leg.expires, leg.right, leg.strike, leg.instrument.symbol),
    )
    shorts = tuple(leg for leg in legs if held[leg.instrument] < 0)
    needs_price = bool(shorts) or stock is not None
    return Book(
        underlying=underlying, multiplier=multiplier, price=_mark(marks, underlying) if needs_price else 0,
        stock=stock, shares=held[stock] if stock else Decimal(0), shorts=shorts,
        longs=tuple(leg for leg in legs if held[leg.instrument] > 0),
    )  # fmt: skip


def _leg(
    instrument: Instrument, qty: Decimal, marks: Mapping[str, int], classes: Mapping[str, OptionClass]
) -> OptionLeg:
    if qty % 1:
        raise InvalidInput(
            field="qty", rule="options are held in whole contracts", value=qty, remedy="Send a whole number."
        )
    if instrument.right is None or instrument.expiry is None:
        raise TypeError(f"{instrument.symbol} is not an option")
    return OptionLeg(
        instrument=instrument,
        right=instrument.right,
        strike=instrument.strike,
        expires=(instrument.expiry, 0 if class_of(instrument, classes).is_am_settled else 1),
        qty=int(abs(qty)),
        mark=_mark(marks, instrument.symbol) if qty < 0 else marks.get(instrument.symbol, 0),
    )


def _mark(marks: Mapping[str, int], symbol: str) -> int:
    mark = marks.get(symbol, 0)
    if mark <= 0:
        raise NoMark(
            f"{symbol} has no price now, so what it requires cannot be computed.",
            field="symbol", rule="a requirement is computed from current marks", value=symbol,
            remedy="Try again when it is quoted.",
        )  # fmt: skip
    return mark
