"""Challenges of passkey ceremonies: random, for five minutes, for one purpose in one browser, used once."""

import hashlib
import secrets
from typing import Any
from uuid import UUID

import msgspec

from raxx.identity import fast_store
from raxx.identity.passkey_rules import CHALLENGE_BYTES

LIVES_S = 300


class Challenge(msgspec.Struct, frozen=True):
    """What was asked. `facts` are what the ceremony was begun with, as JSON values."""

    value: bytes
    facts: dict[str, Any] = {}


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Challenge)


def issue(
    *, purpose: str, binding: str, user_id: UUID | None = None, action: bytes = b"", **facts: object
) -> Challenge:
    """A new challenge; one of the same kind that was open before is dead. Raises SessionsUnavailable.

    `binding` is what only this browser has: its session or its pre-login cookie.
    """
    challenge = Challenge(secrets.token_bytes(CHALLENGE_BYTES), facts)
    stored, key = _encoder.encode(challenge), _key(purpose, binding, user_id, action)
    fast_store.ask(lambda valkey: valkey.set(key, stored, ex=LIVES_S))
    return challenge


def take(*, purpose: str, binding: str, user_id: UUID | None = None, action: bytes = b"") -> Challenge | None:
    """The open challenge, which is open no more: whoever comes with a wrong answer has used it up.
    Raises SessionsUnavailable."""
    key = _key(purpose, binding, user_id, action)
    stored: Any = fast_store.ask(lambda valkey: valkey.getdel(key))
    return _decoder.decode(stored) if stored else None


def _key(purpose: str, binding: str, user_id: UUID | None, action: bytes) -> str:
    parts = (purpose.encode(), binding.encode(), user_id.bytes if user_id else b"", action)
    whole = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return "raxx:ceremony:" + hashlib.sha256(whole).hexdigest()
