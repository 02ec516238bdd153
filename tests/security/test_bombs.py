"""S14: what is sent to exhaust us is refused within a second, and costs the process that answers at most 50 MB."""

import gzip
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mbt.models import Order
from tests.conftest import Database
from tests.identity.browser import ORIGIN
from tests.mbt.paper_tools import Market, Trader, fill_in
from tests.security.web import Web, web

SOAK = bool(os.environ.get("RAXX_SOAK"))
SECONDS_MAX, GROWTH_MAX = 1.0, 50 * 1024 * 1024
MB = 1_000_000
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BOUNDARY = b'--x\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n1\r\n'


@dataclass(frozen=True)
class Bomb:
    body: bytes
    content_type: str = JSON
    path: str = "/api/mbt/orders"
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"


def ticket(**fields: object) -> bytes:
    return json.dumps(fill_in(dict(fields))).encode()


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    return opening * depth + b"1" + closing * depth


BOMBS: dict[str, Bomb] = {
    "10 MB": Bomb(b"x" * 10 * MB),
    "10 MB of JSON": Bomb(b'{"symbol":"' + b"S" * 10 * MB + b'"}'),
    "10 MB of blanks": Bomb(b" " * 10 * MB + b"{}"),
    "10 MB without a key": Bomb(b"x" * 10 * MB, path="/api/sessions/options"),
    "10 MB for a page": Bomb(b"a=" + b"x" * 10 * MB, FORM, "/account/sign-out"),
    "10 MB that say they are small": Bomb(gzip.compress(b"x" * 10 * MB), headers=(("Content-Encoding", "gzip"),)),
    "depth 100,000": Bomb(nested(100_000, b"[", b"]")),
    "depth 100,000, never closed": Bomb(b"[" * 100_000),
    "depth 30,000 of objects": Bomb(nested(30_000, b'{"a":', b"}")),
    "depth 100,000 for a stranger": Bomb(nested(100_000, b"[", b"]"), path="/api/sessions/options"),
    "an integer of 5,000 digits": Bomb(ticket().replace(b'"1"', b"9" * 5_000)),
    "a quoted one": Bomb(ticket(qty="9" * 5_000)),
    "a fraction of 200,000 digits": Bomb(ticket().replace(b'"1"', b"1." + b"3" * 200_000)),
    "an exponent": Bomb(ticket().replace(b'"1"', b"1e999999999")),
    "a negative exponent": Bomb(ticket().replace(b'"90.00"', b"1e-999999999")),
    "100,000 keys": Bomb(json.dumps({f"k{n}": n for n in range(100_000)}).encode()),
    "20,000 keys": Bomb(json.dumps({f"k{n}": n for n in range(20_000)}).encode()),
    "one key 30,000 times": Bomb(b"{" + b",".join([b'"a":1'] * 30_000) + b"}"),
    "100,000 legs": Bomb(json.dumps({"order_class": "mleg", "legs": [1] * 80_000}).encode()),
    "a text of escapes": Bomb(b'{"symbol":"' + b"\\u0041" * 40_000 + b'"}'),
    "half a million fields": Bomb(b"&".join(b"a%d=1" % n for n in range(80_000)), FORM, "/account/sign-out"),
    "20,000 parts": Bomb(
        b"".join(BOUNDARY % n for n in range(16_000)) + b"--x--", "multipart/form-data; boundary=x", "/account/sign-out"
    ),
    "a credential of 250 KB": Bomb(
        json.dumps({"credential": {"id": "a" * 200_000, "response": {"clientDataJSON": "e30" * 10_000}}}).encode(), path="/api/sessions",
    ),
    "an address of 250 KB": Bomb(json.dumps({"email": "a@" * 120_000}).encode(), path="/api/sessions/sign-up/options"),
    "a code of 250 KB": Bomb(json.dumps({"code": "A-" * 120_000}).encode(), path="/api/sessions/recovery"),
    "a query of 60 KB": Bomb(b"", path="/api/mbt/orders?symbol=" + "A" * 60_000, method="GET"),
    "10,000 parameters": Bomb(b"", path="/api/mbt/orders?" + "&".join(f"a{n}=1" for n in range(6_000)), method="GET"),
    "a page token of 60 KB": Bomb(b"", path="/api/mbt/orders?page_token=" + "A" * 60_000, method="GET"),
    "a path of 60 KB": Bomb(b"", path="/api/keys/" + "A" * 60_000, method="DELETE"),
    "a cookie of 60 KB": Bomb(b"{}", path="/api/sessions/refresh", headers=(("Cookie", "__Host-raxx-r=" + "." * 60_000),)),
    "a token of 60 KB": Bomb(b"{}", path="/api/keys", headers=(("Cookie", "__Host-raxx=" + "e." * 30_000),)),
    "credentials of 60 KB": Bomb(b"{}", headers=(("Authorization", "Basic " + "QTpC" * 15_000),)),
    "1,000 headers": Bomb(b"", path="/api/mbt/orders", method="PUT", headers=tuple((f"X-{n}", "1") for n in range(1_000))),
}  # fmt: skip
HEAD = b"POST /api/mbt/orders HTTP/1.1\r\nHost: localhost\r\n"
# Heads that do not end: they never become a request.
HEADS = {
    "a header of 10 MB": HEAD + b"X: " + b"y" * 10 * MB,
    "10 MB of headers": HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(900_000)),
    "a path of 10 MB": b"GET /" + b"a" * 10 * MB,
}


