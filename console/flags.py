"""Feature flags: what is rolled out to whom.

A flag is off, in shadow (it runs beside what is shown, and shows nothing) or on. Apps declare theirs in
`AppConfig.ready`; operators set them (services/flags.py). What a user gets is, first that applies:

    the environment variable of the flag's name    off, shadow or on; for a whole deployment
    the user's own setting
    the flag's mode for its percentage of users, a stable draw; the declared default for the others
    the declared default                            also when the row expired or cannot be read

A flag is no kill switch: it may lag by a second, and stops nothing that moves money. That is switches.py.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import structlog
from django.db import Error as DatabaseProblem
from django.db import transaction

from console.models import FlagRow
from raxx.kernel import clock, env
from raxx.kernel.errors import RaxxError
from raxx.kernel.registry import Registry

# How old what a process knows may be.
KNOWN_FOR_S = 1.0

log = structlog.get_logger(__name__)


class Rollout(StrEnum):
    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


@dataclass(frozen=True, slots=True)
class Flag:
    """A declared flag: what it is when nobody has said anything, and what it is about."""

    name: str
    default: Rollout
    what: str


class FeatureOff(RaxxError):
    """The feature is not rolled out to this user."""

    code = "FEATURE_OFF"
    http_status = 403


registry: Registry[Flag] = Registry("feature flags")


def register(*flags: Flag) -> None:
    for flag in flags:
        registry.register(flag.name, flag)


@dataclass(frozen=True, slots=True)
class _Set:
    """What operators have set of one flag."""

    mode: Rollout
    percent: int
    expires_at: datetime | None
    users: Mapping[UUID, Rollout]


@dataclass(slots=True)
class _Known:
    """What this process knows, and since when (seconds of the monotonic clock)."""

    rows: Mapping[str, _Set]
    at_s: float


_known = _Known({}, float("-inf"))


def rollout(name: str, user_id: UUID, *, now: datetime | None = None) -> Rollout:
    """What a user gets of a declared flag. KeyError for one that is not declared."""
    flag = registry[name]
    said = _environment(name)
    if said is not None:
        return said
    row = _rows().get(name)
    if row is None or (row.expires_at is not None and (now or clock.now()) >= row.expires_at):
        return flag.default
    own = row.users.get(user_id)
    if own is not None:
        return own
    return row.mode if draw(name, user_id) < row.percent else flag.default


def require_on(name: str, user_id: UUID) -> None:
    """Raise FeatureOff where the flag is not on for the user."""
    found = rollout(name, user_id)
    if found is not Rollout.ON:
        raise FeatureOff(
            f"{registry[name].what} is not available to you yet.", rule=name, value=found,
            remedy="Nothing was stored. Ask support to be included.",
        )  # fmt: skip


def draw(name: str, user_id: UUID) -> int:
    """0 to 99, the same for ever for a flag and a user; independent between flags."""
    return int.from_bytes(hashlib.sha256(f"{name}:{user_id}".encode()).digest()[:8]) % 100


def forget() -> None:
    """Read anew at the next question: after a change in this process."""
    _known.at_s = float("-inf")


def _environment(name: str) -> Rollout | None:
    text = env.text(name, default="").strip().lower()
    if not text:
        return None
    try:
        return Rollout(text)
    except ValueError:
        log.error("feature flag unreadable in the environment", flag=name, value=text)
        return Rollout.OFF


def _rows() -> Mapping[str, _Set]:
    if time.monotonic() - _known.at_s < KNOWN_FOR_S:
        return _known.rows
    try:
        with transaction.atomic():  # whoever asks inside a transaction must be able to go on
            rows = list(FlagRow.objects.prefetch_related("users"))
    except DatabaseProblem as problem:
        log.error("feature flags unreadable", problem=str(problem))
        return {}
    _known.rows = {
        row.name: _Set(
            Rollout(row.mode), row.percent, row.expires_at,
            {each.user_id: Rollout(each.mode) for each in row.users.all()},
        )
        for row in rows
    }  # fmt: skip
    _known.at_s = time.monotonic()
    return _known.rows
