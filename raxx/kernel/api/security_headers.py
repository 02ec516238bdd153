"""The headers that tell browsers what a response may do, on every response that leaves, whoever made it.

A response may say otherwise for itself: what it has set already stays. `allowing` does so for a page that needs more.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import wraps
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse

from raxx.kernel.api import request_id
from raxx.kernel.api.envelope import encode
from raxx.kernel.api.errors import internal_error

log = structlog.get_logger(__name__)

POLICY: Mapping[str, str] = {
    "default-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "form-action": "'self'",
}
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: browsers would send form posts with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # What is private must not stay in a cache; what may says so itself.
    "Cache-Control": "no-store",
}
OVER_TLS: Mapping[str, str] = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}


def every(*, tls: bool) -> dict[str, str]:
    """`tls`: browsers come to us over HTTPS only."""
    return {**HEADERS, **(OVER_TLS if tls else {})}


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class SecurityHeaders:
    """The outermost layer."""

    def __init__(self, app: App, *, tls: bool) -> None:
        self._app = app
        self._wanted = [(name.lower().encode(), value.encode()) for name, value in every(tls=tls).items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Where whatever lies within breaks, a failure without details is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in self._wanted if name not in said]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            if started:
                raise
            with request_id.serving("") as current:
                log.exception("a request broke outside of Django")
                content = encode(internal_error())
            told = [(b"content-type", b"application/json"), (b"x-request-id", current.encode())]
            await send_with_headers({"type": "http.response.start", "status": 500, "headers": told})
            await send_with_headers({"type": "http.response.body", "body": content})


def allowing(view: Callable[..., HttpResponse], **directives: str) -> Callable[..., HttpResponse]:
    """`view` with more in its policy, like `style_src="'self' 'unsafe-inline'"`."""
    added = {name.replace("_", "-"): value for name, value in directives.items()}
    policy = "; ".join(f"{name} {value}" for name, value in {**POLICY, **added}.items())

    @wraps(view)
    def with_policy(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:  # noqa: ANN401 - the view's own
        response = view(request, *args, **kwargs)
        response["Content-Security-Policy"] = policy
        return response

    return with_policy
