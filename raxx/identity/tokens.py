"""The access token in the session cookie: a JWT for ten minutes that says which session it belongs to, and
nothing about what its holder may do: that is read live."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt

from raxx.kernel.keys import derive

LIVES = timedelta(minutes=10)
LEEWAY = timedelta(seconds=30)
KEY_DAYS = 90
_ISSUER, _AUDIENCE, _TYPE, _ALGORITHM = "raxx", "raxx-web", "raxx-at+jwt", "HS256"
_CLAIMS = ["iss", "aud", "sub", "sid", "gen", "jti", "iat", "exp"]
_LENGTH_MAX = 2_048
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class BadToken(Exception):
    """Not a token of ours, or one whose time is over."""


@dataclass(frozen=True, slots=True)
class Claims:
    """`sid` is the session's secret id; `generation` rises with each step-up."""

    user_id: UUID
    sid: str
    generation: int


def encode(claims: Claims, now: datetime) -> str:
    """A signed token that begins now."""
    number = _key_number(now)
    payload = {
        "iss": _ISSUER, "aud": _AUDIENCE, "sub": str(claims.user_id), "sid": claims.sid, "gen": claims.generation,
        "jti": secrets.token_urlsafe(16), "iat": now, "exp": now + LIVES,
    }  # fmt: skip
    return jwt.encode(payload, _key(number), algorithm=_ALGORITHM, headers={"typ": _TYPE, "kid": str(number)})


def decode(token: str, now: datetime) -> Claims:
    """What a token says. Raises BadToken.

    Measured: PyJWT takes tokens without `exp` and of any `typ` unless told otherwise, so all is demanded here.
    `jku`, `jwk` and `x5u` are never looked at: the key comes from `kid`, which may name two.
    """
    if len(token) > _LENGTH_MAX:
        raise BadToken("too long")
    try:
        header = jwt.get_unverified_header(token)
        number = _key_number(now)
        known = {str(number): number, str(number - 1): number - 1}
        kid = header.get("kid")
        if header.get("typ") != _TYPE or not isinstance(kid, str) or kid not in known:
            raise BadToken("another type or key")
        claims = jwt.decode(
            token, _key(known[kid]), algorithms=[_ALGORITHM], issuer=_ISSUER, audience=_AUDIENCE,
            # The instants are judged below, by the caller's clock.
            options={"require": _CLAIMS, "enforce_minimum_key_length": True, "verify_exp": False, "verify_iat": False},
        )  # fmt: skip
        issued, expires, generation = (_whole(claims[name]) for name in ("iat", "exp", "gen"))
        at = (now - _EPOCH).total_seconds()
        if expires + LEEWAY.total_seconds() <= at or issued - LEEWAY.total_seconds() > at:
            raise BadToken("not at this time")
        if expires - issued > LIVES.total_seconds() or not isinstance(claims["sid"], str):
            raise BadToken("odd claims")
        return Claims(UUID(claims["sub"]), claims["sid"], generation)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as problem:
        raise BadToken(type(problem).__name__) from problem


def _whole(value: object) -> int:
    if type(value) is not int:
        raise BadToken("odd claims")
    return value


def _key_number(now: datetime) -> int:
    """Keys change every 90 days; the one before still opens what it has signed."""
    return (now - _EPOCH).days // KEY_DAYS


def _key(number: int) -> bytes:
    return derive(f"session-token-{number}")
