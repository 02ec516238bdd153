"""Setting kill switches."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import OperationalError, connection, transaction

from audit import log
from console import switches
from console.models import Switch
from console.switches import GATE_LOCK, Mode, Scope
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.kernel.registry import Registry

DRAIN_FOR_S_MAX = 10
REASON_LENGTH_MAX = 500
# A release that a second person does not confirm within this is forgotten.
CONFIRM_WITHIN = timedelta(hours=1)
# What takes two people to make less strict.
TWO_PEOPLE = frozenset({switches.EVERYTHING})

_TARGET = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)

# What a switch would touch, in sentences for whoever is about to set it. Apps above add theirs by name.
effects: Registry[Callable[[Scope, str], Sequence[str]]] = Registry("effects of kill switches")


class SecondPersonNeeded(RaxxError):
    """The person who asked for a release cannot confirm it."""

    code = "SECOND_PERSON_NEEDED"
    http_status = 409


class SwitchChange(NamedTuple):
    """`changed`: it was in another mode before. `drained`: no submission that began before it became stricter is
    still under way (always so for a release). `asked`: a second person must do the same to release it."""

    changed: bool
    drained: bool
    asked: bool = False


def set_switch(
    *, key: str, mode: Mode, reason: str, actor: str, now: datetime, until: datetime | None = None,
    confirm: Callable[[], None] | None = None,
) -> SwitchChange:  # fmt: skip
    """Set a switch in the database, and record it. Doing it twice changes nothing.

    When it returns `drained`, no order is accepted any more that the new mode stops. Where a submission hangs for
    longer than ten seconds, the switch is set all the same and the answer is `drained=False`. Called inside a
    transaction, all of it holds from that one's commit on. Making the global switch less strict takes two people:
    the first call answers `asked`, the same call by another within an hour does it. `confirm` is called in the
    transaction of the change where it makes the switch less strict; what it raises ends it. Raises InvalidInput for
    an unknown key or without a reason, SecondPersonNeeded. `actor` is an actor_ref.
    """
    checked_key(key)
    reason = _checked(reason)
    with transaction.atomic():
        done = _store(key, mode, reason, until, actor, now, confirm)
    return done if mode is Mode.ACTIVE or done.asked else done._replace(drained=_drain())


def checked_key(text: str) -> tuple[Scope, str]:
    """The scope and the target that a key names. Raises InvalidInput."""
    scope, _, target = text.partition(":")
    wanted = scope in set(Scope) and (bool(_TARGET.fullmatch(target)) != (scope == Scope.GLOBAL))
    if not wanted or (scope == Scope.GLOBAL and text != Scope.GLOBAL):
        raise InvalidInput(
            field="key", rule=f"must be {switches.EVERYTHING}, or one of {', '.join(list(Scope)[1:])} with a target",
            value=text, remedy="Write it like global, broker:mbt, symbol:AAPL, user:<id> or account:<id>.",
        )  # fmt: skip
    return Scope(scope), target


def preview(key: str) -> list[str]:
    """What a switch would touch, in sentences."""
    scope, target = checked_key(key)
    return [line for _, lines in effects for line in lines(scope, target)]


def _store(
    key: str, mode: Mode, reason: str, until: datetime | None, actor: str, now: datetime,
    confirm: Callable[[], None] | None,
) -> SwitchChange:  # fmt: skip
    # Before the row: a stop must hold even while many make switches of the same key.
    Switch.objects.get_or_create(
        key=key, defaults={"mode": Mode.ACTIVE, "changed_by": actor, "changed_at": now}
    )
    row = Switch.objects.select_for_update().get(key=key)
    before = Mode(row.mode)
    if confirm is not None and mode.strictness < before.strictness:
        confirm()
    if key in TWO_PEOPLE and mode.strictness < before.strictness and not _agreed(row, mode, actor, now):
        row.release_to, row.release_asked_by, row.release_asked_at = mode, actor, now
        row.release_reason = reason
        row.save()
        _record("console.switch.release_asked", row, actor, now, {"mode": [before, mode]}, reason)
        return SwitchChange(changed=False, drained=True, asked=True)
    # Whoever insists on the stop takes back what was asked.
    withdrawn = row.release_to
    row.release_to, row.release_asked_by, row.release_asked_at, row.release_reason = "", "", None, ""
    if before is not mode:
        row.mode, row.reason, row.expected_until = mode, reason, until if mode is not Mode.ACTIVE else None
        row.changed_at, row.changed_by = now, actor
        _record("console.switch.changed", row, actor, now, {"mode": [before, mode]}, reason)
        row.save()
    elif withdrawn:
        _record("console.switch.release_withdrawn", row, actor, now, {"release_to": [withdrawn, ""]}, reason)
        row.save()
    return SwitchChange(changed=before is not mode, drained=True)


def _agreed(row: Switch, mode: Mode, actor: str, now: datetime) -> bool:
    """Whether somebody else has asked for this release, or one that frees more, before."""
    if row.release_asked_at is None or now - row.release_asked_at > CONFIRM_WITHIN:
        return False
    if row.release_asked_by == actor:
        raise SecondPersonNeeded(
            f"You asked at {row.release_asked_at:%H:%M} UTC to release {row.key}. Another operator must confirm it.",
            field="actor", rule="a global stop is released by two people", value=row.key,
            remedy="Ask another operator to release it too, within an hour.",
        )  # fmt: skip
    return mode.strictness >= Mode(row.release_to).strictness


def _record(
    action: str, row: Switch, actor: str, now: datetime, changes: dict[str, object], reason: str
) -> None:
    log.record(
        action, actor=actor, object_type="switch", object_id=row.key, at=now, changes=changes, reason=reason
    )


def _drain() -> bool:
    """Wait until everyone who passed the gate before is through. Newcomers wait behind us, then read it as it is now."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{DRAIN_FOR_S_MAX}s"])
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", GATE_LOCK)
    except OperationalError:
        return False
    return True


def _checked(reason: str) -> str:
    reason = " ".join(reason.split())
    if not reason or len(reason) > REASON_LENGTH_MAX:
        raise InvalidInput(
            field="reason",
            rule=f"must have 1 to {REASON_LENGTH_MAX} characters",
            value=reason,
            remedy="Say in a sentence why; it is shown to users and kept in the record.",
        )
    return reason
