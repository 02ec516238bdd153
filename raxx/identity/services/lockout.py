"""Whoever tries an operator's passkey again and again without its key locks that operator's sign-in for a while.

Only answers that name a passkey of an operator count, so who does not know its id cannot lock anybody out. What is
signed in stays so, and the shell's link opens the lock: see services/entry.py.
"""

from datetime import datetime, timedelta

from audit import log as record
from audit.pseudonym import actor_ref_for
from raxx.identity import events, rate_limits
from raxx.identity.models import User
from raxx.identity.services import notices
from raxx.kernel.errors import RaxxError

FAILURES_MAX = 5
WITHIN = LOCKED_FOR = timedelta(minutes=15)


class SignInLocked(RaxxError):
    """The passkey is right, and too many were not. Only who has the passkey is told so."""

    code = "SIGN_IN_LOCKED"
    http_status = 429

    def __init__(self, until: datetime, now: datetime) -> None:
        super().__init__(
            f"Somebody failed to use a passkey of yours {FAILURES_MAX} times, so nobody signs in with one until"
            f" {until:%H:%M} UTC. Wait, or have a link made at the shell (operator_link).",
            rule=f"at most {FAILURES_MAX} failures in {WITHIN.seconds // 60} minutes",
            remedy="Wait, or use a link of manage.py operator_link.",
        )
        self.retry_after_s = max(1, int((until - now).total_seconds()))  # type: ignore[misc]  # of this one


def note_failure(user: User, *, now: datetime) -> None:
    """One answer that named a passkey of this user and was not right. Raises SessionsUnavailable."""
    if not user.is_staff or _is_locked(user, now):
        return
    # After a lock they are counted anew.
    key = f"failed:{user.pk.hex}:{user.locked_until.timestamp() if user.locked_until else 0:.0f}"
    if rate_limits.count(key, FAILURES_MAX, window_s=WITHIN.total_seconds()).used < FAILURES_MAX:
        return
    until = now + LOCKED_FOR
    User.objects.filter(pk=user.pk).update(locked_until=until)
    ref = actor_ref_for(user.pk)
    record.record(
        events.USER_LOCKED,
        actor=ref,
        object_type="user",
        object_id=ref,
        at=now,
        changes={"locked_until": until},
    )
    notices.notify(user_id=user.pk, what=events.USER_LOCKED, at=now, until=until)


def require_open(user: User, *, now: datetime) -> None:
    """Raises SignInLocked."""
    if user.locked_until is not None and _is_locked(user, now):
        raise SignInLocked(user.locked_until, now)


def _is_locked(user: User, now: datetime) -> bool:
    return user.locked_until is not None and now < user.locked_until
