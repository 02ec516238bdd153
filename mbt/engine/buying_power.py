"""What an order needs before it is accepted: what it holds, and the denial when that is too much.

A cash account pays in full and delivers what it has; a margin account needs the change of its requirement.
A denial comes with the nearest order that would be taken: it has been judged as well.
Source: docs/rules/buying-power.md, docs/rules/margin.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum
from math import ceil, gcd

import msgspec

from mbt.engine import cost, margin
from mbt.engine.cost import NoPrice, Quotes, Trade
from mbt.engine.margin import (
    Approval,
    Level,
    MarginRules,
    Model,
    Part,
    Requirement,
    UncoveredShort,
)
from mbt.engine.margin.book import Book
from mbt.engine.margin.requirement import Found
from mbt.engine.orders import FillPreference, OrderClass, OrderType, Side, TimeInForce
from mbt.engine.restrictions import (
    DayTrading,
    IntradayMarginDeficit,
    PatternDayTrader,
    SettledCashOnly,
    SettledOnly,
    check_day_trade,
    check_intraday,
    check_settled,
)
from mbt.engine.tickets import LEGS_MAX, LegTicket, Ticket
from raxx.kernel.errors import RaxxError
from raxx.kernel.money import CENT, from_ticks, up_to_cents
from raxx.market.contracts import AssetClass, Instrument, Right
from raxx.market.listing import STANDARD_ONLY, OptionClass, instrument_of

ZERO = Decimal(0)
# Less than this a fractional buy may not cost: below, its cost would round to nothing.
COST_MIN = Decimal("1.00")
# Borrowing, short positions and spreads need so much equity (FINRA Rule 4210(b)).
EQUITY_MIN = Decimal("2000.00")


class AccountType(StrEnum):
    CASH = "cash"
    MARGIN = "margin"


class Holding(msgspec.Struct, frozen=True):
    """An open position (negative: short), and how much of it open orders already close."""

    qty: Decimal
    held: Decimal

    @property
    def free(self) -> Decimal:
        """What one more order may close: positive, of a long as of a short position."""
        return abs(self.qty) - self.held


NOTHING = Holding(ZERO, ZERO)


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An account as an order meets it. Dollars; `holdings` are its open positions by symbol.

    `pending`: what each open order that sells something would trade, in order of acceptance: such an order may
    take away what covers another. `marks` in 1/10,000 dollar by symbol and by ticker of an underlying.
    `adjusted`: the option classes that corporate actions changed, as far as the account and the order meet them.
    `cash_held` is what all open orders reserve. `restricted`: a cash account that violations have restricted;
    `day_trading`: what limits the day trades of a margin account. None: nothing does. `is_forced`: the order is the
    engine's own and closes what would become worse; neither money nor a mark that is missing stands in its way.
    """

    type: AccountType = AccountType.CASH
    cash: Decimal
    cash_held: Decimal
    holdings: Mapping[str, Holding]
    pending: tuple[tuple[Trade, ...], ...] = ()
    marks: Mapping[str, int] = {}
    rules: MarginRules = MarginRules()
    adjusted: Mapping[str, OptionClass] = STANDARD_ONLY
    options_level: int = 2
    naked_shorts: bool = False
    fill_preference: FillPreference = FillPreference.CONSERVATIVE
    size_cap: bool = False
    latency_ns: int = 0
    restricted: SettledOnly | None = None
    day_trading: DayTrading | None = None
    is_forced: bool = False


class Holds(msgspec.Struct, frozen=True):
    """What an order reserves until it is over: dollars, and quantities of positions that it closes. `qty` is its
    quantity; of an amount of money, what that buys at the quote now."""

    cash: Decimal
    positions: dict[str, Decimal]
    qty: Decimal


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What an order does to the buying power of an account. Dollars.

    `available` is what the account has free for it, `needed` what the order takes (negative: it gives back).
    `before` and `after` are the requirements without and with it, its debit (a credit is negative) is apart. `paid` is
    what of the debit is gone: stock that is bought counts in the equity of a margin account at its mark.
    """

    available: Decimal
    needed: Decimal
    debit: Decimal
    paid: Decimal
    before: Requirement
    after: Requirement

    @property
    def only_reduces(self) -> bool:
        """Whether it lowers what the account must have: such orders always pass."""
        return self.after.maintenance < self.before.maintenance and self.needed <= 0


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an account has and must have now. Dollars.

    `equity` is what its requirement is held against, `available` what a new order may take of it: what is left
    over the initial requirement and the holds of open orders.
    """

    equity: Decimal
    available: Decimal
    requirement: Requirement


