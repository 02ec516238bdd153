import pytest
from django.test import Client

from audit.models import AuditEntry
from console.models import Incident
from console.services.incidents import IncidentOver, open_incident, update_incident
from raxx.kernel import clock
from raxx.kernel.errors import InvalidInput
from tests.operators import let_in, operator

ACTOR = "system:operator-shell"
LIST = "/admin/console/incident/"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"surfaces": []}, "surfaces"),
        ({"surfaces": ["moon"]}, "surfaces"),
        ({"impact": "awful"}, "impact"),
        ({"title": " "}, "title"),
        ({"text": "x" * 1_001}, "text"),
    ],
)
def test_bad_incidents_are_refused(changes: dict[str, object], field: str) -> None:
    given = {"title": "T", "impact": "down", "surfaces": ["website"], "text": "Gone."} | changes
    with pytest.raises(InvalidInput) as caught:
        open_incident(**given, actor=ACTOR, now=clock.now())  # type: ignore[arg-type]
    assert caught.value.details["field"] == field
    assert not Incident.objects.exists()


@pytest.mark.django_db
def test_an_incident_that_is_over_stays_so() -> None:
    now = clock.now()
    incident = open_incident(
        title="T", impact="down", surfaces=["website"], text="Gone.", actor=ACTOR, now=now
    )
    update_incident(incident_id=incident.pk, stage="resolved", text="Back.", actor=ACTOR, now=now)
    with pytest.raises(IncidentOver):
        update_incident(incident_id=incident.pk, stage="monitoring", text="Hm.", actor=ACTOR, now=now)
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["console.incident.opened", "console.incident.resolved"]


@pytest.mark.django_db
def test_operators_open_and_resolve_them_in_the_admin(client: Client) -> None:
    let_in(client, operator())
    inline = {f"updates-{name}_FORMS": "0" for name in ("TOTAL", "INITIAL")}
    new = {
        "title": "Late quotes",
        "impact": "degraded",
        "surfaces": ["market-data"],
        "text": "Quotes come late.",
    }
    assert b"Name the parts" in client.post(LIST + "add/", {**new, **inline, "surfaces": []}).content
    assert client.post(LIST + "add/", {**new, **inline}).status_code == 302
    incident = Incident.objects.get()
    page = f"{LIST}{incident.pk}/change/"
    assert b"Quotes come late." in client.get(page).content
    done = client.post(page, {"stage": "resolved", "text": "They are back.", "title": "Rewritten", **inline})
    assert done.status_code == 302
    incident.refresh_from_db()
    assert incident.title == "Late quotes"
    assert incident.resolved_at is not None
    assert client.post(page, {"stage": "monitoring", "text": "No.", **inline}).status_code == 403
    assert client.post(f"{LIST}{incident.pk}/delete/", {"post": "yes"}).status_code == 403
