"""The account in its week: carries out operations, and the events that the calendar brings."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from uuid import UUID

import msgspec

from mbt.engine import assignment, corporate, expiry, fees, interest, margin, risk_close
from mbt.engine.account import Position, Posting
from mbt.engine.assignment import AssignmentRules, Mode
from mbt.engine.buying_power import AccountType
from mbt.engine.corporate import CashDividend, Entitlement
from mbt.engine.expiry import Expiration
from mbt.engine.fees import Item
from mbt.engine.interest import Accrual
from mbt.engine.life import Life
from mbt.engine.means import Means
from mbt.engine.orders import OrderClass, OrderType, Side, TimeInForce
from mbt.engine.record import Working
from mbt.engine.risk_close import CloseIntent, Structure
from mbt.engine.simulation.operations import (
    Cancel,
    CancelAll,
    Corporate,
    Evening,
    Exercise,
    Expire,
    Halt,
    Open,
    Operation,
    Quotes,
    Replace,
    Restart,
    RiskClose,
    Send,
)
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.clock import exchange_date
from raxx.kernel.errors import RaxxError
from raxx.market import listing
from raxx.market.contracts import AssetClass
from raxx.market.listing import OptionClass, OptionTerms
from raxx.market.sessions import Sessions

ZERO = Decimal(0)
_ASSIGNMENT = (AssignmentRules(effective=date.min, mode=Mode.RANDOM, stray=Decimal("0.05")),)
_RATE = Decimal("0.05")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an operation. `denial`: the code of what refused it; `missed`: there was nothing to do.

    `changed`: what is not as it was although the operation was denied; empty as it should be. `book` is what was
    held before an event, `expiration` and `effect` what became of it. `closed`: what the engine closed by itself;
    `refused`: which of its own orders the rules denied, by code.
    """

    denial: str = ""
    changed: str = ""
    missed: bool = False
    book: Mapping[str, Position] | None = None
    expiration: Expiration | None = None
    effect: corporate.Effect | None = None
    closed: tuple[CloseIntent, ...] = ()
    refused: tuple[str, ...] = ()
    assigned: int = 0
    taken: tuple[Working, ...] = ()


DONE, MISSED = Outcome(), Outcome(missed=True)


