"""One account's whole life in memory: orders, cancels, quotes and events in; cash, positions, history out. Pure.

`record.Account` keeps what happened. `Life` adds what stands before it: the rules by which an order is taken, and the
matcher that works it. The same calls always give the same record.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import count
from uuid import UUID

import msgspec

from mbt.engine import intake, margin, record, replacing
from mbt.engine.account import Kind, Posting
from mbt.engine.buying_power import AccountType, AccountView, Holding
from mbt.engine.corporate import Action, OrderChange
from mbt.engine.cost import Trade
from mbt.engine.holds import Reserved, after_lowering
from mbt.engine.intake import Draft, Role
from mbt.engine.matching import (
    Decision,
    Matcher,
)
from mbt.engine.orders import (
    FillPreference,
    Order,
    OrderClass,
    OrderStatus,
    Side,
)
from mbt.engine.record import Account, Working
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.clock import exchange_date
from raxx.kernel.errors import NotFound, RaxxError
from raxx.kernel.money import from_ticks, to_ticks
from raxx.market import listing
from raxx.market.contracts import AssetClass, Instrument
from raxx.market.listing import STANDARD_ONLY, OptionClass
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Sessions

ZERO = Decimal(0)


class NotOpen(RaxxError):
    """The order is over, so it cannot change."""

    code = "ORDER_NOT_OPEN"
    http_status = 409


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is and may do."""

    type: AccountType = AccountType.CASH
    options_level: int = 2
    naked_shorts: bool = False
    size_cap: bool = False
    latency_ns: int = 0
    fill_preference: FillPreference = FillPreference.CONSERVATIVE


