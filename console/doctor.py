"""What `manage.py doctor` asks. Each app adds the checks that only it can make:

    doctor.register("calendar", check_calendar)          # in AppConfig.ready
    doctor.register("engine", check_engine, needs=("database",))

A check looks and changes nothing. It answers with `ok`, or with `warn` or `fail` and one remedy.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog

from raxx.kernel.registry import Registry

log = structlog.get_logger(__name__)


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. Whatever is not well has exactly one remedy: a sentence that says what to do."""

    level: Level
    message: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if (self.level is Level.OK) == bool(self.remedy):
            raise ValueError("a finding has a remedy if, and only if, something is not well")


def ok(message: str) -> Finding:
    return Finding(Level.OK, message)


def warn(message: str, *, remedy: str) -> Finding:
    return Finding(Level.WARN, message, remedy)


def fail(message: str, *, remedy: str) -> Finding:
    return Finding(Level.FAIL, message, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """`look` is given the wall clock. `needs` names checks without whose success it cannot be made."""

    look: Callable[[datetime], Finding]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    finding: Finding
    took_ms: int


checks: Registry[Check] = Registry("doctor checks", required=True)


def register(name: str, look: Callable[[datetime], Finding], *, needs: tuple[str, ...] = ()) -> None:
    checks.register(name, Check(look, needs))


def examine(now: datetime, only: Collection[str] = ()) -> list[Result]:
    """The results of all checks (or of `only` these and what they need), those that others need first.

    A check that raises has failed; the others are made all the same.
    """
    wanted = dict(checks)
    done: dict[str, Result] = {}
    for name in _in_order(wanted, list(only) or list(wanted)):
        done[name] = _result(name, wanted[name], done, now)
    return list(done.values())


def is_well(results: Collection[Result]) -> bool:
    """Whether nothing failed. A warning is not a failure."""
    return all(result.finding.level is not Level.FAIL for result in results)


def _in_order(known: dict[str, Check], names: list[str]) -> list[str]:
    ordered: list[str] = []

    def add(name: str) -> None:
        if name not in ordered:
            for needed in known[name].needs:
                add(needed)
            ordered.append(name)

    for name in sorted(names, key=lambda name: (bool(known[name].needs), name)):
        add(name)
    return ordered


def _result(name: str, check: Check, done: dict[str, Result], now: datetime) -> Result:
    missing = [needed for needed in check.needs if done[needed].finding.level is Level.FAIL]
    if missing:
        remedy = f"See to {missing[0]} first, then run the doctor again."
        return Result(name, warn(f"not checked, because {missing[0]} failed", remedy=remedy), 0)
    began = time.monotonic()
    try:
        finding = check.look(now)
    except Exception as problem:
        log.exception("a doctor check broke", check=name)
        finding = fail(
            f"the check itself broke: {type(problem).__name__}",
            remedy="Read the traceback in the log and report it.",
        )
    return Result(name, finding, round((time.monotonic() - began) * 1_000))
