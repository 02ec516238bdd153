"""Who sends a request: an API key as HTTP Basic credentials, which is what `curl -u KEY_ID:SECRET` sends, or a
browser by its session cookie. Where an Authorization header stands, cookies mean nothing.

Whoever is known is counted against their limit at once; whoever is not, against their address's.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from raxx.identity import cookies, rate_limits
from raxx.identity.api import csrf
from raxx.identity.fast_store import SessionsUnavailable
from raxx.identity.models import Tier
from raxx.identity.selectors import InvalidCredentials, KeyHolder, authenticate
from raxx.identity.services import sessions
from raxx.identity.services.api_keys import note_use
from raxx.identity.services.sessions import SessionHolder, SessionInvalid
from raxx.kernel import clock

_CREDENTIALS_LENGTH_MAX = 512


@dataclass(frozen=True, slots=True)
class Principal:
    """`request.user`: just enough to own things. `request.auth` is the KeyHolder or the SessionHolder."""

    user_id: UUID
    tier: Tier
    is_authenticated: bool = True


class ApiKeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Principal, KeyHolder] | None:
        """None where no Basic credentials are sent. Raises AuthenticationFailed, which becomes
        INVALID_CREDENTIALS with a WWW-Authenticate header, RateLimited, SessionsUnavailable."""
        scheme, _, encoded = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            if "__Host-raxx" not in request.META.get("HTTP_COOKIE", ""):
                _count_stranger(request)
            return None
        now = clock.now()
        try:
            holder = authenticate(*_decode(encoded), now)
        except InvalidCredentials as refusal:
            _count_stranger(request)
            raise AuthenticationFailed(refusal.message) from refusal
        _count(request, holder.user_id, holder.tier)
        note_use(key_pk=holder.key_pk, last_used_at=holder.last_used_at, now=now)
        return Principal(holder.user_id, holder.tier), holder

    def authenticate_header(self, request: Request) -> str:
        return 'Basic realm="Raxx API key", charset="UTF-8"'


class SessionAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Principal, SessionHolder] | None:
        """None without the cookie, or beside an Authorization header. Raises SessionInvalid, SessionsUnavailable,
        CsrfRefused, RateLimited."""
        access = request.COOKIES.get(cookies.ACCESS)
        if not access or "HTTP_AUTHORIZATION" in request.META:
            return None
        csrf.check(request)
        try:
            holder = sessions.present(access=access, now=clock.now(), removes_risk=removes_risk(request))
        except SessionInvalid:
            _count_stranger(request)
            raise
        _count(request, holder.user_id, holder.tier)
        return Principal(holder.user_id, holder.tier), holder

    def authenticate_header(self, request: Request) -> str:
        return 'Session realm="Raxx"'


def removes_risk(request: Request) -> bool:
    """Whether the view says that this method takes risk away (`removes_risk = {"DELETE"}`): such requests have a
    reserve, and are served while Valkey is gone."""
    view: Any = (request.parser_context or {}).get("view")
    return request.method in getattr(view, "removes_risk", ())


def client_address(request: Request) -> str:
    return rate_limits.address_of(_plain(request))


def _count(request: Request, user_id: UUID, tier: Tier) -> None:
    """The standing goes into the answer's headers: see raxx/identity/middleware.py."""
    try:
        standing = rate_limits.count_user(user_id, tier, removes_risk=removes_risk(request))
    except rate_limits.RateLimited as refusal:
        _plain(request).META["raxx.rate"] = refusal.standing
        raise
    _plain(request).META["raxx.rate"] = standing


def _count_stranger(request: Request) -> None:
    try:
        rate_limits.count_stranger(client_address(request))
    except SessionsUnavailable:
        return  # they are refused anyway


def _plain(request: Request) -> HttpRequest:
    return request._request


def _decode(encoded: str) -> tuple[str, str]:
    """Key id and secret; empty ones, which open nothing, where they cannot be read. Source: RFC 7617."""
    if len(encoded) > _CREDENTIALS_LENGTH_MAX:
        return "", ""
    try:
        key_id, _, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", ""
    return key_id, secret
