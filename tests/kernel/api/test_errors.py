import json
from collections.abc import Callable

import pytest
import structlog
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection
from django.http import Http404, HttpRequest, HttpResponse
from django.test import RequestFactory
from rest_framework import exceptions
from rest_framework.response import Response
from structlog.testing import capture_logs

from raxx.kernel.api import errors
from raxx.kernel.api.request_id import RequestIdMiddleware, current_request_id
from raxx.kernel.errors import InvalidInput, NotFound


def shown(problem: Exception) -> Response:
    response = errors.handle(problem, {})
    assert response is not None
    assert set(response.data) == {"error"}
    assert set(response.data["error"]) == {"code", "message", "request_id", "details"}
    return response


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (InvalidInput(field="f", rule="r", value="v", remedy="m"), 422, "INVALID_INPUT"),
        (NotFound("There is none."), 404, "NOT_FOUND"),
        (Http404(), 404, "NOT_FOUND"),
        (PermissionDenied(), 403, "FORBIDDEN"),
        (IntegrityError(), 409, "CONFLICT"),
        (OperationalError(), 503, "DATABASE_UNAVAILABLE"),
        (InterfaceError(), 503, "DATABASE_UNAVAILABLE"),
        (exceptions.NotAuthenticated(), 401, "NOT_AUTHENTICATED"),
        (exceptions.AuthenticationFailed(), 401, "INVALID_CREDENTIALS"),
        (exceptions.PermissionDenied(), 403, "FORBIDDEN"),
        (exceptions.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED"),
        (exceptions.NotAcceptable(), 406, "NOT_ACCEPTABLE"),
        (exceptions.UnsupportedMediaType("text/xml"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (exceptions.ParseError(), 400, "MALFORMED_REQUEST"),
        (exceptions.Throttled(wait=3.2), 429, "RATE_LIMITED"),
    ],
)
def test_every_anticipated_failure_has_its_status_and_code(
    problem: Exception, status: int, code: str
) -> None:
    response = shown(problem)
    assert (response.status_code, response.data["error"]["code"]) == (status, code)


@pytest.mark.parametrize("bug", [ValueError("x"), KeyError("x"), DatabaseError("x"), RuntimeError("x")])
def test_bugs_are_not_answered_but_crash(bug: Exception) -> None:
    assert errors.handle(bug, {}) is None


def test_waiting_is_told_in_seconds() -> None:
    assert shown(exceptions.Throttled(wait=3.2))["Retry-After"] == "4"
    assert shown(OperationalError())["Retry-After"] == "5"


@pytest.mark.django_db
def test_a_constraint_that_refuses_is_named() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE once (name text CONSTRAINT once_by_name UNIQUE)")
        with pytest.raises(IntegrityError) as refusal:
            cursor.execute("INSERT INTO once VALUES ('a'), ('a')")
    error = shown(refusal.value).data["error"]
    assert error["details"]["rule"] == "once_by_name"
    assert "INSERT" not in error["message"]


def request_with(request_id: str | None) -> HttpRequest:
    headers = {} if request_id is None else {"X-Request-ID": request_id}
    return RequestFactory().get("/", headers=headers)


def served(request: HttpRequest, view: Callable[[HttpRequest], HttpResponse]) -> HttpResponse:
    return RequestIdMiddleware(view)(request)


@pytest.mark.parametrize(
    "offered", ["abcdefgh", "a" * 64, "Trace-1.2_3", "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"]
)
def test_a_sane_request_id_is_kept(offered: str) -> None:
    response = served(request_with(offered), lambda request: HttpResponse(current_request_id()))
    assert response["X-Request-ID"] == offered == response.content.decode()
    assert current_request_id() == ""


@pytest.mark.parametrize(
    "offered",
    [
        None,
        "",
        "short",
        "a" * 65,
        "with space",
        "semi;colon",
        "ümläutchen",
        "newline\nx",
        "٣٣٣٣٣٣٣٣",
        "<script>x",
    ],
)
def test_any_other_is_replaced(offered: str | None) -> None:
    response = served(request_with(offered), lambda request: HttpResponse(current_request_id()))
    assert response["X-Request-ID"] == response.content.decode() != offered
    assert len(response["X-Request-ID"]) == 36


def test_the_request_id_is_in_every_log_line_of_the_request() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        structlog.get_logger("x").info("working")
        return HttpResponse()

    with capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        served(request_with("request-0001"), view)
        structlog.get_logger("x").info("afterwards")
    assert [line.get("request_id") for line in lines] == ["request-0001", None]


@pytest.mark.parametrize("page", [errors.server_error, lambda request: errors.not_found(request, Http404())])
def test_pages_outside_of_views_have_the_same_shape(page: Callable[[HttpRequest], HttpResponse]) -> None:
    response = served(request_with("request-0001"), page)
    error = json.loads(response.content)["error"]
    assert response["Content-Type"] == "application/json"
    assert error["request_id"] == "request-0001"
    assert set(error) == {"code", "message", "request_id", "details"}