class InsufficientBuyingPower(RaxxError):
    code = "INSUFFICIENT_BUYING_POWER"
    http_status = 403


class InsufficientQuantity(RaxxError):
    code = "INSUFFICIENT_QUANTITY"
    http_status = 403


class NotApproved(RaxxError):
    """The positions that the order would leave need a higher option level, or the flag for naked shorts."""

    code = "NOT_APPROVED"
    http_status = 403


class NotInCashAccount(RaxxError):
    """A cash account does not hold this; a margin account may."""

    code = "NOT_IN_CASH_ACCOUNT"
    http_status = 403


class EquityTooLow(RaxxError):
    code = "EQUITY_TOO_LOW"
    http_status = 403


class MisplacedExits(RaxxError):
    """Exits follow an entry that opens a position, or stand beside each other for one that is there."""

    code = "MISPLACED_EXITS"
    http_status = 403


class OrderTooSmall(RaxxError):
    code = "ORDER_TOO_SMALL"
    http_status = 422


def holds(
    ticket: Ticket, instruments: Sequence[Instrument], *, account: AccountView, quotes: Quotes
) -> Holds:
    """What `ticket` reserves. `quotes` price what has no limit.

    Raises NoPrice, NoMark, InsufficientBuyingPower, InsufficientQuantity, MisplacedExits, NotApproved, NotInCashAccount,
    UncoveredShort, EquityTooLow, OrderTooSmall, SettledCashOnly, PatternDayTrader or IntradayMarginDeficit: each says
    what would be accepted.
    """
    try:
        return _judge(ticket, instruments, account, quotes)
    except _ADVISED as denial:
        raise _with_advice(denial, ticket, instruments, account, quotes) from None


def _judge(
    ticket: Ticket, instruments: Sequence[Instrument], account: AccountView, quotes: Quotes, known: "_Known | None" = None
) -> Holds:  # fmt: skip
    """Like `holds`, with denials that do not say yet what would be accepted. `known`: requirements of this account that
    have been computed; others are added."""
    qty = cost.quantity(ticket, quotes)
    traded = cost.trades(ticket, instruments, qty)
    closing = _closing(traded, account)
    _check_one_way(ticket, traded, closing, account)
    _check_exits(ticket, closing)
    check_day_trade(traded, value=_plain(qty), trading=account.day_trading)
    opens = any(abs(trade.qty) > closing.get(trade.instrument.symbol, ZERO) for trade in traded)
    if not opens and (account.is_forced or (not _has_shorts(account) and not account.pending)):
        return Holds(ZERO, closing, qty)  # delivers what nothing else needs
    if _is_plain_purchase(traded, closing) and account.type is AccountType.CASH:
        _check_may_buy_options(ticket, instruments, account)
        needed = _purchase_cost(ticket, instruments, qty, quotes)
        available = free_cash(account)
        if needed > available:
            check_settled(needed, available, value=_plain(qty), restricted=account.restricted)
            raise _too_expensive(ticket, needed, available, qty)
        return Holds(needed, {}, qty)
    found = effect(ticket, instruments, account=account, quotes=quotes, qty=qty, known=known)
    _check_approval(ticket, found, account)
    if opens:
        _check_equity(found, account)
    if found.needed > found.available and not found.only_reduces:
        check_settled(found.needed, found.available, value=_plain(qty), restricted=account.restricted)
        raise _denied(found, qty)
    if account.type is AccountType.MARGIN:
        equity = margin.margin_equity(account.cash, _as_holdings(_state(account)), account.marks)
        check_intraday(
            equity=equity - found.paid, before=found.before.maintenance, after=found.after.maintenance,
            value=_plain(qty), trading=account.day_trading,
        )  # fmt: skip
    return Holds(max(found.needed, ZERO), closing, qty)