class Life:
    """An account, the matcher of its orders, and the rules by which they are taken.

    Time is that of the quotes: every call names an instant not before the last one. Ids count from 1, so that
    equal lives have equal records.
    """

    def __init__(
        self, *, profile: Profile, cash: Decimal, sessions: Sessions, now_ns: int,
        adjusted: Mapping[str, OptionClass] = STANDARD_ONLY,
    ) -> None:  # fmt: skip
        """`adjusted`: the option classes that corporate actions have changed so far."""
        self.profile = profile
        self.sessions = sessions
        self.account = Account(cash_account=profile.type is AccountType.CASH, adjusted=adjusted)
        self.matcher = Matcher(sessions, now_ns=now_ns)
        self.quotes: dict[str, Quote] = {}
        self.marks: dict[str, int] = {}
        self._halted: dict[str, int] = {}
        self._numbers = count(1)
        self._instruments: dict[str, Instrument] = {}
        self._tickers: dict[str, str] = {}
        self.account.enter([Posting(kind=Kind.ADJUSTMENT, cash=cash, note="opening balance")], at_ns=now_ns)

    # -- time --------------------------------------------------------------------------------------

    def advance(self, quotes: Sequence[Quote], now_ns: int) -> list[Decision]:
        """Go through `quotes` and settle what they decide."""
        self.matcher.advance(quotes, now_ns)
        self.note(quotes)
        return record.settle(self.account, self.matcher)

    def note(self, quotes: Iterable[Quote]) -> None:
        """These are the quotes in force, and what things are worth by them."""
        for quote in quotes:
            self.quotes[quote.symbol] = quote
            if quote.bid and quote.ask:
                self.marks[quote.symbol] = (quote.bid + quote.ask) // 2
            elif quote.bid or quote.ask:
                self.marks[quote.symbol] = quote.bid or quote.ask
            else:
                self.marks.pop(quote.symbol, None)

    # -- orders ------------------------------------------------------------------------------------

    def submit(self, ticket: Ticket, now_ns: int, *, forced: bool = False) -> list[Working]:
        """Take an order, its exits after it. `forced`: the engine sends it, to close. Raises InvalidInput or a denial; then
        nothing has changed."""
        view = msgspec.structs.replace(self.view(now_ns), is_forced=forced)
        return self._take(self._accept(ticket, view, now_ns), now_ns)

    def cancel(self, order_id: UUID, now_ns: int) -> list[Working]:
        """Cancel an open order and those that belong with it. Raises NotFound, NotOpen."""
        self._require_open(order_id)
        return record.cancel(self.account, self.matcher, order_id, now_ns)

    def replace(
        self, order_id: UUID, changes: Mapping[str, Decimal], *, name: str, now_ns: int
    ) -> list[Working]:
        """End an open order and take another in its place: both, or neither. `changes` are fields of its ticket,
        in dollars. Raises NotFound, NotOpen, InvalidInput or a denial."""
        old = self._require_open(order_id)
        if old.order.expires_ns <= now_ns:
            raise NotOpen("The order has expired.", field="id", rule="only an open order", value=old.name)
        exits = [w for w in self.account.open.values() if w.order.entry_id == old.order.id]
        before = ticket_of(old, exits)
        ticket = replacing.ticket_for(before, changes, filled=old.filled, name=name)
        is_exit = old.role not in (Role.NONE, Role.ENTRY)
        replacing.check(before, ticket, filled=old.filled, is_exit=is_exit)
        view = self.view(now_ns, without=[old, *exits])
        if is_exit and not old.reserved.positions:
            view = _lent(view, self.account.group_of(old))
        drafts = self._accept(ticket, view, now_ns)
        if is_exit:
            drafts = (_in_place_of(old, drafts[0]),)
        at_work = {w.role: (replacing.at_work(w.leaves, old.leaves), w.reserved) for w in exits}
        drafts = (
            drafts[0],
            *(
                replacing.taken_over(draft, qty=qty, cash=reserved.cash, positions=reserved.positions)
                for draft in drafts[1:]
                for qty, reserved in (at_work[draft.role],)
            ),
        )
        for member in [*reversed(exits), old]:  # the exits first: an entry that ends would end them itself
            self._end(member, OrderStatus.REPLACED, now_ns)
        taken = self._take(drafts, now_ns, place=old if is_exit else None)
        taken[0].replaces = order_id
        return taken

    def adjust(self, change: OrderChange, now_ns: int) -> None:
        """What a corporate action does to an open order."""
        working = self.account.open.get(change.order_id)
        if working is None:
            return
        if change.action is Action.CANCEL:
            self.cancel(change.order_id, now_ns)
            return
        before = working.progress
        working.progress = msgspec.structs.replace(before, mark=max(before.mark - change.lowered, 0))
        order = msgspec.structs.replace(working.order, limit=change.limit, stop=change.stop)
        held = after_lowering(working.reserved, working.order, limit=change.limit, leaves=working.leaves)
        self.account.restate(working, order, held)
        self.restart()

    def relist(self, adjusted: Mapping[str, OptionClass]) -> None:
        """From now on these are the option classes that corporate actions have changed."""
        self.account.adjusted = adjusted
        self._instruments.clear()

    def halt(self, underlying: str, *, until_ns: int) -> None:
        """Nothing of that stock, its options included, trades before a quote stamped after `until_ns`."""
        self._halted[underlying] = until_ns
        self.matcher.halt(underlying, until_ns=until_ns)

    def restart(self) -> None:
        """Build the matcher anew from the record, as after a crash. Nothing else changes."""
        self.matcher = Matcher(self.sessions, now_ns=self.matcher.now_ns, in_force=self.quotes)
        for underlying, until_ns in self._halted.items():
            self.matcher.halt(underlying, until_ns=until_ns)
        for working in self.account.open.values():
            record.give(self.matcher, working)

    # -- events ------------------------------------------------------------------------------------

    def post(self, postings: Iterable[Posting], now_ns: int) -> None:
        """An event: its postings take effect together, and orders that it leaves without cover end."""
        self.account.enter(postings, at_ns=now_ns)
        self.account.drop_uncovered(now_ns)
        record.forget_dropped(self.account, self.matcher)
        record.settle(self.account, self.matcher)

    # -- as others see it --------------------------------------------------------------------------

    def view(self, now_ns: int, *, without: Sequence[Working] = ()) -> AccountView:
        """The account as an order meets it; `without` these open orders."""
        gone = {working.order.id for working in without}
        freed = {symbol: qty for w in without for symbol, qty in w.reserved.positions.items()}
        account, profile = self.account, self.profile
        return AccountView(
            type=profile.type, cash=account.cash, cash_held=account.held - sum((w.reserved.cash for w in without), ZERO),
            holdings={
                symbol: Holding(held.qty, account.offered.get(symbol, ZERO) - freed.get(symbol, ZERO))
                for symbol, held in account.positions.items()
            },
            pending=tuple(
                self._trades(w) for w in account.open.values() if w.order.id not in gone and _sells(w)
            ),
            marks=self.marks, rules=margin.rules_on(exchange_date(now_ns)), adjusted=account.adjusted,
            options_level=profile.options_level, naked_shorts=profile.naked_shorts,
            fill_preference=profile.fill_preference, size_cap=profile.size_cap, latency_ns=profile.latency_ns,
        )  # fmt: skip

    def instrument(self, symbol: str) -> Instrument:
        known = self._instruments.get(symbol)
        if known is None:
            known = self._instruments[symbol] = listing.instrument_of(symbol, self.account.adjusted)
        return known

    # -- the parts ---------------------------------------------------------------------------------

    def _accept(self, ticket: Ticket, view: AccountView, now_ns: int) -> tuple[Draft, ...]:
        instruments = [self.instrument(symbol) for symbol in ticket.symbols]
        return intake.accept(
            ticket, instruments, account=view, quotes=self.quotes, sessions=self.sessions, now_ns=now_ns
        )

    def _take(self, drafts: Sequence[Draft], now_ns: int, place: Working | None = None) -> list[Working]:
        taken: list[Working] = []
        for draft in drafts:
            taken.append(
                self._working(draft, now_ns, taken[0] if taken else None, place, share=len(drafts) > 2)
            )
        for working in taken:
            self.account.take(working)
            record.give(self.matcher, working)
        return taken

    def _working(
        self, draft: Draft, now_ns: int, main: Working | None, place: Working | None, *, share: bool
    ) -> Working:
        number = next(self._numbers)
        entry_id = group_id = None
        if main is not None:
            entry_id = main.order.id if main.role is Role.ENTRY else None
            group_id = main.order.id if share or main.role is not Role.ENTRY else None
        elif place is not None:
            entry_id, group_id = place.order.entry_id, place.order.group_id
        elif draft.order_class is OrderClass.OCO:
            group_id = UUID(int=number)
        order = Order(
            id=UUID(int=number), number=number, account_id=UUID(int=0), symbol=draft.symbol,
            asset_class=draft.asset_class, multiplier=draft.multiplier, side=draft.side, type=draft.order_type,
            tif=draft.time_in_force, qty=draft.qty, limit=_ticks(draft.limit_price), accepted_ns=now_ns,
            expires_ns=draft.expires_ns, arrives_ns=draft.arrives_ns, stop=_ticks(draft.stop_price),
            trail=_ticks(draft.trail_price), trail_percent=draft.trail_percent, preference=draft.fill_preference,
            hours=draft.hours, legs=draft.legs,
            underlying=self._ticker(draft.legs[0].symbol if draft.legs else draft.symbol),
            size_cap=draft.size_cap, notional=draft.notional, entry_id=entry_id, group_id=group_id,
        )  # fmt: skip
        return Working(
            order=order, name=draft.client_order_id,
            status=OrderStatus.HELD if draft.is_held else OrderStatus.ACCEPTED,
            reserved=Reserved(draft.cash_hold, dict(draft.position_holds)), role=draft.role,
            order_class=draft.order_class, carries=group_id is None or draft.role is Role.TAKE_PROFIT,
        )  # fmt: skip

    def _end(self, working: Working, status: OrderStatus, now_ns: int) -> None:
        self.matcher.remove(working.order.id)
        self.account.end(working.order.id, status, now_ns)

    def _require_open(self, order_id: UUID) -> Working:
        working = self.account.orders.get(order_id)
        if working is None:
            raise NotFound(
                f"There is no order {order_id}.", field="id", value=order_id, remedy="List your orders."
            )
        if not working.is_open:
            raise NotOpen(
                f"The order is {working.status}.", field="id", rule="only an open order", value=working.name
            )
        return working

    def _trades(self, working: Working) -> tuple[Trade, ...]:
        order, left = working.order, working.order.qty - working.filled
        parts = [(leg.symbol, leg.side, leg.ratio) for leg in order.legs] or [(order.symbol, order.side, 1)]
        return tuple(
            Trade(self.instrument(symbol), (left if side is Side.BUY else -left) * ratio)
            for symbol, side, ratio in parts
        )

    def _ticker(self, symbol: str) -> str:
        """The stock, fund or index that an instrument follows."""
        known = self._tickers.get(symbol)
        if known is None:
            instrument = self.instrument(symbol)
            known = instrument.underlying
            if instrument.asset_class is AssetClass.OPTION:
                known = listing.stock_of(known)
            self._tickers[symbol] = known
        return known


