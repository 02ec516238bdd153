"""The one place where failures become answers: {"error": {"code", "message", "request_id", "details"}}."""

import math
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from raxx.kernel.api.envelope import encode
from raxx.kernel.api.request_id import current_request_id
from raxx.kernel.errors import NotFound, RaxxError

log = structlog.get_logger(__name__)

# What Django REST framework itself raises, under our codes.
_FRAMEWORK_CODES: dict[type[exceptions.APIException], str] = {
    exceptions.NotAuthenticated: "NOT_AUTHENTICATED",
    exceptions.AuthenticationFailed: "INVALID_CREDENTIALS",
    exceptions.PermissionDenied: "FORBIDDEN",
    exceptions.MethodNotAllowed: "METHOD_NOT_ALLOWED",
    exceptions.NotAcceptable: "NOT_ACCEPTABLE",
    exceptions.Throttled: "RATE_LIMITED",
    exceptions.ParseError: "MALFORMED_REQUEST",
    exceptions.NotFound: "NOT_FOUND",
}


class UnsupportedMediaType(RaxxError):
    """The body is not sent as JSON."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    http_status = 415


class MalformedRequest(RaxxError):
    """Something before the body is not as HTTP or Django would have it."""

    code = "MALFORMED_REQUEST"


class Forbidden(RaxxError):
    code = "FORBIDDEN"
    http_status = 403


class DatabaseUnavailable(RaxxError):
    code = "DATABASE_UNAVAILABLE"
    http_status = 503
    retry_after_s = 5


class Conflict(RaxxError):
    """A constraint of the database refused the change."""

    code = "CONFLICT"
    http_status = 409


def handle(problem: Exception, context: dict[str, Any]) -> Response | None:
    """Django REST framework's exception handler. Bugs return None and crash into a 500."""
    failure = _anticipate(problem)
    if failure is not None:
        set_rollback()
        return answer(failure)
    if isinstance(problem, exceptions.APIException):
        set_rollback()
        code = next((c for kind, c in _FRAMEWORK_CODES.items() if isinstance(problem, kind)), "BAD_REQUEST")
        response = Response(body(code, str(problem.detail), {}), status=problem.status_code)
        header = getattr(problem, "auth_header", None)
        if header:
            response["WWW-Authenticate"] = header
        wait = getattr(problem, "wait", None)
        if wait:
            response["Retry-After"] = str(math.ceil(wait))
        return response
    return None


def _anticipate(problem: Exception) -> RaxxError | None:
    if isinstance(problem, RaxxError):
        return problem
    if isinstance(problem, Http404):
        return NotFound("There is nothing here.", remedy="Check the path and the id.")
    if isinstance(problem, exceptions.UnsupportedMediaType):
        return UnsupportedMediaType(
            "The body must be sent as application/json. Set the header Content-Type.",
            field="Content-Type",
            rule="must be application/json",
            remedy="Set the header Content-Type: application/json.",
        )
    if isinstance(problem, SuspiciousOperation):
        return MalformedRequest(
            "The request cannot be read. Send fewer parameters.", rule=type(problem).__name__
        )
    if isinstance(problem, PermissionDenied):
        return Forbidden("You may not do this.")
    if isinstance(problem, IntegrityError):
        constraint = getattr(getattr(problem.__cause__, "diag", None), "constraint_name", None)
        log.warning("constraint refused a change", constraint=constraint)
        return Conflict(f"The change breaks the rule {constraint!r}. Nothing was stored.", rule=constraint)
    if isinstance(problem, OperationalError | InterfaceError):
        log.error("database unavailable", problem=str(problem))
        return DatabaseUnavailable("The database does not answer. Nothing was stored; try again shortly.")
    return None


def answer(failure: RaxxError) -> Response:
    response = Response(body(failure.code, failure.message, failure.details), status=failure.http_status)
    if failure.retry_after_s is not None:
        response["Retry-After"] = str(failure.retry_after_s)
    return response


def body(code: str, message: str, details: dict[str, str]) -> dict[str, Any]:
    return {
        "error": {"code": code, "message": message, "request_id": current_request_id(), "details": details}
    }


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For what Django refuses before any view: an unknown Host, a path that cannot be read."""
    failure = MalformedRequest(
        "The request cannot be read.",
        rule=type(exception).__name__,
        remedy="Check the Host header and the path.",
    )
    return _plain(failure.code, failure.message, failure.details, failure.http_status)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """For paths that no view serves."""
    failure = NotFound(f"There is nothing at {request.path}.", remedy="See /api/docs/ for what there is.")
    return _plain(failure.code, failure.message, failure.details, failure.http_status)


def server_error(request: HttpRequest) -> HttpResponse:
    """A bug. The log has the rest under the same request id."""
    return HttpResponse(encode(internal_error()), status=500, content_type="application/json")


def internal_error() -> dict[str, Any]:
    return body(
        "INTERNAL_ERROR",
        "This failed on our side. Ask for the state of the object before you try again; quote the request id to us.",
        {},
    )


def _plain(code: str, message: str, details: dict[str, str], status: int) -> HttpResponse:
    return HttpResponse(encode(body(code, message, details)), status=status, content_type="application/json")
