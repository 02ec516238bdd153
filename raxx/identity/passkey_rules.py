"""What a passkey ceremony must look like. Pure: what the browser sent and what we know go in, facts come out.

The `webauthn` package checks signatures, challenge, origin and flags. What it leaves open is closed here:
frames of other sites, ids that differ from what was signed, backup flags that change, counters that stand
still. Source: WebAuthn level 3, sections 7.1 and 7.2.
"""

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import webauthn
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from webauthn.helpers import (
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    parse_attestation_object,
    parse_authenticator_data,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import AuthenticatorData

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
CHALLENGE_BYTES = 32
TIMEOUT_MS = 300_000
CREDENTIAL_ID_BYTES_MAX = 1_023
_PUBLIC_KEY_BYTES_MAX = 2_048
_RSA_BITS_MIN = 2_048
# Ed25519 first: who has it prefers it. RS256 for Windows Hello.
ALGORITHMS = (
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
)
# With attestation "none" asked for, browsers send nothing else than these two.
_FORMATS = ("none", "packed")
_TRANSPORTS = frozenset({"ble", "cable", "hybrid", "internal", "nfc", "smart-card", "usb"})


class Refused(Exception):
    """The ceremony is not taken. `reason` is for the log, never for the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Suspicious(Refused):
    """It is signed by the right key, and still looks as if somebody had copied that key."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who we are to a browser. `origins` are exact, such as https://raxx.example."""

    id: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPasskey:
    """What we kept of a passkey."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    user_handle: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPasskey:
    """What a registration brings."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    backup_eligible: bool
    backup_state: bool
    transports: tuple[str, ...]
    aaguid: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What a sign-in changes about its passkey."""

    sign_count: int
    backup_state: bool


def creation_options(
    rp: RelyingParty,
    *,
    challenge: bytes,
    user_handle: bytes,
    user_name: str,
    exclude: Sequence[bytes],
) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptionsJSON: what `navigator.credentials.create` is asked for."""
    return {
        "rp": {"id": rp.id, "name": "Raxx"},
        "user": {"id": b64(user_handle), "name": user_name, "displayName": user_name},
        "challenge": b64(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": int(alg)} for alg in ALGORITHMS],
        "timeout": TIMEOUT_MS,
        "excludeCredentials": [{"type": "public-key", "id": b64(each)} for each in exclude],
        "authenticatorSelection": {
            "residentKey": "required", "requireResidentKey": True, "userVerification": "required",
        },
        "attestation": "none",
        "extensions": {"credProps": True},
    }  # fmt: skip


def request_options(
    rp: RelyingParty, *, challenge: bytes, allow: Sequence[tuple[bytes, Sequence[str]]] = ()
) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptionsJSON. Without `allow` it says nothing about anybody."""
    return {
        "rpId": rp.id,
        "challenge": b64(challenge),
        "timeout": TIMEOUT_MS,
        "userVerification": "required",
        "allowCredentials": [
            {"type": "public-key", "id": b64(id_), "transports": list(transports)}
            for id_, transports in allow
        ],
    }


def credential_id(credential: Mapping[str, Any]) -> bytes:
    """The id that the browser names. Raises Refused."""
    found = _bytes(credential, "rawId", CREDENTIAL_ID_BYTES_MAX)
    if credential.get("id") != credential.get("rawId") or credential.get("id") != b64(found):
        raise Refused("id and rawId differ, or are spelled oddly")
    return found


def user_handle(credential: Mapping[str, Any]) -> bytes | None:
    """The user that the passkey names, if it names one. Raises Refused."""
    response = _response(credential)
    return None if response.get("userHandle") is None else _bytes(response, "userHandle", 64)


def judge_registration(credential: Mapping[str, Any], *, rp: RelyingParty, challenge: bytes) -> NewPasskey:
    """The new passkey. Raises Refused for anything that is not exactly as asked for."""
    named = credential_id(credential)
    response = _response(credential)
    _judge_client_data(response)
    raw = _bytes(response, "attestationObject", 65_536)
    try:
        verified = webauthn.verify_registration_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=list(rp.origins),
            require_user_verification=True,
            supported_pub_key_algs=list(ALGORITHMS),
        )
        attested = parse_attestation_object(raw)
        key = decoded_public_key_to_cryptography(decode_credential_public_key(verified.credential_public_key))
    except Exception as problem:
        # Whatever a stranger's bytes make a parser raise means no.
        raise Refused(f"registration: {type(problem).__name__}: {problem}") from problem
    data = attested.auth_data
    if attested.fmt not in _FORMATS:
        raise Refused(f"attestation of the kind {attested.fmt!r}")
    if verified.credential_id != named:
        raise Refused("the id beside the attestation is not the one in it")
    if not 1 <= len(verified.credential_id) <= CREDENTIAL_ID_BYTES_MAX:
        raise Refused("credential id of a wrong length")
    if len(verified.credential_public_key) > _PUBLIC_KEY_BYTES_MAX:
        raise Refused("public key too long")
    # Measured: with attestation "none" the library never loads the key, so that a point off the curve passes.
    if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
        raise Refused("a curve that was not asked for")
    if isinstance(key, RSAPublicKey) and key.key_size < _RSA_BITS_MIN:
        raise Refused("an RSA key too short")
    _judge_flags(data)
    return NewPasskey(
        credential_id=verified.credential_id,
        public_key=verified.credential_public_key,
        sign_count=verified.sign_count,
        backup_eligible=data.flags.be,
        backup_state=data.flags.bs,
        transports=_transports(response),
        aaguid=UUID(verified.aaguid),
    )


def judge_assertion(
    credential: Mapping[str, Any], *, rp: RelyingParty, challenge: bytes, passkey: KnownPasskey,
    handle_required: bool,
) -> Assertion:  # fmt: skip
    """What the sign-in proves. With `handle_required` (nobody was named before) the passkey must name its user.

    Raises Refused, or Suspicious where the signature is right and something else is not.
    """
    if credential_id(credential) != passkey.credential_id:
        raise Refused("another credential")
    handle = user_handle(credential)
    if handle is None and handle_required:
        raise Refused("no user handle")
    if handle is not None and handle != passkey.user_handle:
        raise Refused("the user handle is another user's")
    response = _response(credential)
    _judge_client_data(response)
    data_bytes = _bytes(response, "authenticatorData", 65_536)
    try:
        verified = webauthn.verify_authentication_response(
            credential=dict(credential),
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=list(rp.origins),
            credential_public_key=passkey.public_key,
            credential_current_sign_count=0,  # judged below, where a clone is told from a forgery
            require_user_verification=True,
        )
        data = parse_authenticator_data(data_bytes)
    except Exception as problem:
        # Whatever a stranger's bytes make a parser raise means no.
        raise Refused(f"assertion: {type(problem).__name__}: {problem}") from problem
    _judge_flags(data)
    if data.flags.be != passkey.backup_eligible:
        raise Suspicious("backup eligibility changed")
    count = verified.new_sign_count
    if (count or passkey.sign_count) and count <= passkey.sign_count:
        raise Suspicious(f"the counter went from {passkey.sign_count} to {count}")
    return Assertion(sign_count=count, backup_state=data.flags.bs)


def b64(value: bytes) -> str:
    """base64url without padding, as WebAuthn spells bytes in JSON."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def _judge_flags(data: AuthenticatorData) -> None:
    if not (data.flags.up and data.flags.uv):
        raise Refused("no user verification")
    if data.flags.bs and not data.flags.be:
        raise Refused("backed up, but not eligible for it")


def _judge_client_data(response: Mapping[str, Any]) -> None:
    """Nothing may come out of a frame of another site; the library does not look."""
    try:
        data = json.loads(_bytes(response, "clientDataJSON", 16_384).decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as problem:
        raise Refused("client data is no JSON") from problem
    if not isinstance(data, dict):
        raise Refused("client data is no object")
    if data.get("crossOrigin", False) is not False:
        raise Refused("out of a frame of another site")
    if "topOrigin" in data:
        raise Refused("below a page of another site")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _response(credential: Mapping[str, Any]) -> Mapping[str, Any]:
    response = credential.get("response")
    if not isinstance(response, Mapping):
        raise Refused("no response")
    return response


def _bytes(holder: Mapping[str, Any], name: str, length_max: int) -> bytes:
    text = holder.get(name)
    if not isinstance(text, str) or len(text) > length_max * 4 // 3 + 4 or not _BASE64URL.fullmatch(text):
        raise Refused(f"{name} is missing, too long or not base64url")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as problem:
        raise Refused(f"{name} is not base64url") from problem


def _transports(response: Mapping[str, Any]) -> tuple[str, ...]:
    """Hints for later, kept if known."""
    given = response.get("transports")
    if not isinstance(given, list):
        return ()
    return tuple(sorted({each for each in given if isinstance(each, str)} & _TRANSPORTS))