def standing(account: AccountView) -> Standing:
    """The account as it stands. Raises NoMark."""
    now = _state(account)
    if account.type is AccountType.CASH:
        required = _required(account)(now)
        return Standing(
            equity=account.cash,
            available=account.cash - account.cash_held - required.maintenance - _not_there_yet(account),
            requirement=required,
        )
    required = _required(account)(now)
    equity = margin.margin_equity(account.cash, _as_holdings(now), account.marks)
    return Standing(
        equity=equity,
        available=margin.excess(equity, required.initial) - account.cash_held,
        requirement=required,
    )


def free_cash(account: AccountView) -> Decimal:
    """Of a cash account: what no open order holds and no short put has set aside; of a restricted one what of
    that has settled."""
    aside = _required(account)(_state(account)).maintenance if _has_shorts(account) else ZERO
    return account.cash - account.cash_held - aside - _not_there_yet(account)


def _not_there_yet(account: AccountView) -> Decimal:
    return account.restricted.to_come if account.restricted else ZERO


def effect(
    ticket: Ticket, instruments: Sequence[Instrument], *, account: AccountView, quotes: Quotes, qty: Decimal,
    known: "_Known | None" = None,
) -> Effect:  # fmt: skip
    """What `qty` of the order would do to the account's buying power. `known`: requirements of this account that have
    been computed; others are added. Raises NoPrice, NoMark or UncoveredShort."""
    traded = cost.trades(ticket, instruments, qty)
    try:
        price = cost.unit_price(ticket, instruments, quotes)
    except NoPrice:
        if any(trade.qty > 0 for trade in traded):
            raise
        price = ZERO  # a sale without a bid is taken to bring nothing
    debit = _debit(ticket, instruments, traded, price, qty)
    required = _remembering(account, {} if known is None else known)
    now = _state(account)
    judged = [(required(base), required(_plus(base, traded))) for base in _bases(now, account)]
    before, after = max(judged, key=lambda pair: pair[1].initial - pair[0].initial)
    if account.type is AccountType.CASH:
        available = account.cash - account.cash_held - required(now).maintenance - _not_there_yet(account)
        # A credit comes with the fill; until then the order holds what it will have to set aside in full.
        needed = after.maintenance - before.maintenance + max(debit, ZERO)
        return Effect(
            available=available,
            needed=up_to_cents(needed),
            debit=debit,
            paid=debit,
            before=before,
            after=after,
        )
    equity = margin.margin_equity(account.cash, _as_holdings(now), account.marks)
    available = margin.excess(equity, required(now).initial) - account.cash_held
    paid = debit - _bought_stock_value(traded, account.marks)
    needed = margin.effect(before.initial, after.initial, net_debit=paid, fees=ZERO)
    return Effect(
        available=available, needed=up_to_cents(needed), debit=debit, paid=paid, before=before, after=after
    )


# -- what the order would leave --------------------------------------------------------------------

_Positions = Mapping[Instrument, Decimal]
_Required = Callable[[_Positions], Requirement]
_Known = dict[frozenset[tuple[Instrument, Decimal]], Requirement]


def _remembering(account: AccountView, known: _Known) -> _Required:
    """What positions require in the account, each book computed once."""
    required = _required(account)

    def look_up(positions: _Positions) -> Requirement:
        book = frozenset(positions.items())
        found = known.get(book)
        if found is None:
            found = known[book] = required(positions)
        return found

    return look_up


def _state(account: AccountView) -> dict[Instrument, Decimal]:
    return {
        instrument_of(symbol, account.adjusted): holding.qty for symbol, holding in account.holdings.items()
    }


def _plus(positions: _Positions, traded: Iterable[Trade]) -> dict[Instrument, Decimal]:
    after = dict(positions)
    for trade in traded:
        after[trade.instrument] = after.get(trade.instrument, ZERO) + trade.qty
    return after


def _bases(now: _Positions, account: AccountView) -> list[dict[Instrument, Decimal]]:
    """What the account may hold when the new order fills: open orders that sell may have filled before it, or not.

    Single sales always count: they only take away. A package may also bring cover; so a margin account is judged
    with all of them and with none. In a cash account no option covers another, and of each package that part
    counts which leaves more short.
    """
    if account.type is AccountType.CASH:
        return [_with_new_shorts(now, account.pending)]
    singles = [traded for traded in account.pending if len(traded) == 1]
    base = _with_pending(now, singles)
    if len(singles) == len(account.pending):
        return [base]
    return [base, _with_pending(now, account.pending)]


