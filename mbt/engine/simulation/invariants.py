"""What must hold after every operation. Written against the rules, not against the code that it watches."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import combinations, pairwise
from uuid import UUID

from mbt.engine import margin
from mbt.engine.account import Kind, Position, Posting
from mbt.engine.buying_power import AccountType
from mbt.engine.corporate import (
    CashDividend,
    CashMerger,
    Effect,
    Event,
    SpinOff,
    Split,
    StockMerger,
    SymbolChange,
)
from mbt.engine.expiry import Expiration, Fate, expire
from mbt.engine.fills import Rule, max_age_ns
from mbt.engine.intake import Role
from mbt.engine.life import Life
from mbt.engine.margin import Holding, MarginRules
from mbt.engine.means import Means
from mbt.engine.orders import (
    OPEN_STATUSES,
    TRANSITIONS,
    Order,
    OrderClass,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)
from mbt.engine.packages import net_of
from mbt.engine.record import Execution, Working
from mbt.engine.simulation.operations import CancelAll, Corporate, Expire, Operation, Replace, Send
from mbt.engine.simulation.world import Outcome, World
from raxx.kernel.clock import exchange_date
from raxx.kernel.money import CENT, TICKS_PER_DOLLAR, from_ticks, to_ticks
from raxx.market.contracts import SHARES_PER_CONTRACT, Right
from raxx.market.listing import Deliverable, OptionTerms, is_adjusted
from raxx.market.quotes import QuoteCondition, condition

ZERO = Decimal(0)
EMPTY = Position()
_TRADES = frozenset(
    {
        Kind.FILL,
        Kind.EXPIRATION,
        Kind.EXERCISE,
        Kind.ASSIGNMENT,
        Kind.CORPORATE_ACTION,
        Kind.FEE,
        Kind.INTEREST,
    }
)
_MARGIN_EVERY = 12  # operations, when no position has changed
_LEGS_MAX = 12  # of one underlying: beyond, the least is not always proved


class Violation(AssertionError):
    """An invariant does not hold. `name` says which."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


def require(holds: bool, name: str, message: object = "") -> None:
    if not holds:
        raise Violation(name, str(message))


