"""What gunicorn serves `raxx.asgi` in: uvicorn, which refuses what never becomes a request in our words, with our headers.

Measured without this: a head that never ends is kept in memory for as long as it comes, one that stops holds its
connection for ever, and the refusal of what is no HTTP has none of the headers that every response must have.
"""

from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

HEAD_BYTES_MAX = 64 * 1024
HEAD_SECONDS_MAX = 15.0


class Protocol(HttpToolsProtocol):
    """One connection. The head of a request is its line and its headers."""

    _head_bytes = 0
    _head_is_open = False
    _deadline: TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - asyncio's
        super().connection_made(transport)
        self._expect_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_is_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "HEAD_TOO_LARGE", "The headers are too large."
                )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_is_open, self._head_bytes = True, 0
        self._expect_a_head()

    def on_headers_complete(self) -> None:
        self._head_is_open = False
        self._expect_nothing()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(HTTPStatus.BAD_REQUEST, "MALFORMED_REQUEST", "This is no HTTP request.")

    def _expect_a_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS_MAX, self._is_late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "HEAD_TOO_SLOW", "The headers did not arrive in time.")

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        """Say so and hang up."""
        # Not before: gunicorn reads this module when there are no settings yet.
        from django.conf import settings

        from raxx.kernel.api import request_id
        from raxx.kernel.api.envelope import encode
        from raxx.kernel.api.errors import body as error_body
        from raxx.kernel.api.security_headers import every

        self._expect_nothing()
        if self.transport.is_closing():
            return
        with request_id.serving("") as current:
            content = encode(error_body(code, message, {}))
        headers = {
            **every(tls=settings.SECURE_SSL_REDIRECT),
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            "X-Request-ID": current,
        }
        lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        self.transport.close()


class Worker(UvicornWorker):  # type: ignore[misc]  # it has no types
    CONFIG_KWARGS = {"loop": "auto", "http": Protocol, "ws": "none"}
