"""Setting feature flags."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit import log, pseudonym
from console import flags
from console.flags import Rollout
from console.models import FlagRow, FlagUser
from raxx.kernel.errors import InvalidInput

TEXT_LENGTH_MAX = 500


@transaction.atomic
def set_flag(
    *, name: str, mode: Rollout, percent: int, owner: str, reason: str, expires_at: datetime | None, actor: str,
    now: datetime,
) -> bool:  # fmt: skip
    """Set a flag for a percentage of users, until it expires (None: for good). Whether anything changed. Raises
    InvalidInput. `actor` is an actor_ref; `owner` who answers for the rollout."""
    _declared(name)
    owner, reason = _text("owner", owner), _text("reason", reason)
    if not 0 <= percent <= 100:
        raise InvalidInput(
            field="percent", rule="must be from 0 to 100", value=percent, remedy="100 is everyone."
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(
            field="expires_at", rule="must be in the future", value=expires_at.isoformat(),
            remedy="Leave it out to keep the flag as it is for good.",
        )  # fmt: skip
    row, _ = FlagRow.objects.select_for_update().get_or_create(
        name=name, defaults={"mode": flags.registry[name].default, "percent": 100, "changed_at": now}
    )
    wanted: dict[str, object] = {"mode": mode, "percent": percent, "owner": owner, "expires_at": expires_at}
    changes = {
        field: [getattr(row, field), value] for field, value in wanted.items() if getattr(row, field) != value
    }
    if not changes:
        return False
    for field, value in wanted.items():
        setattr(row, field, value)
    row.reason, row.changed_at, row.changed_by = reason, now, actor
    row.save()
    log.record(
        "console.flag.changed",
        actor=actor,
        object_type="flag",
        object_id=name,
        at=now,
        changes=changes,
        reason=reason,
    )
    transaction.on_commit(flags.forget)
    return True


@transaction.atomic
def set_for_user(
    *, name: str, user_id: UUID, mode: Rollout | None, reason: str, actor: str, now: datetime
) -> bool:
    """What one user gets of a flag; None: what all get. Whether anything changed. Raises InvalidInput."""
    _declared(name)
    reason = _text("reason", reason)
    row, _ = FlagRow.objects.select_for_update().get_or_create(
        name=name, defaults={"mode": flags.registry[name].default, "percent": 100, "changed_at": now}
    )
    own = FlagUser.objects.filter(flag=row, user_id=user_id).first()
    before = Rollout(own.mode) if own is not None else None
    if before is mode:
        return False
    if mode is None:
        FlagUser.objects.filter(flag=row, user_id=user_id).delete()
    else:
        FlagUser.objects.update_or_create(flag=row, user_id=user_id, defaults={"mode": mode})
    log.record(
        "console.flag.changed_for_user", actor=actor, object_type="flag", object_id=name, at=now, reason=reason,
        changes={"user": pseudonym.actor_ref_for(user_id), "mode": [before, mode]},
    )  # fmt: skip
    transaction.on_commit(flags.forget)
    return True


def _declared(name: str) -> None:
    if name not in flags.registry:
        raise InvalidInput(
            field="name", rule="must be a declared flag", value=name,
            remedy=f"One of {', '.join(known for known, _ in flags.registry)}.",
        )  # fmt: skip


def _text(field: str, text: str) -> str:
    text = " ".join(text.split())
    if not text or len(text) > TEXT_LENGTH_MAX:
        raise InvalidInput(
            field=field, rule=f"must have 1 to {TEXT_LENGTH_MAX} characters", value=text,
            remedy="It is kept in the record.",
        )  # fmt: skip
    return text
