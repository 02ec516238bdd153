"""The ways in: signing up, signing in, and coming back with a recovery code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction

from audit import log as record
from audit.pseudonym import actor_ref_for
from raxx.identity import challenges, events, passkey_rules
from raxx.identity.models import Passkey, SessionKind, User, new_handle
from raxx.identity.newcomers import newcomers
from raxx.identity.passkey_rules import RelyingParty
from raxx.identity.services import notices, passkeys, recovery_codes, sessions, users
from raxx.identity.services.sessions import Issued, SessionHolder

SIGN_UP = "sign-up"


@dataclass(frozen=True, slots=True)
class SignedUp:
    session: Issued
    recovery_codes: list[str] = field(repr=False)


def begin_sign_up(*, rp: RelyingParty, binding: str, email: str) -> dict[str, Any]:
    """Options for the first passkey. Says nothing about whether the address is taken.
    Raises InvalidInput, SessionsUnavailable."""
    email, handle = users.checked_email(email), new_handle()
    challenge = challenges.issue(purpose=SIGN_UP, binding=binding, email=email, handle=handle.hex())
    return passkey_rules.creation_options(
        rp, challenge=challenge.value, user_handle=handle, user_name=email, exclude=()
    )


def finish_sign_up(
    *, credential: Mapping[str, Any], rp: RelyingParty, binding: str, label: str, now: datetime
) -> SignedUp:
    """A user with a passkey, recovery codes, whatever newcomers get, and a session: all of it or nothing.
    Raises CeremonyRefused, EmailTaken, SessionsUnavailable."""
    challenge = challenges.take(purpose=SIGN_UP, binding=binding)
    new = passkeys.judged_registration(credential, rp=rp, challenge=challenge)
    facts = challenge.facts if challenge else {}
    with transaction.atomic():
        user = users.register(email=facts["email"], handle=bytes.fromhex(facts["handle"]), now=now)
        passkeys.keep(new, user=user, name=label, now=now)
        codes = recovery_codes.renew(user_id=user.pk, now=now)
        for _, welcome in newcomers:
            welcome(user.pk, now, actor_ref_for(user.pk))
        return SignedUp(sessions.start(user=user, label=label, now=now), codes)


def sign_in(
    *, credential: Mapping[str, Any], rp: RelyingParty, binding: str, label: str, now: datetime
) -> Issued:
    """Raises CeremonyRefused, SignInLocked, SessionsUnavailable."""
    proved = passkeys.finish_sign_in(credential=credential, rp=rp, binding=binding, now=now)
    return sessions.start(user=proved.user, label=label, now=now)


@transaction.atomic
def recover(*, code: str, label: str, now: datetime) -> Issued:
    """A session that can enrol a passkey and nothing else. Raises RecoveryRefused, SessionsUnavailable; then the
    code is still good."""
    user = recovery_codes.use(code=code, now=now)
    return sessions.start(user=user, label=label, now=now, kind=SessionKind.RECOVERY)


def finish_recovery(
    *, holder: SessionHolder, credential: Mapping[str, Any], rp: RelyingParty, name: str, now: datetime
) -> Passkey:
    """Enrol the passkey that a code or an operator's link was for. Every session of the user is over then, this one
    too: one signs in with the new passkey. Raises InvalidInput, CeremonyRefused, SessionsUnavailable."""
    user = User.objects.get(pk=holder.user_id)
    # Who never had a way in does not come back: an operator with their first passkey.
    comes_back = user.passkeys.exists() or user.recovery_codes.exists()
    with transaction.atomic():
        passkey = passkeys.finish_enrolment(
            credential=credential, rp=rp, user=user, binding=holder.sid, name=name, now=now
        )
        if comes_back:
            User.objects.filter(pk=user.pk).update(recovered_at=now, locked_until=None)
            record.record(
                events.USER_RECOVERED, actor=actor_ref_for(user.pk), object_type="user",
                object_id=actor_ref_for(user.pk), at=now,
            )  # fmt: skip
            notices.notify(user_id=user.pk, what=events.USER_RECOVERED, at=now)
        sessions.revoke_all(user_id=user.pk, now=now, why="recovered" if comes_back else "enrolled")
    return passkey
