"""What docs/rules/fills.md and docs/rules/contingent-orders.md say about orders and a tape, as simply as it can be written.

This is the yardstick for the product's engine, so it shares no code with it: no import from the
product, prices as Decimal straight from the text of the tape, one loop over the quotes. Do not make
it clever, and do not mend it to agree with the engine: mend whichever of the two departs from the
documents.

In: `Order`s as accepted (single symbols, packages, members of a group), a `Tape`, a `Venue` (days,
halts) and the instants at which someone asked to cancel. Out: one `Result` per order. An order is
looked at together with its group only; nothing here knows about cash or positions.

Prices are dollars; 1/10,000 dollar is one of the product's ticks. Anything accepted is followed; what
should have been denied is not checked here (but see opg_accepted and cls_accepted in tape.py).

    results(orders, tape, venue, cancels) -> list[Result]      the whole vocabulary
    outcomes(orders, tape, sessions), decide(order, rows, ...)  the same for one fill per order

`tape.py` has the quotes and hours, `package.py` the arithmetic of packages.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from tests.oracle.package import Leg, Sight, allocate, package_sight, two_sides
from tests.oracle.tape import (
    CENT,
    Hours,
    Row,
    Session,
    Tape,
    Venue,
    asset_class,
    current_or_next,
    increment,
    load_sessions,
    load_tape,
    quotes_after,
    round_down,
    round_up,
    unusable,
)

__all__ = [
    "Fill", "Leg", "Order", "Outcome", "Result", "Row", "Session", "Tape", "Venue", "asset_class",
    "current_or_next", "decide", "load_sessions", "load_tape", "outcomes", "results",
]  # fmt: skip

OVER = ("", Row(2**63, None, None))  # after the last row of a tape

OrderType = Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]
Tif = Literal["day", "gtc", "ioc", "fok", "opg", "cls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as accepted. Symbols are compact ("IBM", "GOOG151224C00750000").

    A package has `legs`, no symbol, and is always bought: prices are net, a credit is negative.
    `group` joins the members of a bracket, OTO or OCO: one entry (or none) and its exits, numbered in
    the order entry, take-profit, stop-loss. The quantity of an exit is that of its entry.
    """

    number: int
    submit_ns: int
    type: OrderType
    tif: Tif
    qty: Decimal
    symbol: str = ""
    side: Literal["buy", "sell"] = "buy"
    legs: tuple[Leg, ...] = ()
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    trail_price: Decimal | None = None
    trail_percent: Decimal | None = None
    preference: Literal["conservative", "mid", "aggressive"] = "conservative"
    hours: Hours = "regular"
    size_cap: bool = False
    latency_ns: int = 0
    group: int = 0
    role: Literal["alone", "entry", "exit"] = "alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """`price` is the net price of a package, then with the price of each leg; `quotes` is what filled it."""

    at_ns: int
    price: Decimal
    qty: Decimal
    rule: str
    legs: tuple[Decimal, ...] = ()
    quotes: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of an order by the end of the tape.

    `held` and `working` orders have not ended: no `end_ns`. An order that ended may have been
    filled in part. `quotes` is what was in force when an immediate order ended.
    """

    number: int
    status: Literal["held", "working", "filled", "canceled", "expired"]
    fills: tuple[Fill, ...] = ()
    end_ns: int | None = None
    reason: str | None = None
    quotes: tuple[Row, ...] = ()


def results(
    orders: Iterable[Order], tape: Tape, venue: Venue, cancels: Mapping[int, int] | None = None
) -> list[Result]:
    """One result per order, in the same order. `cancels`: order number -> when its cancel was requested."""
    groups: dict[int, list[Order]] = {}
    asked = list(orders)
    for order in asked:
        groups.setdefault(order.group or -order.number, []).append(order)
    found: dict[int, Result] = {}
    for members in groups.values():
        for life in Market(members, tape, venue, cancels or {}).run():
            found[life.order.number] = life.result()
    return [found[order.number] for order in asked]


# ---------------------------------------------------------------------------------------------
# One order on its way.


