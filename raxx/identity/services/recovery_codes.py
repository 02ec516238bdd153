"""Recovery codes: ten of them, shown once, each good for one way back."""

import base64
import hashlib
import hmac
import re
import secrets
from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit import log as record
from audit.pseudonym import actor_ref_for
from raxx.identity import events
from raxx.identity.models import RecoveryCode, User
from raxx.identity.services import notices
from raxx.kernel.errors import RaxxError
from raxx.kernel.keys import derive

HOW_MANY = 10
_CHARACTERS = 28  # of base32: 140 bits, in seven groups of four
_SHAPE = re.compile(rf"[A-Z2-7]{{{_CHARACTERS}}}", re.ASCII)


class RecoveryRefused(RaxxError):
    """Unknown, used or replaced: the answer is the same."""

    code = "RECOVERY_REFUSED"


@transaction.atomic
def renew(*, user_id: UUID, now: datetime) -> list[str]:
    """Ten new codes, seen only now. Older ones are dead."""
    User.objects.select_for_update().get(pk=user_id)  # one renewal at a time
    RecoveryCode.objects.filter(user_id=user_id).delete()
    codes = [_new() for _ in range(HOW_MANY)]
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user_id=user_id, code_hash=hash_code(code), created_at=now) for code in codes
    )
    record.record(
        events.CODES_RENEWED,
        actor=actor_ref_for(user_id),
        object_type="user",
        object_id=actor_ref_for(user_id),
        at=now,
    )
    notices.notify(user_id=user_id, what=events.CODES_RENEWED, at=now)
    return codes


@transaction.atomic
def use(*, code: str, now: datetime) -> User:
    """Whose unused code this is, which is used from now on. Raises RecoveryRefused."""
    fresh = RecoveryCode.objects.filter(code_hash=hash_code(code), used_at=None, user__is_active=True)
    row = fresh.select_for_update(of=("self",)).select_related("user").first()
    if row is None:
        raise RecoveryRefused(
            "That recovery code does not work. Check it letter by letter, or try another one.",
            field="code", rule="must be one of your unused codes", remedy="Try another code.",
        )  # fmt: skip
    row.used_at = now
    row.save(update_fields=["used_at"])
    record.record(
        events.CODE_USED,
        actor=actor_ref_for(row.user_id),
        object_type="recovery_code",
        object_id=row.pk,
        at=now,
    )
    notices.notify(user_id=row.user_id, what=events.CODE_USED, at=now)
    return row.user


def left(user_id: UUID) -> int:
    """How many of the user's codes still work."""
    return RecoveryCode.objects.filter(user_id=user_id, used_at=None).count()


def hash_code(code: str) -> bytes:
    """What is stored of a code: 32 bytes of HMAC-SHA256 under a key that is not in the database. Blanks, dashes
    and small letters make no difference."""
    plain = re.sub(r"[\s-]", "", code[:200]).upper()
    if not _SHAPE.fullmatch(plain):
        plain = ""
    return hmac.digest(derive("recovery-code-pepper"), plain.encode(), hashlib.sha256)


def _new() -> str:
    plain = base64.b32encode(secrets.token_bytes(20)).decode()[:_CHARACTERS]
    return "-".join(plain[start : start + 4] for start in range(0, _CHARACTERS, 4))
