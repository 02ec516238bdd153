"""What corporate actions do to an account: dividends, splits, renames, mergers and spin-offs.

Each event is a value. `apply` gives the postings of one account, the fate of its open orders, and the
contracts that it holds under new terms; `adjusted_classes` gives what an event does to the option classes
themselves, the same for every account. The rules as prose: docs/rules/corporate-actions.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from fractions import Fraction
from uuid import UUID

import msgspec

from mbt.engine.account import ZERO, Kind, Position, Posting, trade
from mbt.engine.orders import Order, OrderType, Side, TimeInForce
from raxx.kernel.money import CENT, TICKS_PER_DOLLAR, show_price, to_cents
from raxx.market.contracts import AssetClass, Instrument, osi, parse_symbol, price_step
from raxx.market.listing import Deliverable, OptionClass, class_of, root_of

EMPTY = Position()
ONE = Fraction(1)
_BILLIONTH = Decimal("0.000000001")

# A special dividend below this does not change option strikes: 12.50 on a contract for 100 shares.
SPECIAL_DIVIDEND_MIN = Decimal("0.125")
# One below this leaves open orders alone (FINRA Rule 5330).
ORDER_DIVIDEND_MIN = CENT
_LEAST_STRIKE = 10  # the finest that a symbol can spell, in 1/10,000 dollar


class CashDividend(msgspec.Struct, frozen=True, kw_only=True):
    """`amount` dollars per share to who holds at the close before `ex_date`, paid on `pay_date` (None: on the
    ex-date). `special`: not part of a regular programme; option strikes are cut by it."""

    symbol: str
    ex_date: date
    amount: Decimal
    pay_date: date | None = None
    special: bool = False


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """`new` shares for `old`, before the open of `ex_date`. `close`: the last price before, in 1/10,000
    dollar; fractions are paid in cash at its split value."""

    symbol: str
    ex_date: date
    new: int
    old: int
    close: int


class SymbolChange(msgspec.Struct, frozen=True, kw_only=True):
    """The stock goes on under another ticker."""

    symbol: str
    new_symbol: str
    effective: date


class CashMerger(msgspec.Struct, frozen=True, kw_only=True):
    """Every share becomes `cash` dollars."""

    symbol: str
    effective: date
    cash: Decimal


class StockMerger(msgspec.Struct, frozen=True, kw_only=True):
    """`old` shares become `new` of `new_symbol`, and each also `cash` dollars. `price`: that of the new stock
    in 1/10,000 dollar, for fractions and for the part of the cost that the cash pays back."""

    symbol: str
    new_symbol: str
    effective: date
    new: int
    old: int
    price: int
    cash: Decimal = ZERO


class SpinOff(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds `old` shares gets `new` of `new_symbol` besides. `price` (the parent's, without it) and
    `new_price`, in 1/10,000 dollar, divide the cost between them."""

    symbol: str
    new_symbol: str
    ex_date: date
    new: int
    old: int
    price: int
    new_price: int


Event = CashDividend | Split | SymbolChange | CashMerger | StockMerger | SpinOff
Classes = Mapping[str, OptionClass]


class Entitlement(msgspec.Struct, frozen=True, kw_only=True):
    """A dividend that is owed to the account (negative: by it, on a short position) until it is paid."""

    symbol: str
    qty: Decimal
    amount: Decimal
    ex_date: date
    pay_date: date


class Action(StrEnum):
    CANCEL = "cancel"
    ADJUST = "adjust"