@dataclass(slots=True, eq=False)
class Life:
    order: Order
    expires_ns: int | None
    arrives_ns: int | None  # None while it is held
    released: Decimal = Decimal(0)  # how much of an exit its entry has let go
    acts: bool = False  # it has come to the market: every quote from now on concerns it
    arrived: bool = False  # it has met its arrival quote
    triggered: bool = False
    mark: Decimal | None = None  # high-water mark of a trailing stop
    before: Sight | None = (
        None  # the usable quote before this one, since it arrived as a market or limit order
    )
    drawn: tuple[tuple[Row, ...], Decimal] = ((), Decimal(0))  # how much of which quote it has taken
    status: Literal["filled", "canceled", "expired"] | None = None
    end_ns: int | None = None
    reason: str | None = None
    quotes: tuple[Row, ...] = ()
    fills: list[Fill] = field(default_factory=list)
    symbols: tuple[str, ...] = ()
    plain_limit: bool = False

    def __post_init__(self) -> None:
        order = self.order
        self.symbols = tuple(leg.symbol for leg in order.legs) if order.legs else (order.symbol,)
        self.plain_limit = order.type == "limit" and not order.legs and not prefers_mid(order)

    @property
    def filled(self) -> Decimal:
        return sum((fill.qty for fill in self.fills), Decimal(0))

    def result(self) -> Result:
        waiting: Literal["held", "working"] = "held" if self.arrives_ns is None else "working"
        return Result(
            number=self.order.number, status=self.status or waiting, fills=tuple(self.fills), end_ns=self.end_ns,
            reason=self.reason, quotes=self.quotes,
        )  # fmt: skip

    def end(
        self, status: Literal["filled", "canceled", "expired"], at_ns: int, reason: str | None = None
    ) -> None:
        self.status, self.end_ns, self.reason = status, at_ns, reason


def expiry(order: Order, venue: Venue) -> int | None:
    """The end of the window that an order was accepted in, or of the next; GTC has none, IOC and FOK need none."""
    if order.tif in ("gtc", "ioc", "fok"):
        return None
    return current_or_next(order.submit_ns, venue.sessions, order.hours).window(order.hours)[1]


def arrival(order: Order, venue: Venue) -> int:
    after_latency = order.submit_ns + order.latency_ns
    if order.tif != "cls":
        return after_latency
    return max(after_latency, current_or_next(order.submit_ns, venue.sessions).close_ns - 1)


# ---------------------------------------------------------------------------------------------
# One group of orders (or an order alone) and all quotes of its symbols.


