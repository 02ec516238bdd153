"""Sort what an account holds into one book per underlying: stock, long options, short options, prices."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

import msgspec

from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market import listing
from raxx.market.contracts import SHARES_PER_CONTRACT, AssetClass, Instrument, Right
from raxx.market.listing import Deliverable, OptionClass, SettlementTime


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
    """One contract series of a book. `strike` and `mark` in 1/10,000 dollar a unit; `qty` contracts, always positive.

    A long option's `mark` is 0 when there is none: no formula asks for it.
    """

    instrument: Instrument
    right: Right
    strike: int
    expires: Expiry
    qty: int
    mark: int


class Shares(msgspec.Struct, frozen=True):
    """Stock of a book: `qty` signed, `price` in 1/10,000 dollar. `each` stand beside one contract."""

    instrument: Instrument
    price: int
    qty: Decimal
    each: Decimal


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """Everything on one underlying, or in one adjusted root.

    Options are charged by the unit, of which a contract has `multiplier`. A unit of a standard contract is a share.
    Of an adjusted one it is all that the contract delivers: `price`, strikes and marks are those of a whole contract,
    and its `stock` is what is lent to it of other books (`mbt.engine.margin.lending`). `price` in 1/10,000 dollar;
    rates are those of `ticker`. Legs are sorted, so that nothing depends on the order of the holdings.
    """

    underlying: str
    ticker: str
    price: int
    multiplier: int
    deliverable: Deliverable
    is_adjusted: bool
    stock: tuple[Shares, ...]
    shorts: tuple[OptionLeg, ...]
    longs: tuple[OptionLeg, ...]

    @property
    def lots(self) -> int:
        """Whole contracts' worth of stock, long or short: 99 shares are none."""
        return int(min((abs(part.qty) // part.each for part in self.stock), default=0))

    @property
    def owns_stock(self) -> bool:
        return bool(self.stock) and self.stock[0].qty > 0

    @property
    def cash(self) -> Decimal:
        """Dollars that a unit delivers beside shares."""
        return self.deliverable.cash if self.is_adjusted else Decimal(0)


def books(
    holdings: Iterable[Holding], *, marks: Mapping[str, int] | None, adjusted: Mapping[str, OptionClass]
) -> list[Book]:
    """One book per underlying, and one per adjusted root, by name.

    `marks` in 1/10,000 dollar, by symbol and by ticker of an underlying; None where no price is asked for. Raises
    NoMark, UnknownDeliverable, and InvalidInput for a part of a contract.
    """
    net: dict[Instrument, Decimal] = defaultdict(Decimal)
    for holding in holdings:
        net[holding.instrument] += holding.qty
    by_book: dict[_Key, dict[Instrument, Decimal]] = defaultdict(dict)
    for instrument, qty in net.items():
        if qty:
            by_book[_book_of(instrument, adjusted)][instrument] = qty
    return [
        _adjusted_book(name, adjusted[name], held, marks) if is_adjusted else _book(name, held, marks)
        for (name, is_adjusted), held in sorted(by_book.items())
    ]


_Key = tuple[str, bool]  # underlying, or adjusted root; whether it is one


def _book_of(instrument: Instrument, adjusted: Mapping[str, OptionClass]) -> _Key:
    root = instrument.underlying
    if instrument.asset_class is AssetClass.EQUITY:
        return root, False
    return (root, True) if root in adjusted else (listing.class_of(root).underlying, False)


def _book(name: str, held: Mapping[Instrument, Decimal], marks: Mapping[str, int] | None) -> Book:
    stock = next((one for one in held if one.asset_class is AssetClass.EQUITY), None)
    shorts, longs = _legs({one: qty for one, qty in held.items() if one is not stock}, marks)
    price = _mark(marks, name) if shorts or stock is not None else 0
    each = Decimal(SHARES_PER_CONTRACT)
    return Book(
        underlying=name, ticker=name, price=price, multiplier=SHARES_PER_CONTRACT,
        deliverable=Deliverable(((name, each),)), is_adjusted=False,
        stock=() if stock is None else (Shares(stock, price, held[stock], each),), shorts=shorts, longs=longs,
    )  # fmt: skip


def _adjusted_book(
    root: str, listed: OptionClass, held: Mapping[Instrument, Decimal], marks: Mapping[str, int] | None
) -> Book:
    shorts, longs = _legs(held, marks, size=listed.multiplier)
    worth = Decimal(0)
    if shorts and marks is not None:
        worth = listed.deliverable.value({name: _mark(marks, name) for name, _ in listed.deliverable.shares})
    return Book(
        underlying=root, ticker=listed.underlying, price=int(worth * TICKS_PER_DOLLAR), multiplier=1,
        deliverable=listed.deliverable, is_adjusted=True, stock=(), shorts=shorts, longs=longs,
    )  # fmt: skip


def _legs(
    held: Mapping[Instrument, Decimal], marks: Mapping[str, int] | None, *, size: int = 1
) -> tuple[tuple[OptionLeg, ...], tuple[OptionLeg, ...]]:
    """Short and long ones. `size`: how many times its strike and price a unit is."""
    legs = sorted(
        (_leg(one, qty, marks, size) for one, qty in held.items()),
        key=lambda leg: (leg.expires, leg.right, leg.strike, leg.instrument.symbol),
    )
    shorts = tuple(leg for leg in legs if held[leg.instrument] < 0)
    return shorts, tuple(leg for leg in legs if held[leg.instrument] > 0)


def _leg(instrument: Instrument, qty: Decimal, marks: Mapping[str, int] | None, size: int) -> OptionLeg:
    if qty % 1:
        raise InvalidInput(
            field="qty", rule="options are held in whole contracts", value=qty, remedy="Send a whole number."
        )
    if instrument.right is None or instrument.expiry is None:
        raise TypeError(f"{instrument.symbol} is not an option")
    mark = _mark(marks, instrument.symbol) if qty < 0 else (marks or {}).get(instrument.symbol, 0)
    return OptionLeg(
        instrument=instrument,
        right=instrument.right,
        strike=instrument.strike * size,
        expires=(instrument.expiry, 0 if _ends_in_the_morning(instrument) else 1),
        qty=int(abs(qty)),
        mark=mark * size,
    )


def _ends_in_the_morning(instrument: Instrument) -> bool:
    """Only indexes do, and nothing adjusts those."""
    root = instrument.underlying
    return not listing.is_adjusted(root) and listing.class_of(root).settles is SettlementTime.AM


def _mark(marks: Mapping[str, int] | None, symbol: str) -> int:
    if marks is None:
        return 0
    mark = marks.get(symbol, 0)
    if mark <= 0:
        raise NoMark(
            f"{symbol} has no price now, so what it requires cannot be computed.",
            field="symbol", rule="a requirement is computed from current marks", value=symbol,
            remedy="Try again when it is quoted.",
        )  # fmt: skip
    return mark