def _with_pending(positions: _Positions, pending: Iterable[Iterable[Trade]]) -> dict[Instrument, Decimal]:
    after = dict(positions)
    for traded in pending:
        after = _plus(after, traded)
    return after


def _with_new_shorts(positions: _Positions, pending: Iterable[Sequence[Trade]]) -> dict[Instrument, Decimal]:
    after = dict(positions)
    for traded in pending:
        kinds = dict.fromkeys((trade.instrument.right, trade.instrument.underlying) for trade in traded)
        for right, root in kinds:
            alike = (t for t in traded if (t.instrument.right, t.instrument.underlying) == (right, root))
            moved = _plus(after, alike)
            if _weight(moved, right) > _weight(after, right):
                after = moved
    return after


def _weight(positions: _Positions, right: Right | None) -> Decimal:
    """What binds stock or cash of a cash account: short calls, short puts by what they pay, shares that are gone."""
    held = [(i, qty) for i, qty in positions.items() if i.right is right]
    if right is None:
        return -sum((qty for _, qty in held), ZERO)
    return -sum(
        (min(qty, ZERO) * (i.strike * i.multiplier if right is Right.PUT else 1) for i, qty in held), ZERO
    )


def _as_holdings(positions: _Positions) -> list[margin.Holding]:
    return [margin.Holding(instrument, qty) for instrument, qty in positions.items() if qty]


def _required(account: AccountView) -> _Required:
    """What positions require in an account of this kind."""
    if account.type is AccountType.CASH:
        return lambda positions: margin.cash_requirement(_as_holdings(positions), adjusted=account.adjusted)
    known: dict[Book, Found] = {}  # an order changes one book; the others are asked about once
    return lambda positions: margin.requirement(
        _as_holdings(positions),
        marks=account.marks,
        rules=account.rules,
        adjusted=account.adjusted,
        known=known,
    )


def _has_shorts(account: AccountView) -> bool:
    return any(holding.qty < 0 for holding in account.holdings.values())


def _closing(traded: Iterable[Trade], account: AccountView) -> dict[str, Decimal]:
    """How much of each position the order closes, as far as no other order does."""
    found = {}
    for trade in traded:
        holding = account.holdings.get(trade.instrument.symbol, NOTHING)
        if holding.qty * trade.qty < 0 and holding.free > 0:
            found[trade.instrument.symbol] = min(abs(trade.qty), holding.free)
    return found


def _check_one_way(
    ticket: Ticket, traded: Sequence[Trade], closing: Mapping[str, Decimal], account: AccountView
) -> None:
    """An order closes or opens; and a cash account delivers shares that it has."""
    for trade in traded:
        symbol = trade.instrument.symbol
        closes, qty = closing.get(symbol, ZERO), abs(trade.qty)
        # Even of a position that other orders close already: it would open beside them.
        against = account.holdings.get(symbol, NOTHING).qty * trade.qty < 0
        is_stock = trade.instrument.asset_class is AssetClass.EQUITY
        may_open = trade.qty > 0 or account.type is AccountType.MARGIN or not is_stock
        if (
            (against and closes < qty)
            or (not closes and not may_open)
            or (trade.qty < 0 and not closes and qty % 1)
        ):
            raise _too_many(ticket, symbol, closes, qty, sells=trade.qty < 0, may_open=may_open)


def _check_exits(ticket: Ticket, closing: Mapping[str, Decimal]) -> None:
    """A bracket or OTO begins with an order that opens: the exits of one that closes would open. An OCO closes."""
    if not ticket.has_exits or bool(closing) is (ticket.order_class is OrderClass.OCO):
        return
    if closing:
        text = "This order closes a position, so its exits would open one."
        remedy = "Send it without exits, or send an oco for the position that is there."
    else:
        text = f"There is no position in {ticket.symbol} that these two exits could close."
        remedy = "Open the position first, or send a bracket."
    raise MisplacedExits(
        f"{text} {remedy}", field="order_class", rule="exits close what an entry opens, or what is there",
        value=ticket.order_class, remedy=remedy,
    )  # fmt: skip


def _is_plain_purchase(traded: Sequence[Trade], closing: Mapping[str, Decimal]) -> bool:
    return not closing and all(trade.qty > 0 for trade in traded)


