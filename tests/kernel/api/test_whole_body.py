"""The body reaches the application whole or not at all. (Behind a real server: tests/mbt/api/test_server.py.)"""

import asyncio
import json
from typing import Any

import pytest

from raxx.kernel.api.whole_body import Message, Receive, Send, WholeBody

PIECE: dict[str, Any] = {"type": "http.request", "body": b"12345", "more_body": True}
LAST: dict[str, Any] = {"type": "http.request", "body": b"67", "more_body": False}
GONE: dict[str, Any] = {"type": "http.disconnect"}


def exchange(
    incoming: list[Message], *headers: tuple[bytes, bytes], kind: str = "http"
) -> tuple[list[Any], list[Message]]:
    """What the application saw, (headers, body, what came next), and what was sent back. The sender stalls
    after `incoming`."""
    seen: list[Any] = []
    sent: list[Message] = []
    left = iter(incoming)

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        first = await receive()
        seen.append(
            (dict(scope.get("headers", [])), first.get("body"), await receive() if kind == "http" else None)
        )
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Message:
        for message in left:
            return message
        await asyncio.sleep(60)
        return GONE

    async def send(message: Message) -> None:
        sent.append(message)

    app = WholeBody(application, bytes_max=10, seconds_max=0.05)
    asyncio.run(app({"type": kind, "headers": list(headers)}, receive, send))
    return seen, sent


def test_pieces_are_put_together() -> None:
    seen, sent = exchange([PIECE, LAST, GONE], (b"transfer-encoding", b"chunked"), (b"x-a", b"b"))
    assert seen == [({b"content-length": b"7", b"x-a": b"b"}, b"1234567", GONE)]
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_a_length_that_was_given_stays() -> None:
    [(headers, body, _)], _ = exchange([PIECE, LAST, GONE], (b"Content-Length", b"7"))
    assert (headers, body) == ({b"Content-Length": b"7"}, b"1234567")


def test_no_body_is_no_body() -> None:
    [(headers, body, _)], _ = exchange([{"type": "http.request"}, GONE])
    assert (headers, body) == ({}, b"")


def test_who_has_gone_is_not_served() -> None:
    assert exchange([PIECE, GONE]) == ([], [])


def test_what_is_no_http_passes() -> None:
    seen, _ = exchange([{"type": "websocket.connect"}], kind="websocket")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("incoming", "status", "code"),
    [([PIECE], 408, "BODY_TOO_SLOW"), ([PIECE, PIECE, PIECE, LAST], 413, "BODY_TOO_LARGE")],
)
def test_refusals_have_the_usual_shape(incoming: list[Message], status: int, code: str) -> None:
    seen, (start, answer) = exchange(incoming, (b"x-request-id", b"my-trace.0001"))
    assert not seen
    assert start["status"] == status
    headers = dict(start["headers"])
    assert (headers[b"content-type"], headers[b"x-request-id"]) == (b"application/json", b"my-trace.0001")
    assert headers[b"content-length"] == str(len(answer["body"])).encode()
    error = json.loads(answer["body"])["error"]
    assert (error["code"], error["request_id"]) == (code, "my-trace.0001")
    assert (error["details"]["field"], bool(error["details"]["rule"])) == ("(body)", True)