class Market:
    def __init__(
        self, members: Sequence[Order], tape: Tape, venue: Venue, cancels: Mapping[int, int]
    ) -> None:
        self.venue, self.cancels, self.tape = venue, cancels, tape
        has_entry = any(order.role == "entry" for order in members)
        self.lives = [
            Life(
                order,
                expiry(order, venue),
                None if order.role == "exit" and has_entry else arrival(order, venue),
            )
            for order in sorted(members, key=lambda order: order.number)
        ]
        self.entry = next((life for life in self.lives if life.order.role == "entry"), None)
        self.exits = [life for life in self.lives if life.order.role == "exit"]
        self.arriving: list[Life] = []  # released by a fill of their entry at this instant
        self.in_force: dict[str, Row] = {}

    def run(self) -> list[Life]:
        """At each instant: expiry, the quotes in tape order, then arrivals, then cancels."""
        orders = [life.order for life in self.lives]
        symbols = sorted({symbol for life in self.lives for symbol in life.symbols})
        start_ns = min(order.submit_ns for order in orders)
        self.in_force, later = quotes_after(symbols, self.tape.rows, start_ns)

        arrivals = [
            life.arrives_ns for life in self.lives if life.arrives_ns is not None and life.order.tif != "cls"
        ]
        end_ns = max([self.tape.end_ns, *arrivals])
        agenda = {life.arrives_ns for life in self.lives} | {life.expires_ns for life in self.lives}
        agenda |= {self.cancels.get(order.number) for order in orders}
        due = sorted(at_ns for at_ns in agenda if at_ns is not None and start_ns <= at_ns <= end_ns)
        due.reverse()

        symbol, row = next(later, OVER)
        while (due or row.ts_ns <= end_ns) and (
            still_open := [life for life in self.lives if life.status is None]
        ):
            on_agenda = bool(due) and due[-1] <= row.ts_ns
            at_ns = due.pop() if on_agenda else row.ts_ns
            if on_agenda:
                self.expire(at_ns)
            while row.ts_ns == at_ns:
                self.in_force[symbol] = row
                for life in still_open:
                    concerned = life.acts and life.status is None and symbol in life.symbols
                    if concerned and (not life.arrived or self.may_matter(life, row)):
                        self.judge(life, at_ns, arriving=False)
                symbol, row = next(later, OVER)
            if on_agenda or self.arriving:
                self.arrive(at_ns)
                self.cancel(at_ns)
        return self.lives

    def expire(self, at_ns: int) -> None:
        for life in self.lives:
            if life.status is None and life.expires_ns == at_ns:
                life.end("expired", at_ns)
                self.entry_ended(life, at_ns)

    def arrive(self, at_ns: int) -> None:
        """Orders in the order they were accepted, then the exits that one of them released."""
        self.arriving = [life for life in self.lives if life.arrives_ns == at_ns and not life.acts] + [
            life for life in self.arriving if life.acts
        ]
        while self.arriving:
            life = self.arriving.pop(0)
            if life.status is None:
                life.acts = True
                life.released = self.entry.filled if self.entry else life.order.qty
                self.judge(life, at_ns, arriving=True)

    def cancel(self, at_ns: int) -> None:
        """Whoever cancels an exit cancels all of the group that is still open; an entry leaves exits for what it filled."""
        for life in self.lives:
            if life.status is None and self.cancels.get(life.order.number) == at_ns:
                life.end("canceled", at_ns)
                self.entry_ended(life, at_ns)
                for other in self.lives if life.order.role == "exit" else []:
                    if other.status is None:
                        other.end("canceled", at_ns, "GROUP_CANCELED")

    # -- one order looks at the quote in force --------------------------------------------------

    def judge(self, life: Life, at_ns: int, *, arriving: bool) -> None:
        order = life.order
        if self.leaves(life) <= 0:  # an exit that has sold what was bought so far
            return
        shortfall = self.look(life, at_ns, arriving=arriving)
        if life.status is None and self.is_over(life, arriving=arriving):
            life.quotes = tuple(self.in_force[symbol] for symbol in life.symbols if symbol in self.in_force)
            life.end("canceled" if order.tif in ("ioc", "fok") else "expired", at_ns, shortfall)
            self.entry_ended(life, at_ns)

    @staticmethod
    def is_over(life: Life, *, arriving: bool) -> bool:
        """Is an order that had one chance done with it? OPG takes its chance on its first usable quote."""
        if life.order.tif in ("ioc", "fok", "cls"):
            return arriving
        return life.order.tif == "opg" and life.arrived

    def look(self, life: Life, at_ns: int, *, arriving: bool) -> str | None:
        """Fill what the quote in force allows; say what stands against (more of) it."""
        order = life.order
        for symbol in life.symbols:
            if reason := unusable(symbol, self.in_force.get(symbol), at_ns, order.hours, self.venue):
                return reason
        quotes = tuple(self.in_force[symbol] for symbol in life.symbols)
        sight = sight_of(order, self.in_force)
        first = arriving or not life.arrived
        life.arrived = True

        if order.type in ("stop", "stop_limit", "trailing_stop") and not life.triggered:
            if not reaches_stop(order, sight, stop_level(life, self.venue)):
                life.mark = better_mark(order, sight, life.mark)
                return "STOP_NOT_REACHED"
            life.triggered = first = True

        terms = price_and_rule(life, sight, self.venue, first=first)
        life.before = sight
        if terms is None:
            return "LIMIT_NOT_REACHED"
        price, rule = terms
        wanted = qty = self.leaves(life)
        if order.size_cap:
            drawn = life.drawn[1] if same(life.drawn[0], quotes) else Decimal(0)
            qty = min(wanted, max(Decimal(0), sight.size - drawn))
            if order.tif == "fok" and qty < wanted:
                qty = Decimal(0)
            life.drawn = (quotes, drawn + qty)
        if qty:
            legs: tuple[Decimal, ...] = ()
            if order.legs:
                price, legs = allocate(order.legs, self.in_force, price)
            life.fills.append(Fill(at_ns=at_ns, price=price, qty=qty, rule=rule, legs=legs, quotes=quotes))
            self.after_fill(life, at_ns)
        return "SIZE_TOO_SMALL" if qty < wanted else None

    @staticmethod
    def may_matter(life: Life, row: Row) -> bool:
        """Most quotes do not reach a resting limit, and need no further look."""
        if not life.plain_limit:
            return True
        touch = row.ask if life.order.side == "buy" else row.bid
        return touch is not None and at_least_as_good(life.order, touch)

    # -- the group ------------------------------------------------------------------------------

    def leaves(self, life: Life) -> Decimal:
        """How much of an order may fill now. Exits share what their entry has let go."""
        if life.order.role != "exit":
            return life.order.qty - life.filled
        return life.released - self.exited()

    def exited(self) -> Decimal:
        return sum((life.filled for life in self.exits), Decimal(0))

    def after_fill(self, life: Life, at_ns: int) -> None:
        if life.order.role == "exit":
            self.close_exits(last=life, at_ns=at_ns)
            return
        for held in self.exits:
            if held.status is None:
                held.arrives_ns = at_ns
                if held not in self.arriving:
                    self.arriving.append(held)
        if life.filled == life.order.qty:
            life.end("filled", at_ns)

    def close_exits(self, *, last: Life, at_ns: int) -> None:
        """When nothing is left to exit from, the exit that filled last is filled and the others are canceled."""
        entry = self.entry
        meant = last.order.qty if entry is None or entry.status in (None, "filled") else entry.filled
        if self.exited() < meant:
            return
        for life in self.exits:
            if life.status is None and life is last:
                life.end("filled", at_ns)
            elif life.status is None:
                life.end("canceled", at_ns, "OCO_SIBLING_FILLED")

    def entry_ended(self, life: Life, at_ns: int) -> None:
        """Exits of an entry that ended without its whole quantity: none, or for what it has filled."""
        if life.order.role != "entry":
            return
        if not life.fills:
            for held in self.exits:
                if held.status is None:
                    held.end("canceled", at_ns, "PARENT_ENDED")
            return
        if self.exited() < life.filled:
            return
        for held in self.exits:  # all of it is sold already
            if held.status is None and held.fills:
                held.end("filled", at_ns)
            elif held.status is None:
                held.end("canceled", at_ns, "OCO_SIBLING_FILLED")