def _purchase_cost(
    ticket: Ticket, instruments: Sequence[Instrument], qty: Decimal, quotes: Quotes
) -> Decimal:
    if ticket.notional is not None:
        needed = ticket.notional
    else:
        price = cost.unit_price(
            ticket, instruments, quotes
        )  # of a package a credit, if somebody asks for that
        needed = max(up_to_cents(qty * price * instruments[0].multiplier), ZERO)
    if needed < COST_MIN and instruments[0].asset_class is AssetClass.EQUITY and qty % 1:
        raise OrderTooSmall(
            f"A fraction of a share is bought from ${COST_MIN} on; this is ${needed:f}. Buy more.",
            field="notional" if ticket.notional is not None else "qty", rule=f"must cost at least {COST_MIN} dollar",
            value=_plain(ticket.notional if ticket.notional is not None else qty), remedy="Buy more.",
        )  # fmt: skip
    return needed


def _debit(
    ticket: Ticket, instruments: Sequence[Instrument], traded: Sequence[Trade], price: Decimal, qty: Decimal
) -> Decimal:
    """Dollars that the order pays, a credit negative."""
    if ticket.notional is not None:
        return ticket.notional if ticket.side is Side.BUY else -ticket.notional
    if ticket.legs:
        return price * qty * instruments[0].multiplier
    return price * traded[0].qty * instruments[0].multiplier


def _bought_stock_value(traded: Iterable[Trade], marks: Mapping[str, int]) -> Decimal:
    """Stock counts in margin equity at its mark, whichever way it trades: only the difference to it is paid."""
    stock = [trade for trade in traded if trade.instrument.asset_class is AssetClass.EQUITY]
    return sum((trade.qty * from_ticks(marks.get(trade.instrument.symbol, 0)) for trade in stock), ZERO)


# -- denials -----------------------------------------------------------------------------------------


def _check_approval(ticket: Ticket, found: Effect, account: AccountView) -> None:
    # The broker-style model charges a put that stands alone at its strike: it is secured with cash there too.
    secured = account.type is AccountType.CASH or account.rules.model is Model.UNIVERSAL_SPREAD
    had = margin.required_level(found.before.groups, puts_are_cash_secured=secured)
    needs = margin.required_level(found.after.groups, puts_are_cash_secured=secured)
    if needs.level > max(account.options_level, had.level):
        raise _not_approved(ticket, needs, account)
    if needs.naked_shorts and not account.naked_shorts and not had.naked_shorts:
        raise NotApproved(
            "This order would leave a short option that nothing covers, and this account is not approved for that.",
            field="legs" if ticket.legs else "symbol", rule="short options are covered unless naked shorts are approved",
            value=", ".join(ticket.symbols),
        )  # fmt: skip


def _check_may_buy_options(ticket: Ticket, instruments: Iterable[Instrument], account: AccountView) -> None:
    options = any(instrument.asset_class is AssetClass.OPTION for instrument in instruments)
    if options and account.options_level < Level.LONG:
        raise _not_approved(ticket, Approval(Level.LONG, naked_shorts=False), account)


def _not_approved(ticket: Ticket, needs: Approval, account: AccountView) -> NotApproved:
    return NotApproved(
        f"This order needs option level {int(needs.level)}; the account has level {account.options_level}."
        " Choose a simpler structure, or ask for the level.",
        field="legs" if ticket.legs else "symbol", rule="the option level covers every structure held",
        value=f"level {account.options_level}", remedy="Choose a simpler structure, or ask for the level.",
        level_needed=int(needs.level), level=account.options_level,
    )  # fmt: skip


def _check_equity(found: Effect, account: AccountView) -> None:
    if account.type is AccountType.CASH or found.after.initial <= found.before.initial:
        return
    equity = margin.net_liq(account.cash, _as_holdings(_state(account)), account.marks)
    borrows = found.debit > account.cash or any(
        part.qty < 0 for group in found.after.groups for part in group.legs
    )
    if borrows and equity < EQUITY_MIN:
        raise EquityTooLow(
            f"Borrowing, short positions and spreads need ${EQUITY_MIN:,} of equity; the account is worth ${equity:,.2f}."
            " Trade what is paid in full.",
            field="qty", rule=f"equity of at least {EQUITY_MIN}", value=f"{equity:.2f}", remedy="Trade what is paid in full.",
        )  # fmt: skip


