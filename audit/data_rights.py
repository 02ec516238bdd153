"""What the record knows about a person, for those who ask; and how it forgets them.

The console, a floor above, hands both to those who carry a request out. The rows stay: they name a pseudonym, and
the key that leads from it to the person is destroyed.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from audit.selectors import trail_of_person
from audit.services import subjects

COVERS = ("audit.AuditSubject",)
KEEPS = (
    "audit_log",
    "Who ordered and changed what must stay provable. Rows name a pseudonym whose key is destroyed.",
    "2 or 7 years, by the kind of event",
)


def export(user_id: UUID) -> Iterator[tuple[str, Iterator[Mapping[str, object]]]]:
    """Everything that was recorded of what the person did, and of what was done to them."""
    yield (
        "trail",
        (
            {
                "at": row.at,
                "action": row.action,
                "object_type": row.object_type,
                "object_id": row.object_id,
                "changes": row.changes,
                "reason": row.reason,
                "request_id": row.request_id,
            }
            for row in trail_of_person(user_id)
        ),
    )


def erase(*, user_id: UUID, actor: str, now: datetime) -> Mapping[str, int]:
    """Destroy the person's key. Doing it twice changes nothing."""
    return {"audit_subjects": int(subjects.forget(user_id=user_id, actor=actor, now=now))}