# ---------------------------------------------------------------------------------------------
# The rules.


def sight_of(order: Order, in_force: Mapping[str, Row]) -> Sight:
    if order.legs:
        return package_sight(order.legs, in_force)
    bid, ask, bid_size, ask_size = two_sides(in_force[order.symbol])
    return Sight(bid, ask, ask_size if order.side == "buy" else bid_size)


def price_and_rule(life: Life, sight: Sight, venue: Venue, *, first: bool) -> tuple[Decimal, str] | None:
    """At what price, and by which rule, this quote fills an order; `first`: it is its arrival quote."""
    order = life.order
    touch = sight.ask if order.side == "buy" else sight.bid
    if order.type in ("stop", "trailing_stop"):
        return touch, f"{order.type}.touch"
    if order.type == "market":
        return (
            (mid(order, sight, venue), "market.mid")
            if first and prefers_mid(order)
            else (touch, "market.touch")
        )
    if prefers_mid(order):
        if at_least_as_good(order, middle := mid(order, sight, venue)):
            return middle, "limit.mid"
        if order.preference == "aggressive" and not first and left_through(order, life.before, sight):
            return limit_of(order), "limit.joined"
        return None
    if not at_least_as_good(order, touch):
        return None
    if first:
        return touch, "stop_limit.marketable" if order.type == "stop_limit" else "limit.marketable"
    return limit_of(order), "limit.resting"


