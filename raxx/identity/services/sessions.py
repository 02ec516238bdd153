"""Sessions: started, presented with each request, refreshed, ended."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from audit import log as record
from audit.pseudonym import actor_ref_for
from raxx.identity import events, live_sessions, tokens
from raxx.identity.fast_store import SessionsUnavailable
from raxx.identity.live_sessions import hash_sid
from raxx.identity.models import RefreshToken, Session, SessionKind, Tier, User
from raxx.identity.services import notices
from raxx.identity.tokens import BadToken, Claims
from raxx.kernel.errors import NotFound, RaxxError

REFRESH_GRACE = timedelta(seconds=10)  # two tabs may come with the same token
SEEN_NOTED_EVERY = timedelta(minutes=1)
KEEP_FOR = timedelta(days=30)
_PURGE_MAX = 10_000
_REFRESH_LENGTH_MAX = 128


class Lifetime(NamedTuple):
    idle: timedelta
    absolute: timedelta


CUSTOMER = Lifetime(timedelta(hours=1), timedelta(hours=24))
STAFF = Lifetime(timedelta(minutes=30), timedelta(hours=12))
RECOVERY = Lifetime(timedelta(minutes=10), timedelta(minutes=15))


class SessionInvalid(RaxxError):
    """No such session, or it is over: the answer is the same."""

    code = "SESSION_INVALID"
    http_status = 401


class RefreshReused(SessionInvalid):
    """The token was used before: one of its two holders is not the user, so both are out."""

    code = "SESSION_ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What goes into the browser's cookies, seen only now. Without `refresh` the one it has stays."""

    session_id: UUID
    user_id: UUID
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHolder:
    """A user as their session presents them."""

    user_id: UUID
    tier: Tier
    session_id: UUID
    kind: SessionKind
    generation: int
    expires_at: datetime
    sid: str = field(repr=False)
    in_doubt: bool = False  # Valkey did not answer, PostgreSQL alone was asked: only to take risk away


@transaction.atomic
def start(*, user: User, label: str, now: datetime, kind: SessionKind = SessionKind.FULL) -> Issued:
    """A new session with a new secret id. Raises SessionsUnavailable, and then there is none."""
    lifetime = RECOVERY if kind == SessionKind.RECOVERY else lifetime_of(user)
    sid, ends = secrets.token_urlsafe(32), now + lifetime.absolute
    session = Session.objects.create(
        user=user, sid_hash=hash_sid(sid), kind=kind, label=label[:80], created_at=now, last_seen_at=now,
        expires_at=ends,
    )  # fmt: skip
    refresh = None if kind == SessionKind.RECOVERY else _new_refresh(session, sid, now)
    record.record(
        events.SESSION_STARTED, actor=actor_ref_for(user.pk), object_type="session", object_id=session.pk, at=now,
        changes={"kind": kind.value, "expires_at": ends},
    )  # fmt: skip
    # Last, and before the commit: a row here without one in PostgreSQL opens nothing.
    live_sessions.start(
        sid_hash=hash_sid(sid), user_id=user.pk, generation=1, idle_s=int(lifetime.idle.total_seconds()),
        until_s=ends.timestamp(),
    )  # fmt: skip
    access = tokens.encode(Claims(user.pk, sid, 1), now)
    return Issued(session_id=session.pk, user_id=user.pk, access=access, refresh=refresh, expires_at=ends)


def lifetime_of(user: User) -> Lifetime:
    """Of a full session that begins now."""
    return STAFF if user.is_staff else CUSTOMER


def present(*, access: str, now: datetime, removes_risk: bool = False) -> SessionHolder:
    """Who comes with this token. Raises SessionInvalid or SessionsUnavailable.

    Valkey and PostgreSQL must both know the session: so a row that a paused Valkey kept is as dead as one that
    was deleted. With `removes_risk` (cancels, signing out) PostgreSQL alone will do while Valkey does not answer.
    """
    try:
        claims = tokens.decode(access, now)
    except BadToken as problem:
        raise invalid() from problem
    try:
        row = live_sessions.touch(hash_sid(claims.sid))
    except SessionsUnavailable:
        if not removes_risk:
            raise
        return _stored(claims, now, in_doubt=True)
    if row is None or row.user_id != claims.user_id or row.generation != claims.generation:
        raise invalid()
    return _stored(claims, now)


