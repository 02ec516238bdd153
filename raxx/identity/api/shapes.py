"""What is answered about people and their ways in. No secret is in any of it but where it says so."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from raxx.identity.models import ApiKey, Notice, Passkey, Session, User
from raxx.identity.services.sessions import Issued


class OptionsShape(msgspec.Struct, frozen=True):
    """`public_key` goes to `navigator.credentials` as it is (parseCreationOptionsFromJSON, parseRequestOptionsFromJSON)."""

    public_key: dict[str, Any]


class SignedInShape(msgspec.Struct, frozen=True):
    session_id: UUID
    user_id: UUID
    expires_at: datetime


class SignedUpShape(msgspec.Struct, frozen=True):
    """The recovery codes are shown now and never again."""

    session_id: UUID
    user_id: UUID
    expires_at: datetime
    recovery_codes: list[str]


class CurrentSessionShape(msgspec.Struct, frozen=True):
    """`kind`: `full`, or `recovery`, which can add a passkey and nothing else."""

    session_id: UUID
    kind: str
    expires_at: datetime
    user_id: UUID
    email: str
    tier: str
    recovery_codes_left: int


class SessionShape(msgspec.Struct, frozen=True):
    id: UUID
    label: str
    kind: str
    current: bool
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


class EndedShape(msgspec.Struct, frozen=True):
    ended: int


class GrantShape(msgspec.Struct, frozen=True):
    """Good for one use of exactly this action with these parameters, in this session."""

    action: str
    expires_at: datetime


class PasskeyShape(msgspec.Struct, frozen=True):
    id: UUID
    name: str
    created_at: datetime
    last_used_at: datetime | None
    synced: bool


class CodesShape(msgspec.Struct, frozen=True):
    """The codes are shown now and never again."""

    recovery_codes: list[str]


class CodesLeftShape(msgspec.Struct, frozen=True):
    left: int


class ApiKeyShape(msgspec.Struct, frozen=True):
    key_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class NewApiKeyShape(msgspec.Struct, frozen=True):
    """The secret is shown now and never again."""

    key_id: str
    secret: str


class NoticeShape(msgspec.Struct, frozen=True):
    """`what` is the code of the event in the record, `message` says it in words."""

    id: UUID
    what: str
    message: str
    at: datetime


def notice(row: Notice) -> NoticeShape:
    return NoticeShape(row.pk, row.what, row.sentence, row.at)


def signed_in(issued: Issued) -> SignedInShape:
    return SignedInShape(issued.session_id, issued.user_id, issued.expires_at)


def session(row: Session, current: UUID) -> SessionShape:
    return SessionShape(
        row.pk, row.label, row.kind, row.pk == current, row.created_at, row.last_seen_at, row.expires_at
    )


def current(user: User, session_id: UUID, kind: str, expires_at: datetime, codes: int) -> CurrentSessionShape:
    return CurrentSessionShape(session_id, kind, expires_at, user.pk, user.email, user.tier, codes)


def passkey(row: Passkey) -> PasskeyShape:
    return PasskeyShape(row.pk, row.name, row.created_at, row.last_used_at, row.backup_state)


def api_key(row: ApiKey) -> ApiKeyShape:
    return ApiKeyShape(
        row.key_id,
        row.name,
        list(row.scopes),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
    )