def prefers_mid(order: Order) -> bool:
    """Equities always trade by the conservative rules."""
    option = bool(order.legs) or asset_class(order.symbol) == "option"
    return option and order.preference != "conservative"


def mid(order: Order, sight: Sight, venue: Venue) -> Decimal:
    """The midpoint on the legal step against the trader, never beyond the touch."""
    middle = (sight.bid + sight.ask) / 2
    step = CENT if order.legs else increment(order.symbol, middle, venue)
    if order.side == "buy":
        return min(round_up(middle, step), sight.ask)
    return max(round_down(middle, step), sight.bid)


def left_through(order: Order, before: Sight | None, now: Sight) -> bool:
    """Did the near side stand at the limit or better, and is it behind it now?"""
    limit = limit_of(order)
    if before is None:
        return False
    if order.side == "buy":
        return before.bid >= limit > now.bid
    return before.ask <= limit < now.ask


def limit_of(order: Order) -> Decimal:
    if order.limit_price is None:
        raise ValueError(f"order {order.number} has no limit")
    return order.limit_price


def at_least_as_good(order: Order, price: Decimal) -> bool:
    """Is this price at the limit or better?"""
    return price <= limit_of(order) if order.side == "buy" else price >= limit_of(order)


def reaches_stop(order: Order, sight: Sight, level: Decimal | None) -> bool:
    if level is None:
        return False
    return sight.ask >= level if order.side == "buy" else sight.bid <= level


def stop_level(life: Life, venue: Venue) -> Decimal | None:
    """The stop price; of a trailing stop where it stands by the quotes so far, None before the first."""
    order = life.order
    if order.type != "trailing_stop":
        return order.stop_price
    if life.mark is None:
        return None
    away = 1 if order.side == "buy" else -1
    if order.trail_price is not None:
        return life.mark + away * order.trail_price
    if order.trail_percent is None:
        raise ValueError(f"order {order.number} has no trail")
    level = life.mark * (100 + away * order.trail_percent) / 100
    step = increment(order.symbol, level, venue)
    return round_up(level, step) if order.side == "buy" else round_down(level, step)


def better_mark(order: Order, sight: Sight, mark: Decimal | None) -> Decimal:
    """The highest bid seen by a sell, the lowest ask seen by a buy."""
    if order.side == "buy":
        return sight.ask if mark is None else min(mark, sight.ask)
    return sight.bid if mark is None else max(mark, sight.bid)


def same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """The very same updates, not merely equal ones."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


# ---------------------------------------------------------------------------------------------
# One order that fills whole or not at all: market and limit orders without a size cap.


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a single-symbol order without a size cap by the end of the tape.

    filled    at_ns, price, rule and the quote that filled it
    canceled  at_ns, reason and the quote in force, if there was one
    expired   at_ns
    working   nothing else: the tape ended first
    """

    kind: Literal["filled", "canceled", "expired", "working"]
    at_ns: int | None = None
    price: Decimal | None = None
    rule: str | None = None
    reason: str | None = None
    quote: Row | None = None


def outcomes(orders: Iterable[Order], tape: Tape, sessions: Sequence[Session]) -> list[Outcome]:
    """One outcome per order, in the same order. `sessions` are sorted and reach beyond the tape."""
    return [decide(order, tape.rows.get(order.symbol, ()), sessions, tape.end_ns) for order in orders]


def decide(order: Order, rows: Sequence[Row], sessions: Sequence[Session], end_ns: int) -> Outcome:
    """Follow one order through all rows of its symbol until it ends, or until the tape does."""
    found = results([order], Tape({order.symbol: rows}, end_ns), Venue(sessions))[0]
    match found.status:
        case "filled":
            fill = found.fills[0]
            return Outcome(
                kind="filled", at_ns=fill.at_ns, price=fill.price, rule=fill.rule, quote=fill.quotes[0]
            )
        case "canceled" | "expired":
            quote = found.quotes[0] if found.quotes else None
            return Outcome(kind=found.status, at_ns=found.end_ns, reason=found.reason, quote=quote)
        case _:
            return Outcome(kind="working")
