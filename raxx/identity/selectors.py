"""Who is calling."""

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection

from raxx.identity.models import Tier
from raxx.identity.services.api_keys import hash_secret
from raxx.kernel.errors import RaxxError

_KEY_ID = re.compile(r"RX[A-Z2-7]{18}", re.ASCII)
_NO_HASH = bytes(32)


class InvalidCredentials(RaxxError):
    """Unknown key, wrong secret, revoked, expired, inactive user: the answer is the same."""

    code = "INVALID_CREDENTIALS"
    http_status = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHolder:
    """A user as their API key presents them. `last_used_at` is the key's, before this use."""

    user_id: UUID
    tier: Tier
    scopes: frozenset[str]
    key_pk: UUID
    last_used_at: datetime | None


def authenticate(key_id: str, secret: str, now: datetime) -> KeyHolder:
    """Whose key this is, by one statement. Raises InvalidCredentials.

    Whatever is wrong, the same work is done: one look-up, one hash, one comparison in constant time.
    """
    presented = hash_secret(secret)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT k.secret_hash, u.is_active AND k.revoked_at IS NULL AND coalesce(%s < k.expires_at, true),"
            " k.user_id, u.tier, k.scopes, k.id, k.last_used_at"
            " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.key_id = %s",
            [now, key_id if _KEY_ID.fullmatch(key_id) else ""],
        )
        row = cursor.fetchone()
    stored, usable, user_id, tier, scopes, key_pk, last_used_at = row or (_NO_HASH, False, *[None] * 5)
    if not hmac.compare_digest(presented, bytes(stored)) or not usable:
        raise InvalidCredentials(
            "The API key is not valid. Check key id and secret, or make a new key.",
            remedy="Send them as HTTP Basic credentials: curl -u KEY_ID:SECRET …",
        )
    return KeyHolder(
        user_id=user_id, tier=Tier(tier), scopes=frozenset(scopes), key_pk=key_pk, last_used_at=last_used_at
    )