def resume(
    *, access: str, renewal: str, now: datetime, removes_risk: bool = False
) -> tuple[SessionHolder, Issued | None]:
    """Who comes with these two cookies, for pages that are sent whole and cannot ask for a fresh token first: where
    the access token is over, the refresh token is exchanged in passing, and the new cookies go with the answer.

    Whoever calls puts them there, whatever else becomes of the request. Raises SessionInvalid, RefreshReused,
    SessionsUnavailable. With `removes_risk` a refresh token opens too while Valkey does not answer, and stays.
    """
    try:
        return present(access=access, now=now, removes_risk=removes_risk), None
    except SessionInvalid:
        if not renewal:
            raise
    try:
        issued = refresh(presented=renewal, now=now)
    except SessionsUnavailable:
        if not removes_risk:
            raise
        return _by_unused_token(renewal, now), None
    return _stored(tokens.decode(issued.access, now), now), issued


def refresh(*, presented: str, now: datetime) -> Issued:
    """New cookies for the holder of a refresh token, which is used up. For ten seconds more it still gives an
    access token, for a tab that came at the same time. After that its use ends the session.

    Raises SessionInvalid, RefreshReused, SessionsUnavailable.
    """
    sid, token = _parts(presented)
    sid_hash = hash_sid(sid)
    alive = live_sessions.touch(sid_hash)
    with transaction.atomic():
        issued, reused = _exchange(sid, sid_hash, _hash(token), alive is not None, now)
    if reused:
        live_sessions.end([sid_hash])
        raise RefreshReused(
            "This session was ended, because its refresh token came twice. Sign in again;"
            " if that was not you, look at your sessions and passkeys.",
            remedy="Sign in again.",
        )
    if issued is None:
        raise invalid()
    return issued


def sign_out(*, holder: SessionHolder, now: datetime) -> None:
    """End the session that asks. Works without Valkey."""
    _revoke([holder.session_id], user_id=holder.user_id, now=now, why="signed out")


def revoke(*, user_id: UUID, session_id: UUID, now: datetime) -> None:
    """End one session of the user. Doing it twice changes nothing. Raises NotFound."""
    if not Session.objects.filter(pk=session_id, user_id=user_id).exists():
        raise NotFound("You have no such session.", remedy="List your sessions to see their ids.")
    _revoke([session_id], user_id=user_id, now=now, why="revoked by the user")


def revoke_all(
    *, user_id: UUID, now: datetime, but: UUID | None = None, why: str = "revoked by the user"
) -> int:
    """End every session of the user, or all but one. How many were alive."""
    alive = Session.objects.filter(user_id=user_id, revoked_at=None, expires_at__gt=now)
    if but is not None:
        alive = alive.exclude(pk=but)
    return _revoke(list(alive.values_list("pk", flat=True)), user_id=user_id, now=now, why=why)


def listed(*, user_id: UUID, now: datetime) -> list[Session]:
    """The sessions that may still be alive, newest first."""
    alive = Session.objects.filter(user_id=user_id, revoked_at=None, expires_at__gt=now)
    return list(alive.order_by("-created_at")[:100])


def purgeable(now: datetime) -> QuerySet[Session]:
    """Sessions that were over long ago."""
    return Session.objects.filter(expires_at__lt=now - KEEP_FOR)


@transaction.atomic
def purge(*, now: datetime) -> int:
    """Forget sessions that were over long ago, with their tokens and confirmations; the record keeps what counts.
    How many."""
    ended = list(purgeable(now).values_list("pk", flat=True)[:_PURGE_MAX])
    Session.objects.filter(pk__in=ended).delete()
    return len(ended)


def invalid() -> SessionInvalid:
    return SessionInvalid("You are not signed in, or your session is over. Sign in.", remedy="Sign in.")


def _parts(presented: str) -> tuple[str, str]:
    """The session's secret id and the token that a refresh cookie holds. Raises SessionInvalid."""
    sid, _, token = presented.partition(".")
    if not sid or not token or len(presented) > _REFRESH_LENGTH_MAX:
        raise invalid()
    return sid, token


def _by_unused_token(presented: str, now: datetime) -> SessionHolder:
    """Whose unused refresh token this is, while Valkey does not answer: so the idle time is PostgreSQL's, which is
    noted to the minute. Raises SessionInvalid."""
    sid, token = _parts(presented)
    found = RefreshToken.objects.select_related("session__user").filter(
        pk=_hash(token), used_at=None, session__sid_hash=hash_sid(sid)
    )
    row = found.first()
    if row is None or now - row.session.last_seen_at >= lifetime_of(row.session.user).idle:
        raise invalid()
    return _stored(Claims(row.session.user_id, sid, row.session.generation), now, in_doubt=True)


