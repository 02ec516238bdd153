"""What operators tell the public about a trouble, and when it is over."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction

from audit import log
from console.models import Incident, IncidentUpdate
from console.status.surfaces import all_surfaces
from raxx.kernel.errors import InvalidInput, RaxxError

OPENED, UPDATED, RESOLVED = "console.incident.opened", "console.incident.updated", "console.incident.resolved"


class IncidentOver(RaxxError):
    """It was resolved before: what comes now is a new incident."""

    code = "INCIDENT_OVER"
    http_status = 409


@transaction.atomic
def open_incident(
    *, title: str, impact: str, surfaces: Collection[str], text: str, actor: str, now: datetime
) -> Incident:
    """Publish an incident with its first message. Raises InvalidInput. `actor` is an actor_ref."""
    known = {surface.id for surface in all_surfaces()}
    unknown = sorted(set(surfaces) - known)
    if unknown or not surfaces:
        raise InvalidInput(
            field="surfaces", rule="must be some of " + ", ".join(sorted(known)),
            value=", ".join(unknown) or "none", remedy="Name the parts that are concerned.",
        )  # fmt: skip
    if impact not in Incident.Impact.values:
        raise InvalidInput(
            field="impact", rule="must be one of " + ", ".join(Incident.Impact.values), value=impact,
            remedy="Say how bad it is for users.",
        )  # fmt: skip
    incident = Incident.objects.create(
        title=_words("title", title, 120), impact=impact, surfaces=sorted(set(surfaces)), started_at=now
    )
    _say(incident, IncidentUpdate.Stage.INVESTIGATING, text, now)
    log.record(
        OPENED, actor=actor, object_type="incident", object_id=incident.pk, at=now,
        changes={"title": incident.title, "impact": impact, "surfaces": incident.surfaces},
    )  # fmt: skip
    return incident


@transaction.atomic
def update_incident(*, incident_id: UUID, stage: str, text: str, actor: str, now: datetime) -> Incident:
    """Add a message; with the stage `resolved` the incident is over. Raises InvalidInput, IncidentOver."""
    incident = Incident.objects.select_for_update().get(pk=incident_id)
    if incident.resolved_at is not None:
        raise IncidentOver(
            "This incident is resolved. Open a new one.", rule="a resolved incident is not changed",
            value=incident.title, remedy="Open a new one.",
        )  # fmt: skip
    if stage not in IncidentUpdate.Stage.values:
        raise InvalidInput(
            field="stage", rule="must be one of " + ", ".join(IncidentUpdate.Stage.values), value=stage,
            remedy="Say how far it has come.",
        )  # fmt: skip
    _say(incident, stage, text, now)
    if stage == IncidentUpdate.Stage.RESOLVED:
        incident.resolved_at = now
        incident.save(update_fields=["resolved_at"])
    log.record(
        RESOLVED if incident.resolved_at else UPDATED, actor=actor, object_type="incident", object_id=incident.pk,
        at=now, changes={"stage": stage},
    )  # fmt: skip
    return incident


def _say(incident: Incident, stage: str, text: str, now: datetime) -> None:
    IncidentUpdate.objects.create(incident=incident, at=now, stage=stage, text=_words("text", text, 1_000))


def _words(field: str, text: str, length_max: int) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= length_max:
        raise InvalidInput(
            field=field, rule=f"must have 1 to {length_max} characters", value=text,
            remedy="Say in plain words what users will notice.",
        )  # fmt: skip
    return text
