from datetime import datetime

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from audit import log
from audit.pseudonym import actor_ref_for
from raxx.identity import events
from raxx.identity.models import Tier, User, new_handle
from raxx.kernel.errors import InvalidInput, RaxxError


class EmailTaken(RaxxError):
    code = "EMAIL_TAKEN"
    http_status = 409


def checked_email(email: str) -> str:
    """The address as it is kept: without blanks around it, in lower case. Raises InvalidInput."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise InvalidInput(
            field="email",
            rule="must be an email address",
            value=email,
            remedy="Send for example alice@example.com.",
        ) from None
    return email


@transaction.atomic
def register(
    *,
    email: str,
    tier: Tier = Tier.FREE,
    now: datetime,
    actor: str | None = None,
    handle: bytes | None = None,
) -> User:
    """Make a user. Raises InvalidInput or EmailTaken (addresses differ by more than case).

    `actor` is an actor_ref; without one the user registers themself. `handle` is what their first passkey
    knows them by.
    """
    email = checked_email(email)
    try:
        with transaction.atomic():
            user = User.objects.create_user(
                email=email, tier=tier, created_at=now, handle=handle or new_handle()
            )
    except IntegrityError as conflict:
        raise EmailTaken(
            "This address already has an account.", field="email", rule="must be new"
        ) from conflict
    ref = actor_ref_for(user.pk)
    log.record(  # neither address nor user id: rows outlive the person
        events.USER_REGISTERED,
        actor=actor or ref,
        object_type="user",
        object_id=ref,
        at=now,
        changes={"tier": tier.value},
    )
    return user
