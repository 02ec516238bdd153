"""An account as a state machine: Hypothesis sends it whatever it likes, and a model keeps the books beside it.

The model is arithmetic that fits on a page, and shares nothing with the engine but what the engine says it did: what
was bought and sold at which price. Cash, positions and reservations must then be what the model says.
"""

import os
from datetime import date, datetime, time
from decimal import ROUND_HALF_EVEN
from decimal import Decimal as D
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mbt.engine import assignment, corporate, expiry
from mbt.engine.account import Kind, Posting
from mbt.engine.assignment import AssignmentRules, Mode
from mbt.engine.buying_power import AccountType
from mbt.engine.life import Life, Profile
from mbt.engine.means import Means
from mbt.engine.orders import (
    OPEN_STATUSES,
    TRANSITIONS,
    OrderClass,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from mbt.engine.record import Working
from mbt.engine.tickets import LegTicket, Ticket
from raxx.kernel.clock import EXCHANGE_ZONE, SECOND_NS, exchange_date, to_ns
from raxx.kernel.errors import RaxxError
from raxx.market import listing
from raxx.market.quotes import Quote
from raxx.market.sessions import Session, Sessions

CENT = D("0.01")
MINUTE_NS = 60 * SECOND_NS
DAYS = [date(2024, 3, 4 + n) for n in range(5)] + [date(2024, 3, 11 + n) for n in range(5)]
EXPIRY = DAYS[4]
STOCK = "KO"
STRIKES = (50, 55, 60)
CALLS = [f"KO240308C000{strike}000" for strike in STRIKES]
PUTS = [f"KO240308P000{strike}000" for strike in STRIKES]
OPTIONS = [*CALLS, *PUTS]
SYMBOLS = [STOCK, *OPTIONS]


def _session(day: date) -> Session:
    def at(hour: int, minute: int = 0) -> int:
        return to_ns(datetime.combine(day, time(hour, minute), EXCHANGE_ZONE))

    return Session(
        date=day, open_ns=at(9, 30), close_ns=at(16), late_close_ns=at(16, 15), extended_open_ns=at(4),
        extended_close_ns=at(20),
    )  # fmt: skip


SESSIONS = Sessions("MACHINE", [_session(day) for day in DAYS])
OPENS_NS = SESSIONS.current_or_next(to_ns(datetime.combine(DAYS[0], time(), EXCHANGE_ZONE))).open_ns

quantities = st.integers(1, 20)
sides = st.sampled_from(Side)
tifs = st.sampled_from([TimeInForce.DAY, TimeInForce.DAY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK])
cents = st.integers(1, 80)


class AccountMachine(RuleBasedStateMachine):
    """`cash` and `held` are the model's own."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = OPENS_NS
        self.price = 5_500  # of the stock, in cents
        self.names = 0
        self.is_split = False

    @initialize(
        is_cash=st.booleans(), size_cap=st.booleans(), latency=st.sampled_from([0, SECOND_NS]),
        dollars=st.sampled_from([3_000, 50_000, 1_000_000]),
    )  # fmt: skip
    def fund(self, is_cash: bool, size_cap: bool, latency: int, dollars: int) -> None:
        profile = Profile(
            type=AccountType.CASH if is_cash else AccountType.MARGIN, options_level=3, naked_shorts=True,
            size_cap=size_cap, latency_ns=latency,
        )  # fmt: skip
        self.life = Life(profile=profile, cash=D(dollars), sessions=SESSIONS, now_ns=self.now_ns)
        self.cash = D(dollars)
        self.held: dict[str, D] = {}
        self.limits: dict[str, int] = {}
        self.asked: dict[str, D] = {}
        self.seen = 0
        self.moves = 0
        self._quote_everything()

    # -- time and quotes ---------------------------------------------------------------------------

    @rule(
        change=st.integers(-300, 300),
        seconds=st.integers(1, 900),
        wide=st.integers(1, 12),
        size=st.integers(1, 8),
    )
    def quote(self, change: int, seconds: int, wide: int, size: int) -> None:
        self.price = max(self.price + change, 500)
        self.now_ns += seconds * SECOND_NS
        self._quote_everything(wide, size)

    @precondition(lambda self: exchange_date(self.now_ns) < DAYS[-2])
    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        """Into the evening, the night, the next morning."""
        self.now_ns = min(
            self.now_ns + hours * 60 * MINUTE_NS, SESSIONS.current_or_next(self.now_ns).close_ns
        )
        self._expire()
        self.now_ns = max(self.now_ns, SESSIONS.current_or_next(self.now_ns).open_ns)
        self._quote_everything()

    @rule()
    def restart(self) -> None:
        self.life.restart()

    @rule(minutes=st.integers(1, 30))
    def halt(self, minutes: int) -> None:
        self.life.halt(STOCK, until_ns=self.now_ns + minutes * MINUTE_NS)

    # -- orders ------------------------------------------------------------------------------------

    @rule(symbol=st.sampled_from([STOCK, STOCK, *OPTIONS]), side=sides, qty=quantities, tif=tifs,
          kind=st.sampled_from(OrderType), away=st.integers(-60, 60), trail=cents)  # fmt: skip
    def submit(
        self, symbol: str, side: Side, qty: int, tif: TimeInForce, kind: OrderType, away: int, trail: int
    ) -> None:
        quote = self.life.quotes[symbol]
        near = self._on_step(symbol, (quote.ask or 5_000) // 100 + away)
        is_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
        self._send(Ticket(
            symbol=symbol, side=side, order_type=kind, client_order_id=self._name(), qty=D(qty * (10 if symbol == STOCK else 1)),
            time_in_force=tif if kind in (OrderType.MARKET, OrderType.LIMIT) else TimeInForce.DAY,
            limit_price=near if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
            stop_price=near if is_stop else None,
            trail_price=D(trail) / 100 if kind is OrderType.TRAILING_STOP and symbol == STOCK else None,
            trail_percent=D(trail) / 10 if kind is OrderType.TRAILING_STOP and symbol != STOCK else None,
        ))  # fmt: skip

    @rule(
        qty=quantities,
        side=sides,
        up=cents,
        down=cents,
        tif=st.sampled_from([TimeInForce.DAY, TimeInForce.GTC]),
    )
    def submit_bracket(self, qty: int, side: Side, up: int, down: int, tif: TimeInForce) -> None:
        high, low = D(self.price + up + 10) / 100, D(self.price - down - 10) / 100
        profit, loss = (high, low) if side is Side.BUY else (low, high)
        self._send(Ticket(
            symbol=STOCK, side=side, order_type=OrderType.MARKET, time_in_force=tif, client_order_id=self._name(),
            qty=D(qty * 10), order_class=OrderClass.BRACKET, take_profit=profit, stop_loss=loss,
        ))  # fmt: skip

    @rule(
        low=st.sampled_from([0, 1]),
        calls=st.booleans(),
        buys=st.booleans(),
        qty=st.integers(1, 5),
        limit=st.integers(-300, 500) | st.none(),
    )
    def submit_vertical(self, low: int, calls: bool, buys: bool, qty: int, limit: int | None) -> None:
        line = CALLS if calls else PUTS
        first, second = (Side.BUY, Side.SELL) if buys else (Side.SELL, Side.BUY)
        self._send(Ticket(
            symbol="", side=Side.BUY, order_type=OrderType.MARKET if limit is None else OrderType.LIMIT, qty=D(qty),
            time_in_force=TimeInForce.DAY, client_order_id=self._name(), order_class=OrderClass.MLEG,
            limit_price=None if limit is None else D(limit) / 100,
            legs=(LegTicket(line[low], first, 1), LegTicket(line[low + 1], second, 1)),
        ))  # fmt: skip

    @precondition(lambda self: bool(self.life.account.open))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(sorted(self.life.account.open)))
        self.life.cancel(order_id, self.now_ns)
        assert order_id not in self.life.account.open

    @precondition(lambda self: bool(self.life.account.open))
    @rule(data=st.data(), away=st.integers(-30, 30), more=st.integers(-5, 5))
    def replace(self, data: st.DataObject, away: int, more: int) -> None:
        order_id = data.draw(st.sampled_from(sorted(self.life.account.open)))
        order = self.life.account.open[order_id].order
        changes = {"qty": max(order.qty + more, D(1))}
        if order.limit is not None:
            changes = {"limit_price": D(order.limit // 100 + away) / 100}
        name = self._name()
        try:
            taken = self.life.replace(order_id, changes, name=name, now_ns=self.now_ns)
        except RaxxError:
            assert self.life.account.orders[order_id].status in OPEN_STATUSES
            return
        assert self.life.account.orders[order_id].status is OrderStatus.REPLACED
        self._note(taken, changes)

    # -- events ------------------------------------------------------------------------------------

    @precondition(lambda self: self._short_options())
    @rule()
    def assign(self) -> None:
        """Every short contract in the money, in the evening, by its holder's whim."""
        always = (AssignmentRules(effective=date.min, mode=Mode.RANDOM, stray=D(1), likely=D(1)),)
        book = dict(self.life.account.positions)
        found = assignment.early_assignments(
            book, terms=self._terms(), marks={STOCK: self.price * 100}, mids={}, dividends=[], rate=D(0),
            evening=exchange_date(self.now_ns), next_session=exchange_date(self.now_ns), rules=always,
        )  # fmt: skip
        if exchange_date(self.now_ns) == EXPIRY:
            assert not found.postings  # that is the business of expiration
            return
        for symbol in self._short_options():
            if self._inside(symbol):
                self._deliver(symbol, self.held[symbol])
        self.life.post(found.postings, self.now_ns)

    @precondition(lambda self: self._long_options())
    @rule(data=st.data())
    def exercise(self, data: st.DataObject) -> None:
        symbol = data.draw(st.sampled_from(self._long_options()))
        qty = D(data.draw(st.integers(1, int(self.held[symbol]))))
        try:
            found = assignment.exercise(
                symbol, qty, book=self.life.account.positions, terms=self._terms(), prices={STOCK: self.price * 100},
                means=Means(self.life.account.cash, short_rate=None if self._is_cash() else D("0.5")),
                now_ns=self.now_ns,
            )  # fmt: skip
        except RaxxError:
            return
        self._deliver(symbol, qty)
        self.life.post(found.postings, self.now_ns)

    @precondition(lambda self: not self.is_split)
    @rule()
    def split(self) -> None:
        """Two for one. Options become twice as many at half the strike: here under the names of the halves."""
        if any(symbol != STOCK for symbol in self.held):
            return  # the model knows no half strikes
        self.is_split = True
        event = corporate.Split(
            symbol=STOCK, ex_date=exchange_date(self.now_ns), new=2, old=1, close=self.price * 100
        )
        account = self.life.account
        orders = [working.order for working in account.open.values()]
        effect = corporate.apply(event, book=account.positions, orders=orders, adjusted={})
        for change in effect.orders:
            self.life.adjust(change, self.now_ns)
        self.life.post(effect.postings, self.now_ns)
        assert not [w for w in account.open.values() if w.order.symbol == STOCK]
        if STOCK in self.held:
            self.held[STOCK] *= 2
        self.price = max(self.price // 2, 500)
        self._quote_everything()

    @rule(dollars=st.integers(1, 5_000))
    def deposit(self, dollars: int) -> None:
        self.life.post([Posting(kind=Kind.ADJUSTMENT, cash=D(dollars))], self.now_ns)
        self.cash += dollars

    # -- what must hold ----------------------------------------------------------------------------

    @invariant()
    def cash_and_positions_are_the_models(self) -> None:
        self._follow_fills()
        account = self.life.account
        assert account.cash == self.cash
        assert {symbol: held.qty for symbol, held in account.positions.items()} == self.held

    @invariant()
    def reservations_fit(self) -> None:
        account = self.life.account
        held, offered = D(0), dict[str, D]()
        for working in account.open.values():
            assert working.reserved.cash >= 0
            held += working.reserved.cash
            for symbol, qty in working.reserved.positions.items():
                assert qty > 0
                offered[symbol] = offered.get(symbol, D(0)) + qty
        assert account.held == held
        assert account.offered == offered
        assert all(qty <= abs(self.held.get(symbol, D(0))) for symbol, qty in offered.items())
        if self._is_cash():
            assert account.cash >= 0

    @invariant()
    def orders_keep_to_the_rules(self) -> None:
        account = self.life.account
        assert self.life.matcher.order_ids() == set(account.open)
        for move in account.moves[self.moves :]:
            assert move.before is None or move.after in TRANSITIONS[move.before]
        self.moves = len(account.moves)
        for working in account.orders.values():
            assert 0 <= working.filled <= working.order.qty
            assert working.is_open or not (working.reserved.cash or working.reserved.positions)
            left = working.order.qty - working.filled
            assert all(qty <= left for qty in working.reserved.positions.values())  # ratios are 1
            assert not working.is_open or working.order.expires_ns > self.life.matcher.now_ns

    @invariant()
    def exits_close_what_was_opened(self) -> None:
        orders = self.life.account.orders
        closed: dict[UUID, D] = {}
        for working in orders.values():
            entry_id = working.order.entry_id
            if entry_id is not None:
                closed[entry_id] = closed.get(entry_id, D(0)) + working.filled
                assert (
                    working.status is OrderStatus.HELD
                    or working.filled
                    or not working.is_open
                    or orders[entry_id].filled
                )
        assert all(qty <= orders[entry_id].filled for entry_id, qty in closed.items())

    def teardown(self) -> None:
        if not hasattr(self, "life"):
            return
        for order_id in list(self.life.account.open):
            if order_id in self.life.account.open:
                self.life.cancel(order_id, self.now_ns)
        assert not self.life.account.held
        assert not self.life.account.offered

    # -- the model ---------------------------------------------------------------------------------

    def _follow_fills(self) -> None:
        """What was traded changes cash and positions by quantity times price, to the cent."""
        for execution in self.life.account.executions[self.seen :]:
            order, fill = execution.order, execution.fill
            limit = self.limits.get(self.life.account.orders[order.id].name)
            if limit is not None:
                assert fill.price <= limit if order.side is Side.BUY else fill.price >= limit
            for part in execution.parts:
                sign = 1 if part.side is Side.BUY else -1
                each = 1 if part.symbol == STOCK else 100
                self._move(part.symbol, sign * part.qty)
                exact = -sign * part.qty * each * part.price / D(10_000)
                self.cash += exact.quantize(CENT, ROUND_HALF_EVEN)
        self.seen = len(self.life.account.executions)

    def _move(self, symbol: str, qty: D) -> None:
        self.held[symbol] = self.held.get(symbol, D(0)) + qty
        if not self.held[symbol]:
            del self.held[symbol]

    def _deliver(self, symbol: str, qty: D) -> None:
        """`qty` contracts, exercised or (negative) assigned: 100 shares each for the strike."""
        strike = D(symbol[-8:]) / 1000
        shares = qty * 100 if "C" in symbol[3:] else -qty * 100
        self._move(symbol, -qty)
        self._move(STOCK, shares)
        self.cash -= shares * strike

    def _expire(self) -> None:
        """At the close of the Friday, on the stock's price then; what cannot be paid for is told by the engine."""
        close_ns = to_ns(datetime.combine(EXPIRY, time(16), EXCHANGE_ZONE))
        if self.now_ns < close_ns:
            return
        self.life.advance((), self.now_ns)
        self._follow_fills()
        book = dict(self.life.account.positions)
        due = [symbol for symbol in self.held if symbol != STOCK]
        found = expiry.expire(
            book, terms=self._terms(), prices={STOCK: self.price * 100},
            means=Means(D(10**9), short_rate=None if self._is_cash() else D("0.5")), at_ns=self.now_ns,
        )  # fmt: skip
        left = {
            outcome.symbol: outcome.qty
            for outcome in found.outcomes
            if outcome.fate is expiry.Fate.NOT_EXERCISED_UNAFFORDABLE
        }
        assert self._is_cash() or not left
        for symbol in due:
            taken = self.held[symbol] - left.get(symbol, D(0))
            if self._inside(symbol) and taken:
                self._deliver(symbol, taken)
            if symbol in self.held:
                self._move(symbol, -self.held[symbol])
        self.life.post(found.postings, self.now_ns)

    def _inside(self, symbol: str) -> bool:
        strike = int(symbol[-8:]) // 10  # in cents
        return self.price > strike if "C" in symbol[3:] else self.price < strike

    # -- the parts ---------------------------------------------------------------------------------

    def _quote_everything(self, wide: int = 4, size: int = 5) -> None:
        """Options at what they are in the money and a dollar: a market that is simple and never arbitraged."""
        quotes = [
            Quote(
                STOCK,
                self.now_ns,
                self.price * 100 - 100 * wide,
                size * 100,
                self.price * 100 + 100 * wide,
                size * 100,
            )
        ]
        for symbol in OPTIONS:
            strike = int(symbol[-8:]) // 10
            worth = max(self.price - strike if "C" in symbol[3:] else strike - self.price, 0) + 100
            low, high = worth // 5 * 5 - 5 * wide, worth // 5 * 5 + 5 * wide
            quotes.append(Quote(symbol, self.now_ns, max(low, 5) * 100, size, max(high, 10) * 100, size))
        self.life.advance(quotes, self.now_ns)

    def _on_step(self, symbol: str, price: int) -> D:
        step = 1 if symbol == STOCK or price < 300 else 5
        return D(max(price // step * step, step)) / 100

    def _send(self, ticket: Ticket) -> None:
        account = self.life.account
        before = (account.cash, account.held, dict(account.offered), len(account.moves))
        try:
            taken = self.life.submit(ticket, self.now_ns)
        except RaxxError:
            assert (account.cash, account.held, dict(account.offered), len(account.moves)) == before
            return
        self._note(taken, {"limit_price": ticket.limit_price} if ticket.limit_price is not None else {})
        self.life.advance((), self.now_ns)

    def _note(self, taken: list[Working], changes: dict[str, D]) -> None:
        if "limit_price" in changes:
            self.limits[taken[0].name] = int(changes["limit_price"] * 10_000)

    def _name(self) -> str:
        self.names += 1
        return f"o{self.names}"

    def _terms(self) -> dict[str, listing.OptionTerms]:
        life = self.life
        return {
            s: listing.terms_of(life.instrument(s), SESSIONS) for s in life.account.positions if s != STOCK
        }

    def _is_cash(self) -> bool:
        return self.life.profile.type is AccountType.CASH

    def _long_options(self) -> list[str]:
        return sorted(s for s, qty in self.held.items() if s != STOCK and qty > 0)

    def _short_options(self) -> list[str]:
        return sorted(s for s, qty in self.held.items() if s != STOCK and qty < 0)


TestAccountMachine = AccountMachine.TestCase
TestAccountMachine.settings = settings(
    max_examples=5_000 if os.environ.get("RAXX_SOAK") else 80, stateful_step_count=40, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
