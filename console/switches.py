"""Kill switches: what stops new risk at once.

A switch is on when its environment variable says so OR its database row says so. A row that is
missing is off. Anything that cannot be read, in the environment or in the database, counts as on.
Cancels and reads never ask. docs/adr/0012.

Whoever accepts orders passes the gate inside the transaction that stores the order:

    states = switches.enter()           # or console_gate() inside a statement of your own, see SQL_GATE
    switches.require_open(states)

They take the gate before their row locks, or all in the same order. The gate is a shared advisory lock, taken before the switches are read and held until the commit. Once
`services.switches.set_switch` has returned, every submission that read "off" is over, so none is
accepted any more.
"""

from collections.abc import Mapping
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

# A scalar to select in a statement of one's own: takes the lock, then reads the switches afresh, and
# gives what `states_of` takes. It is a function because a statement sees the database as it was when
# the statement began: lock and plain read in one statement would read what was true before the wait.
SQL_GATE = "console_gate()"
# The same answer without the lock: for looking, never for accepting an order.
SQL_ACTIVE = (
    "(SELECT coalesce(jsonb_object_agg(name, jsonb_build_object('reason', reason, 'since', changed_at)), '{}')"
    " FROM console_switches WHERE is_on)"
)
# The advisory lock: 'RAXX' as a number, then the scope (1 is global).
GATE_LOCK = (0x52415858, 1)

Source = Literal["off", "environment", "database", "unreadable"]

log = structlog.get_logger(__name__)


class Switch(StrEnum):
    """What each stops is said by its `effect`."""

    MBT_TRADING_DISABLED = "MBT_TRADING_DISABLED"
    MBT_NEW_ORDERS_DISABLED = "MBT_NEW_ORDERS_DISABLED"

    @property
    def effect(self) -> str:
        return _EFFECTS[self]


_EFFECTS = {
    Switch.MBT_TRADING_DISABLED: "Paper trading is read-only",
    Switch.MBT_NEW_ORDERS_DISABLED: "New and changed paper orders are not taken",
}


@dataclass(frozen=True, slots=True)
class State:
    """Whether a switch is effectively on, who says so, why, and since when (None: not known)."""

    on: bool
    source: Source = "off"
    reason: str = ""
    since: datetime | None = None


States = Mapping[Switch, State]


class SwitchedOff(RaxxError):
    """A kill switch refuses the order. Cancels still work."""

    http_status = 503
    retry_after_s = 30
    switch: ClassVar[Switch]

    def __init__(self, state: State) -> None:
        since = f" since {state.since:%Y-%m-%d %H:%M} UTC" if state.since else ""
        reason = f": {state.reason}" if state.reason else ""
        remedy = "Nothing was stored. Cancels still work; try again later."
        super().__init__(
            f"{self.switch.effect}{since} ({self.switch}){reason}. {remedy}",
            rule=self.switch,
            value="on",
            remedy=remedy,
            reason=state.reason or None,
            since=state.since and state.since.isoformat(),
        )


class TradingDisabled(SwitchedOff):
    code = "TRADING_DISABLED"
    switch = Switch.MBT_TRADING_DISABLED


class NewOrdersDisabled(SwitchedOff):
    code = "NEW_ORDERS_DISABLED"
    switch = Switch.MBT_NEW_ORDERS_DISABLED


def require_open(states: States) -> None:
    """Raise TradingDisabled or NewOrdersDisabled where a submission or a replacement must be refused."""
    for refusal in (TradingDisabled, NewOrdersDisabled):
        if states[refusal.switch].on:
            raise refusal(states[refusal.switch])


def enter() -> States:
    """Pass the gate and read the switches. Must run in the transaction that stores the order."""
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("the gate is held until the commit of what it admits")
    return _select(SQL_GATE)


def read() -> States:
    """The switches as they are now: for pages and commands. Does not pass the gate."""
    return _select(SQL_ACTIVE)


def _select(expression: str) -> States:
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {expression}")
            return states_of(cursor.fetchone()[0])
    except DatabaseProblem as problem:
        log.error("kill switches unreadable", problem=str(problem))
        return states_of(None)


class _Active(msgspec.Struct):
    reason: str
    since: datetime


def states_of(active: object) -> States:
    """What SQL_GATE or SQL_ACTIVE gave, as JSON text or decoded, joined with the environment."""
    rows: dict[str, _Active] | None
    try:
        if isinstance(active, str | bytes):
            rows = msgspec.json.decode(active, type=dict[str, _Active])
        else:
            rows = msgspec.convert(active, dict[str, _Active])
    except msgspec.MsgspecError:
        rows = None
    return {switch: _from_environment(switch) or _from_database(switch, rows) for switch in Switch}


def _from_environment(switch: Switch) -> State | None:
    try:
        return State(True, "environment", "set by the operator") if env.flag(switch, default=False) else None
    except env.BadSetting:
        return State(True, "unreadable", "its environment variable is neither a yes nor a no")


def _from_database(switch: Switch, rows: dict[str, _Active] | None) -> State:
    if rows is None:
        return State(True, "unreadable", "its state cannot be read")
    row = rows.get(switch)
    return State(True, "database", row.reason, row.since) if row else State(False)
