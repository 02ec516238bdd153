"""What identity holds about a person. Hashes, keys and codes are never exported: only that they exist."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from django.db import transaction

from console.data_rights import Act, Holder, Section, holders
from console.purging import Purge, purges
from console.services.forgetting import forget_events, forget_keys
from raxx.identity import live_sessions, step_up
from raxx.identity.models import ApiKey, Notice, Passkey, RecoveryCode, Session, StepUpGrant, User
from raxx.identity.services import api_keys, notices, sessions
from raxx.identity.step_up import Action

# What a person confirms with a passkey; `request` is the id of the request.
ASK, HURRY, LIFT = "data.request.make", "data.request.hurry", "data.request.lift"
DOWNLOAD = "data.copy.download"


def register() -> None:
    step_up.register(
        Action(ASK, 300, "Ask for a copy, erasure or restriction: `kind`."),
        Action(HURRY, 300, "Be erased without waiting for 30 days: `request`."),
        Action(LIFT, 300, "End a restriction: `request`."),
        Action(DOWNLOAD, 300, "Download a copy: `request`."),
    )
    purges.register(
        "notices about accounts",
        Purge(f"{notices.KEPT.days} days", lambda now, apply: notices.purge(now, apply=apply)),
    )
    holders.register(
        "identity",
        Holder(
            covers=(
                "identity.User",
                "identity.User_groups",
                "identity.User_user_permissions",
                "identity.ApiKey",
                "identity.Passkey",
                "identity.RecoveryCode",
                "identity.Session",
                "identity.RefreshToken",
                "identity.StepUpGrant",
                "identity.Notice",
            ),
            withheld={
                "identity.User_groups": "roles of operators say nothing about a customer",
                "identity.User_user_permissions": "roles of operators say nothing about a customer",
                "identity.RefreshToken": "single-use secrets of the sessions that are exported",
            },
            export=_export,
            erase=_erase,
            revoke=_revoke,
            rank=10,
        ),
    )


def _export(user_id: UUID) -> Iterator[Section]:
    mine = {"user_id": user_id}
    yield (
        "user",
        User.objects.filter(pk=user_id)
        .values("id", "email", "tier", "is_active", "is_staff", "created_at")
        .iterator(),
    )
    yield (
        "passkeys",
        Passkey.objects.filter(**mine)
        .values(
            "id",
            "name",
            "aaguid",
            "transports",
            "backup_eligible",
            "backup_state",
            "created_at",
            "last_used_at",
        )
        .iterator(),
    )
    yield (
        "recovery_codes",
        RecoveryCode.objects.filter(**mine).values("id", "created_at", "used_at").iterator(),
    )
    yield (
        "sessions",
        Session.objects.filter(**mine)
        .values(
            "id", "kind", "label", "created_at", "last_seen_at", "expires_at", "revoked_at", "revoked_why"
        )
        .iterator(),
    )
    yield (
        "confirmations",
        StepUpGrant.objects.filter(session__user_id=user_id)
        .values("id", "action", "granted_at", "expires_at", "used_at")
        .iterator(),
    )
    yield (
        "notices",
        Notice.objects.filter(**mine).values("id", "what", "sentence", "at", "mailed_at").iterator(),
    )
    yield (
        "api_keys",
        ApiKey.objects.filter(**mine)
        .values("id", "key_id", "name", "scopes", "created_at", "expires_at", "revoked_at", "last_used_at")
        .iterator(),
    )


def _revoke(act: Act) -> None:
    """End every session and every key, whatever becomes of the request. With passkeys the person can come back."""
    sessions.revoke_all(user_id=act.user_id, now=act.now, why="erasure asked for")
    for key_id in ApiKey.objects.filter(user_id=act.user_id, revoked_at=None).values_list(
        "key_id", flat=True
    ):
        api_keys.revoke(key_id=key_id, actor=act.actor, now=act.now, reason="erasure asked for")


def _erase(act: Act) -> Mapping[str, int]:
    _revoke(act)
    forget_events([str(act.user_id)])
    forget_keys(act.user_id)
    live_sessions.end(
        [
            bytes(hashed)
            for hashed in Session.objects.filter(user_id=act.user_id).values_list("sid_hash", flat=True)
        ]
    )
    with transaction.atomic():
        _, by_label = User.objects.filter(pk=act.user_id).delete()
    return by_label
