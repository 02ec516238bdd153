"""Every response that leaves has the headers that tell browsers what to do with it: pages, the API, files, redirects,
streams, operators' pages, failures, and refusals of what never became a request. Over the process that is deployed."""

import asyncio
import http.client
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from raxx.kernel.api.security_headers import SecurityHeaders
from raxx.kernel.ids import new_id
from tests.conftest import Database
from tests.identity.browser import ACCESS, ORIGIN, REFRESH
from tests.mbt.paper_tools import Market
from tests.security.people import Person, live
from tests.security.web import Web, web

# What must not be served: source, settings, lists of files, the insides of a program.
HIDDEN = (
    "/.git/config", "/.env", "/.local/README", "/manage.py", "/raxx/settings.py", "/requirements.txt", "/static/", "/static/identity/",
    "/static/../raxx/settings.py", "/static/%2e%2e/manage.py", "/static//etc/passwd", "/debug", "/__debug__/", "/metrics", "/server-status",
)  # fmt: skip
SAMPLES = {
    "uuid": "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f", "int": "1", "str": "AAPL", "path": "a/b", "slug": "a",
}  # fmt: skip
FILES = (
    "/static/identity/passkeys.js",
    "/static/console/status.css",
    "/static/admin/css/base.css",
    "/static/none.css",
)
# What no HTTP library would send. None of it reaches Django.
RAW: dict[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "another version": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "unknown method": b"BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a blank in a header's name": b"GET / HTTP/1.1\r\nHost: localhost\r\nX Y: 1\r\n\r\n",
    "a header on two lines": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: 1\r\n 2\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ten\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST /api/sessions/options HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "chunks that are none": b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a head that is too large": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 400_000,
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
}  # fmt: skip
# And what it makes of what a library would not send either.
ODD: dict[str, bytes] = {
    "another site's name": b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
    "a path of bytes": b"GET /\xff\xfe/%ff%fe%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a whole address": b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a header of bytes": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: \xff\xfe\r\nCookie: \xff=\xfe\r\nConnection: close\r\n\r\n",
    "an upgrade": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
}  # fmt: skip


def paths(resolver: URLResolver | None = None, prefix: str = "/") -> Iterator[str]:
    """Every path of the product, with something in the place of what varies."""
    for found in (resolver or get_resolver()).url_patterns:
        path = prefix + str(found.pattern).removeprefix("^").removesuffix("\\Z").removesuffix("$")
        if isinstance(found, URLResolver):
            yield from paths(found, path)
        elif isinstance(found, URLPattern):
            filled = re.sub(r"<(?:(\w+):)?\w+>", lambda kind: SAMPLES[kind[1] or "str"], path)
            yield re.sub(r"\(\?P<\w+>.*?\)\??", "a", filled)


def assert_safe(headers: http.client.HTTPMessage, where: object, *, tls: bool) -> None:
    policy = dict(part.split(" ", 1) for part in (headers["Content-Security-Policy"] or "").split("; "))
    assert policy["default-src"] in ("'self'", "'none'"), where
    assert "unsafe-inline" not in policy.get("script-src", policy["default-src"]), where
    assert {policy[name] for name in ("object-src", "base-uri", "frame-ancestors")} == {"'none'"}, where
    assert policy["form-action"] in ("'self'", "'none'"), where
    for name, value in {
        "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "same-origin",
    }.items():  # fmt: skip
        assert headers[name] == value, (where, name)
    assert "camera=()" in headers["Permissions-Policy"], where
    assert headers["Cache-Control"], where
    assert headers["X-Request-ID"], where
    assert not [name for name in headers if name.lower().startswith("access-control")], where
    for cookie in headers.get_all("Set-Cookie", []):
        name, *attributes = (part.strip() for part in cookie.split(";"))
        assert name.startswith("__Host-"), (where, cookie)
        assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(attributes), (where, cookie)
    hsts = headers["Strict-Transport-Security"]
    assert hsts == ("max-age=31536000; includeSubDomains" if tls else None), where