class Auditor:
    """Adds up for itself what the account says it has. One for each account of a world."""

    def __init__(self, world: World, *, margin_too: bool = True) -> None:
        self.world = world
        self._margin_too = margin_too
        self._life: Life | None = None
        self.margin_checks = 0
        self._begin()

    def _begin(self) -> None:
        self._entries = self._executions = self._moves = 0
        self._cash = ZERO
        self._positions: dict[str, Position] = {}
        self._statuses: dict[UUID, OrderStatus] = {}
        self._filled: dict[UUID, Decimal] = {}
        self._exited: dict[UUID, Decimal] = {}  # by entry, or by pair of exits
        self._asked: dict[UUID, Decimal] = {}  # quantities as they were taken
        self._limits: dict[UUID, int] = {}  # as they were asked for
        self._realized: dict[str, Decimal] = {}
        self._booked: dict[
            str, list[Posting]
        ] = {}  # trades by the name of their order, not yet seen as fills
        self._owed: dict[str, Decimal] = {}  # dividends
        self._charged = ZERO  # what fees and other events took from a cash account beside its trades
        self._since = 0

    def check(self, operation: Operation, outcome: Outcome) -> None:
        """Raises Violation."""
        life = self.world.account
        if life is not self._life:
            if self._life is not None:
                self._history(self._life)
                self._executed(self._life)
                self._moved(self._life, operation)
                self._all_is_over(self._life)
            self._begin()
            self._life = life
        require(not outcome.changed, "a denial changes nothing", outcome.changed)
        self._took(life, operation, outcome)
        traded = self._history(life)
        self._executed(life)
        self._moved(life, operation)
        self._holds(life)
        self._groups(life)
        self._closed(outcome)
        if life.profile.type is AccountType.CASH:
            self._cash_account(life)
        elif self._margin_too and (traded or self._since >= _MARGIN_EVERY):
            self._since = 0
            self._margin(life, operation.at_ns)
        self._since += 1
        if isinstance(operation, Expire) and outcome.expiration is not None and outcome.book is not None:
            self._expired(outcome.book, outcome.expiration, operation.prices)
        if isinstance(operation, Corporate) and outcome.effect is not None and outcome.book is not None:
            self._changed(operation.event, outcome.book, outcome.effect)
        if isinstance(operation, CancelAll):
            self._all_is_over(life)
            left = {symbol: owed for symbol, owed in self._owed.items() if owed}
            require(not left, "dividends are paid as they are owed", left)

    # -- money and positions -----------------------------------------------------------------------

    def _history(self, life: Life) -> bool:
        """Cash and positions are the sums of the postings. Whether a position has changed."""
        account, changed = life.account, set[str]()
        groups: dict[int, list[Posting]] = {}
        for entry in account.entries[self._entries :]:
            posting = entry.posting
            groups.setdefault(entry.event, []).append(posting)
            self._cash += posting.cash
            if posting.symbol and (posting.qty or posting.cost):
                self._realized[posting.symbol] = self._realized.get(posting.symbol, ZERO) + posting.realized
            if posting.kind is Kind.FILL:
                self._booked.setdefault(entry.name, []).append(posting)
            if posting.kind is Kind.DIVIDEND:
                self._owed[posting.symbol] = self._owed.get(posting.symbol, ZERO) - posting.cash
            if posting.symbol:
                before = self._positions.get(posting.symbol, EMPTY)
                self._positions[posting.symbol] = Position(
                    before.qty + posting.qty, before.cost + posting.cost
                )
                changed.add(posting.symbol)
            if (
                posting.kind in (Kind.FEE, Kind.INTEREST, Kind.DIVIDEND, Kind.CORPORATE_ACTION)
                and posting.cash < 0
            ):
                self._charged -= posting.cash
        self._entries = len(account.entries)
        require(
            account.cash == self._cash, "cash is the sum of the postings", f"{account.cash} and {self._cash}"
        )
        require(account.cash == account.cash.quantize(CENT), "cash is whole cents", account.cash)
        require(
            account.realized == self._realized, "realized profit is the sum of what moved the position",
            f"{account.realized} and {self._realized}",
        )  # fmt: skip
        for symbol in {*self._positions, *account.positions}:
            held, summed = account.positions.get(symbol, EMPTY), self._positions.get(symbol, EMPTY)
            require(
                bool(summed.qty) or not summed.cost,
                "an empty position has cost nothing",
                f"{symbol}: {summed}",
            )
            require(held == summed, "a position is the sum of its postings", f"{symbol}: {held} and {summed}")
        for postings in groups.values():
            if all(posting.kind in _TRADES for posting in postings):
                left = sum((p.cash + p.cost - p.realized for p in postings), ZERO)
                require(not left, "cash + cost = realized over an event", f"{left} left of {postings}")
            self._delivered(postings)
        return bool(changed)

    def _delivered(self, postings: Iterable[Posting]) -> None:
        """The shares of one stock that a contract delivers change hands for its exercise price, less what it delivers in
        cash."""
        moved = [p for p in postings if p.kind in (Kind.EXERCISE, Kind.ASSIGNMENT)]
        life = self.world.account
        for option, shares in pairwise(moved):
            contract = life.instrument(option.symbol)
            if contract.right is None or life.instrument(shares.symbol).right is not None:
                continue
            terms = self.world.terms(option.symbol)
            each = terms.deliverable.of(shares.symbol)
            if len(terms.deliverable.shares) > 1 or not each:
                continue
            price = contract.strike * Decimal(terms.multiplier) / TICKS_PER_DOLLAR - terms.deliverable.cash
            into = (
                -1 if contract.right is Right.PUT else 1
            )  # a contract that goes is exercised (held) or assigned
            require(
                shares.qty == -into * option.qty * each and shares.cash == into * option.qty * price,
                "delivery is the shares of the contract at the strike",
                f"{option}, {shares}",
            )

    def _cash_account(self, life: Life) -> None:
        account = life.account
        require(
            account.cash >= -self._charged,
            "a cash account never owes cash",
            f"{account.cash}, charged {self._charged}",
        )
        needed: dict[str, Decimal] = {}
        aside = ZERO
        for symbol, held in account.positions.items():
            instrument = life.instrument(symbol)
            if held.qty >= 0:
                continue
            if instrument.right is Right.PUT:
                aside -= held.qty * instrument.strike * instrument.multiplier / TICKS_PER_DOLLAR
            elif instrument.right is None:
                needed[symbol] = needed.get(symbol, ZERO) - held.qty
            else:
                terms = self.world.terms(symbol)
                require(terms.is_physical, "a cash account has no uncovered short", symbol)
                for share, each in terms.deliverable.shares:
                    needed[share] = needed.get(share, ZERO) - held.qty * each
                # Of two contracts' fractions of a share an event may make one share that is not cash.
                fraction = max(
                    (from_ticks(life.marks.get(s, 0)) for s, _ in terms.deliverable.shares), default=ZERO
                )
                aside -= held.qty * max(terms.deliverable.cash - fraction, ZERO)
        for symbol, qty in needed.items():
            held = account.positions.get(symbol, EMPTY)
            require(held.qty >= qty, "a cash account has no uncovered short", f"{held.qty} of {qty} {symbol}")
        require(
            account.cash + self._charged + sum(self._owed.values()) >= aside,
            "the short options of a cash account are secured by cash",
            f"{account.cash}, charged {self._charged}, set aside {aside}",
        )  # fmt: skip

    # -- orders ------------------------------------------------------------------------------------

    def _took(self, life: Life, operation: Operation, outcome: Outcome) -> None:
        """What was asked for, so that nothing later can ask for more."""
        for working in outcome.taken:
            order = working.order
            self._asked.setdefault(order.id, order.qty)
            limit = order.limit
            if working is outcome.taken[0]:
                limit = _limit_asked(operation, limit)
            if limit is not None:
                self._limits[order.id] = limit
        if isinstance(operation, Corporate) and outcome.effect is not None:
            for change in outcome.effect.orders:
                if change.limit is not None and change.order_id in self._limits:
                    self._limits[change.order_id] = change.limit

    def _executed(self, life: Life) -> None:
        account = life.account
        for execution in account.executions[self._executions :]:
            order, fill = execution.order, execution.fill
            working = account.orders[order.id]
            require(fill.qty > 0, "a fill is of something", execution)
            self._are_booked(working.name, execution)
            self._filled[order.id] = filled = self._filled.get(order.id, ZERO) + fill.qty
            if order.entry_id is not None:
                first_id = _first(life, order.entry_id)
                sold = self._exited[first_id] = self._exited.get(first_id, ZERO) + fill.qty
                opened = self._opened(life, order.entry_id)
                require(
                    sold <= opened,
                    "exits close no more than was opened",
                    f"{working.name}: {sold} of {opened}",
                )
            elif order.group_id is not None:
                sold = self._exited[order.group_id] = self._exited.get(order.group_id, ZERO) + fill.qty
                first = account.orders[order.group_id]
                require(sold <= self._asked[first.order.id], "exits of a pair share their quantity", working)
            if order.notional is None or order.side is Side.SELL:
                asked = self._asked.get(order.id, order.qty)
                require(filled <= asked, "filled <= quantity", f"{working.name}: {filled} of {asked}")
            if order.notional is not None:
                worth = filled * from_ticks(fill.price)
                require(worth <= order.notional, "an amount is not exceeded", f"{working.name}: {worth}")
            self._in_time(execution)
            _closes_only(life, execution)
            _price(execution, self._limits.get(order.id, order.limit))
        for execution in account.executions[self._executions :]:
            working, filled = account.orders[execution.order.id], self._filled[execution.order.id]
            require(working.filled == filled, "an order knows its fills", f"{working.name}: {filled}")
        self._executions = len(account.executions)
        unseen = [name for name, postings in self._booked.items() if postings]
        require(not unseen, "nothing is booked as a fill that is none", unseen)

    def _opened(self, life: Life, entry_id: UUID) -> Decimal:
        """What an entry has filled, with those that it replaced one after the other."""
        total, order_id = ZERO, entry_id
        while True:
            total += self._filled.get(order_id, ZERO)
            before = life.account.orders[order_id].replaces
            if before is None:
                return total
            order_id = before

    def _are_booked(self, name: str, execution: Execution) -> None:
        """Each part of a fill is one posting: its quantity, and its price times that to the cent."""
        booked = self._booked.get(name, [])
        for part in execution.parts:
            life = self.world.account
            size = self.world.terms(part.symbol).multiplier if life.instrument(part.symbol).expiry else 1
            require(
                part.multiplier == size,
                "a dollar of a contract's price is what its class says",
                f"{part}, {size}",
            )
            qty = part.qty if part.side is Side.BUY else -part.qty
            cash = (-qty * part.price * part.multiplier / TICKS_PER_DOLLAR).quantize(CENT, ROUND_HALF_EVEN)
            posting = booked.pop(0) if booked else None
            require(
                posting is not None
                and (posting.symbol, posting.qty, posting.cash) == (part.symbol, qty, cash),
                "a fill is booked at its quantity and price",
                f"{name}: {part}, {posting}",
            )

    def _in_time(self, execution: Execution) -> None:
        order, at_ns = execution.order, execution.at_ns
        require(
            order.accepted_ns <= at_ns and order.arrives_ns <= at_ns, "no fill before the order acts", order
        )
        require(at_ns < order.expires_ns, "no fill at or after its end", order)
        if order.tif in (TimeInForce.IOC, TimeInForce.FOK) and order.entry_id is None:
            require(
                at_ns == max(order.arrives_ns, order.accepted_ns), "what is immediate does not wait", order
            )
        session = self.world.sessions.current_or_next(at_ns, order.hours)
        require(session.is_open(at_ns, order.hours), "no fill while its hours are closed", order)
        halts = [h for h in self.world.halts if h.symbol == order.underlying and h.at_ns < at_ns]
        # The newest word holds: a halt may be called off early.
        require(not halts or at_ns >= halts[-1].until_ns, "no fill while its stock is halted", order)
        for part in execution.parts:
            age = at_ns - part.quote.ts
            require(
                0 <= age <= max_age_ns(order.asset_class, at_ns),
                "no fill on a stale quote",
                f"{order}, {age} ns",
            )
            sound = condition(part.quote) in (QuoteCondition.NORMAL, QuoteCondition.LOCKED)
            require(sound, "fills are on sound quotes", part)
            require(part.quote.symbol == part.symbol, "a fill is on the quote of its instrument", part)

    def _moved(self, life: Life, operation: Operation) -> None:
        account = life.account
        for move in account.moves[self._moves :]:
            known = self._statuses.get(move.order_id)
            require(known is move.before, "a status changes from what it was", move)
            if known is not None:
                require(move.after in TRANSITIONS[known], "statuses change along the table", move)
            self._statuses[move.order_id] = move.after
            if move.after not in OPEN_STATUSES:
                _ended(account.orders[move.order_id])
        self._moves = len(account.moves)
        for working in account.open.values():
            order = working.order
            require(self._statuses[order.id] is working.status, "an order's status is its last", working)
            require(
                working.filled < order.qty or order.notional is not None,
                "an open order has something left",
                working,
            )
            late = order.expires_ns <= operation.at_ns
            require(not late, "no order outlives its end", working)
        require(
            life.matcher.order_ids() == set(account.open), "the matcher works the open orders",
            [account.orders[i].name for i in life.matcher.order_ids() ^ set(account.open)],
        )  # fmt: skip

    def _holds(self, life: Life) -> None:
        account = life.account
        cash, offered = ZERO, dict[str, Decimal]()
        for working in account.open.values():
            require(working.reserved.cash >= 0, "holds are never negative", working)
            cash += working.reserved.cash
            for symbol, qty in working.reserved.positions.items():
                require(qty > 0, "holds are never negative", working)
                held = account.positions.get(symbol, EMPTY).qty
                require(
                    held * _way(working.order, symbol) < 0,
                    "only what it closes is held for an order",
                    working,
                )
                offered[symbol] = offered.get(symbol, ZERO) + qty
        require(account.held == cash, "cash held is the sum of the holds", f"{account.held} and {cash}")
        require(
            account.offered == offered,
            "what is offered is the sum of the holds",
            f"{account.offered}, {offered}",
        )
        for symbol, qty in offered.items():
            held = account.positions.get(symbol, EMPTY).qty
            require(qty <= abs(held), "no more is offered than is held", f"{symbol}: {qty} of {held}")

    def _groups(self, life: Life) -> None:
        """Exits follow what their entry has filled, and never close more."""
        account = life.account
        for working in account.open.values():
            entry_id = working.order.entry_id
            if entry_id is None:
                continue
            entry = account.orders[entry_id]
            if working.status is OrderStatus.HELD:
                require(entry.is_open, "no exit waits for an entry that is over", working)
                require(not entry.filled, "an exit works once its entry has filled", working)
            elif working.role is not Role.NONE:
                opened = self._opened(life, entry_id)
                require(opened > 0, "an exit works only for what its entry has filled", working)

    def _all_is_over(self, life: Life) -> None:
        account = life.account
        require(not account.open, "everything ends", [w.name for w in account.open.values()])
        require(
            not account.held and not account.offered,
            "holds are released at the end",
            f"{account.held}, {account.offered}",
        )
        for working in account.orders.values():
            require(
                working.status is self._statuses[working.order.id], "terminal orders do not move", working
            )
            require(
                working.filled == self._filled.get(working.order.id, ZERO),
                "filled is the sum of the fills",
                working,
            )

    # -- margin ------------------------------------------------------------------------------------

    def _margin(self, life: Life, at_ns: int) -> None:
        """The requirement of the book, and of what follows from it."""
        holdings = _holdings(life, life.account.positions)
        if not holdings or any(not life.marks.get(s) for s in _marked(holdings, life)):
            return
        self.margin_checks += 1
        rules = margin.rules_on(exchange_date(at_ns))

        def required(of: Iterable[Holding]) -> tuple[Decimal, Decimal]:
            return _exact(of, life, rules)

        whole = required(holdings)
        require(required(holdings[::-1]) == whole, "margin does not depend on the order of legs", holdings)
        alone = [required([holding]) for holding in holdings]
        naive = tuple(sum((each[n] for each in alone), ZERO) for n in (0, 1))
        require(_below(whole, naive), "margin is never above the naive sum", f"{whole}, {naive}, {holdings}")
        chosen = self.margin_checks % len(holdings)
        holding, each = holdings[chosen], alone[chosen]
        thrice = required([Holding(holding.instrument, 3 * holding.qty)])
        require(
            thrice == (3 * each[0], 3 * each[1]),
            "margin of one leg is linear in its quantity",
            f"{holding}: {each}, {thrice}",
        )
        if _is_searched(holdings, life, rules):
            twice = required([Holding(h.instrument, 2 * h.qty) for h in holdings])
            require(
                _below(twice, (2 * whole[0], 2 * whole[1])), "twice the book never requires more than twice as much",
                f"{whole}, {twice}, {holdings}",
            )  # fmt: skip
            options = [s for s in life.quotes if life.instrument(s).right is not None]
            added = Holding(life.instrument(options[at_ns // 1_000_000_000 % len(options)]), Decimal(1))
            held = life.account.positions.get(added.instrument.symbol, EMPTY).qty
            if held >= 0:
                more = required([*holdings, added])
                require(
                    _below(more, whole), "a long option more never raises margin", f"{added}: {whole}, {more}"
                )

    # -- events ------------------------------------------------------------------------------------

    def _expired(self, book: Mapping[str, Position], found: Expiration, prices: Mapping[str, int]) -> None:
        """Expiration neither makes nor takes money, beside what was forgone; verticals stay in their width."""
        world = self.world
        due = {o.symbol for o in found.outcomes}
        for symbol in due:
            require(symbol not in world.account.account.positions, "what has expired is gone", symbol)
        terms = {symbol: world.terms(symbol) for symbol in due}
        before = after = ZERO
        for symbol, held in book.items():
            if symbol in terms:
                worth = terms[symbol].intrinsic(prices)  # less than a cent a share lapses
                before += held.qty * (worth if worth >= CENT * terms[symbol].multiplier else ZERO)
        for posting in found.postings:
            after += posting.cash
            if posting.symbol not in terms:
                after += posting.qty * from_ticks(prices[posting.symbol])
        forgone = sum(
            (o.amount for o in found.outcomes if o.fate in (Fate.NOT_EXERCISED_UNAFFORDABLE, Fate.NOT_EXERCISED_INSTRUCTED)),
            ZERO,
        )  # fmt: skip
        # A standard contract is worth whole cents; an adjusted one need not be, and is rounded once.
        odd = sum(
            terms[s].deliverable.shares != ((terms[s].underlying, Decimal(SHARES_PER_CONTRACT)),) for s in due
        )
        require(
            abs(before - forgone - after) <= odd * CENT, "expiration conserves value",
            f"{before} − {forgone} and {after}",
        )  # fmt: skip
        self._no_orphans(found, terms)
        for one, other in combinations(sorted(due), 2):
            if book[one].qty * book[other].qty < 0 and _is_vertical(terms[one], terms[other]):
                _settles_within_its_width(terms, one, other, prices, book[one].qty > 0)

    def _no_orphans(self, found: Expiration, terms: Mapping[str, OptionTerms]) -> None:
        """A long that offsets an assigned short is never forgone."""
        net: dict[tuple[Deliverable, Right], Decimal] = {}
        forgone: set[tuple[Deliverable, Right]] = set()
        for outcome in found.outcomes:
            kind = (terms[outcome.symbol].deliverable, terms[outcome.symbol].right)
            if outcome.fate in (Fate.EXERCISED, Fate.ASSIGNED):
                net[kind] = net.get(kind, ZERO) + outcome.qty
            if outcome.fate is Fate.NOT_EXERCISED_UNAFFORDABLE:
                forgone.add(kind)
        for kind in forgone:
            require(net.get(kind, ZERO) >= 0, "no orphan legs at expiration", found.outcomes)

    def _closed(self, outcome: Outcome) -> None:
        """What the engine closes by itself leaves no short without the cover that it had, after any of its orders."""
        if outcome.book is None or not outcome.closed:
            return
        held = {symbol: position.qty for symbol, position in outcome.book.items()}
        before = self._uncovered(held)
        for intent in outcome.closed:
            for symbol, qty in intent.trades:
                require(
                    held.get(symbol, ZERO) * qty < 0 and abs(qty) <= abs(held[symbol]),
                    "the engine closes what is held",
                    intent,
                )
                held[symbol] += qty
            after = self._uncovered(held)
            require(after <= before, "no orphan legs by the engine's own act", f"{intent}: {before}, {after}")
            before = after

    def _uncovered(self, held: Mapping[str, Decimal]) -> Decimal:
        """Short contracts that no long one of the same kind covers for as long as they live."""
        life = self.world.account
        options = [s for s, qty in held.items() if qty and life.instrument(s).right is not None]
        terms = [(self.world.terms(symbol), held[symbol]) for symbol in options]
        kinds: dict[tuple[str, Right], list[tuple[int, Decimal]]] = {}
        for one, qty in terms:
            kinds.setdefault((one.symbol[:-15], one.right), []).append((one.expires_ns, qty))
        uncovered = ZERO
        for legs in kinds.values():
            spare = ZERO  # longs that live longer first: each short takes of those that outlive it
            for _, qty in sorted(legs, key=lambda leg: (-leg[0], -leg[1])):
                spare += qty
                uncovered += max(-spare, ZERO)
                spare = max(spare, ZERO)
        return uncovered

    def _changed(self, event: Event, book: Mapping[str, Position], effect: Effect) -> None:
        """A corporate action leaves the account worth what it was, to the cent of a fraction, and costs it nothing."""
        if isinstance(event, CashDividend):
            owed = (book.get(event.symbol, EMPTY).qty * event.amount).quantize(CENT, ROUND_HALF_EVEN)
            given = effect.entitlement.amount if effect.entitlement else ZERO
            require(given == owed, "a dividend is paid on what was held", f"{given} and {owed}")
            self._owed[event.symbol] = self._owed.get(event.symbol, ZERO) + owed
        before, after = _prices_around(event)
        symbols = {event.symbol, *after}
        gap = sum((p.cash for p in effect.postings), ZERO)
        for symbol in symbols:
            held = book.get(symbol, EMPTY).qty
            moved = sum((p.qty for p in effect.postings if p.symbol == symbol), ZERO)
            gap += (held + moved) * after.get(symbol, ZERO) - held * before.get(symbol, ZERO)
        require(
            abs(gap) <= 2 * CENT, "a corporate action leaves the account worth what it was", f"{event}: {gap}"
        )
        self._renamed(book, effect)

    def _renamed(self, book: Mapping[str, Position], effect: Effect) -> None:
        """Contracts go over into the new ones, each into as many as it is split."""
        expected: dict[str, Decimal] = {}
        for change in effect.contracts:
            held = book[change.old].qty
            expected[change.old] = expected.get(change.old, ZERO) - held
            expected[change.new] = expected.get(change.new, ZERO) + held * change.each
        for symbol, qty in expected.items():
            moved = sum((p.qty for p in effect.postings if p.symbol == symbol), ZERO)
            require(moved == qty, "contracts become the adjusted ones", f"{symbol}: {moved}, not {qty}")


def _limit_asked(operation: Operation, limit: int | None) -> int | None:
    """The limit in the trader's own words; that of the order where the trader gave none."""
    match operation:
        case Send(ticket=ticket):
            asked = ticket.take_profit if ticket.order_class is OrderClass.OCO else ticket.limit_price
            return None if asked is None else to_ticks(asked)
        case Replace(changes=changes) if "limit_price" in changes:
            return to_ticks(changes["limit_price"])
        case _:
            return limit


def _prices_around(event: Event) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """What a share of everything that `event` touches is worth before and after it, by its own terms."""
    match event:
        case CashDividend(symbol=symbol):
            return {symbol: ZERO}, {symbol: ZERO}
        case Split(symbol=symbol, new=new, old=old, close=close):
            return {symbol: from_ticks(close)}, {symbol: from_ticks(close) * old / new}
        case SymbolChange(symbol=symbol, new_symbol=changed):
            return {symbol: Decimal(1)}, {changed: Decimal(1)}
        case CashMerger(symbol=symbol, cash=cash):
            return {symbol: cash}, {}
        case StockMerger(symbol=symbol, new_symbol=into, price=price, cash=cash, new=new, old=old):
            worth = from_ticks(price)
            return {symbol: cash + worth * new / old, into: worth}, {into: worth}
        case SpinOff(symbol=symbol, new_symbol=spun, price=price, new_price=new_price, new=new, old=old):
            whole = from_ticks(price) + from_ticks(new_price) * new / old
            return {symbol: whole}, {symbol: from_ticks(price), spun: from_ticks(new_price)}


def _closes_only(life: Life, execution: Execution) -> None:
    """Exits never open anything."""
    if life.account.orders[execution.order.id].role in (Role.NONE, Role.ENTRY):
        return
    for symbol, before in execution.before.items():
        traded = sum(
            (p.qty if p.side is Side.BUY else -p.qty for p in execution.parts if p.symbol == symbol), ZERO
        )
        after = before + traded
        require(
            before * traded < 0 and before * after >= 0,
            "exits never open a position",
            f"{symbol}: {execution}",
        )


def _price(execution: Execution, limit: int | None) -> None:
    """No fill beyond its limit; a package's legs lie inside their NBBO, in their ratios, and add up."""
    order, fill = execution.order, execution.fill
    buys = order.side is Side.BUY
    if order.type in (OrderType.LIMIT, OrderType.STOP_LIMIT):
        within = limit is not None and (fill.price <= limit if buys else fill.price >= limit)
        require(within, "no fill beyond its limit", f"{limit}: {execution}")
    if order.size_cap and order.notional is None:
        for part in execution.parts:
            shown = part.quote.ask_size if part.side is Side.BUY else part.quote.bid_size
            require(part.qty <= shown, "a capped fill is no larger than its quote", execution)
    if order.legs:
        require(len(fill.legs) == len(order.legs), "a package fills whole", execution)
        for leg_fill in fill.legs:
            quote = leg_fill.quote
            require(quote.bid <= leg_fill.price <= quote.ask, "every leg inside its NBBO", execution)
            require(leg_fill.qty == fill.qty * leg_fill.leg.ratio, "legs fill in their ratios", execution)
        summed = net_of([leg.leg for leg in fill.legs], [leg.price for leg in fill.legs])
        require(summed == fill.price, "the legs add up to the net price", execution)
        return
    quote = execution.parts[0].quote
    if fill.rule is Rule.LIMIT_RESTING:
        # A resting order trades at its own price, however far the market came through it.
        require(
            fill.price >= quote.ask if buys else fill.price <= quote.bid,
            "a resting order was reached",
            execution,
        )
    else:
        require(quote.bid <= fill.price <= quote.ask, "fills lie inside the NBBO", execution)


def _way(order: Order, symbol: str) -> int:
    side = next((leg.side for leg in order.legs if leg.symbol == symbol), order.side)
    return 1 if side is Side.BUY else -1


def _ended(working: Working) -> None:
    require(working.closed_ns is not None, "what is over has an end", working)
    require(
        not working.reserved.cash and not working.reserved.positions, "what is over holds nothing", working
    )
    if working.status is OrderStatus.FILLED:
        require(working.filled == working.order.qty, "filled means all of it", working)
    if working.order.tif is TimeInForce.FOK and working.status is not OrderStatus.FILLED:
        require(not working.filled, "FOK is all or nothing", working)


def _holdings(life: Life, positions: Mapping[str, Position]) -> list[Holding]:
    return [Holding(life.instrument(symbol), held.qty) for symbol, held in positions.items()]


def _marked(holdings: Iterable[Holding], life: Life) -> set[str]:
    """The symbols that a requirement asks the price of."""
    found = {h.instrument.symbol for h in holdings if h.qty < 0}
    for root in {h.instrument.underlying for h in holdings}:
        listed = life.account.adjusted.get(root)
        found |= {root} if listed is None else {name for name, _ in listed.deliverable.shares}
    return found


def _exact(holdings: Iterable[Holding], life: Life, rules: MarginRules) -> tuple[Decimal, Decimal]:
    """Initial and maintenance before they are rounded to the cent."""
    found = margin.requirement(holdings, marks=life.marks, rules=rules, adjusted=life.account.adjusted)
    return (
        sum((g.initial for g in found.initial_groups), ZERO),
        sum((g.maintenance for g in found.groups), ZERO),
    )


def _below(one: tuple[Decimal, ...], other: tuple[Decimal, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))


def _is_searched(holdings: Sequence[Holding], life: Life, rules: MarginRules) -> bool:
    """Whether the least is surely found, for the book as for twice the book."""
    counts: dict[str, int] = {}
    if any(is_adjusted(holding.instrument.underlying) for holding in holdings):
        twice = [Holding(h.instrument, 2 * h.qty) for h in holdings]
        found = margin.requirement(twice, marks=life.marks, rules=rules, adjusted=life.account.adjusted)
        if not found.is_least:
            return False
    for holding in holdings:
        counts[holding.instrument.underlying] = counts.get(holding.instrument.underlying, 0) + 1
    return max(counts.values()) <= _LEGS_MAX


def _is_vertical(one: OptionTerms, other: OptionTerms) -> bool:
    """Two strikes of one class, right and expiration. What a corporate action has adjusted delivers something else."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("underlying", "right", "expires_ns", "deliverable", "multiplier")
    )


def _settles_within_its_width(
    terms: Mapping[str, OptionTerms], one: str, other: str, prices: Mapping[str, int], one_is_long: bool
) -> None:
    """One vertical alone: what it settles for lies between nothing and its width."""
    sign = 1 if one_is_long else -1
    book = {one: Position(Decimal(sign), ZERO), other: Position(Decimal(-sign), ZERO)}
    at_ns = terms[one].expires_ns
    found = expire(
        book,
        terms={s: terms[s] for s in book},
        prices=prices,
        means=Means(Decimal(10**7), short_rate=ZERO),
        at_ns=at_ns,
    )
    value = sum((p.cash for p in found.postings), ZERO)
    value += sum((p.qty * from_ticks(prices[p.symbol]) for p in found.postings if p.symbol not in book), ZERO)
    width = abs(terms[one].strike - terms[other].strike)
    long, short = (terms[one], terms[other]) if one_is_long else (terms[other], terms[one])
    is_debit = (long.strike < short.strike) is (long.right is Right.CALL)
    most = from_ticks(width) * terms[one].multiplier
    low, high = (ZERO, most) if is_debit else (-most, ZERO)
    # Less than a cent a share in the money lapses: only then one leg may be settled without the other.
    cent = CENT * terms[one].multiplier
    slack = cent if any(0 < terms[symbol].intrinsic(prices) < cent for symbol in book) else ZERO
    within = low - slack <= value <= high + slack
    require(within, "a vertical settles within its width", f"{one}, {other}: {value}")


def _first(life: Life, order_id: UUID) -> UUID:
    """The order that was replaced first of those that led to this one."""
    while (before := life.account.orders[order_id].replaces) is not None:
        order_id = before
    return order_id