@contextmanager
def watched(site: Web) -> Iterator[list[int]]:
    """How much memory the process had, looked at every few milliseconds."""
    seen, over = [site.worker.memory_info().rss], threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            seen.append(site.worker.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def send(site: Web, bomb: Bomb, authorization: str) -> tuple[int, float]:
    """The status, and after how many seconds it was there."""
    headers = {
        "Content-Type": bomb.content_type, "Authorization": authorization, "X-Raxx-CSRF": "1", "Origin": ORIGIN,
    } | dict(bomb.headers)  # fmt: skip
    if bomb.path.startswith(("/api/sessions", "/api/keys")):
        del headers["Authorization"]
    began = time.monotonic()
    status, _, _ = site.ask(bomb.method, bomb.path, bomb.body, headers)
    return status, time.monotonic() - began


def test_bombs_are_refused_at_once_and_cheaply(market: Market, fresh_db: Database, tmp_path: Path) -> None:
    trader = Trader.opened(feed=market.feed)
    with web(fresh_db, tmp_path) as site:
        for _ in range(40):  # warm: what is loaded once is not what a bomb costs
            send(site, Bomb(ticket(limit_price="91")), "Basic eDp5")
            send(site, Bomb(b"{}"), trader.authorization)
        Order.objects.all().delete()
        with watched(site) as memory:
            for name, bomb in BOMBS.items():
                tries = [send(site, bomb, trader.authorization) for _ in range(2)]
                assert {status // 100 for status, _ in tries} == {4}, (name, tries)
                assert min(seconds for _, seconds in tries) < SECONDS_MAX, (name, tries)
            for name, head in HEADS.items():
                began = time.monotonic()
                assert site.raw(head).startswith(b"HTTP/1.1 431 "), name
                assert time.monotonic() - began < SECONDS_MAX, name
            with ThreadPoolExecutor(8) as crowd:  # and eight at a time
                heavy = [
                    bomb for name, bomb in BOMBS.items() if name.startswith(("10 MB", "depth", "100,000"))
                ]
                found = list(crowd.map(lambda bomb: send(site, bomb, trader.authorization), heavy * 2))
            assert {status // 100 for status, _ in found} == {4}
        assert max(memory) - memory[0] < GROWTH_MAX, (memory[0], max(memory))
        assert Order.objects.count() == 0
        assert send(site, Bomb(ticket()), trader.authorization)[0] in (
            201,
            503,
        )  # 503: the feed stands still by now


def test_who_is_slow_holds_nobody_up(market: Market, fresh_db: Database, tmp_path: Path) -> None:
    """Twenty that stop within a head, twenty within a body, twenty that say nothing: others are answered at once. With
    RAXX_SOAK, until all of them are sent away after 15 seconds."""
    key = {"Authorization": Trader.opened(feed=market.feed).authorization}
    half = HEAD + f"Authorization: {key['Authorization']}\r\nContent-Length: 100\r\n\r\n{{".encode()
    with web(fresh_db, tmp_path) as site, ExitStack() as lines:
        site.ask("GET", "/api/mbt/account", None, key)  # warm
        began, slow = time.monotonic(), []
        for data in (HEAD + b"X: y", half, b""):
            for _ in range(20):
                slow.append(
                    lines.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=40))
                )
                slow[-1].sendall(data)
        time.sleep(0.2)
        asked = time.monotonic()
        assert site.ask("GET", "/api/mbt/account", None, key)[0] == 200
        assert time.monotonic() - asked < SECONDS_MAX
        if SOAK:
            for line in slow:
                assert line.recv(65_536).startswith(b"HTTP/1.1 408 ")
            assert 14 < time.monotonic() - began < 17


def test_sizes_are_what_they_are_called() -> None:
    assert len(BOMBS["10 MB"].body) == 10 * MB
    assert BOMBS["depth 100,000"].body.count(b"[") == 100_000
    assert len(json.loads(BOMBS["100,000 keys"].body)) == 100_000
    assert http.client.responses[431]