class World:
    """One account at a time; `past` are those that are over."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.life: Life | None = None
        self.names: dict[str, UUID] = {}
        self.past: list[Life] = []
        self.halts: list[Halt] = []
        self.declared: list[Structure] = []
        self.adjusted: dict[str, OptionClass] = {}
        self._terms: dict[str, OptionTerms] = {}
        self._owed: list[Entitlement] = []
        self._charged = 0  # executions whose fees are paid
        self._accruals: list[Accrual] = []

    @property
    def account(self) -> Life:
        if self.life is None:
            raise LookupError("no account is open yet")
        return self.life

    def do(self, operation: Operation) -> Outcome:
        """Carry out an operation at its instant. What the rules deny is an outcome; everything else is a bug."""
        if isinstance(operation, Open):
            return self._open(operation)
        if self.life is None:
            return MISSED
        if not isinstance(operation, Quotes):
            self.life.advance((), operation.at_ns)
        before = _look(self.life)
        try:
            return self._do(operation, self.life)
        except RaxxError as denial:
            after = _look(self.life)
            return Outcome(
                denial=denial.code, changed="" if after == before else f"{denial.code}: {before}, {after}"
            )

    @property
    def lives(self) -> list[Life]:
        """All accounts so far."""
        return [*self.past, self.account]

    # -- what the calendar knows -------------------------------------------------------------------

    def terms(self, symbol: str) -> OptionTerms:
        known = self._terms.get(symbol)
        if known is None:
            instrument = self.account.instrument(symbol)
            known = self._terms[symbol] = listing.terms_of(instrument, self.sessions, self.adjusted)
        return known

    def terms_held(self) -> dict[str, OptionTerms]:
        life = self.account
        return {
            symbol: self.terms(symbol)
            for symbol in life.account.positions
            if life.instrument(symbol).asset_class is AssetClass.OPTION
        }

    def means(self, gone: frozenset[str], now_ns: int) -> Means:
        """What the account has for exercise and assignment once the contracts in `gone` are gone."""
        life = self.account
        rest = [
            margin.Holding(life.instrument(symbol), held.qty)
            for symbol, held in life.account.positions.items()
            if symbol not in gone
        ]
        free = life.account.cash - life.account.held
        if life.profile.type is AccountType.CASH:
            aside = margin.cash_requirement(rest, adjusted=self.adjusted)
            return Means(excess=free - aside.maintenance, pledged=margin.covering_shares(aside.groups))
        rules = margin.rules_on(exchange_date(now_ns))
        needed = margin.requirement(rest, marks=life.marks, rules=rules, adjusted=self.adjusted)
        equity = margin.margin_equity(free, rest, life.marks)
        pledged = {} if life.profile.naked_shorts else margin.covering_shares(needed.groups)
        half = Decimal("0.5")
        return Means(excess=equity - needed.initial, long_rate=half, short_rate=half, pledged=pledged)

    # -- the operations ----------------------------------------------------------------------------

    def _do(self, operation: Operation, life: Life) -> Outcome:
        match operation:
            case Quotes(at_ns=at_ns, quotes=quotes):
                life.advance(quotes, at_ns)
                return DONE
            case Send(at_ns=at_ns, ticket=ticket):
                return self._named(life.submit(ticket, at_ns))
            case Cancel(at_ns=at_ns, name=name):
                if name not in self.names:
                    return MISSED
                life.cancel(self.names[name], at_ns)
                return DONE
            case Replace(at_ns=at_ns, name=name, changes=changes, new_name=new_name):
                if name not in self.names:
                    return MISSED
                return self._named(life.replace(self.names[name], changes, name=new_name, now_ns=at_ns))
            case Halt(symbol=symbol, until_ns=until_ns):
                life.halt(symbol, until_ns=until_ns)
                self.halts.append(operation)
                return DONE
            case Exercise():
                return self._exercise(operation, life)
            case RiskClose(at_ns=at_ns):
                return self._risk_close(at_ns, life)
            case Expire():
                return self._expire(operation, life)
            case Evening():
                return self._evening(operation, life)
            case Corporate():
                return self._corporate(operation, life)
            case Restart():
                life.restart()
                return DONE
            case CancelAll(at_ns=at_ns):
                self._cancel_all(at_ns, life)
                return DONE
            case _:
                raise TypeError(operation)

    def _open(self, operation: Open) -> Outcome:
        quotes = {}
        if self.life is not None:
            self.life.advance((), operation.at_ns)
            self._cancel_all(operation.at_ns, self.life)
            self.past.append(self.life)
            quotes = self.life.quotes
        self.life = Life(
            profile=operation.profile, cash=operation.cash, sessions=self.sessions, now_ns=operation.at_ns,
            adjusted=self.adjusted,
        )  # fmt: skip
        self.life.matcher.skip_to(quotes.values())
        self.life.note(quotes.values())
        self.names, self.declared, self._owed, self._charged, self._accruals = {}, [], [], 0, []
        for symbol, until_ns in {halt.symbol: halt.until_ns for halt in self.halts}.items():
            if until_ns > operation.at_ns:
                self.life.halt(symbol, until_ns=until_ns)
        return DONE

    def _named(self, taken: list[Working]) -> Outcome:
        for working in taken:
            self.names[working.name] = working.order.id
        return Outcome(taken=tuple(taken))

    def _cancel_all(self, at_ns: int, life: Life) -> None:
        for order_id in list(life.account.open):
            if order_id in life.account.open:
                life.cancel(order_id, at_ns)

    def _exercise(self, operation: Exercise, life: Life) -> Outcome:
        symbol, qty = operation.symbol, operation.qty
        if life.account.positions.get(symbol, Position()).qty <= 0:
            return MISSED
        found = assignment.exercise(
            symbol, qty, book=life.account.positions, terms=self.terms_held(), prices=life.marks,
            means=self.means(frozenset({symbol}), operation.at_ns), now_ns=operation.at_ns,
        )  # fmt: skip
        if life.profile.type is AccountType.CASH:
            self._require_cover(life, found.postings)
        life.post(found.postings, operation.at_ns)
        return DONE

    def _require_cover(self, life: Life, postings: Sequence[Posting]) -> None:
        """An exercise must not take the shares that cover short calls. Raises UncoveredShort."""
        after = {symbol: held.qty for symbol, held in life.account.positions.items()}
        for posting in postings:
            after[posting.symbol] = after.get(posting.symbol, ZERO) + posting.qty
        rest = [margin.Holding(life.instrument(symbol), qty) for symbol, qty in after.items() if qty]
        margin.cash_requirement(rest, adjusted=self.adjusted)

    def _risk_close(self, at_ns: int, life: Life) -> Outcome:
        terms = self.terms_held()
        due = frozenset(s for s, t in terms.items() if t.last_session.date == exchange_date(at_ns))
        if not due:
            return MISSED
        before = dict(life.account.positions)
        intents = risk_close.risk_close(
            life.account.positions, terms=terms, marks=life.marks, means=self.means(due, at_ns), now_ns=at_ns,
            declared=self.declared,
        )  # fmt: skip
        taken: list[Working] = []
        refused: list[str] = []
        for number, intent in enumerate(intents):
            for symbol, _ in intent.trades:
                for working in list(life.account.open.values()):
                    if working.is_open and symbol in working.reserved.positions:
                        life.cancel(working.order.id, at_ns)
            try:
                taken += self._named(
                    life.submit(_closing(intent, f"close-{at_ns}-{number}"), at_ns, forced=True)
                ).taken
            except RaxxError as denial:  # it is tried again at the next risk close
                refused.append(denial.code)
        return Outcome(book=before, closed=intents, taken=tuple(taken), refused=tuple(refused))

    def _expire(self, operation: Expire, life: Life) -> Outcome:
        terms, before = self.terms_held(), dict(life.account.positions)
        due = frozenset(s for s, t in terms.items() if t.expires_ns <= operation.at_ns)
        if not due:
            return MISSED
        for working in list(life.account.open.values()):
            symbols = {working.order.symbol, *(leg.symbol for leg in working.order.legs)}
            if working.is_open and symbols & due:
                life.cancel(working.order.id, operation.at_ns)
        found = expiry.expire(
            before,
            terms=terms,
            prices=operation.prices,
            means=self.means(due, operation.at_ns),
            at_ns=operation.at_ns,
        )
        life.post(found.postings, operation.at_ns)
        return Outcome(book=before, expiration=found)

    def _evening(self, operation: Evening, life: Life) -> Outcome:
        at_ns, day = operation.at_ns, exchange_date(operation.at_ns)
        life.post(self._fees_due(operation, life, day), at_ns)
        session = self.sessions.on(day)
        if session is None:
            return MISSED
        tomorrow = self.sessions.current_or_next(session.close_ns).date
        mids = {s: life.marks[s] for s in self.terms_held() if s in life.marks}
        early = assignment.early_assignments(
            life.account.positions, terms=self.terms_held(), marks=operation.prices, mids=mids,
            dividends=[e for e in operation.dividends if isinstance(e, CashDividend)], rate=_RATE, evening=day,
            next_session=tomorrow, account="simulated", seed=operation.seed, rules=_ASSIGNMENT,
        )  # fmt: skip
        life.post(early.postings, at_ns)
        self._pay_dividends(life, at_ns)
        self._accrue(life, day, operation.prices)
        if operation.post_interest:
            for year, month in sorted({(a.day.year, a.day.month) for a in self._accruals}):
                life.post(interest.post_month(self._accruals, year=year, month=month), at_ns)
            self._accruals = []
        return Outcome(assigned=len(early.outcomes))

    def _fees_due(self, operation: Evening, life: Life, day: date) -> tuple[Posting, ...]:
        items: list[Item] = []
        for execution in life.account.executions[self._charged :]:
            for part in execution.parts:
                items += fees.of_fill(
                    order_id=str(execution.order.id), instrument=life.instrument(part.symbol), side=part.side,
                    qty=part.qty, price=part.price, day=day, schedule=operation.fees,
                )  # fmt: skip
        self._charged = len(life.account.executions)
        return fees.charge(items)

    def _accrue(self, life: Life, day: date, prices: Mapping[str, int]) -> None:
        self._accruals += interest.on_cash(life.account.cash, day=day, sessions=self.sessions)
        for symbol, held in life.account.positions.items():
            if held.qty < 0 and life.instrument(symbol).asset_class is AssetClass.EQUITY:
                self._accruals += interest.on_short(
                    symbol, -held.qty, prices[symbol], day=day, sessions=self.sessions
                )

    def _corporate(self, operation: Corporate, life: Life) -> Outcome:
        at_ns, event, before = operation.at_ns, operation.event, dict(life.account.positions)
        orders = [working.order for working in life.account.open.values()]
        effect = corporate.apply(event, book=before, orders=orders, adjusted=self.adjusted)
        for change in effect.orders:
            life.adjust(change, at_ns)
        life.post(effect.postings, at_ns)
        self.adjusted = corporate.adjusted_classes(event, self.adjusted)
        life.relist(self.adjusted)
        self._terms.clear()
        if effect.entitlement is not None:
            self._owed.append(effect.entitlement)
        self._pay_dividends(life, at_ns)
        return Outcome(book=before, effect=effect)

    def _pay_dividends(self, life: Life, at_ns: int) -> None:
        due = [owed for owed in self._owed if owed.pay_date <= exchange_date(at_ns)]
        self._owed = [owed for owed in self._owed if owed not in due]
        if due:
            life.post([corporate.pay(owed) for owed in due], at_ns)


def _look(life: Life) -> tuple[object, ...]:
    """What must not change when something is denied."""
    account = life.account
    return (
        account.cash, account.held, dict(account.offered), dict(account.positions), len(account.entries),
        len(account.moves), len(account.orders), life.matcher.order_ids(),
    )  # fmt: skip


def _closing(intent: CloseIntent, name: str) -> Ticket:
    if len(intent.legs) == 1:
        leg = intent.legs[0]
        return Ticket(
            symbol=leg.symbol, side=leg.side, qty=intent.qty * leg.ratio, order_type=OrderType.MARKET,
            time_in_force=TimeInForce.DAY, client_order_id=name,
        )  # fmt: skip
    return Ticket(
        symbol="", side=Side.BUY, qty=intent.qty, order_type=OrderType.MARKET, time_in_force=TimeInForce.DAY,
        order_class=OrderClass.MLEG, legs=tuple(LegTicket(leg.symbol, leg.side, leg.ratio) for leg in intent.legs),
        client_order_id=name,
    )  # fmt: skip
