"""A passkey in software, written from the specifications: WebAuthn level 3 section 6 for what is signed,
RFC 8949 for CBOR, RFC 9053 for COSE keys. It uses nothing of the product and nothing of its libraries but
the signatures themselves."""

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
ES256, EDDSA, RS256, ES384 = -7, -8, -257, -35


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(value: Any) -> bytes:  # noqa: ANN401 - whatever CBOR holds
    """Integers, bytes, text, lists and maps in the order given. Source: RFC 8949, section 3."""

    def head(major: int, number: int) -> bytes:
        for extra, form, limit in ((None, "", 24), (24, ">B", 2**8), (25, ">H", 2**16), (26, ">I", 2**32)):
            if number < limit:
                first = bytes([major << 5 | (number if extra is None else extra)])
                return first + (struct.pack(form, number) if form else b"")
        return bytes([major << 5 | 27]) + struct.pack(">Q", number)

    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    assert isinstance(value, dict)
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def make_key(algorithm: int) -> Any:  # noqa: ANN401 - three kinds of private key
    if algorithm == ES256:
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == ES384:
        return ec.generate_private_key(ec.SECP384R1())
    if algorithm == EDDSA:
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65_537, 2_048)


@dataclass
class Authenticator:
    """One device with one passkey. What the tests spoil is given as arguments of a ceremony."""

    algorithm: int = ES256
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    aaguid: bytes = bytes(16)
    synced: bool = True  # then it is backed up, and its counter stays 0
    count: int = 0
    handle: bytes = b""
    rp_id: str = ""
    key: Any = None

    def __post_init__(self) -> None:
        self.key = self.key or make_key(self.algorithm)

    def cose_key(self) -> bytes:
        public = self.key.public_key()
        if self.algorithm == EDDSA:
            x = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            return cbor({1: 1, 3: EDDSA, -1: 6, -2: x})
        numbers = public.public_numbers()
        if self.algorithm == RS256:
            n = numbers.n.to_bytes(256, "big")
            return cbor({1: 3, 3: RS256, -1: n, -2: numbers.e.to_bytes(3, "big")})
        size, curve = (48, 2) if self.algorithm == ES384 else (32, 1)
        x, y = numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")
        return cbor({1: 2, 3: self.algorithm, -1: curve, -2: x, -3: y})

    def sign(self, message: bytes) -> bytes:
        signature: bytes
        if self.algorithm == EDDSA:
            signature = self.key.sign(message)
        elif self.algorithm == RS256:
            signature = self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        else:
            digest = hashes.SHA384() if self.algorithm == ES384 else hashes.SHA256()
            signature = self.key.sign(message, ec.ECDSA(digest))
        return signature

    def flags(self) -> int:
        return UP | UV | (BE | BS if self.synced else 0)

    def next_count(self) -> int:
        if not self.synced:
            self.count += 1
        return self.count

    def create(
        self, options: dict[str, Any], origin: str, *, client: dict[str, Any] | None = None, flags: int | None = None,
        fmt: str = "none", statement: dict[str, Any] | None = None, rp_id: str | None = None,
        cose: bytes | None = None, attested_id: bytes | None = None, **changed: Any,  # noqa: ANN401
    ) -> dict[str, Any]:  # fmt: skip
        """What `navigator.credentials.create(...).toJSON()` gives."""
        self.handle, self.rp_id = unb64(options["user"]["id"]), options["rp"]["id"]
        attested_id = self.credential_id if attested_id is None else attested_id
        data = (
            hashlib.sha256((rp_id or self.rp_id).encode()).digest()
            + bytes([(self.flags() if flags is None else flags) | AT])
            + struct.pack(">I", self.next_count())
            + self.aaguid
            + struct.pack(">H", len(attested_id))
            + attested_id
            + (self.cose_key() if cose is None else cose)
        )
        client_data = self._client("webauthn.create", options["challenge"], origin, client)
        if statement is None:
            statement = {}
        if fmt == "packed" and not statement:
            message = data + hashlib.sha256(client_data).digest()
            statement = {"alg": self.algorithm, "sig": self.sign(message)}
        attestation = cbor({"fmt": fmt, "attStmt": statement, "authData": data})
        return {
            "id": b64(self.credential_id), "rawId": b64(self.credential_id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {"credProps": {"rk": True}},
            "response": {
                "clientDataJSON": b64(client_data), "attestationObject": b64(attestation),
                "transports": ["internal"],
            },
        } | changed  # fmt: skip

    def get(
        self, options: dict[str, Any], origin: str, *, client: dict[str, Any] | None = None, flags: int | None = None,
        rp_id: str | None = None, count: int | None = None, handle: bytes | None = b"own",
        spoil_signature: bool = False, signer: "Authenticator | None" = None, **changed: Any,  # noqa: ANN401
    ) -> dict[str, Any]:  # fmt: skip
        """What `navigator.credentials.get(...).toJSON()` gives."""
        data = (
            hashlib.sha256((rp_id or self.rp_id).encode()).digest()
            + bytes([self.flags() if flags is None else flags])
            + struct.pack(">I", self.next_count() if count is None else count)
        )
        client_data = self._client("webauthn.get", options["challenge"], origin, client)
        signature = (signer or self).sign(data + hashlib.sha256(client_data).digest())
        if spoil_signature:
            signature = signature[:-1] + bytes([signature[-1] ^ 1])
        response = {
            "clientDataJSON": b64(client_data), "authenticatorData": b64(data), "signature": b64(signature),
        }  # fmt: skip
        if handle is not None:
            response["userHandle"] = b64(self.handle if handle == b"own" else handle)
        return {
            "id": b64(self.credential_id), "rawId": b64(self.credential_id), "type": "public-key",
            "authenticatorAttachment": "platform", "clientExtensionResults": {}, "response": response,
        } | changed  # fmt: skip

    def _client(self, kind: str, challenge: str, origin: str, changes: dict[str, Any] | None) -> bytes:
        """`changes` replace fields of the client data; None takes one away."""
        data = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False} | (
            changes or {}
        )
        return json.dumps({name: value for name, value in data.items() if value is not None}).encode()


def with_response(credential: dict[str, Any], **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """The credential with fields of its response replaced; None takes one away."""
    response = {k: v for k, v in (credential["response"] | changes).items() if v is not None}
    return credential | {"response": response}
