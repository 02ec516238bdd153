"""Where somebody stands with their limit, in the headers of every answer to them."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from raxx.identity.rate_limits import WINDOW_S, Standing


class RateHeadersMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        standing = request.META.get("raxx.rate")
        if isinstance(standing, Standing):
            response["RateLimit-Limit"] = str(standing.limit)
            response["RateLimit-Policy"] = f"{standing.limit};w={WINDOW_S}"
            response["RateLimit-Remaining"] = str(max(0, standing.remaining))
            response["RateLimit-Reset"] = str(standing.reset_s)
        return response
