"""Turning kill switches on and off."""

from datetime import datetime
from typing import NamedTuple

from django.db import OperationalError, connection, transaction

from audit import log
from console.models import SwitchRow
from console.switches import GATE_LOCK, Switch
from raxx.kernel.errors import InvalidInput

DRAIN_FOR_S_MAX = 10
REASON_LENGTH_MAX = 500


class SwitchChange(NamedTuple):
    """`changed`: the row said something else before. `drained`: no submission that began before the
    switch went on is still under way (always so for off)."""

    changed: bool
    drained: bool


def set_switch(*, name: Switch, on: bool, reason: str, actor: str, now: datetime) -> SwitchChange:
    """Turn a switch on or off in the database, and record it. Doing it twice changes nothing.

    When it returns `drained`, no order is accepted any more until the switch goes off. Where a
    submission hangs for longer than ten seconds, the switch is on all the same and the answer is
    `drained=False`. Called inside a transaction, all of it holds from that one's commit on.
    Raises InvalidInput without a reason. `actor` is an actor_ref.
    """
    reason = _checked(reason)
    with transaction.atomic():
        changed = _store(name, on, reason, actor, now)
    return SwitchChange(changed, drained=_drain() if on else True)


def _store(name: Switch, on: bool, reason: str, actor: str, now: datetime) -> bool:
    SwitchRow.objects.get_or_create(name=name, defaults={"changed_by": actor, "changed_at": now})
    row = SwitchRow.objects.select_for_update().get(name=name)
    if row.is_on == on:
        return False
    row.is_on, row.reason, row.changed_at, row.changed_by = on, reason, now, actor
    row.save()
    log.record(
        "console.switch.changed",
        actor=actor,
        object_type="switch",
        object_id=name,
        at=now,
        changes={"on": [not on, on]},
        reason=reason,
    )
    return True


def _drain() -> bool:
    """Wait until everyone who passed the gate before is through. Newcomers wait behind us, then read "on"."""
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
