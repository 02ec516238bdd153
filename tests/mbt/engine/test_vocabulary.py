"""The matcher against the oracle over the whole vocabulary: every type, time in force, preference, hours, size cap,
latency, halts, packages, groups and cancels, however the stream is cut and wherever the engine is started anew."""

import os
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from operator import methodcaller
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mbt.engine.fills import Market, Rule, Why
from mbt.engine.matching import Activated, Advanced, Closed, Decision, Filled, Matcher, Resized, Rested
from mbt.engine.orders import (
    FRESH,
    NEVER_NS,
    FillPreference,
    Leg,
    Order,
    OrderStatus,
    OrderType,
    Progress,
    Side,
    TimeInForce,
)
from mbt.engine.packages import PackageQuote
from raxx.kernel.money import from_ticks
from raxx.market.contracts import AssetClass
from raxx.market.quotes import Quote
from raxx.market.sessions import Hours, Session, Sessions
from tests.oracle import brute_force as oracle
from tests.oracle.sample_vocabulary import Odds, Play, Scene, groups, made_up, packages, recorded, singles
from tests.oracle.tape import Row, Tape, asset_class, current_or_next, underlying

SOAK = int(os.environ.get("RAXX_SOAK", "0"))
HOUR = 3_600 * 10**9

Kind = Callable[[Scene], Play]
KINDS: dict[str, Kind] = {
    "singles": lambda scene: singles(scene, 150),
    "packages": lambda scene: packages(scene, 90),
    "groups": lambda scene: groups(scene, 80, of_packages=0.4),
}
# Where orders fill in parts and groups are canceled, most can go wrong.
CROWDED = Odds(size_cap=0.8, latency=0.3, cancels=0.2, halts=0.8)


# -- the play in the engine's words --------------------------------------------------------------------


def ticks(price: Decimal | None) -> int | None:
    return None if price is None else int(price * 10_000)


def quote_of(symbol: str, row: Row) -> Quote:
    return Quote(symbol, row.ts_ns, ticks(row.bid) or 0, row.bid_size, ticks(row.ask) or 0, row.ask_size)


def sessions_of(play: Play) -> Sessions:
    first = date(2000, 1, 1)
    return Sessions("TEST", [
        Session(
            first + timedelta(days=n), day.open_ns, day.close_ns, False, day.late_close_ns or 0,
            day.extended_open_ns or 0, day.extended_close_ns or 0,
        )
        for n, day in enumerate(play.venue.sessions)
    ])  # fmt: skip


def engine_order(order: oracle.Order, play: Play) -> Order:
    """As the intake would make it."""
    option = bool(order.legs) or asset_class(order.symbol) == "option"
    session = current_or_next(order.submit_ns, play.venue.sessions, order.hours)
    arrives_ns = order.submit_ns + order.latency_ns if order.latency_ns else 0
    if order.tif == "cls":
        day = current_or_next(order.submit_ns, play.venue.sessions)
        arrives_ns = max(day.close_ns - 1, order.submit_ns + order.latency_ns)
    has_entry = order.role == "exit" and any(
        other.group == order.group and other.role == "entry" for other in play.orders
    )
    entry = min((o.number for o in play.orders if o.group and o.group == order.group), default=0)
    return Order(
        id=UUID(int=order.number), number=order.number, account_id=UUID(int=0), symbol=order.symbol,
        asset_class=AssetClass.OPTION if option else AssetClass.EQUITY, multiplier=100 if option else 1,
        side=Side(order.side), type=OrderType(order.type), tif=TimeInForce(order.tif), qty=order.qty,
        limit=ticks(order.limit_price), accepted_ns=order.submit_ns, arrives_ns=arrives_ns,
        expires_ns=NEVER_NS if order.tif in ("gtc", "ioc", "fok") else session.window(order.hours)[1],
        stop=ticks(order.stop_price), trail=ticks(order.trail_price), trail_percent=order.trail_percent,
        preference=FillPreference(order.preference) if option else FillPreference.CONSERVATIVE,
        hours=Hours(order.hours), legs=tuple(Leg(leg.symbol, Side(leg.side), leg.ratio) for leg in order.legs),
        underlying=underlying(order.legs[0].symbol if order.legs else order.symbol), size_cap=order.size_cap,
        entry_id=UUID(int=entry) if has_entry else None, group_id=UUID(int=order.group) if order.role == "exit" else None,
    )  # fmt: skip


