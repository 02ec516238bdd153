"""Every request has an id: the caller's, when it is a sane one, else ours. It is in every answer,
every log line and every audit row that the request caused."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse
from structlog.contextvars import bound_contextvars

from raxx.kernel.ids import new_id

_current: ContextVar[str] = ContextVar("request_id", default="")
_SANE = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)


def current_request_id() -> str:
    """The id of the request being served, or "" outside of one."""
    return _current.get()


@contextmanager
def serving(offered: str) -> Iterator[str]:
    """Inside, a request is served: under the id that its sender offered, or under a new one."""
    request_id = offered if _SANE.fullmatch(offered) else str(new_id())
    token = _current.set(request_id)
    try:
        with bound_contextvars(request_id=request_id):
            yield request_id
    finally:
        _current.reset(token)


class RequestIdMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with serving(request.META.get("HTTP_X_REQUEST_ID", "")) as request_id:
            response = self._get_response(request)
        response["X-Request-ID"] = request_id
        return response