def _stored(claims: Claims, now: datetime, *, in_doubt: bool = False) -> SessionHolder:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.id, s.kind, s.expires_at, s.last_seen_at, u.tier FROM sessions s JOIN users u ON u.id = s.user_id"
            " WHERE s.sid_hash = %s AND s.user_id = %s AND s.generation = %s AND s.revoked_at IS NULL"
            " AND s.expires_at > %s AND u.is_active",
            [hash_sid(claims.sid), claims.user_id, claims.generation, now],
        )
        row = cursor.fetchone()
        if row is None:
            raise invalid()
        session_id, kind, expires_at, seen, tier = row
        if now - seen >= SEEN_NOTED_EVERY:  # of many who come at once one writes, and nobody waits
            cursor.execute(
                "UPDATE sessions SET last_seen_at = %s WHERE id = (SELECT id FROM sessions WHERE id = %s"
                " AND last_seen_at = %s FOR NO KEY UPDATE SKIP LOCKED)",
                [now, session_id, seen],
            )
    return SessionHolder(
        user_id=claims.user_id, tier=Tier(tier), session_id=session_id, kind=SessionKind(kind),
        generation=claims.generation, expires_at=expires_at, sid=claims.sid, in_doubt=in_doubt,
    )  # fmt: skip


def _exchange(
    sid: str, sid_hash: bytes, token_hash: bytes, alive: bool, now: datetime
) -> tuple[Issued | None, bool]:
    """What the holder gets, and whether the token was used before."""
    session = (
        Session.objects.select_for_update(of=("self",))
        .select_related("user")
        .filter(sid_hash=sid_hash, revoked_at=None, expires_at__gt=now, user__is_active=True)
        .first()
    )
    if session is None:
        return None, False
    token = RefreshToken.objects.filter(pk=token_hash, session=session).first()
    if token is None:
        return None, False
    if token.used_at is not None and now - token.used_at > REFRESH_GRACE:
        actor = actor_ref_for(session.user_id)
        session.revoked_at, session.revoked_why = now, "refresh token reused"
        session.save(update_fields=["revoked_at", "revoked_why"])
        record.record(
            events.SESSION_REFRESH_REUSED, actor=actor, object_type="session", object_id=session.pk, at=now,
            reason=session.revoked_why,
        )  # fmt: skip
        notices.notify(
            user_id=session.user_id, what=events.SESSION_REFRESH_REUSED, at=now, session=session.pk
        )
        notices.session_ended(user_id=session.user_id, session_id=session.pk)
        return None, True
    if not alive:
        return None, False
    renewed = None
    if token.used_at is None:
        token.used_at = now
        token.save(update_fields=["used_at"])
        renewed = _new_refresh(session, sid, now)
    access = tokens.encode(Claims(session.user_id, sid, session.generation), now)
    return Issued(
        session_id=session.pk,
        user_id=session.user_id,
        access=access,
        refresh=renewed,
        expires_at=session.expires_at,
    ), False


def _new_refresh(session: Session, sid: str, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    RefreshToken.objects.create(token_hash=_hash(token), session=session, issued_at=now)
    return f"{sid}.{token}"


def _revoke(session_ids: Iterable[UUID], *, user_id: UUID, now: datetime, why: str) -> int:
    """In this order: PostgreSQL is told and has committed, then Valkey, then the caller gets their answer."""
    with transaction.atomic():
        rows = list(
            Session.objects.select_for_update()
            .filter(pk__in=list(session_ids), user_id=user_id, revoked_at=None)
            .order_by("pk")
        )
        for row in rows:
            row.revoked_at, row.revoked_why = now, why
            row.save(update_fields=["revoked_at", "revoked_why"])
            record.record(
                events.SESSION_REVOKED, actor=actor_ref_for(user_id), object_type="session", object_id=row.pk, at=now,
                reason=why,
            )  # fmt: skip
            notices.session_ended(user_id=user_id, session_id=row.pk)
        dead = [bytes(row.sid_hash) for row in rows]
        transaction.on_commit(lambda: live_sessions.end(dead))
    return len(rows)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