# -- what the database would know ----------------------------------------------------------------------


@dataclass(slots=True)
class Record:
    """One order's row, and the result that the oracle would tell."""

    order: Order
    status: OrderStatus
    progress: dict[str, Any] = field(default_factory=dict)
    fills: list[oracle.Fill] = field(default_factory=list)
    end_ns: int | None = None
    reason: str | None = None
    quotes: tuple[Row, ...] = ()

    @property
    def filled(self) -> Decimal:
        return sum((fill.qty for fill in self.fills), Decimal(0))

    @property
    def is_open(self) -> bool:
        return self.end_ns is None

    def settle(self, decision: Decision) -> None:
        assert self.is_open, decision
        match decision:
            case Filled(at_ns=at_ns, fill=fill, leaves=leaves):
                self.fills.append(oracle.Fill(
                    at_ns=at_ns, price=from_ticks(fill.price), qty=fill.qty, rule=fill.rule.value,
                    legs=tuple(from_ticks(leg.price) for leg in fill.legs), quotes=rows(fill.quote),
                ))  # fmt: skip
                assert leaves == self.order.qty - self.filled
                self.status = OrderStatus.PARTIALLY_FILLED
                if not leaves:
                    self.end(OrderStatus.FILLED, at_ns)
            case Rested():
                self.status = OrderStatus.NEW
            case Advanced(progress=to):
                self.progress = {"triggered": to.triggered, "mark": to.mark, "joined": to.joined}
            case Activated():
                self.status = OrderStatus.ACCEPTED if self.status is OrderStatus.HELD else self.status
            case Resized(order=order):
                assert self.filled <= order.qty < self.order.qty
                self.order = order
            case Closed(at_ns=at_ns, status=status, why=why, quote=quote):
                self.end(status, at_ns, why.value if why else None)
                self.quotes = rows(quote) if quote else ()

    def end(self, status: OrderStatus, at_ns: int, reason: str | None = None) -> None:
        self.status, self.end_ns, self.reason = status, at_ns, reason

    def taken_in(self, matcher: Matcher) -> None:
        """As an engine that starts takes it in."""
        progress = Progress(filled=self.filled, **self.progress) if self.progress or self.fills else FRESH
        matcher.accept(
            self.order, resting=self.status in (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED), progress=progress,
            held=self.status is OrderStatus.HELD,
        )  # fmt: skip

    def result(self) -> oracle.Result:
        status = self.status.value
        if self.is_open:
            status = "held" if self.status is OrderStatus.HELD else "working"
        return oracle.Result(
            number=self.order.number, status=status, fills=tuple(self.fills), end_ns=self.end_ns, reason=self.reason,  # type: ignore[arg-type]
        )  # fmt: skip


def rows(market: Market) -> tuple[Row, ...]:
    quotes = market.legs if isinstance(market, PackageQuote) else (market,)
    return tuple(
        Row(
            q.ts, from_ticks(q.bid) if q.bid else None, from_ticks(q.ask) if q.ask else None, q.bid_size, q.ask_size
        )
        for q in quotes
    )  # fmt: skip


# -- the play ------------------------------------------------------------------------------------------


def agenda(play: Play) -> dict[int, list[Callable[["Engine"], None]]]:
    """What happens when, besides quotes: orders, then cancels; a halt begins before the quotes of its instant."""
    acts: dict[int, list[tuple[int, int, Callable[[Engine], None]]]] = {}
    for order in play.orders:
        acts.setdefault(order.submit_ns, []).append((0, order.number, methodcaller("accept", order)))
    for number, at_ns in play.cancels.items():
        acts.setdefault(at_ns, []).append((1, number, methodcaller("cancel", UUID(int=number))))
    for root, halts in play.venue.halts.items():
        for halt in halts:
            acts.setdefault(halt.from_ns - 1, []).append(
                (2, 0, methodcaller("halt", root, halt.to_ns or NEVER_NS))
            )
    return {at_ns: [act for *_, act in sorted(found, key=lambda a: a[:2])] for at_ns, found in acts.items()}


