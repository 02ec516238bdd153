"""Keys for single purposes, all derived from the one root secret `RAXX_FIELD_KEY`.

A key that leaks says nothing about the others, and a new purpose needs no new secret to look after.
"""

import hashlib
import hmac
from functools import lru_cache

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

ROOT_LENGTH_MIN = 32
_SALT = b"raxx.keys.v1"


def derive(purpose: str) -> bytes:
    """The 32-byte key for `purpose`, the same in every process and on every day.

    Raises ImproperlyConfigured when the root secret is too short to be one.
    """
    return _derive(settings.RAXX_FIELD_KEY, purpose)


@lru_cache(maxsize=64)
def _derive(root: str, purpose: str) -> bytes:
    if len(root) < ROOT_LENGTH_MIN:
        raise ImproperlyConfigured(
            f"RAXX_FIELD_KEY has {len(root)} characters; it needs at least {ROOT_LENGTH_MIN}. "
            "Generate one with: openssl rand -hex 32"
        )
    return hkdf_sha256(root.encode(), salt=_SALT, info=purpose.encode(), length=32)


def hkdf_sha256(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes (at most 8,160) of HKDF-SHA256. Source: RFC 5869, sections 2.2 and 2.3."""
    pseudorandom_key = hmac.digest(salt or bytes(32), secret, hashlib.sha256)
    output, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(pseudorandom_key, block + info + bytes([counter]), hashlib.sha256)
        output += block
    return output[:length]
