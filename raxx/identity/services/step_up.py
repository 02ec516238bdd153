"""Step-up: asked for with a passkey, granted for one action with its parameters, used once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from audit import log as record
from audit.pseudonym import actor_ref_for
from raxx.identity import events, fast_store, live_sessions, tokens
from raxx.identity.live_sessions import hash_sid
from raxx.identity.models import Session, StepUpGrant
from raxx.identity.passkey_rules import RelyingParty
from raxx.identity.services import passkeys, sessions
from raxx.identity.services.sessions import Issued, SessionHolder
from raxx.identity.step_up import actions, hash_of
from raxx.identity.tokens import Claims
from raxx.kernel.errors import InvalidInput, RaxxError


class StepUpRequired(RaxxError):
    """Not confirmed with a passkey, or for something else, or too long ago, or used before."""

    code = "STEP_UP_REQUIRED"
    http_status = 403


def begin(
    *, holder: SessionHolder, rp: RelyingParty, action: str, parameters: Mapping[str, object]
) -> dict[str, Any]:
    """Options for the passkey that is to confirm it. Raises InvalidInput, SessionsUnavailable."""
    _known(action)
    return passkeys.begin_step_up(
        rp=rp, user_id=holder.user_id, binding=holder.sid, action=hash_of(action, parameters)
    )


def finish(
    *, holder: SessionHolder, rp: RelyingParty, action: str, parameters: Mapping[str, object],
    credential: Mapping[str, Any], now: datetime,
) -> tuple[StepUpGrant, Issued]:  # fmt: skip
    """The grant, and a token of the session's next generation: older ones open nothing any more.

    Raises InvalidInput, CeremonyRefused, SessionInvalid, SessionsUnavailable.
    """
    lives_s = _known(action)
    wanted = hash_of(action, parameters)
    passkeys.finish_step_up(
        credential=credential, rp=rp, user_id=holder.user_id, binding=holder.sid, action=wanted, now=now
    )
    with transaction.atomic():
        alive = Session.objects.filter(pk=holder.session_id, revoked_at=None)
        if not alive.update(generation=F("generation") + 1):
            raise sessions.invalid()
        session = Session.objects.get(pk=holder.session_id)
        grant = StepUpGrant.objects.create(
            session=session, action=action, parameters_hash=wanted, granted_at=now,
            expires_at=now + timedelta(seconds=lives_s),
        )  # fmt: skip
        record.record(
            events.STEP_UP_GRANTED, actor=actor_ref_for(holder.user_id), object_type="step_up", object_id=grant.pk,
            at=now, changes={"action": action, "parameters": wanted.hex()},
        )  # fmt: skip
    live_sessions.raise_generation(hash_sid(holder.sid), session.generation)
    access = tokens.encode(Claims(holder.user_id, holder.sid, session.generation), now)
    return grant, Issued(
        session_id=session.pk,
        user_id=holder.user_id,
        access=access,
        refresh=None,
        expires_at=session.expires_at,
    )


def use(*, holder: SessionHolder, action: str, parameters: Mapping[str, object], now: datetime) -> None:
    """Use up the grant for exactly this, in the transaction of what it is for: where that fails, the grant is
    as good as before. Raises StepUpRequired, and SessionsUnavailable where nobody can say that the session still
    lives."""
    if holder.in_doubt:
        raise fast_store.unavailable()
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError(
            "a step-up is used in the transaction of what it confirms"
        )
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE step_up_grants SET used_at = %(now)s WHERE id = (SELECT id FROM step_up_grants"
            " WHERE session_id = %(session)s AND action = %(action)s AND parameters_hash = %(hash)s"
            " AND used_at IS NULL AND granted_at <= %(now)s AND expires_at > %(now)s"
            " ORDER BY granted_at LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id",
            {"now": now, "session": holder.session_id, "action": action, "hash": hash_of(action, parameters)},
        )
        row = cursor.fetchone()
    if row is None:
        raise StepUpRequired(
            "Confirm this with your passkey first, with exactly what you are about to send.",
            rule="must be confirmed with a passkey",
            action=action,
            remedy="POST the action and its parameters to /api/sessions/step-up/options.",
        )
    record.record(
        events.STEP_UP_USED, actor=actor_ref_for(holder.user_id), object_type="step_up", object_id=row[0], at=now,
        changes={"action": action},
    )  # fmt: skip


def _known(action: str) -> int:
    if action not in actions:
        raise InvalidInput(
            field="action", rule="must be an action that is confirmed with a passkey", value=action,
            remedy="Send one of: " + ", ".join(name for name, _ in actions) + ".",
        )  # fmt: skip
    return actions[action].lives_s