def _denied(found: Effect, qty: Decimal) -> InsufficientBuyingPower:
    return InsufficientBuyingPower(
        f"This order needs ${found.needed:,.2f} of buying power; ${max(found.available, ZERO):,.2f} is available.",
        field="qty", rule="the change of the requirement may not exceed the buying power", value=_plain(qty),
        needed=f"{found.needed:.2f}", available=f"{found.available:.2f}",
        requirement_before=f"{found.before.initial:.2f}", requirement_after=f"{found.after.initial:.2f}",
    )  # fmt: skip


def _too_expensive(
    ticket: Ticket, needed: Decimal, available: Decimal, qty: Decimal
) -> InsufficientBuyingPower:
    return InsufficientBuyingPower(
        f"This order needs ${needed:,.2f}; ${max(available, ZERO):,.2f} is available.",
        field="qty" if ticket.notional is None else "notional",
        rule="the cost, held in full, may not exceed the buying power",
        value=_plain(qty if ticket.notional is None else needed), needed=f"{needed:.2f}", available=f"{available:.2f}",
    )  # fmt: skip


def _too_many(
    ticket: Ticket, symbol: str, available: Decimal, qty: Decimal, *, sells: bool, may_open: bool
) -> InsufficientQuantity:
    verb = "sold" if sells else "bought back"
    return InsufficientQuantity(
        f"{_plain(available)} {symbol} can be {verb}; the order is for {_plain(qty)}.",
        field="legs" if ticket.legs else "notional" if ticket.qty is None else "qty",
        rule="a sell may not exceed the position less what open orders already sell"
        if sells else "an order closes a position or opens one, not both",
        value=_plain(qty), available=_plain(available), may_open="true" if may_open and not available else None,
    )  # fmt: skip


# -- the nearest order that would be accepted ---------------------------------------------------------

# Denials that another quantity, or another order, may not meet.
_ADVISED = (
    InsufficientBuyingPower, InsufficientQuantity, UncoveredShort, NotApproved, EquityTooLow, SettledCashOnly,
    PatternDayTrader, IntradayMarginDeficit,
)  # fmt: skip
_FRACTION = Decimal("0.000001")


def _with_advice(
    denial: RaxxError, ticket: Ticket, instruments: Sequence[Instrument], account: AccountView, quotes: Quotes
) -> RaxxError:
    """The denial, with what would be accepted instead. What is named has been judged and would be taken."""
    own = denial.details.pop("remedy", "")
    may_open = denial.details.pop("may_open", "")
    most = _most(ticket, instruments, account, quotes, whole=bool(may_open))
    more: dict[str, object] = {"qty_max": _plain(most)}
    instead, close = _instead(ticket, account, quotes)
    if instead:
        more["instead"] = instead
        how = "Close the whole structure as one order" if close else "First close what it covers"
        remedy = f"{how}: {instead}."
    elif most:
        remedy = f"Reduce to {_counted(most, ticket, instruments, named=not isinstance(denial, InsufficientQuantity))}."
        if isinstance(denial, SettledCashOnly) and "fine_from" in denial.details:
            remedy = f"{remedy[:-1]}, or wait until {denial.details['fine_from']}."
    elif isinstance(denial, SettledCashOnly) and "fine_from" in denial.details:
        remedy = f"Wait until {denial.details['fine_from']}."
    else:
        remedy = own or _otherwise(denial, account, may_open=bool(may_open))
    text = denial.message.removesuffix(own).rstrip() if own else denial.message
    return type(denial)(f"{text} {remedy}", **{**denial.details, "remedy": remedy, **more})


def _otherwise(denial: RaxxError, account: AccountView, *, may_open: bool) -> str:
    """Where no quantity of it would be taken."""
    match denial:
        case InsufficientQuantity():
            return "Send a whole number." if may_open else _NOTHING_TO_SELL[account.type]
        case NotApproved():
            return "Send a spread: one order with a long option that covers it."
        case InsufficientBuyingPower() if "requirement_after" not in denial.details:
            return "Cancel a working order or sell something first."
        case _:
            return "Close something first, or choose a structure with less risk."


_NOTHING_TO_SELL = {
    AccountType.CASH: "A cash account cannot sell short; buy it first.",
    AccountType.MARGIN: "Cancel the orders that close it already, or close it before you open the other side.",
}