class Engine:
    """A matcher and the record that it could be made from anew."""

    def __init__(self, play: Play) -> None:
        self.play, self.sessions = play, sessions_of(play)
        self.start_ns = min(order.submit_ns for order in play.orders) - 1
        self.records: dict[UUID, Record] = {}
        self.halts: dict[str, int] = {}
        self.in_force: dict[str, Quote] = {}
        self.quotes = [
            quote_of(symbol, row)
            for _, _, symbol, row in sorted(
                (row.ts_ns, row.line, symbol, row) for symbol, found in play.tape.rows.items() for row in found
            )
        ]  # fmt: skip
        self.seen = 0
        self.matcher = Matcher(self.sessions, now_ns=0)
        self.advance(self.start_ns)

    def advance(self, now_ns: int) -> None:
        stop = bisect_right(self.quotes, now_ns, lo=self.seen, key=lambda quote: quote.ts)
        batch = self.quotes[self.seen : stop]
        self.seen = stop
        self.in_force |= {quote.symbol: quote for quote in batch}
        self.matcher.advance(batch, now_ns)
        self.settle()

    def settle(self) -> None:
        for decision in self.matcher.take():
            self.records[decision.order.id].settle(decision)

    def accept(self, order: oracle.Order) -> None:
        made = engine_order(order, self.play)
        held = made.entry_id is not None
        self.records[made.id] = Record(made, OrderStatus.HELD if held else OrderStatus.ACCEPTED)
        self.matcher.accept(made, held=held)

    def cancel(self, order_id: UUID) -> None:
        self.advance(self.matcher.now_ns)  # what arrives at this instant comes first
        if order_id not in self.matcher:
            return
        now_ns, others = self.matcher.now_ns, self.matcher.canceled_with(order_id)
        is_entry = any(record.order.entry_id == order_id for record in self.records.values())
        for found in [order_id, *others]:
            reason = "PARENT_ENDED" if is_entry else "GROUP_CANCELED"
            self.records[found].end(OrderStatus.CANCELED, now_ns, None if found == order_id else reason)
        for found in sorted([*others, order_id], reverse=True):
            assert self.matcher.remove(found)
        self.settle()

    def halt(self, root: str, until_ns: int) -> None:
        self.halts[root] = until_ns
        self.matcher.halt(root, until_ns=until_ns)

    def restart(self) -> None:
        """All that survives: the instant, the quotes in force, the rows of open orders, and who is halted."""
        self.matcher = Matcher(self.sessions, now_ns=self.matcher.now_ns, in_force=self.in_force)
        for root, until_ns in self.halts.items():
            self.matcher.halt(root, until_ns=until_ns)
        for record in sorted(self.records.values(), key=lambda record: record.order.number):
            if record.is_open:
                record.taken_in(self.matcher)

    def run(self, cuts: Iterable[int] = (), *, restarts: bool = False) -> list[oracle.Result]:
        acts = agenda(self.play)
        for at_ns in sorted({*acts, *cuts, self.play.tape.end_ns}):
            if at_ns > self.play.tape.end_ns:
                break
            self.advance(max(at_ns, self.start_ns))
            for act in acts.get(at_ns, ()):
                act(self)
            if restarts:
                self.advance(self.matcher.now_ns)
                self.restart()
        assert len(self.matcher) == sum(record.is_open for record in self.records.values())
        return [record.result() for record in self.records.values()]


def to_its_end(play: Play) -> Play:
    """Until every order of its last day has expired."""
    day = current_or_next(max(order.submit_ns for order in play.orders), play.venue.sessions)
    return replace(play, tape=Tape(play.tape.rows, max(play.tape.end_ns, day.close_ns + 8 * HOUR)))


