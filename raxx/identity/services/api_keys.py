"""API keys: made, ended, and noted as used."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from audit import log
from audit.pseudonym import actor_ref_for
from raxx.identity import events
from raxx.identity.models import ApiKey, Scope, User
from raxx.identity.text import checked_name
from raxx.kernel.errors import InvalidInput
from raxx.kernel.keys import derive

USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """The only time that the secret is seen."""

    key_id: str
    secret: str = field(repr=False)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret: 32 bytes of HMAC-SHA256 under the pepper, which is not in the database."""
    return hmac.digest(derive("api-key-pepper"), secret.encode(errors="surrogatepass"), hashlib.sha256)


@transaction.atomic
def issue(
    *,
    user: User,
    name: str,
    scopes: Iterable[str],
    now: datetime,
    expires_at: datetime | None = None,
    actor: str | None = None,
) -> IssuedKey:
    """Make a key for the user's paper account. Raises InvalidInput for name, scopes or expires_at.

    `actor` is an actor_ref; without one it is the user.
    """
    name, scopes = checked_name(name, example="my bot"), sorted({str(scope) for scope in scopes})
    _check(scopes, now, expires_at)
    # 18 base32 characters are 90 bits, 43 of the other are 256.
    issued = IssuedKey(
        "RX" + base64.b32encode(secrets.token_bytes(12)).decode()[:18], secrets.token_urlsafe(32)
    )
    key = ApiKey.objects.create(
        user=user,
        key_id=issued.key_id,
        secret_hash=hash_secret(issued.secret),
        name=name,
        scopes=scopes,
        created_at=now,
        expires_at=expires_at,
    )
    log.record(
        events.API_KEY_ISSUED,
        actor=actor or actor_ref_for(user.pk),
        object_type="api_key",
        object_id=key.pk,
        at=now,
        changes={"key_id": key.key_id, "scopes": scopes, "expires_at": expires_at},
    )
    return issued


@transaction.atomic
def revoke(*, key_id: str, actor: str, now: datetime, reason: str = "") -> bool:
    """End a key for good. False: it is unknown or was revoked before. From the commit on it opens nothing."""
    key = ApiKey.objects.select_for_update().filter(key_id=key_id, revoked_at=None).first()
    if key is None:
        return False
    key.revoked_at = now
    key.save(update_fields=["revoked_at"])
    log.record(
        events.API_KEY_REVOKED,
        actor=actor,
        object_type="api_key",
        object_id=key.pk,
        at=now,
        changes={"revoked_at": [None, now]},
        reason=reason,
    )
    return True


def note_use(*, key_pk: UUID, last_used_at: datetime | None, now: datetime) -> None:
    """Keep `last_used_at` true to the minute. Of many who come at once, one writes and nobody waits."""
    if last_used_at is not None and now - last_used_at < USE_NOTED_EVERY:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE api_keys SET last_used_at = %(now)s WHERE id = ("
            " SELECT id FROM api_keys WHERE id = %(id)s AND last_used_at IS NOT DISTINCT FROM %(seen)s"
            " FOR NO KEY UPDATE SKIP LOCKED)",
            {"now": now, "id": key_pk, "seen": last_used_at},
        )


def _check(scopes: list[str], now: datetime, expires_at: datetime | None) -> None:
    unknown = [scope for scope in scopes if scope not in Scope.values]
    if unknown or not scopes:
        raise InvalidInput(
            field="scopes",
            rule="must be some of " + ", ".join(Scope.values),
            value=", ".join(unknown) or "none",
            remedy="Send at least one of them and nothing else.",
        )
    if expires_at is not None and expires_at <= now:
        raise InvalidInput(
            field="expires_at",
            rule="must be in the future",
            value=expires_at.isoformat(),
            remedy="Send a later instant.",
        )