def _most(
    ticket: Ticket, instruments: Sequence[Instrument], account: AccountView, quotes: Quotes, *, whole: bool
) -> Decimal:
    """The quantity (of an amount: the dollars) of this order that is taken while one unit more is not; 0: none.

    `whole`: of a fraction the whole number below. A unit is a share, contract or package; a cent of an amount, and a
    millionth where a fraction was asked for.
    """
    asked = ticket.notional if ticket.notional is not None else ticket.qty or ZERO
    unit = CENT if ticket.notional is not None else _FRACTION if asked % 1 and not whole else Decimal(1)

    known: _Known = {}

    def taken(count: int) -> bool | None:
        """None: it is too small to be taken, but not too large."""
        amount = count * unit
        if ticket.notional is not None:
            candidate = msgspec.structs.replace(ticket, notional=amount)
        else:
            candidate = msgspec.structs.replace(ticket, qty=amount)
        try:
            _judge(candidate, instruments, account, quotes, known)
        except OrderTooSmall:
            return None
        except RaxxError:
            return False
        return True

    low, high = 0, int((asked / unit).to_integral_value(ROUND_CEILING))
    if whole and taken(high - 1):
        return (high - 1) * unit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if taken(middle) is False else (middle, high)
    return low * unit if low and taken(low) else ZERO


def _instead(ticket: Ticket, account: AccountView, quotes: Quotes) -> tuple[str, bool]:
    """For an order that closes what covers a short option: the order that closes both, or else the one that must come
    first, as text; and whether it is the former. Empty when there is none that would be taken."""
    holding = account.holdings.get(ticket.symbol, NOTHING)
    closes = holding.qty * (1 if ticket.side is Side.SELL else -1) > 0
    if ticket.legs or not closes:
        return "", False
    try:
        groups = standing(account).requirement.groups
    except RaxxError:
        return "", False
    for group in groups:
        options = [part for part in group.legs if part.instrument.asset_class is AssetClass.OPTION]
        shorts = [part for part in options if part.qty < 0]
        mine = next((part for part in group.legs if part.instrument.symbol == ticket.symbol), None)
        if mine is None or not shorts:
            continue
        parts = _share(options, mine, ticket.qty or ZERO) if mine in options else shorts
        if _would_be_taken(parts, account, quotes):
            return _as_text(parts), mine in options
    return "", False


def _share(options: Sequence[Part], mine: Part, wanted: Decimal) -> list[Part]:
    """As many units of a structure as close `wanted` of one of its legs."""
    units = gcd(*(int(abs(part.qty)) for part in options))
    count = min(units, ceil(wanted / (abs(mine.qty) / units)))
    return [Part(part.instrument, part.qty / units * count) for part in options]


def _would_be_taken(parts: Sequence[Part], account: AccountView, quotes: Quotes) -> bool:
    if not 1 <= len(parts) <= LEGS_MAX:
        return False
    count = gcd(*(int(abs(part.qty)) for part in parts))
    sides = [Side.SELL if part.qty > 0 else Side.BUY for part in parts]
    single = len(parts) == 1
    ticket = Ticket(
        symbol=parts[0].instrument.symbol if single else "", side=sides[0] if single else Side.BUY, qty=Decimal(count),
        order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY, client_order_id="",
        order_class=OrderClass.SIMPLE if single else OrderClass.MLEG,
        legs=() if single else tuple(
            LegTicket(part.instrument.symbol, side, int(abs(part.qty)) // count)
            for part, side in zip(parts, sides, strict=True)
        ),
    )  # fmt: skip
    try:
        _judge(ticket, [part.instrument for part in parts], account, quotes)
    except RaxxError:
        return False
    return True


def _as_text(parts: Iterable[Part]) -> str:
    return ", ".join(
        f"{'sell' if part.qty > 0 else 'buy'} {_plain(abs(part.qty))} {part.instrument.symbol}"
        for part in parts
    )


def _counted(most: Decimal, ticket: Ticket, instruments: Sequence[Instrument], *, named: bool) -> str:
    if ticket.notional is not None:
        return f"${most:,.2f}"
    if not named:
        return _plain(most)
    unit = "package" if ticket.legs else _unit_name(instruments[0])
    return f"{_plain(most)} {unit}{'' if most == 1 else 's'}"


def _unit_name(instrument: Instrument) -> str:
    return "share" if instrument.asset_class is AssetClass.EQUITY else "contract"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}" if value else "0"
