"""The status pages come before everything that might ask PostgreSQL or Valkey, such as who is signed in.

Otherwise somebody whose browser has a session could not see the page just when it is needed.
"""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse

from console.status import pages

log = structlog.get_logger(__name__)

_VIEWS = {pages.PATH: pages.status, pages.JSON_PATH: pages.status_json}


class StatusFirst:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = _VIEWS.get(request.path)
        if view is None:
            return self._get_response(request)
        try:
            return view(request)
        except Exception:  # of all pages this one must answer
            log.exception("the status page broke")
            return pages.unavailable()
