"""Forgetting a person: their key dies, and with it the way from their rows back to them."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit import log, pseudonym
from audit.events import EventType, register
from audit.models import AuditSubject

FORGOTTEN = "audit.subject.forgotten"


def register_events() -> None:
    register(EventType(FORGOTTEN, "7y", "The key of a person was destroyed; their rows name nobody now."))


@transaction.atomic
def forget(*, user_id: UUID, actor: str, now: datetime) -> bool:
    """Destroy the person's key. The rows stay as they are: nobody can say whose they are, and their
    private fields cannot be read any more. False: there was no key. Doing it twice changes nothing.

    Other processes may remember the pseudonym for ten minutes; sign the person out first. What still acts
    for them afterwards appears as somebody new. `actor` is an actor_ref: one of the machine's or an
    operator's, not the person's own.
    """
    row = AuditSubject.objects.select_for_update().filter(pk=user_id).first()
    if row is None:
        return False
    ref = pseudonym.actor_ref(user_id, bytes(row.key))
    log.record(FORGOTTEN, actor=actor, object_type="user", object_id=ref, at=now)
    row.delete()
    pseudonym.drop(user_id)
    transaction.on_commit(lambda: pseudonym.drop(user_id))
    return True