def expected(play: Play) -> dict[int, oracle.Result]:
    found = oracle.results(play.orders, play.tape, play.venue, play.cancels)
    return {
        result.number: replace(
            result, quotes=(), fills=tuple(
                replace(fill, quotes=tuple(row._replace(line=0) for row in fill.quotes)) for fill in result.fills
            ),
        )
        for result in found
    }  # fmt: skip


def agree(play: Play, found: list[oracle.Result], wanted: Mapping[int, oracle.Result], what: object) -> None:
    by_number = {order.number: order for order in play.orders}
    for result in found:
        order = by_number[result.number]
        assert result == wanted[result.number], (
            what, [o for o in play.orders if o is order or (o.group and o.group == order.group)],
        )  # fmt: skip
    assert len(found) == len(play.orders)


def cuts_of(play: Play, dice: random.Random, count: int) -> Iterator[int]:
    """Some at any instant, some at stamps of quotes."""
    first, last = min(order.submit_ns for order in play.orders), play.tape.end_ns
    stamps = [row.ts_ns for found in play.tape.rows.values() for row in found if row.ts_ns > first]
    for _ in range(count):
        yield dice.choice(stamps) if stamps and dice.random() < 0.5 else dice.randint(first, last)


def compare(play: Play, seed: int) -> list[oracle.Result]:
    wanted, dice = expected(play), random.Random(seed)
    found = Engine(play).run()
    agree(play, found, wanted, seed)
    agree(play, Engine(play).run(cuts_of(play, dice, 40)), wanted, (seed, "cut"))
    agree(play, Engine(play).run(cuts_of(play, dice, 40), restarts=True), wanted, (seed, "restarted"))
    return found


# -- tests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(12 + 200 * SOAK))
def test_on_made_up_tapes_engine_and_oracle_agree(kind: str, seed: int) -> None:
    play = to_its_end(KINDS[kind](made_up(seed, Odds() if seed % 2 else CROWDED)))
    found = compare(play, seed)
    assert sum(bool(result.fills) for result in found) > 20


def test_the_plays_meet_every_rule_and_every_reason() -> None:
    """A comparison of what never happens is worth nothing."""
    results, statuses = [], set()
    for seed in range(6):
        for draw in KINDS.values():
            engine = Engine(to_its_end(draw(made_up(seed, CROWDED))))
            results += engine.run()
            statuses |= {record.status for record in engine.records.values()}
    assert {fill.rule for result in results for fill in result.fills} == {rule.value for rule in Rule}
    assert {result.reason for result in results} == {None, *Why} - {
        Why.STOP_NOT_REACHED,  # why it still waits: nothing ends with it
        Why.POSITION_GONE, Why.CASH_GONE, Why.CORPORATE_ACTION,  # of an account, which there is none of here
    }  # fmt: skip
    assert statuses == set(OrderStatus) - {OrderStatus.REPLACED, OrderStatus.REJECTED}
    exits = [result for result in results if len(result.fills) > 1 and result.reason == "OCO_SIBLING_FILLED"]
    assert exits, "an exit that filled in parts and lost the rest to its sibling"


RECORDED = [
    ("quotes_tick_IBM_20131007", 7, {"singles": 25, "groups": 15}),
    ("quotes_tick_BAC_20131007", 8, {"singles": 6, "groups": 3}),
    ("quotes_1min_options_GOOG_20151224", 24, {"singles": 40, "packages": 40, "groups": 25}),
]


@pytest.mark.tapes
@pytest.mark.parametrize(("name", "seed", "counts"), RECORDED)
def test_on_recorded_tapes_they_agree(tapes: Path, name: str, seed: int, counts: Mapping[str, int]) -> None:
    scene = recorded(tapes / f"{name}.csv.gz", seed, CROWDED)
    found: list[oracle.Result] = []
    for kind, count in counts.items():
        play = {
            "singles": lambda n: singles(scene, n), "packages": lambda n: packages(scene, n),
            "groups": lambda n: groups(scene, n, of_packages=0.6 if "packages" in counts else 0.0),
        }[kind](count * (1 + 10 * SOAK))  # fmt: skip
        found += compare(to_its_end(play), seed)
    assert sum(bool(result.fills) for result in found) > len(found) // 4
