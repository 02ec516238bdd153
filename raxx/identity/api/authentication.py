"""API keys as HTTP Basic credentials, which is what `curl -u KEY_ID:SECRET` sends. Nothing else is
looked at: cookies mean nothing here, so other sites cannot make a browser trade."""

import base64
import binascii
from dataclasses import dataclass
from uuid import UUID

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from raxx.identity.models import Tier
from raxx.identity.selectors import InvalidCredentials, KeyHolder, authenticate
from raxx.identity.services.api_keys import note_use
from raxx.kernel import clock

_CREDENTIALS_LENGTH_MAX = 512


@dataclass(frozen=True, slots=True)
class Principal:
    """`request.user`: just enough to own things. `request.auth` is the KeyHolder with its scopes."""

    user_id: UUID
    tier: Tier
    is_authenticated: bool = True


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Principal, KeyHolder] | None:
        """None where no Basic credentials are sent. Raises AuthenticationFailed, which becomes
        INVALID_CREDENTIALS with a WWW-Authenticate header."""
        scheme, _, encoded = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        now = clock.now()
        try:
            holder = authenticate(*_decode(encoded), now)
        except InvalidCredentials as refusal:
            raise AuthenticationFailed(refusal.message) from refusal
        note_use(key_pk=holder.key_pk, last_used_at=holder.last_used_at, now=now)
        return Principal(holder.user_id, holder.tier), holder

    def authenticate_header(self, request: Request) -> str:
        return 'Basic realm="Raxx API key", charset="UTF-8"'


def _decode(encoded: str) -> tuple[str, str]:
    """Key id and secret; empty ones, which open nothing, where they cannot be read. Source: RFC 7617."""
    if len(encoded) > _CREDENTIALS_LENGTH_MAX:
        return "", ""
    try:
        key_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return key_id, secret
