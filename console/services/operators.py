"""Taking an operator's rights away."""

from datetime import datetime

from django.contrib.auth import get_user_model
from django.db import transaction

from audit import log, pseudonym
from console import operators
from raxx.kernel.errors import RaxxError


class NotAnOperator(RaxxError):
    code = "NOT_AN_OPERATOR"
    http_status = 409


@transaction.atomic
def revoke(*, email: str, now: datetime, reason: str = "") -> int:
    """Make an operator a customer like any other. From the commit on their sessions are over, and no link of theirs
    opens anything. How many sessions ended. Raises NotAnOperator."""
    user = get_user_model().objects.select_for_update().filter(email=email.lower(), is_staff=True).first()
    if user is None:
        raise NotAnOperator(
            f"{email} is not an operator.", field="email", rule="must be an operator's", value=email
        )
    user.is_staff = user.is_superuser = False
    user.save(update_fields=["is_staff", "is_superuser"])
    user.groups.clear()
    user.user_permissions.clear()
    log.record(
        "console.operator.revoked", actor=pseudonym.OPERATOR_SHELL, object_type="user",
        object_id=pseudonym.actor_ref_for(user.pk), at=now, changes={"is_staff": [True, False]}, reason=reason,
    )  # fmt: skip
    return operators.entrance().end_sessions(user.pk, why="no longer an operator", now=now)