def ticket_of(working: Working, exits: Sequence[Working] = ()) -> Ticket:
    """The ticket that would make this order now; `exits` are those that wait for it."""
    order = working.order
    by_role = {member.role: member.order for member in exits}
    profit, loss = by_role.get(Role.TAKE_PROFIT), by_role.get(Role.STOP_LOSS)
    alone = OrderClass.MLEG if order.legs else OrderClass.SIMPLE
    is_option = order.asset_class is AssetClass.OPTION
    return Ticket(
        symbol=order.symbol, side=order.side, qty=None if order.notional is not None else order.qty,
        notional=order.notional, order_type=order.type, time_in_force=order.tif, limit_price=_dollars(order.limit),
        stop_price=_dollars(order.stop), trail_price=_dollars(order.trail), trail_percent=order.trail_percent,
        order_class=working.order_class if exits else alone, take_profit=_dollars(profit.limit) if profit else None,
        stop_loss=_dollars(loss.stop) if loss else None, stop_loss_limit=_dollars(loss.limit) if loss else None,
        legs=tuple(LegTicket(leg.symbol, leg.side, leg.ratio) for leg in order.legs),
        extended_hours=order.hours is Hours.EXTENDED, fill_preference=order.preference if is_option else None,
        client_order_id=working.name,
    )  # fmt: skip


