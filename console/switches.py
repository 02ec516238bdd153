"""Kill switches: what stops new risk at once.

A switch has a scope and a target, together its key: `global`, `broker:mbt` (paper trading), `symbol:AAPL` (its
options too), `user:<id>`, `account:<id>`, `strategy:<id>`. It is in one of three modes:

    active     nothing is stopped
    reducing   only orders that close what is held are taken
    halted     no order is taken

What a submission meets is the strictest of all that concern it, of the environment's word on its broker and the
database's rows; a missing row is active. Anything that cannot be read counts as stopped. Cancels and reads never
ask. docs/adr/0012.

Whoever accepts orders passes the gate inside the transaction that stores the order:

    state = switches.enter(keys)        # or console_gate() inside a statement of your own, see SQL_GATE
    switches.require_open(state, reduces=…)

They take the gate before their row locks, or all in the same order. The gate is a shared advisory lock, taken
before the switches are read and held until the commit. Once `services.switches.set_switch` has returned, every
submission that read "active" is over, so none is accepted any more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Literal

import msgspec
import structlog
from django.db import Error as DatabaseProblem
from django.db import connection, transaction

from raxx.kernel import env
from raxx.kernel.errors import RaxxError

# A scalar to select in a statement of one's own, with an array of keys: takes the lock, then reads the switches
# afresh, and gives what `state_of` takes. It is a function because a statement sees the database as it was when
# the statement began: lock and plain read in one statement would read what was true before the wait.
SQL_GATE = "console_gate({keys})"
# The same answer without the lock: for looking, never for accepting an order.
_SQL_LOOK = "console_stops(%s)"
# The advisory lock: 'RAXX' as a number, then 1.
GATE_LOCK = (0x52415858, 1)

Source = Literal["none", "environment", "database", "unreadable"]

log = structlog.get_logger(__name__)


class Mode(StrEnum):
    """From free to strict; `effect` says what each means."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"

    @property
    def strictness(self) -> int:
        return list(Mode).index(self)

    @property
    def effect(self) -> str:
        return _EFFECTS[self]


_EFFECTS = {
    Mode.ACTIVE: "Orders are taken",
    Mode.REDUCING: "Only orders that close positions are taken",
    Mode.HALTED: "No orders are taken",
}


class Scope(StrEnum):
    """What a switch stops; all but GLOBAL need a target."""

    GLOBAL = "global"
    BROKER = "broker"
    SYMBOL = "symbol"
    USER = "user"
    ACCOUNT = "account"
    STRATEGY = "strategy"


EVERYTHING = Scope.GLOBAL.value
PAPER = f"{Scope.BROKER}:mbt"

# The environment's switches: each stops one key in one mode while it says yes.
ENVIRONMENT: Mapping[str, tuple[str, Mode]] = {
    "MBT_TRADING_DISABLED": (PAPER, Mode.HALTED),
    "MBT_NEW_ORDERS_DISABLED": (PAPER, Mode.REDUCING),
}


def key(scope: Scope, target: object = "") -> str:
    return f"{scope}:{target}" if scope is not Scope.GLOBAL else EVERYTHING


@dataclass(frozen=True, slots=True)
class State:
    """What is in force: `name` is the key or environment variable that says so, `until` when it is expected to end."""

    mode: Mode = Mode.ACTIVE
    name: str = ""
    source: Source = "none"
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


ACTIVE = State()


class SwitchedOff(RaxxError):
    """A kill switch refuses the order. Cancels still work."""

    http_status = 503
    retry_after_s = 30
    still: ClassVar[str]

    def __init__(self, state: State) -> None:
        since = f" since {state.since:%Y-%m-%d %H:%M} UTC" if state.since else ""
        until = f", expected until {state.until:%Y-%m-%d %H:%M} UTC" if state.until else ""
        reason = f": {state.reason}" if state.reason else ""
        remedy = f"Nothing was stored. {self.still}; try again later."
        super().__init__(
            f"{state.mode.effect}{since}{until} ({state.name}){reason}. {remedy}",
            rule=state.name, value=state.mode, remedy=remedy, reason=state.reason or None,
            since=state.since and state.since.isoformat(), until=state.until and state.until.isoformat(),
        )  # fmt: skip


class TradingDisabled(SwitchedOff):
    code = "TRADING_DISABLED"
    still = "Cancels still work"


class NewOrdersDisabled(SwitchedOff):
    code = "NEW_ORDERS_DISABLED"
    still = "Cancels still work, and orders that close what you hold"


def require_open(state: State, *, reduces: bool) -> None:
    """Raise TradingDisabled or NewOrdersDisabled where an order must be refused. `reduces`: it only closes what is
    held, or that is not known yet and will be asked again."""
    if state.mode is Mode.HALTED:
        raise TradingDisabled(state)
    if state.mode is Mode.REDUCING and not reduces:
        raise NewOrdersDisabled(state)


def enter(keys: Iterable[str]) -> State:
    """Pass the gate and read these switches. Must run in the transaction that stores the order."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("the gate is held until the commit of what it admits")
    return _select(SQL_GATE.format(keys="%s"), keys)


def read(keys: Iterable[str]) -> State:
    """What is in force now for these: for pages and commands. Does not pass the gate."""
    return _select(_SQL_LOOK, keys)


def _select(expression: str, keys: Iterable[str]) -> State:
    asked = list(keys)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {expression}", [asked])
            return state_of(cursor.fetchone()[0], asked)
    except DatabaseProblem as problem:
        log.error("kill switches unreadable", problem=str(problem))
        return state_of(None, asked)


class _Stop(msgspec.Struct):
    mode: Mode
    reason: str
    since: datetime
    until: datetime | None = None


def state_of(stops: object, keys: Iterable[str]) -> State:
    """The strictest of what the gate gave for `keys`, as JSON text or decoded, and of the environment."""
    return max([ACTIVE, *from_environment(keys), *_from_database(stops)], key=_rank)


def _rank(state: State) -> tuple[int, bool]:
    """Between equals the environment is named: whoever releases the other is not told that it is over."""
    return state.mode.strictness, state.source == "environment"


def from_environment(keys: Iterable[str]) -> Iterable[State]:
    """What the environment stops of these, each variable for itself."""
    asked = set(keys)
    for name, (stopped, mode) in ENVIRONMENT.items():
        if stopped not in asked:
            continue
        try:
            if env.flag(name, default=False):
                yield State(mode, name, "environment", "set by the operator")
        except env.BadSetting:
            yield State(mode, name, "unreadable", "its environment variable is neither a yes nor a no")


def _from_database(stops: object) -> Iterable[State]:
    rows: dict[str, _Stop]
    try:
        if isinstance(stops, str | bytes):
            rows = msgspec.json.decode(stops, type=dict[str, _Stop])
        else:
            rows = msgspec.convert(stops, dict[str, _Stop])
    except msgspec.MsgspecError:
        yield State(Mode.HALTED, EVERYTHING, "unreadable", "its state cannot be read")
        return
    for name, row in sorted(rows.items()):
        yield State(row.mode, name, "database", row.reason, row.since, row.until)
