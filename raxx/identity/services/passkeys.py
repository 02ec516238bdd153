"""Passkey ceremonies: begun with a challenge, finished with what the browser brings back.

Whatever is wrong with an answer, its sender hears the same CeremonyRefused; the log knows why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction

from audit import log as record
from audit.pseudonym import actor_ref_for
from raxx.identity import challenges, events, passkey_rules
from raxx.identity.models import Passkey, User
from raxx.identity.passkey_rules import KnownPasskey, NewPasskey, Refused, RelyingParty, Suspicious
from raxx.identity.services import lockout, notices
from raxx.identity.text import checked_name
from raxx.kernel.errors import NotFound, RaxxError

PASSKEYS_MAX = 20
SIGN_IN, STEP_UP, ENROL = "sign-in", "step-up", "enrol"

log = structlog.get_logger(__name__)


class CeremonyRefused(RaxxError):
    """The one answer to every ceremony that fails, whatever it fails by."""

    code = "CEREMONY_REFUSED"


class LastPasskey(RaxxError):
    """Removing it would leave no way back in."""

    code = "LAST_PASSKEY"
    http_status = 409


class TooManyPasskeys(RaxxError):
    code = "TOO_MANY_PASSKEYS"
    http_status = 409


@dataclass(frozen=True, slots=True)
class Proved:
    """Whose passkey it was, and which."""

    user: User
    passkey_id: UUID


def begin_sign_in(*, rp: RelyingParty, binding: str) -> dict[str, Any]:
    """Options that are the same for everyone but for the challenge. Raises SessionsUnavailable."""
    challenge = challenges.issue(purpose=SIGN_IN, binding=binding)
    return passkey_rules.request_options(rp, challenge=challenge.value)


def finish_sign_in(*, credential: Mapping[str, Any], rp: RelyingParty, binding: str, now: datetime) -> Proved:
    """Raises CeremonyRefused, SignInLocked, SessionsUnavailable."""
    challenge = challenges.take(purpose=SIGN_IN, binding=binding)
    return _assert(credential, rp=rp, challenge=challenge, expected=None, now=now)


def begin_step_up(*, rp: RelyingParty, user_id: UUID, binding: str, action: bytes) -> dict[str, Any]:
    """Options for one of the user's own passkeys; `action` is the hash of what is to be confirmed."""
    challenge = challenges.issue(purpose=STEP_UP, binding=binding, user_id=user_id, action=action)
    allow = [
        (bytes(id_), transports)
        for id_, transports in Passkey.objects.filter(user_id=user_id).values_list(
            "credential_id", "transports"
        )
    ]
    return passkey_rules.request_options(rp, challenge=challenge.value, allow=allow)


def finish_step_up(
    *, credential: Mapping[str, Any], rp: RelyingParty, user_id: UUID, binding: str, action: bytes, now: datetime
) -> Proved:  # fmt: skip
    """Raises CeremonyRefused, SessionsUnavailable."""
    challenge = challenges.take(purpose=STEP_UP, binding=binding, user_id=user_id, action=action)
    return _assert(credential, rp=rp, challenge=challenge, expected=user_id, now=now)


def begin_enrolment(*, rp: RelyingParty, user: User, binding: str) -> dict[str, Any]:
    """Options for one more passkey of a user. Raises TooManyPasskeys, SessionsUnavailable."""
    held = [bytes(id_) for id_ in user.passkeys.values_list("credential_id", flat=True)]
    if len(held) >= PASSKEYS_MAX:
        raise TooManyPasskeys(
            f"You have {len(held)} passkeys, which is as many as one may have. Remove one first.",
            rule=f"must be at most {PASSKEYS_MAX}",
        )
    challenge = challenges.issue(purpose=ENROL, binding=binding, user_id=user.pk)
    return passkey_rules.creation_options(
        rp, challenge=challenge.value, user_handle=bytes(user.handle), user_name=user.email, exclude=held
    )


def finish_enrolment(
    *, credential: Mapping[str, Any], rp: RelyingParty, user: User, binding: str, name: str, now: datetime
) -> Passkey:  # fmt: skip
    """Raises InvalidInput (name), CeremonyRefused, SessionsUnavailable."""
    name = checked_name(name, example="My laptop")
    challenge = challenges.take(purpose=ENROL, binding=binding, user_id=user.pk)
    new = judged_registration(credential, rp=rp, challenge=challenge)
    return keep(new, user=user, name=name, now=now)


def judged_registration(
    credential: Mapping[str, Any], *, rp: RelyingParty, challenge: challenges.Challenge | None
) -> NewPasskey:
    """Raises CeremonyRefused."""
    try:
        if challenge is None:
            raise Refused("no open challenge")
        return passkey_rules.judge_registration(credential, rp=rp, challenge=challenge.value)
    except Refused as why:
        raise refused(why) from why


