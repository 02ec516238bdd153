"""The API behind its real server: sockets, threads, and bodies that come in pieces or never end."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from django.db import connection

from mbt import books
from mbt.models import Order
from tests.conftest import Database
from tests.mbt.paper_tools import Trader, fill_in

MANY = 32


@pytest.fixture
def port(fresh_db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The product's own ASGI application under uvicorn, on this port; it waits a second for a body."""
    monkeypatch.setenv("RAXX_DB_POOL", "")  # what raxx.asgi would set is for processes that have just begun
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)  # its threads leave nothing open
    from raxx.asgi import served

    app = served(body_seconds_max=1.0)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


Answer = tuple[int, dict[str, str], bytes]


def send(
    port: int, method: str, path: str, body: bytes | Iterator[bytes] | None, headers: dict[str, str]
) -> Answer:
    client = http.client.HTTPConnection("localhost", port, timeout=20)
    try:
        client.request(method, path, body, headers, encode_chunked=True)
        response = client.getresponse()
        return (
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.read(),
        )
    finally:
        client.close()


@pytest.fixture
def headers(trader: Trader) -> dict[str, str]:
    return {"Authorization": trader.authorization, "Content-Type": "application/json"}


def test_thirty_two_submits_with_one_client_order_id(
    port: int, trader: Trader, headers: dict[str, str]
) -> None:
    body = json.dumps(fill_in({"client_order_id": "only-once"})).encode()
    start, answers = threading.Barrier(MANY), []

    def submit() -> None:
        start.wait()
        answers.append(send(port, "POST", "/api/mbt/orders", body, headers))

    threads = [threading.Thread(target=submit) for _ in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _, _ in answers] == [201] * MANY
    assert len({content for _, _, content in answers}) == 1
    assert len({fields["x-request-id"] for _, fields, _ in answers}) == MANY
    assert Order.objects.count() == 1
    assert books.verify() == (1, [])


def test_large_and_odd_bodies(port: int, trader: Trader, headers: dict[str, str]) -> None:
    def post(body: bytes | Iterator[bytes]) -> Answer:
        began = time.perf_counter()
        answer = send(port, "POST", "/api/mbt/orders", body, headers)
        assert time.perf_counter() - began < 2
        return answer

    assert post(b"x" * 10_000_000)[0] == 413
    assert post(b"[" * 250_000)[0] == 400
    status, _, content = post(b"")
    assert (status, json.loads(content)["error"]["details"]["field"]) == (422, "symbol")
    assert send(port, "HEAD", "/api/mbt/account", None, headers)[2] == b""
    assert send(port, "GET", "/api/mbt/account", None, headers)[0] == 200
    assert Order.objects.count() == 0


def test_a_body_in_chunks_is_a_body(port: int, trader: Trader, headers: dict[str, str]) -> None:
    whole = json.dumps(fill_in({})).encode()
    assert send(port, "POST", "/api/mbt/orders", iter([whole[:20], whole[20:]]), headers)[0] == 201
    status, fields, content = send(port, "POST", "/api/mbt/orders", iter([b"x" * 100_000] * 3), headers)
    error = json.loads(content)["error"]
    assert (status, error["details"]["field"]) == (413, "(body)")
    assert error["request_id"] == fields["x-request-id"]


def test_a_body_that_never_comes_holds_nobody_up(port: int, trader: Trader, headers: dict[str, str]) -> None:
    """More half-sent requests than there are threads: others are still answered, and these are sent away."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST /api/mbt/orders HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: 100\r\n\r\n{{"
    slow = [socket.create_connection(("localhost", port), timeout=10) for _ in range(12)]
    try:
        for one in slow:
            one.sendall(request.encode())
        time.sleep(0.2)
        began = time.perf_counter()
        assert send(port, "GET", "/api/mbt/account", None, headers)[0] == 200
        assert time.perf_counter() - began < 1
        for one in slow:
            answer = one.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b'"code":"BODY_TOO_SLOW"' in answer
    finally:
        for one in slow:
            one.close()
    assert Order.objects.count() == 0


PAGES = ("/", "/healthz", "/readyz", "/api/docs/", "/api/schema/", "/api/mbt/account", "/admin/", "/admin/login/", "/none",
         "/static/admin/css/base.css", "/static/none.css", "/%00", "/api/mbt/orders?limit=x")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_every_response_says_what_browsers_may_do_with_it(port: int, path: str) -> None:
    status, headers, _ = send(port, "GET", path, None, {})
    assert status < 500
    assert_safe(headers)
    if not path.startswith("/static/admin"):
        assert headers["cache-control"] in ("no-store", NEVER)


def test_so_do_refusals_from_before_django_and_failures(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    status, headers, _ = send(port, "POST", "/api/mbt/orders", b"x" * 2_000_000, {})
    assert status == 413
    assert_safe(headers)
    for method in ("OPTIONS", "TRACE", "PUT"):
        assert_safe(send(port, method, "/api/mbt/orders", None, {})[1])

    def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr("raxx.kernel.pages.JsonResponse", broken)
    status, headers, _ = send(port, "GET", "/healthz", None, {})
    assert status == 500
    assert_safe(headers)


NEVER = "max-age=0, no-cache, no-store, must-revalidate, private"


def assert_safe(headers: dict[str, str]) -> None:
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy  # as default-src: no inline script
    assert {policy[name] for name in ("object-src", "base-uri", "frame-ancestors")} == {"'none'"}
    assert policy["form-action"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "same-origin"
    assert "strict-transport-security" not in headers  # it speaks without TLS here
