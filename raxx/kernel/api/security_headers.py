"""The headers that tell browsers what a response may do, on every response that leaves, whoever made it.

A response may say otherwise for itself: what it has set already stays. `allowing` does so for a page that needs more.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse

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

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class SecurityHeaders:
    """The outermost layer. `tls`: browsers come to us over HTTPS only."""

    def __init__(self, app: App, *, tls: bool) -> None:
        self._app = app
        wanted = {**HEADERS, **(OVER_TLS if tls else {})}
        self._wanted = [(name.lower().encode(), value.encode()) for name, value in wanted.items()]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in self._wanted if name not in said]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


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