@transaction.atomic
def keep(new: NewPasskey, *, user: User, name: str, now: datetime) -> Passkey:
    """Store a passkey that was judged. Raises CeremonyRefused where somebody has its id already."""
    try:
        with transaction.atomic():
            passkey = Passkey.objects.create(
                user=user, credential_id=new.credential_id, public_key=new.public_key,
                sign_count=new.sign_count, backup_eligible=new.backup_eligible,
                backup_state=new.backup_state, transports=list(new.transports), aaguid=new.aaguid,
                name=name, created_at=now,
            )  # fmt: skip
    except IntegrityError as conflict:
        raise refused(Refused("the credential id is taken")) from conflict
    record.record(
        events.PASSKEY_ENROLLED, actor=actor_ref_for(user.pk), object_type="passkey", object_id=passkey.pk,
        at=now, changes={"backup_eligible": new.backup_eligible, "aaguid": new.aaguid},
    )  # fmt: skip
    notices.notify(user_id=user.pk, what=events.PASSKEY_ENROLLED, at=now, passkey=passkey.pk)
    return passkey


@transaction.atomic
def rename(*, user_id: UUID, passkey_id: UUID, name: str, now: datetime) -> Passkey:
    """Raises InvalidInput, NotFound."""
    name = checked_name(name, example="My laptop")
    passkey = _own(user_id, passkey_id)
    if passkey.name != name:
        passkey.name = name
        passkey.save(update_fields=["name"])
        record.record(
            events.PASSKEY_RENAMED, actor=actor_ref_for(user_id), object_type="passkey", object_id=passkey.pk, at=now,
        )  # fmt: skip
    return passkey


@transaction.atomic
def remove(*, user_id: UUID, passkey_id: UUID, now: datetime) -> None:
    """Raises NotFound, and LastPasskey when nothing else would let the user in again."""
    user = User.objects.select_for_update().get(
        pk=user_id
    )  # two removals at once do not both see another one
    passkey = _own(user_id, passkey_id)
    others = user.passkeys.exclude(pk=passkey.pk).exists()
    if not others and not user.recovery_codes.filter(used_at=None).exists():
        raise LastPasskey(
            "This is your only passkey, and you have no recovery codes. Add another passkey or make codes first.",
            rule="must leave a passkey or a recovery code",
            remedy="Add another passkey, or make recovery codes.",
        )
    passkey.delete()
    record.record(
        events.PASSKEY_REMOVED,
        actor=actor_ref_for(user_id),
        object_type="passkey",
        object_id=passkey_id,
        at=now,
    )
    notices.notify(user_id=user_id, what=events.PASSKEY_REMOVED, at=now, passkey=passkey_id)


def refused(why: Refused) -> CeremonyRefused:
    """What the caller hears; what we keep is in the log."""
    log.info("ceremony refused", reason=why.reason[:200], suspicious=isinstance(why, Suspicious))
    return CeremonyRefused(
        "That passkey could not be used here. Start again; if it keeps failing, use another passkey or a recovery code.",
        remedy="Start again.",
    )


def _assert(
    credential: Mapping[str, Any], *, rp: RelyingParty, challenge: challenges.Challenge | None,
    expected: UUID | None, now: datetime,
) -> Proved:  # fmt: skip
    """A suspicion or a lock is recorded although nothing else is: so it is raised after its transaction."""
    with transaction.atomic():
        outcome = _judge(credential, rp, challenge, expected, now)
    if isinstance(outcome, Refused):
        raise refused(outcome) from outcome
    return outcome


def _judge(
    credential: Mapping[str, Any], rp: RelyingParty, challenge: challenges.Challenge | None,
    expected: UUID | None, now: datetime,
) -> Proved | Refused:  # fmt: skip
    if challenge is None:
        return Refused("no open challenge")
    try:
        named = passkey_rules.credential_id(credential)
    except Refused as why:
        return why
    row = (
        Passkey.objects.select_for_update(of=("self",))  # counters go up one at a time
        .select_related("user")
        .filter(credential_id=named)
        .first()
    )
    if row is None or not row.user.is_active or (expected is not None and row.user_id != expected):
        return Refused("not a passkey of theirs")
    known = KnownPasskey(
        credential_id=bytes(row.credential_id), public_key=bytes(row.public_key), sign_count=row.sign_count,
        backup_eligible=row.backup_eligible, user_handle=bytes(row.user.handle),
    )  # fmt: skip
    try:
        found = passkey_rules.judge_assertion(
            credential, rp=rp, challenge=challenge.value, passkey=known, handle_required=expected is None
        )
    except Suspicious as why:
        record.record(
            events.PASSKEY_SUSPECTED, actor=actor_ref_for(row.user_id), object_type="passkey", object_id=row.pk,
            at=now, reason=why.reason,
        )  # fmt: skip
        notices.notify(user_id=row.user_id, what=events.PASSKEY_SUSPECTED, at=now, passkey=row.pk)
        lockout.note_failure(row.user, now=now)
        return why
    except Refused as why:
        lockout.note_failure(row.user, now=now)
        return why
    if expected is None:
        lockout.require_open(row.user, now=now)
    row.sign_count, row.backup_state, row.last_used_at = found.sign_count, found.backup_state, now
    row.save(update_fields=["sign_count", "backup_state", "last_used_at"])
    return Proved(row.user, row.pk)


def _own(user_id: UUID, passkey_id: UUID) -> Passkey:
    passkey = Passkey.objects.select_for_update().filter(user_id=user_id, pk=passkey_id).first()
    if passkey is None:
        raise NotFound("You have no such passkey.", remedy="List your passkeys to see their ids.")
    return passkey
