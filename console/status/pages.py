"""`/status` and `/status.json`: for everybody, without a login, a script or a database."""

from datetime import timedelta
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.urls import path
from django.views.decorators.http import require_safe

from console.status import State, monitor, poller
from console.status.monitor import Snapshot, SurfaceView
from console.status.store import Day, IncidentView
from raxx.kernel import clock

PATH, JSON_PATH = "/status", "/status.json"
# Nothing but our own style sheet: the page has no script, no picture, no form, and may not be framed.
CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
_STALE_AFTER = timedelta(seconds=60)
_BAR_WIDTH, _BAR_GAP = 4, 1
_WORDS = {
    State.OPERATIONAL: "Operational",
    State.UNKNOWN: "Not known",
    State.MAINTENANCE: "Maintenance",
    State.DEGRADED: "Degraded",
    State.DOWN: "Down",
}
_HEADLINES = {
    State.OPERATIONAL: "Everything works",
    State.UNKNOWN: "Some of it could not be looked at",
    State.MAINTENANCE: "Maintenance is under way",
    State.DEGRADED: "Some of it is degraded",
    State.DOWN: "Some of it is down",
}


@require_safe
def status(request: HttpRequest) -> HttpResponse:
    now = clock.now()
    known = monitor.current(now, poller_runs=poller.runs())
    context = {
        "headline": _HEADLINES[known.state],
        "state": known.state,
        "checked_at": known.checked_at,
        "age_s": int(known.age(now).total_seconds()),
        "is_stale": known.age(now) > _STALE_AFTER,
        "history_known": known.history_known,
        "history_days": monitor.HISTORY_DAYS,
        "surfaces": [_surface(view) for view in known.surfaces],
        "incidents": [_incident(incident, known) for incident in known.incidents],
        "style": f"{settings.STATIC_URL}console/status.css",
        "chart_width": monitor.HISTORY_DAYS * (_BAR_WIDTH + _BAR_GAP),
        "json": JSON_PATH,
        "address": PATH,
    }
    return _public(HttpResponse(loader.render_to_string("status/status.html", context)))


@require_safe
def status_json(request: HttpRequest) -> HttpResponse:
    now = clock.now()
    known = monitor.current(now, poller_runs=poller.runs())
    answer = {
        "version": 1,
        "status": known.state,
        "checked_at": known.checked_at.isoformat(),
        "age_s": int(known.age(now).total_seconds()),
        "history_known": known.history_known,
        "surfaces": [
            {
                "id": view.surface.id,
                "name": view.surface.display_name,
                "description": view.surface.public_description,
                "category": view.surface.category,
                "status": view.state,
                "since": view.since and view.since.isoformat(),
                "uptime_percent": None if view.uptime_percent is None else f"{view.uptime_percent:.3f}",
                "days": [
                    {
                        "date": day.day.isoformat(),
                        "status": day.state,
                        "degraded_s": day.degraded_s,
                        "down_s": day.down_s,
                    }
                    for day in view.days
                ],
            }
            for view in known.surfaces
        ],
        "incidents": [
            {
                "title": incident.title,
                "impact": incident.impact,
                "surfaces": incident.surfaces,
                "started_at": incident.started_at.isoformat(),
                "resolved_at": incident.resolved_at and incident.resolved_at.isoformat(),
                "messages": [
                    {"at": message.at.isoformat(), "stage": message.stage, "text": message.text}
                    for message in incident.messages
                ],
            }
            for incident in known.incidents
        ],
    }
    return _public(JsonResponse(answer))


def _public(response: HttpResponse) -> HttpResponse:
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response["Cache-Control"] = "public, max-age=10"
    response["X-Frame-Options"] = "DENY"
    return response


def _surface(view: SurfaceView) -> dict[str, object]:
    troubled = [day for day in view.days if day.state in (State.DEGRADED, State.DOWN)]
    return {
        "id": view.surface.id,
        "name": view.surface.display_name,
        "description": view.surface.public_description,
        "state": view.state,
        "word": _WORDS[view.state],
        "since": view.since,
        "uptime": None if view.uptime_percent is None else f"{view.uptime_percent:.2f} %",
        "bars": [
            {"x": index * (_BAR_WIDTH + _BAR_GAP), "state": day.state, "title": _day_in_words(day)}
            for index, day in enumerate(view.days)
        ],
        "troubled": [_day_in_words(day) for day in reversed(troubled)],
        "summary": _summary(view.days, troubled),
    }


def _summary(days: tuple[Day, ...], troubled: list[Day]) -> str:
    looked = sum(1 for day in days if day.looked_s)
    if not looked:
        return "There is no history yet."
    return f"{looked - len(troubled)} of {looked} recorded days without trouble."


def _day_in_words(day: Day) -> str:
    if not day.looked_s:
        return f"{day.day:%d %b %Y}: no data"
    parts = [f"{_span(s)} {word}" for s, word in ((day.down_s, "down"), (day.degraded_s, "degraded")) if s]
    return f"{day.day:%d %b %Y}: {', '.join(parts) or 'operational'}"


def _span(seconds: int) -> str:
    if seconds < 60:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _incident(incident: IncidentView, known: Snapshot) -> dict[str, object]:
    names = {view.surface.id: view.surface.display_name for view in known.surfaces}
    return {
        "title": incident.title,
        "impact": incident.impact,
        "surfaces": ", ".join(names[s] for s in incident.surfaces if s in names),
        "started_at": incident.started_at,
        "resolved_at": incident.resolved_at,
        "messages": incident.messages,
    }


def unavailable() -> HttpResponse:
    """Where even making the page failed: a sentence is better than nothing."""
    text = "The status page cannot be shown right now. Orders that were accepted are stored."
    return _public(
        HttpResponse(text, status=HTTPStatus.SERVICE_UNAVAILABLE, content_type="text/plain; charset=utf-8")
    )


urlpatterns = [
    path(PATH.removeprefix("/"), status, name="status"),
    path(JSON_PATH.removeprefix("/"), status_json, name="status-json"),
]