def cookies(person: Person) -> dict[str, str]:
    jar = person.browser.client.cookies
    return {"Cookie": "; ".join(f"{name}={jar[name].value}" for name in (ACCESS, REFRESH))}


def parsed(answer: bytes) -> tuple[int, http.client.HTTPMessage]:
    line, _, rest = answer.partition(b"\r\n")
    return int(line.split()[1]), http.client.parse_headers(io.BytesIO(rest))


@pytest.mark.parametrize("tls", [False, True])
def test_every_response_has_them(market: Market, fresh_db: Database, tmp_path: Path, tls: bool) -> None:
    alice = live(market)
    secure = {"RAXX_TLS": "1", "RAXX_ORIGINS": "https://localhost"} if tls else {}
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"} if tls else {}
    key = {"Authorization": alice.trader.authorization}
    page = {
        "X-Raxx-CSRF": "1",
        "Origin": "https://localhost" if tls else ORIGIN,
        "Content-Type": "application/json",
    }
    statuses: set[int] = set()
    set_by: set[str] = set()

    def look(site: Web, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> None:
        status, answered, _ = site.ask(method, path, body, {**forwarded, **headers})
        assert status < 500 or status == 503, (method, path, status)  # 503: no engine runs here
        assert_safe(answered, (method, path, status), tls=tls)
        kind = answered["Content-Type"] or ""
        assert not kind.startswith("text/") or "utf-8" in kind, (path, kind)
        assert method == "GET" or "Location" not in answered or status == 302, (
            method,
            path,
            answered["Location"],
        )
        statuses.add(status)
        set_by.update(cookie.partition("=")[0] for cookie in answered.get_all("Set-Cookie", []))

    with web(fresh_db, tmp_path, **secure) as site:
        for path in {*paths(), *FILES, "/nothing", f"/nothing/{new_id()}"}:
            for who in ({}, cookies(alice), key):
                look(site, "GET", path, None, who)
            for method in ("HEAD", "OPTIONS"):
                look(site, method, path, None, {})
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                look(site, method, path, b"{", page | (cookies(alice) if method != "DELETE" else key))
        for path in HIDDEN:
            assert site.ask("GET", path, None, forwarded)[0] == 404, path
        assert site.ask("TRACE", "/api/mbt/account", None, {**forwarded, **key})[0] == 405
        if tls:  # without the router's word for it, everything is sent to https
            status, answered, _ = site.ask("GET", "/sign-in")
            assert (status, answered["Location"]) == (301, "https://localhost/sign-in")
        for case, data in RAW.items():
            answer = site.raw(data)
            assert answer, case
            for one in re.split(rb"(?=HTTP/1\.1 \d{3} )", answer)[1:]:  # two where one request hides another
                status, headers = parsed(one)
                assert 400 <= status < 500, (case, status)
                assert_safe(headers, case, tls=tls)
        for case, data in ODD.items():
            status, headers = parsed(site.raw(data))
            assert status < 500, (case, status)
            assert_safe(headers, case, tls=tls)
    assert statuses >= {200, 204, 302, 400, 401, 403, 404, 405}
    assert "__Host-raxx-csrf" in set_by


def test_what_breaks_outside_of_django_is_answered_with_them_and_nothing_else() -> None:
    sent: list[dict[str, Any]] = []

    async def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    async def receive() -> Any:  # noqa: ANN401 - ASGI's
        return {"type": "http.request", "body": b""}

    asyncio.run(SecurityHeaders(broken, tls=True)({"type": "http", "headers": []}, receive, send))
    start, body = sent
    headers = http.client.HTTPMessage()
    for name, value in start["headers"]:
        headers[name.decode()] = value.decode()
    assert_safe(headers, "broken", tls=True)
    assert start["status"] == 500
    assert b"INTERNAL_ERROR" in body["body"]
    assert b"secret detail" not in body["body"]