class OrderChange(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of an open order. An adjusted one goes on with this `limit` and `stop`; the best price
    that a trailing stop has seen comes down by `lowered`. Prices in 1/10,000 dollar."""

    order_id: UUID
    action: Action
    reason: str
    limit: int | None = None
    stop: int | None = None
    lowered: int = 0


class ContractChange(msgspec.Struct, frozen=True, kw_only=True):
    """A contract under new terms: each `old` is now `each` of `new`."""

    old: str
    new: str
    each: int


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """All that one event does to one account; it takes effect together or not at all."""

    postings: tuple[Posting, ...] = ()
    orders: tuple[OrderChange, ...] = ()
    contracts: tuple[ContractChange, ...] = ()
    entitlement: Entitlement | None = None


def apply(
    event: Event, *, book: Mapping[str, Position], orders: Iterable[Order] = (), adjusted: Classes
) -> Effect:
    """What `event` does to an account, before the open of its day.

    `book`: positions at the close before. `adjusted`: the adjusted option classes as they were until now;
    afterwards those of `adjusted_classes` hold. Source: docs/rules/corporate-actions.md.
    """
    terms = _new_terms(event, adjusted)
    changes = [_contract_change(parse_symbol(symbol), terms) for symbol in sorted(book) if book[symbol].qty]
    contracts = tuple(change for change in changes if change is not None)
    fates = [_order_change(event, order, terms) for order in orders]
    return Effect(
        postings=(*_stock(event, book), *_renamed(contracts, book, _title(event))),
        orders=tuple(fate for fate in fates if fate is not None),
        contracts=contracts,
        entitlement=entitlement(event, book) if isinstance(event, CashDividend) else None,
    )


def entitlement(event: CashDividend, book: Mapping[str, Position]) -> Entitlement | None:
    """What the account will be paid, or pay, by its position at the close before the ex-date."""
    qty = book.get(event.symbol, EMPTY).qty
    if not qty:
        return None
    return Entitlement(
        symbol=event.symbol, qty=qty, amount=to_cents(qty * event.amount),
        ex_date=event.ex_date, pay_date=event.pay_date or event.ex_date,
    )  # fmt: skip


def pay(owed: Entitlement) -> Posting:
    """The payment of a dividend. It is income: no position's cost changes and nothing is realized."""
    verb = "received on" if owed.qty > 0 else "paid in lieu on"
    return Posting(
        kind=Kind.DIVIDEND, symbol=owed.symbol, cash=owed.amount,
        note=f"dividend {verb} {abs(owed.qty).normalize():f} shares held before {owed.ex_date}",
    )  # fmt: skip


def _title(event: Event) -> str:
    match event:
        case CashDividend():
            return (
                f"{event.symbol}: {event.amount.normalize():f} {'special ' if event.special else ''}dividend"
            )
        case Split():
            return f"{event.symbol}: {event.new}-for-{event.old} split"
        case SymbolChange():
            return f"{event.symbol} trades as {event.new_symbol}"
        case CashMerger():
            return f"{event.symbol}: merger for {event.cash.normalize():f} in cash"
        case StockMerger():
            return f"{event.symbol}: merger, {event.new} {event.new_symbol} for {event.old}"
        case SpinOff():
            return f"{event.symbol}: spin-off, {event.new} {event.new_symbol} for {event.old}"


def _stock(event: Event, book: Mapping[str, Position]) -> tuple[Posting, ...]:
    """The postings of the shares. A short position is the mirror image: it owes what a long one receives."""
    held, note = book.get(event.symbol, EMPTY), _title(event)
    if not held.qty:
        return ()
    match event:
        case CashDividend():
            return ()
        case Split():
            ratio = Fraction(event.new, event.old)
            coming = _Coming(event.symbol, ratio, _value(event.close) / ratio)
            return _exchange(event.symbol, held.qty, held, coming, book, note)
        case SymbolChange():
            return _exchange(event.symbol, held.qty, held, _Coming(event.new_symbol, ONE, ONE), book, note)
        case CashMerger():
            return (
                _paid_out(event.symbol, to_cents(held.qty * event.cash), note, qty=held.qty, cost=held.cost),
            )
        case StockMerger():
            coming = _Coming(event.new_symbol, Fraction(event.new, event.old), _value(event.price))
            # The cash pays back its part of the cost, by value; the rest goes into the new shares.
            worth = Fraction(event.cash) + coming.ratio * coming.price
            back = _cents(Fraction(held.cost) * Fraction(event.cash) / worth)
            rest = _exchange(event.symbol, held.qty, Position(held.qty, held.cost - back), coming, book, note)
            if not event.cash:
                return rest
            return (_paid_out(event.symbol, to_cents(held.qty * event.cash), note, cost=back), *rest)
        case SpinOff():
            coming = _Coming(event.new_symbol, Fraction(event.new, event.old), _value(event.new_price))
            worth = coming.ratio * coming.price
            moved = _cents(Fraction(held.cost) * worth / (_value(event.price) + worth))
            return _exchange(event.symbol, held.qty, Position(ZERO, moved), coming, book, note)


class _Coming(msgspec.Struct, frozen=True):
    """What one share brings: `ratio` shares of `symbol`, worth `price` dollars each."""

    symbol: str
    ratio: Fraction
    price: Fraction


def _exchange(
    symbol: str, qty: Decimal, leaving: Position, coming: _Coming, book: Mapping[str, Position], note: str
) -> tuple[Posting, ...]:
    """`qty` shares of `symbol` bring what is coming; `leaving` goes, and its cost goes over, less what a
    fraction paid in cash takes of it. No other money moves."""
    kept, fraction = _whole_shares(qty, coming.ratio)
    postings: list[Posting] = []
    cost = leaving.cost
    if fraction:
        back = _cents(Fraction(cost) * fraction / (Fraction(qty) * coming.ratio)) if kept else cost
        lieu = f"{note}, cash for {_decimal(abs(fraction)):.4f} of a share"
        postings.append(_paid_out(symbol, _cents(fraction * coming.price), lieu, cost=back))
        cost -= back
    if symbol == coming.symbol:
        change = Posting(kind=Kind.CORPORATE_ACTION, symbol=symbol, qty=kept - leaving.qty, note=note)
        return (*postings, change)
    postings.append(
        Posting(kind=Kind.CORPORATE_ACTION, symbol=symbol, qty=-leaving.qty, cost=-cost, note=note)
    )
    if kept:
        # Where the new shares meet a position of the other sign they close it, as a trade at their cost would.
        arrival = trade(
            book.get(coming.symbol, EMPTY), symbol=coming.symbol, qty=kept, cash=-cost,
            kind=Kind.CORPORATE_ACTION, note=note,
        )  # fmt: skip
        postings.append(msgspec.structs.replace(arrival, cash=ZERO))
    return tuple(postings)


def _paid_out(symbol: str, cash: Decimal, note: str, *, cost: Decimal, qty: Decimal = ZERO) -> Posting:
    """`cash` for shares, or a fraction of one, that had cost `cost`."""
    return Posting(
        kind=Kind.CORPORATE_ACTION, symbol=symbol, qty=-qty, cost=-cost, cash=cash, realized=cash - cost, note=note
    )  # fmt: skip


def _whole_shares(qty: Decimal, ratio: Fraction) -> tuple[Decimal, Fraction]:
    """Shares after, and the fraction to be paid in cash. Who held whole shares keeps whole shares; who held
    a fraction before keeps fractions, to the billionth."""
    exact = Fraction(qty) * ratio
    if qty == qty.to_integral_value():
        whole = int(exact)  # Towards zero: a short position owes its fraction in cash.
        return Decimal(whole), exact - whole
    kept = _decimal(exact).quantize(_BILLIONTH)
    return (kept, Fraction(0)) if kept else (ZERO, exact)


def _value(ticks: int) -> Fraction:
    return Fraction(ticks, TICKS_PER_DOLLAR)


def _decimal(number: Fraction) -> Decimal:
    return Decimal(number.numerator) / number.denominator


def _cents(dollars: Fraction) -> Decimal:
    return to_cents(_decimal(dollars))


class _NewTerms(msgspec.Struct, frozen=True):
    """What becomes of a root: a contract is now `each` contracts of `root`, at strike × `factor` − `cut`.

    `listed` is None where the standard terms of `root` hold. A contract whose strike would be cut to nothing
    keeps it, and becomes one of `uncut`, which delivers the dividend instead.
    """

    root: str
    listed: OptionClass | None
    each: int = 1
    factor: Fraction = ONE
    cut: Fraction = Fraction(0)
    uncut: tuple[str, OptionClass] | None = None


def adjusted_classes(event: Event, adjusted: Classes) -> dict[str, OptionClass]:
    """The adjusted option classes after `event`: those there were, changed where they deliver its stock, and
    the new ones. It is the same for every account."""
    after = dict(adjusted)
    changes = _new_terms(event, adjusted)
    for root in changes:
        after.pop(root, None)
    for new in changes.values():
        if new.listed is not None:
            after[new.root] = new.listed
        if new.uncut is not None:
            after[new.uncut[0]] = new.uncut[1]
    return after


def adjusts_options(event: CashDividend) -> bool:
    """Whether a dividend changes contracts: a special one of at least 0.125 a share."""
    return event.special and event.amount >= SPECIAL_DIVIDEND_MIN


def contract_change(event: Event, symbol: str, adjusted: Classes) -> ContractChange | None:
    """What becomes of the contract `symbol`; None when nothing does, or when it is no option."""
    return _contract_change(parse_symbol(symbol), _new_terms(event, adjusted))


def _contract_change(contract: Instrument, terms: Mapping[str, _NewTerms]) -> ContractChange | None:
    if contract.expiry is None or contract.right is None or contract.underlying not in terms:
        return None
    new = terms[contract.underlying]
    root, strike = new.root, contract.strike
    if new.factor != 1 or new.cut:
        exact = _value(strike) * new.factor - new.cut
        if exact > 0 or new.uncut is None:
            strike = max(_LEAST_STRIKE, int(_cents(exact) * TICKS_PER_DOLLAR))
        else:
            root = new.uncut[0]
    changed = osi(root, contract.expiry, contract.right, strike)
    return ContractChange(old=contract.symbol, new=changed, each=new.each)


def _new_terms(event: Event, adjusted: Classes) -> dict[str, _NewTerms]:
    """The roots that `event` changes, and into what. New roots are numbered in the order of the old ones, so
    that the names do not depend on who holds what."""
    if isinstance(event, CashDividend) and not adjusts_options(event):
        return {}
    taken = {*adjusted, root_of(event.symbol)}
    changes: dict[str, _NewTerms] = {}
    for root in sorted(taken):
        listed = class_of(root, adjusted)
        if listed.deliverable.of(event.symbol):
            changes[root] = new = _terms_after(event, root, listed, adjusted, taken)
            taken |= {new.root, *(new.uncut or ())[:1]}
    return changes


def _terms_after(
    event: Event, root: str, listed: OptionClass, adjusted: Classes, taken: set[str]
) -> _NewTerms:
    symbol, same = event.symbol, adjusted.get(root)
    own = _base(root) == root_of(symbol)
    match event:
        case CashDividend():
            dividend = Fraction(listed.deliverable.of(symbol)) * Fraction(event.amount)
            uncut = _with(listed, listed.deliverable.shares, listed.deliverable.cash + _cents(dividend))
            fresh = _fresh(_base(root), taken)
            return _NewTerms(root, same, cut=dividend / listed.multiplier, uncut=(fresh, uncut))
        case Split():
            return _split_terms(event, root, listed, same, taken)
        case SymbolChange():
            renamed = _exchanged(listed, symbol, _Coming(event.new_symbol, ONE, ONE))
            if not own:
                return _NewTerms(root, renamed)
            name = root_of(event.new_symbol) + root[len(_base(root)) :]
            if name in taken:
                name = _fresh(root_of(event.new_symbol), taken)
            standard = same is None and class_of(name) == renamed
            return _NewTerms(name, None if standard else renamed)
        case CashMerger():
            left = tuple((name, qty) for name, qty in listed.deliverable.shares if name != symbol)
            cash = listed.deliverable.cash + to_cents(listed.deliverable.of(symbol) * event.cash)
            # Only adjusted roots have a digit, and all of them have: by its name one knows that a contract is one.
            return _NewTerms(root if same else _fresh(_base(root), taken), _with(listed, left, cash))
        case StockMerger():
            coming = _Coming(event.new_symbol, Fraction(event.new, event.old), _value(event.price))
            merged = _exchanged(listed, symbol, coming, cash_each=event.cash)
            return _NewTerms(_fresh(root_of(event.new_symbol) if own else _base(root), taken), merged)
        case SpinOff():
            coming = _Coming(event.new_symbol, Fraction(event.new, event.old), _value(event.new_price))
            return _NewTerms(_fresh(_base(root), taken), _exchanged(listed, symbol, coming, keep=True))


def _split_terms(
    event: Split, root: str, listed: OptionClass, same: OptionClass | None, taken: set[str]
) -> _NewTerms:
    """More contracts where the ratio is whole; a larger deliverable at a lower strike where it is not; and
    else, as after every reverse split, another deliverable for the same exercise price."""
    ratio = Fraction(event.new, event.old)
    alone = len(listed.deliverable.shares) == 1 and not listed.deliverable.cash
    if alone and ratio.denominator == 1:
        return _NewTerms(root, same, each=int(ratio), factor=1 / ratio)
    shares, multiplier = Fraction(listed.deliverable.of(event.symbol)) * ratio, listed.multiplier * ratio
    if alone and ratio > 1 and shares.denominator == multiplier.denominator == 1:
        larger = _with(listed, ((event.symbol, _decimal(shares)),), ZERO)
        larger = replace(larger, multiplier=int(multiplier))
        return _NewTerms(_fresh(_base(root), taken), larger, factor=1 / ratio)
    coming = _Coming(event.symbol, ratio, _value(event.close) / ratio)
    return _NewTerms(_fresh(_base(root), taken), _exchanged(listed, event.symbol, coming))


def _exchanged(
    listed: OptionClass, symbol: str, coming: _Coming, *, cash_each: Decimal = ZERO, keep: bool = False
) -> OptionClass:
    """The class that delivers what is coming, in whole shares, instead of `symbol` (or, with `keep`, with it).
    A contract's fraction is delivered in cash."""
    qty = listed.deliverable.of(symbol)
    exact = Fraction(qty) * coming.ratio
    whole = int(exact)
    shares = {name: held for name, held in listed.deliverable.shares if keep or name != symbol}
    if whole:
        shares[coming.symbol] = shares.get(coming.symbol, ZERO) + whole
    lieu = _cents((exact - whole) * coming.price) + to_cents(qty * cash_each)
    changed = _with(listed, tuple(shares.items()), listed.deliverable.cash + lieu)
    if keep or listed.underlying != symbol:
        return changed
    return replace(changed, underlying=coming.symbol)


def _with(listed: OptionClass, shares: tuple[tuple[str, Decimal], ...], cash: Decimal) -> OptionClass:
    return replace(listed, deliverable=Deliverable(shares, cash))


def _base(root: str) -> str:
    return root.rstrip("0123456789")


def _fresh(base: str, taken: set[str]) -> str:
    """The first free root of that name: XYZ1, XYZ2 … A root has at most six characters."""
    number = 1
    while (root := base[: 6 - len(str(number))] + str(number)) in taken:
        number += 1
    return root


def _renamed(
    contracts: Iterable[ContractChange], book: Mapping[str, Position], note: str
) -> tuple[Posting, ...]:
    """Contracts leave under the old name and come, with the same cost, under the new one."""
    postings: list[Posting] = []
    for change in contracts:
        if change.old != change.new:
            held = book[change.old]
            for symbol, qty, cost in (
                (change.old, -held.qty, -held.cost),
                (change.new, held.qty * change.each, held.cost),
            ):
                postings.append(
                    Posting(kind=Kind.CORPORATE_ACTION, symbol=symbol, qty=qty, cost=cost, note=note)
                )
    return tuple(postings)


def _order_change(event: Event, order: Order, terms: Mapping[str, _NewTerms]) -> OrderChange | None:
    """Open orders are canceled by whatever changes what they are for; a dividend lowers some of them."""
    symbols = [leg.symbol for leg in order.legs] or [order.symbol]
    instruments = [parse_symbol(symbol) for symbol in symbols]
    for instrument in instruments:
        changed = instrument.asset_class is AssetClass.OPTION and instrument.underlying in terms
        if changed or (instrument.symbol == event.symbol and not isinstance(event, CashDividend)):
            reason = f"{_title(event)}. Send the order again at today's prices."
            return OrderChange(order_id=order.id, action=Action.CANCEL, reason=reason)
    if isinstance(event, CashDividend) and order.symbol == event.symbol:
        return _lowered(event, order, instruments[0])
    return None


def _lowered(event: CashDividend, order: Order, stock: Instrument) -> OrderChange | None:
    """Orders that wait below the market follow the price down, so that the dividend alone sets none off: buy
    limits and sell stops that are good till canceled."""
    waits_below = order.type is OrderType.LIMIT if order.side is Side.BUY else order.type in _STOPS
    if not waits_below or order.tif is not TimeInForce.GTC or event.amount < ORDER_DIVIDEND_MIN:
        return None
    limit, stop = (
        None if price is None else _down(price, event.amount, stock) for price in (order.limit, order.stop)
    )
    if (limit is not None and limit <= 0) or (stop is not None and stop <= 0):
        reason = f"{_title(event)} is more than the price of the order."
        return OrderChange(order_id=order.id, action=Action.CANCEL, reason=reason)
    now = " / ".join(show_price(price) for price in (stop, limit) if price)
    return OrderChange(
        order_id=order.id, action=Action.ADJUST, limit=limit, stop=stop,
        lowered=int(event.amount * TICKS_PER_DOLLAR),
        reason=f"{_title(event)}: lowered{' to ' + now if now else ''}.",
    )  # fmt: skip


_STOPS = frozenset({OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP})


def _down(price: int, amount: Decimal, stock: Instrument) -> int:
    """The price less the dividend, down to a legal one."""
    lower = int((price - amount * TICKS_PER_DOLLAR).to_integral_value(ROUND_FLOOR))
    if lower <= 0:
        return 0
    return lower - lower % price_step(stock, lower)
