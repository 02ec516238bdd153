"""A request reaches the application when its body is there, whole, or never.

Requests are served by a few threads. Measured without this: eight senders who stop in the middle of a body
stop everybody. Here waiting costs no thread, only an idle coroutine, and ends after some seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from raxx.kernel.api import request_id
from raxx.kernel.api.envelope import encode
from raxx.kernel.api.errors import body as error_body
from raxx.kernel.api.json_body import BodyTooLarge
from raxx.kernel.errors import RaxxError

BYTES_MAX = 1024 * 1024
SECONDS_MAX = 15.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class BodyTooSlow(RaxxError):
    """The sender stopped before the body was complete."""

    code = "BODY_TOO_SLOW"
    http_status = 408


class WholeBody:
    """Wraps an ASGI application. A body that was sent in chunks gets a Content-Length, which WSGI needs."""

    def __init__(self, app: App, *, bytes_max: int = BYTES_MAX, seconds_max: float = SECONDS_MAX) -> None:
        self._app, self._bytes_max, self._seconds_max = app, bytes_max, seconds_max

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds_max):
                body = await self._gather(receive)
        except TimeoutError:
            await _refuse(scope, send, self._too_slow())
        except BodyTooLarge as refusal:
            await _refuse(scope, send, refusal)
        else:
            if body is not None:
                await self._app(_with_length(scope, len(body)), _replay(body, receive), send)

    async def _gather(self, receive: Receive) -> bytes | None:
        """The body; None when the sender has gone. Raises BodyTooLarge."""
        body, length = bytearray(), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece = message.get("body", b"")
            length += len(piece)
            # What is too much is read and dropped: a sender cut off in the middle would not see the answer.
            if length <= self._bytes_max:
                body += piece
            if not message.get("more_body", False):
                break
        if length > self._bytes_max:
            raise BodyTooLarge(
                f"The body is larger than {self._bytes_max} bytes. Send less at once.",
                field="(body)",
                rule=f"must have at most {self._bytes_max} bytes",
                value="larger",
                remedy="Send less at once.",
            )
        return bytes(body)

    def _too_slow(self) -> BodyTooSlow:
        return BodyTooSlow(
            f"The body did not arrive within {self._seconds_max:g} s. Nothing was stored; send it again.",
            field="(body)",
            rule=f"must arrive within {self._seconds_max:g} s",
            remedy="Send it again.",
        )


def _with_length(scope: Message, length: int) -> Message:
    headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"transfer-encoding"]
    if length and not any(name.lower() == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(length).encode()))
    return {**scope, "headers": headers}


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


async def _refuse(scope: Message, send: Send, failure: RaxxError) -> None:
    """Answer before Django has seen the request, in the same shape."""
    offered = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    with request_id.serving(offered) as current:
        content = encode(error_body(failure.code, failure.message, failure.details))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", current.encode()),
    ]
    await send({"type": "http.response.start", "status": failure.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
