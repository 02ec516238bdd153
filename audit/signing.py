"""The Ed25519 key under which checkpoints and purge manifests are signed, and their signatures.

The private key is made from the secret RAXX_AUDIT_KEY. Where that is not given, a development key is
made in the state directory: good enough to find accidents, worthless against whoever owns the machine.

What is signed is `raxx.audit.<kind>.v1`, a newline, and the facts as JSON with sorted keys.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from django.conf import settings

from raxx.kernel import embedded
from raxx.kernel.errors import InvalidInput
from raxx.kernel.keys import hkdf_sha256

_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Signature(NamedTuple):
    """64 bytes, and the id of the public key that checks them."""

    key_id: str
    value: bytes


class BadPublicKey(InvalidInput):
    code = "BAD_PUBLIC_KEY"


def sign(kind: str, facts: Mapping[str, object]) -> Signature:
    """Sign `facts` (strings and integers) with the current key."""
    key = _private_key()
    return Signature(_key_id(_raw(key.public_key())), key.sign(_statement(kind, facts)))


class Verifier:
    """Checks signatures of the current key and of former ones; those are given as 64 hex digits each."""

    def __init__(self, former: Sequence[str] = ()) -> None:
        raws = [_raw(_private_key().public_key())]
        raws += [
            _parse(text) for text in [*settings.RAXX_AUDIT_PUBLIC_KEYS.split(","), *former] if text.strip()
        ]
        self._keys = {_key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in raws}

    def accepts(self, kind: str, facts: Mapping[str, object], signature: Signature) -> bool:
        key = self._keys.get(signature.key_id)
        if key is None:
            return False
        try:
            key.verify(signature.value, _statement(kind, facts))
        except InvalidSignature:
            return False
        return True


def public_key() -> str:
    """The current one, as 64 hex digits: what an outsider needs to check a checkpoint."""
    return _raw(_private_key().public_key()).hex()


def has_own_key() -> bool:
    """False: the development key is in use."""
    return bool(settings.RAXX_AUDIT_KEY)


def _statement(kind: str, facts: Mapping[str, object]) -> bytes:
    return f"raxx.audit.{kind}.v1\n".encode() + _encode_sorted(dict(facts))


def _private_key() -> Ed25519PrivateKey:
    return _key_of(settings.RAXX_AUDIT_KEY or _development_secret(_development_file()))


@lru_cache(maxsize=8)
def _key_of(secret: str) -> Ed25519PrivateKey:
    seed = hkdf_sha256(secret.encode(), salt=b"raxx.audit.v1", info=b"checkpoint", length=32)
    return Ed25519PrivateKey.from_private_bytes(seed)


def _development_file() -> Path:
    return embedded.state_dir() / "audit-development-key"


@lru_cache(maxsize=8)
def _development_secret(file: Path) -> str:
    if not file.exists():
        embedded.write_once(file, secrets.token_hex(32))
    return file.read_text().strip()


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes_raw()


def _key_id(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _parse(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.strip())
        Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise BadPublicKey(
            field="public key",
            rule="must be 64 hex digits of an Ed25519 public key",
            value=text,
            remedy="`manage.py audit_verify --json` names the current one as public_key.",
        ) from None
    return raw
