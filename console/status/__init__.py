"""How the product fares, for everybody: what `/status` shows.

A *probe* looks at one thing; apps register theirs in `AppConfig.ready`:

    status.register("feed", status.from_check(feed_is_fresh))

A *surface* is what visitors know, named in config/status-surfaces.yaml with the probes that tell about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from console.doctor import Finding, Level
from raxx.kernel.registry import Registry


class State(StrEnum):
    """Worse comes later."""

    OPERATIONAL = "operational"
    UNKNOWN = "unknown"  # nobody could look
    MAINTENANCE = "maintenance"
    DEGRADED = "degraded"
    DOWN = "down"

    @property
    def severity(self) -> int:
        return list(State).index(self)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe saw. `note` is for operators; visitors never see it."""

    state: State
    note: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    look: Callable[[datetime], Reading]
    needs_database: bool = False


probes: Registry[Probe] = Registry("status probes", required=True)


def register(name: str, look: Callable[[datetime], Reading], *, needs_database: bool = False) -> None:
    """`look` is given the wall clock, and is quick. With `needs_database` it is not asked while there is none."""
    probes.register(name, Probe(look, needs_database))


def from_check(
    check: Callable[[datetime], Finding], *, failing: State = State.DOWN
) -> Callable[[datetime], Reading]:
    """A probe that asks what the doctor asks. A warning of the doctor's is no trouble for visitors."""

    def look(now: datetime) -> Reading:
        finding = check(now)
        return Reading(failing if finding.level is Level.FAIL else State.OPERATIONAL, finding.message)

    return look


def worst(states: list[State]) -> State:
    return max(states, key=lambda state: state.severity, default=State.OPERATIONAL)
