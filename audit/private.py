"""Fields of a row that tell about a person: stored under that person's key, unreadable once it is gone.

    "v1." + base64url(nonce of 12 bytes ‖ AES-256-GCM(JSON of the value))

The key is HKDF-SHA256 of the person's key in `audit_subjects`; action and field are authenticated with
it, so that a value cannot be moved elsewhere. Rows never change: erasing means deleting the key.
"""

import base64
import secrets
from collections.abc import Mapping
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from audit import pseudonym
from raxx.kernel.keys import hkdf_sha256

_VERSION, _NONCE = "v1.", 12
_encode = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical").encode


def seal(
    *, action: str, forgets: tuple[str, ...], subject: UUID | None, changes: Mapping[str, object], reason: str
) -> tuple[dict[str, object], str]:
    """`changes` and `reason` with those of `forgets` made private.

    Raises ValueError where there is something to hide and nobody whose key would hide it. Takes a query.
    """
    wanted = [name for name in forgets if changes.get(name) is not None or (name == "reason" and reason)]
    if not wanted:
        return dict(changes), reason
    if subject is None:
        raise ValueError(f"audit event {action!r} forgets {', '.join(wanted)}: name the subject")
    cipher, hidden = _cipher(pseudonym.key_for(subject)), dict(changes)
    for name in wanted:
        if changes.get(name) is not None:
            hidden[name] = _seal(cipher, action, name, changes[name])
    if "reason" in wanted and reason:
        reason = _seal(cipher, action, "reason", reason)
    return hidden, reason


def open_value(*, key: bytes | None, action: str, name: str, stored: object) -> object:
    """What was recorded; None when the person was forgotten, or it was under somebody else's key."""
    if key is None or not isinstance(stored, str) or not stored.startswith(_VERSION):
        return None
    try:
        data = base64.urlsafe_b64decode(stored.removeprefix(_VERSION))
        plain = _cipher(key).decrypt(data[:_NONCE], data[_NONCE:], _context(action, name))
    except (InvalidTag, ValueError):
        return None
    value: object = msgspec.json.decode(plain)
    return value


def _seal(cipher: AESGCM, action: str, name: str, value: object) -> str:
    nonce = secrets.token_bytes(_NONCE)
    data = nonce + cipher.encrypt(nonce, _encode(value), _context(action, name))
    return _VERSION + base64.urlsafe_b64encode(data).decode()


def _cipher(subject_key: bytes) -> AESGCM:
    return AESGCM(hkdf_sha256(subject_key, salt=b"raxx.audit.v1", info=b"private", length=32))


def _context(action: str, name: str) -> bytes:
    return f"{action}\0{name}".encode()