def _sells(working: Working) -> bool:
    """Whether it would take something away when it fills. Exits that share a quantity count once, those that
    wait not at all."""
    order = working.order
    return (
        working.status is not OrderStatus.HELD
        and (order.side is Side.SELL or bool(order.legs))
        and not (working.role is Role.STOP_LOSS and order.group_id is not None)
    )


def _lent(view: AccountView, siblings: Sequence[Working]) -> AccountView:
    """The account with the group's own reservation free."""
    lent: Mapping[str, Decimal] = siblings[0].reserved.positions if siblings else {}
    freed = {s: Holding(held.qty, held.held - lent.get(s, ZERO)) for s, held in view.holdings.items()}
    return msgspec.structs.replace(view, holdings=freed)


def _in_place_of(old: Working, draft: Draft) -> Draft:
    """An exit stands where the one stood that it replaces. One that waits reserves nothing."""
    is_held = old.status is OrderStatus.HELD
    return msgspec.structs.replace(
        draft, role=old.role, order_class=old.order_class, is_held=is_held,
        cash_hold=ZERO if is_held else draft.cash_hold,
        position_holds=draft.position_holds if old.reserved.positions else {},
    )  # fmt: skip


def _ticks(price: Decimal | None) -> int | None:
    return None if price is None else to_ticks(price)


def _dollars(ticks: int | None) -> Decimal | None:
    return None if ticks is None else from_ticks(ticks)
