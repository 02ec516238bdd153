"""Run simulated weeks, and make a failing one small."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import islice
from random import Random

import msgspec

from mbt.engine.corporate import CashDividend
from mbt.engine.intake import Role
from mbt.engine.ledger import digest
from mbt.engine.orders import OrderClass, OrderStatus, Side, TimeInForce
from mbt.engine.simulation import market, trader
from mbt.engine.simulation.invariants import Auditor, Violation
from mbt.engine.simulation.market import Week
from mbt.engine.simulation.operations import (
    Cancel,
    Corporate,
    Exercise,
    Operation,
    Quotes,
    Replace,
    Restart,
    Send,
)
from mbt.engine.simulation.world import Outcome, World
from mbt.engine.strategies import recognise
from mbt.engine.tickets import Ticket
from raxx.market.contracts import AssetClass, parse_symbol
from raxx.market.listing import is_adjusted

Tamper = Callable[[World, Operation], None]
_SHRINK_S = 60.0
_REPLAY_EVERY = 4  # weeks
SAME_AGAIN = "the same week gives the same ledger"
RESTARTS = "a restart changes nothing"


class Failure(msgspec.Struct, frozen=True):
    """An invariant that did not hold, in the week of `seed` after `operations` operations; `least` shows it too."""

    invariant: str
    message: str
    seed: int
    operations: int
    least: tuple[Operation, ...] = ()

    @property
    def command(self) -> str:
        return f"python manage.py simulate --seed {self.seed} --operations {self.operations}"


@dataclass
class Summary:
    """What a simulation did. `orders` were accepted, `filled` are those of them that filled at least in part, both by
    kind; `traits` say what was special about them. `refused`: what the rules denied the engine itself. `digest` is
    over the ledgers of all accounts. `replays` weeks were lived a second time, half of them without their restarts.
    """

    seed: int
    operations: int = 0
    weeks: int = 0
    accounts: int = 0
    quotes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    traits: Counter[str] = field(default_factory=Counter)
    profiles: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    denials: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    fills: Counter[str] = field(default_factory=Counter)
    postings: Counter[str] = field(default_factory=Counter)
    margin_checks: int = 0
    replays: int = 0
    digest: str = ""
    interrupted: bool = False
    failure: Failure | None = None


def simulate(
    seed: int, operations: int, *, tamper: Tamper | None = None, progress: Callable[[Summary], None] | None = None,
    shrink_for_s: float = _SHRINK_S, now: Callable[[], float] = time.monotonic,
) -> Summary:  # fmt: skip
    """Weeks `seed`, `seed` + 1, … until so many operations are done, or an invariant fails, or somebody interrupts.

    `tamper` is called after each operation and may break something: for tests of the simulator itself. `progress`
    is called after each week.
    """
    summary, total = Summary(seed), sha256()
    try:
        while summary.operations < operations and summary.failure is None:
            number = seed + summary.weeks
            _play(number, operations - summary.operations, summary, tamper, total.update)
            summary.weeks += 1
            if progress is not None:
                progress(summary)
        if summary.failure is not None and shrink_for_s > 0:
            summary.failure = _shrunk(summary.failure, tamper, deadline=now() + shrink_for_s, now=now)
    except KeyboardInterrupt:
        summary.interrupted = True
    summary.digest = total.hexdigest()
    return summary


def _play(
    seed: int, most: int, summary: Summary, tamper: Tamper | None, note: Callable[[bytes], None]
) -> None:
    week = market.week(seed)
    world = World(week.sessions)
    auditor = Auditor(world)
    played: list[Operation] = []
    try:
        for operation in islice(_script(seed, week, world), most):
            played.append(operation)
            outcome, failure = _step(world, auditor, operation, tamper)
            _count(summary, operation, outcome)
            if failure is not None:
                summary.failure = Failure(failure.name, failure.message, seed, len(played))
                break
    finally:  # what an interrupted week has done so far counts
        summary.margin_checks += auditor.margin_checks
        _tell(summary, world)
    digests = digests_of(world)
    note("".join(digests).encode())
    if summary.failure is None and summary.weeks % _REPLAY_EVERY == 0:
        # Once as it was, the next time without the restarts.
        summary.replays += 1
        as_it_was = summary.replays % 2 == 1
        again = [one for one in played if as_it_was or not isinstance(one, Restart)]
        found = replayed(again, week, tamper)
        if found != digests:
            name = SAME_AGAIN if as_it_was else RESTARTS
            summary.failure = Failure(name, f"{digests} and {found}", seed, len(played))


def replayed(operations: Sequence[Operation], week: Week, tamper: Tamper | None = None) -> list[str]:
    """The digests of a world in which just these operations happen."""
    world = World(week.sessions)
    for operation in operations:
        world.do(operation)
        if tamper is not None:
            tamper(world, operation)
    return digests_of(world)


def digests_of(world: World) -> list[str]:
    """One for each account."""
    return [digest(life.account.ledger()) for life in world.lives]


def _script(seed: int, week: Week, world: World) -> Iterator[Operation]:
    return trader.operations(Random(f"week {seed}"), week, world)  # noqa: S311 - no secret


def _step(
    world: World, auditor: Auditor, operation: Operation, tamper: Tamper | None
) -> tuple[Outcome, Violation | None]:
    outcome = Outcome()
    try:
        outcome = world.do(operation)
        if tamper is not None:
            tamper(world, operation)
        auditor.check(operation, outcome)
    except Violation as violation:
        return outcome, violation
    except Exception as crash:  # a bug is a finding like any other
        return outcome, Violation(f"no crash ({type(crash).__name__})", str(crash))
    return outcome, None


def _count(summary: Summary, operation: Operation, outcome: Outcome) -> None:
    summary.operations += 1
    if not outcome.missed:
        summary.kinds[_kind(operation)] += 1
    if isinstance(operation, Quotes):
        summary.quotes += len(operation.quotes)
    if outcome.denial and isinstance(operation, Send | Replace | Cancel | Exercise):
        summary.denials[f"{type(operation).__name__}: {outcome.denial}"] += 1
    elif outcome.denial:
        summary.refused[f"{type(operation).__name__}: {outcome.denial}"] += 1
    elif isinstance(operation, Send):
        summary.orders[_order_kind(operation.ticket)] += 1
        summary.traits.update(_traits(operation.ticket, outcome))
    summary.refused.update(f"RiskClose: {code}" for code in outcome.refused)
    for kind, count in (
        ("structures closed by the engine", len(outcome.closed)),
        ("contracts assigned early", outcome.assigned),
    ):
        if count:
            summary.kinds[kind] += count
    if outcome.expiration is not None:
        summary.kinds.update(f"expired: {each.fate}" for each in outcome.expiration.outcomes)


def _kind(operation: Operation) -> str:
    if isinstance(operation, Corporate):
        special = " special" if isinstance(operation.event, CashDividend) and operation.event.special else ""
        return f"Corporate:{special} {type(operation.event).__name__}"
    if isinstance(operation, Quotes) and not operation.quotes:
        return "time passes"
    return type(operation).__name__


def _order_kind(ticket: Ticket) -> str:
    is_option = not ticket.legs and parse_symbol(ticket.symbol).right is not None
    what = "package" if ticket.legs else "option" if is_option else "stock"
    exits = ticket.legs and (ticket.take_profit is not None or ticket.stop_loss is not None)
    group = " with exits" if exits else "" if ticket.order_class in _PLAIN else f" {ticket.order_class}"
    return f"{what}{group} {ticket.order_type} {ticket.time_in_force}"


def _traits(ticket: Ticket, outcome: Outcome) -> Iterator[str]:
    """What is special about an accepted order."""
    order = outcome.taken[0].order
    if ticket.notional is not None:
        yield "for an amount of money"
    if ticket.qty is not None and ticket.qty % 1:
        yield "a fraction of a share"
    if ticket.extended_hours:
        yield "extended hours"
    if order.size_cap:
        yield "size cap"
    if order.arrives_ns > order.accepted_ns and ticket.time_in_force is not TimeInForce.CLS:
        yield "latency"
    if order.asset_class is AssetClass.OPTION:
        yield f"{order.preference} fills"
    if any(is_adjusted(_root(symbol)) for symbol in ticket.symbols):
        yield "in adjusted contracts"
    if ticket.legs:
        yield f"{len(ticket.legs)} legs"
        signed = ((leg, leg.ratio if leg.side is Side.BUY else -leg.ratio) for leg in ticket.legs)
        legs = [(parse_symbol(leg.symbol), ratio) for leg, ratio in signed]
        yield recognise(legs, underlying=legs[0][0].underlying).name
    if outcome.taken[0].reserved.positions:
        yield "closes a position"


_PLAIN = (OrderClass.SIMPLE, OrderClass.MLEG)


def _tell(summary: Summary, world: World) -> None:
    for life in world.lives:
        account, profile = life.account, life.profile
        summary.accounts += 1
        naked = ", naked shorts" if profile.naked_shorts else ""
        summary.profiles[f"{profile.type}, level {profile.options_level}{naked}"] += 1
        for working in account.orders.values():
            reason = (
                f" {working.reason}" if working.reason and working.status is not OrderStatus.FILLED else ""
            )
            summary.ends[f"{working.status}{reason}"] += 1
            if working.filled:
                order = working.order
                what = "package" if order.legs else str(order.asset_class)
                role = f" {working.role}" if working.role is not Role.NONE else ""
                summary.filled[f"{what}{role} {order.type} {order.tif}"] += 1
        summary.fills.update(str(execution.fill.rule) for execution in account.executions)
        summary.postings.update(str(entry.posting.kind) for entry in account.entries)


# -- making a failure small -------------------------------------------------------------------------


def _shrunk(failure: Failure, tamper: Tamper | None, *, deadline: float, now: Callable[[], float]) -> Failure:
    if failure.invariant in (SAME_AGAIN, RESTARTS):
        return failure  # only the week as a whole shows it
    week = market.week(failure.seed)
    recorded = _recorded(failure, week, tamper)

    def fails(operations: Sequence[Operation]) -> bool:
        concerns_margin = "margin" in failure.invariant or "the book" in failure.invariant
        return (
            now() < deadline
            and replays_to(operations, week, tamper, margin=concerns_margin) == failure.invariant
        )

    return msgspec.structs.replace(failure, least=tuple(least(recorded, fails)))


def replays_to(
    operations: Sequence[Operation], week: Week, tamper: Tamper | None = None, *, margin: bool = True
) -> str:
    """The invariant that fails when just these operations happen; empty when none does."""
    world = World(week.sessions)
    auditor = Auditor(world, margin_too=margin)
    for operation in operations:
        _, failure = _step(world, auditor, operation, tamper)
        if failure is not None:
            return failure.name
    return ""


def _recorded(failure: Failure, week: Week, tamper: Tamper | None) -> list[Operation]:
    world = World(week.sessions)
    auditor = Auditor(world)
    found = []
    for operation in islice(_script(failure.seed, week, world), failure.operations):
        found.append(operation)
        _step(world, auditor, operation, tamper)
    return found


def least(operations: Sequence[Operation], fails: Callable[[Sequence[Operation]], bool]) -> list[Operation]:
    """A part of `operations` that still fails and of which no single one can be left out, if there is time.

    The first stays: it opens the account. Whole kinds of operations and whole underlyings are tried before single
    operations; quotes of many symbols are cut to those that matter.
    """
    first, rest = list(operations[:1]), list(operations[1:])
    for kind in sorted({type(one) for one in rest}, key=str):
        rest = _if_it_fails(first, [one for one in rest if type(one) is not kind], rest, fails)
    for root in sorted(
        {_root(quote.symbol) for one in rest if isinstance(one, Quotes) for quote in one.quotes}
    ):
        rest = _if_it_fails(first, [one for one in (_without(one, root) for one in rest) if one], rest, fails)
    size = max(len(rest) // 2, 1)
    while True:
        start = 0
        while start < len(rest):
            without = rest[:start] + rest[start + size :]
            if fails(first + without):
                rest = without
            else:
                start += size
        if size == 1:
            break
        size //= 2
    for place, operation in enumerate(rest):
        if isinstance(operation, Quotes):
            before, after = first + rest[:place], rest[place + 1 :]
            rest[place] = _fewer(operation, partial(_fails_with, fails, before, after))
    return first + rest


def _if_it_fails(
    first: list[Operation], without: list[Operation], rest: list[Operation],
    fails: Callable[[Sequence[Operation]], bool],
) -> list[Operation]:  # fmt: skip
    return without if without != rest and fails(first + without) else rest


def _without(operation: Operation, root: str) -> Operation | None:
    """The operation without one underlying; None when nothing of it is left."""
    match operation:
        case Quotes(at_ns=at_ns, quotes=quotes) if quotes:
            left = tuple(quote for quote in quotes if _root(quote.symbol) != root)
            return Quotes(at_ns, left) if left else None
        case Send(ticket=ticket):
            return None if any(_root(symbol) == root for symbol in ticket.symbols) else operation
        case _:
            return operation


def _root(symbol: str) -> str:
    return parse_symbol(symbol).underlying


def _fails_with(
    fails: Callable[[Sequence[Operation]], bool],
    before: Sequence[Operation],
    after: Sequence[Operation],
    quotes: Quotes,
) -> bool:
    return fails([*before, quotes, *after])


def _fewer(operation: Quotes, fails: Callable[[Quotes], bool]) -> Quotes:
    quotes = list(operation.quotes)
    size = max(len(quotes) // 2, 1)
    while quotes:
        start = 0
        while start < len(quotes):
            without = quotes[:start] + quotes[start + size :]
            if fails(Quotes(operation.at_ns, tuple(without))):
                quotes = without
            else:
                start += size
        if size == 1:
            break
        size //= 2
    return Quotes(operation.at_ns, tuple(quotes))
