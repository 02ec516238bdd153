"""One-time links by which operators enrol a passkey, made by whoever holds the shell.

There are no passwords. The shell can do everything anyway, so it is what vouches for an operator who has no passkey
yet, or none any more. docs/adr/0026.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction

from audit import log, pseudonym
from console.models import OperatorLink
from console.services.operators import NotAnOperator
from raxx.kernel.errors import RaxxError

VALID_FOR = timedelta(minutes=5)
_KEEP_FOR = timedelta(days=1)
_INVALID = "This link is not valid: it was used, it is older than five minutes, or it is wrong."


class OperatorLinkInvalid(RaxxError):
    """Unknown, used or expired: the answer is the same."""

    code = "OPERATOR_LINK_INVALID"
    http_status = 403


@transaction.atomic
def issue(*, email: str, now: datetime) -> str:
    """A token that lets this operator enrol a passkey, once, within five minutes. A staff user is made where the
    address is new. Raises NotAnOperator when it is a customer's."""
    users = get_user_model().objects
    user = users.filter(email=email.lower()).first()
    if user is None:
        user = users.create_user(email=email, is_staff=True, is_superuser=True, created_at=now)
        _record("console.operator.created", pseudonym.OPERATOR_SHELL, user, now)
    if not (user.is_staff and user.is_active):
        raise NotAnOperator(
            f"{email} is not an active operator. Use an address of its own for the operator site.",
            field="email",
            rule="must be an active operator or new",
            value=email,
        )
    token = secrets.token_urlsafe(32)
    OperatorLink.objects.filter(expires_at__lt=now - _KEEP_FOR).delete()
    OperatorLink.objects.create(
        token_hash=_hash(token), user=user, created_at=now, expires_at=now + VALID_FOR
    )
    _record("console.operator.link_issued", pseudonym.OPERATOR_SHELL, user, now)
    return token


@transaction.atomic
def redeem(*, token: str, now: datetime) -> AbstractBaseUser:
    """The operator whose unused link this is, which is used from now on. Raises OperatorLinkInvalid."""
    # By columns of the row itself: a condition on another table would be judged before the wait for a rival.
    fresh = OperatorLink.objects.filter(token_hash=_hash(token), used_at=None, expires_at__gt=now)
    if not fresh.update(used_at=now):
        raise OperatorLinkInvalid(_INVALID)
    user = OperatorLink.objects.select_related("user").get(token_hash=_hash(token)).user
    if not (user.is_staff and user.is_active):
        raise OperatorLinkInvalid(_INVALID)
    _record("console.operator.signed_in", pseudonym.actor_ref_for(user.pk), user, now)
    return user


def _record(action: str, actor: str, user: AbstractBaseUser, now: datetime) -> None:
    """People are named in the record by their pseudonym, as objects too."""
    log.record(action, actor=actor, object_type="user", object_id=pseudonym.actor_ref_for(user.pk), at=now)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
