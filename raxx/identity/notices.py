"""What a person should hear about their own account. The event is stored with the change and announced after it;
whoever sends mail or shows a list listens on the stream `raxx:events:identity.notice`."""

from datetime import datetime
from uuid import UUID

from raxx.kernel import outbox

TOPIC = "identity.notice"
SESSIONS_TOPIC = "identity.session"


def notify(*, user_id: UUID, what: str, at: datetime, **facts: object) -> None:
    """`what` is the code of the audit event; `facts` are small and hold no secret."""
    outbox.add(topic=TOPIC, key=str(user_id), payload={"what": what, "at": at, **facts})


def session_ended(*, user_id: UUID, session_id: UUID) -> None:
    """For streams that are open: they hang up."""
    outbox.add(topic=SESSIONS_TOPIC, key=str(user_id), payload={"session": session_id, "state": "revoked"})
