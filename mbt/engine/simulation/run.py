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

from mbt.engine.ledger import digest
from mbt.engine.orders import OrderStatus
from mbt.engine.simulation import market, trader
from mbt.engine.simulation.invariants import Auditor, Violation
from mbt.engine.simulation.market import Week
from mbt.engine.simulation.operations import Operation, Quotes, Send
from mbt.engine.simulation.world import Outcome, World

Tamper = Callable[[World, Operation], None]
_SHRINK_S = 60.0


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
    """What a simulation did. `digest` is over the ledgers of all accounts."""

    seed: int
    operations: int = 0
    weeks: int = 0
    accounts: int = 0
    quotes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    denials: Counter[str] = field(default_factory=Counter)
    fills: Counter[str] = field(default_factory=Counter)
    postings: Counter[str] = field(default_factory=Counter)
    margin_checks: int = 0
    digest: str = ""
    failure: Failure | None = None


def simulate(
    seed: int, operations: int, *, tamper: Tamper | None = None, shrink_for_s: float = _SHRINK_S,
    now: Callable[[], float] = time.monotonic,
) -> Summary:  # fmt: skip
    """Weeks `seed`, `seed` + 1, … until so many operations are done, or an invariant fails.

    `tamper` is called after each operation and may break something: for tests of the simulator itself.
    """
    summary, total = Summary(seed), sha256()
    while summary.operations < operations and summary.failure is None:
        number = seed + summary.weeks
        _play(number, operations - summary.operations, summary, tamper, total.update)
        summary.weeks += 1
    summary.digest = total.hexdigest()
    if summary.failure is not None:
        summary.failure = _shrunk(summary.failure, tamper, deadline=now() + shrink_for_s, now=now)
    return summary


def _play(
    seed: int, most: int, summary: Summary, tamper: Tamper | None, note: Callable[[bytes], None]
) -> None:
    week = market.week(seed)
    world = World(week.sessions)
    auditor = Auditor(world)
    script = _script(seed, week, world)
    for done, operation in enumerate(islice(script, most), start=1):
        outcome, failure = _step(world, auditor, operation, tamper)
        _count(summary, operation, outcome)
        if failure is not None:
            summary.failure = Failure(failure.name, failure.message, seed, done)
            break
    summary.margin_checks += auditor.margin_checks
    _tell(summary, world)
    for life in world.lives:
        note(digest(life.account.ledger()).encode())


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
    summary.kinds[type(operation).__name__] += 1
    if isinstance(operation, Quotes):
        summary.quotes += len(operation.quotes)
    if outcome.denial:
        summary.denials[outcome.denial] += 1
    elif isinstance(operation, Send):
        ticket = operation.ticket
        summary.orders[f"{ticket.order_class} {ticket.order_type} {ticket.time_in_force}"] += 1
    summary.kinds["closed by the engine"] += len(outcome.closed)
    summary.kinds["assigned early"] += outcome.assigned


def _tell(summary: Summary, world: World) -> None:
    for account in (life.account for life in world.lives):
        summary.accounts += 1
        for working in account.orders.values():
            reason = (
                f" {working.reason}" if working.reason and working.status is not OrderStatus.FILLED else ""
            )
            summary.ends[f"{working.status}{reason}"] += 1
        summary.fills.update(str(execution.fill.rule) for execution in account.executions)
        summary.postings.update(str(entry.posting.kind) for entry in account.entries)


# -- making a failure small -------------------------------------------------------------------------


def _shrunk(failure: Failure, tamper: Tamper | None, *, deadline: float, now: Callable[[], float]) -> Failure:
    week = market.week(failure.seed)
    recorded = _recorded(failure, week, tamper)

    def fails(operations: Sequence[Operation]) -> bool:
        return now() < deadline and replays_to(operations, week, tamper) == failure.invariant

    return msgspec.structs.replace(failure, least=tuple(least(recorded, fails)))


def replays_to(operations: Sequence[Operation], week: Week, tamper: Tamper | None = None) -> str:
    """The invariant that fails when just these operations happen; empty when none does."""
    world = World(week.sessions)
    auditor = Auditor(world)
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

    The first stays: it opens the account. Quotes of many symbols are cut to those that matter.
    """
    first, rest = list(operations[:1]), list(operations[1:])
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
