"""S8: a secret is shown once, to whom it belongs, and is nowhere else: not in the database, Valkey, the queue, the logs
at their most talkative, answers, pages, exports or the audit trail; not raw, in hex, in base64 or URL-encoded.

Alice uses everything there is; each of her secrets is then looked for in everything that is kept.
"""

import base64
import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from redis import Redis

from audit.models import AuditEntry
from audit.services import sealing
from console.services import data_requests, operator_links
from raxx.celery import app
from raxx.identity.step_up import ADD_PASSKEY, ISSUE_KEY, RENEW_CODES
from raxx.kernel import clock
from raxx.kernel.keys import derive
from tests.conftest import Database
from tests.console.data_rights.people import _value
from tests.identity.authenticator import Authenticator
from tests.identity.browser import ACCESS, ORIGIN, REFRESH, Browser
from tests.security.people import CALL
from tests.security.web import web

KEY = {"name": "bot", "scopes": ["paper:trade"]}
# Where secrets are shown on purpose: the one answer, and the cookies of its browser.
SHOWN = {"POST sessions/sign-up", "POST recovery-codes", "POST keys"}


def written(secret: str) -> set[bytes]:
    """The forms in which it could be somewhere: raw, without dashes, hex, URL-encoded, base64 at every offset."""
    forms: set[bytes] = set()
    spelled = {
        case for text in (secret, secret.replace("-", "")) for case in (text, text.lower(), text.upper())
    }
    for plain in spelled:
        raw = plain.encode()
        forms |= {raw, raw.hex().encode(), quote(plain, safe="").encode()}
        for shift in range(3):  # the ends depend on what stands around it
            inner = base64.b64encode(b"x" * shift + raw)[4:-4]
            forms |= {inner, base64.urlsafe_b64encode(b"x" * shift + raw)[4:-4]}
    return {form for form in forms if len(form) >= 12}


class Canaries:
    def __init__(self) -> None:
        self._forms: dict[bytes, str] = {}
        self.count = 0

    def add(self, name: str, *secrets: str) -> None:
        for secret in secrets:
            assert len(secret) >= 20, name
            self.count += 1
            self._forms |= dict.fromkeys(written(secret), name)

    def found_in(self, text: bytes) -> set[str]:
        return {name for form, name in self._forms.items() if form in text}


class Talkative(logging.Handler):
    """Everything that is logged, as it is printed."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.getLogger().handlers[0].formatter if logging.getLogger().handlers else None)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {record.getMessage()} {record.args!r}")


@pytest.fixture
def log() -> Iterator[Talkative]:
    handler, root = Talkative(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


def database_dump() -> Iterator[tuple[str, bytes]]:
    """Every row of every table as text; bytes are in hex."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT string_agg(t::text, '\n') FROM \"{table}\" t")  # noqa: S608
            yield table, (cursor.fetchone()[0] or "").encode()


def valkey_dump() -> Iterator[tuple[str, bytes]]:
    """Every key: sessions, limits, streams, ceremonies, and the queue of the jobs."""
    client = Redis.from_url(settings.REDIS_URL)
    for key in client.scan_iter(count=1_000):
        yield repr(key), key + b"\0" + _value(client, key)
    client.close()


class Recorder(Browser):
    """A browser that keeps every answer, and notes its cookies as secrets."""

    answers: list[tuple[str, bytes]]
    canaries: Canaries

    def send(self, method: str, path: str, body: object = None, **headers: str | None) -> Any:  # noqa: ANN401
        response = super().send(method, path, body, **headers)
        content = b"".join(response.streaming_content) if response.streaming else response.content
        if response.streaming:
            response.streaming_content = [content]
        self.answers.append((f"{method} {path}", content))
        for name in (ACCESS, REFRESH):
            morsel = response.cookies.get(name)
            if morsel is not None and morsel.value:
                self.canaries.add(f"cookie {name}", *morsel.value.split("."), morsel.value)
                if name == ACCESS:
                    self.canaries.add(
                        "session id", jwt.decode(morsel.value, options={"verify_signature": False})["sid"]
                    )
        return response


def recorder(canaries: Canaries, answers: list[tuple[str, bytes]], device: Authenticator) -> Recorder:
    made = Recorder(device=device)
    made.answers, made.canaries = answers, canaries
    return made


def a_life(canaries: Canaries, answers: list[tuple[str, bytes]]) -> tuple[Recorder, str]:
    """Sign-up, sign-in, confirmations, keys, codes, recovery, mistakes, a copy: and an API key's header."""
    alice = recorder(canaries, answers, Authenticator())
    alice.sign_up("alice@canary.example")
    canaries.add("recovery code", *alice.codes)
    alice.sign_in()
    alice.ok("POST", "sessions/refresh", {})
    alice.confirm(ISSUE_KEY, KEY)
    made = alice.ok("POST", "keys", KEY)
    pair = f"{made['key_id']}:{made['secret']}"
    basic = "Basic " + base64.b64encode(pair.encode()).decode()
    canaries.add("API key", made["secret"], pair, basic.removeprefix("Basic "))
    alice.confirm(RENEW_CODES)
    codes = alice.ok("POST", "recovery-codes", {})["recovery_codes"]
    canaries.add("recovery code", *codes)
    alice.confirm(ADD_PASSKEY)
    options = alice.ok("POST", "passkeys/options", {})["public_key"]
    phone = Authenticator()
    alice.ok("POST", "passkeys", {"credential": phone.create(options, ORIGIN), "name": "phone"})

    program = recorder(canaries, answers, Authenticator())
    for method, path, body in (
        ("GET", "mbt/account", None), ("POST", "mbt/orders", {"symbol": CALL}), ("POST", "mbt/orders", {}),
        ("GET", "mbt/orders?limit=x", None), ("GET", "sessions", None), ("PUT", "keys", {}), ("GET", "nothing", None),
    ):  # fmt: skip
        program.send(method, path, body, authorization=basic)
    program.send("GET", "mbt/account", authorization=basic[:-6] + "AAAA==")
    program.send("GET", "mbt/account", authorization="Bearer " + made["secret"])
    stranger = recorder(canaries, answers, Authenticator())
    stranger.send("POST", "sessions/recovery", {"code": codes[0] + "A"})
    stranger.send("POST", "sessions", {"credential": {"id": "x"}})
    for path in ("sessions/current", "keys", "passkeys", "sessions", "data-requests", "recovery-codes"):
        alice.ok("GET", path)
    for page in ("/account", "/account/keys", "/account/sessions", "/account/new-passkey", "/sign-in"):
        answers.append((page, alice.client.get(page).content))

    back = recorder(canaries, answers, Authenticator())
    back.ok("POST", "sessions/recovery", {"code": codes[1]})
    alice.confirm("data.request.make", {"kind": "access"})
    copy = alice.ok("POST", "data-requests", {"kind": "access"})["id"]
    data_requests.run(clock.now())
    alice.confirm("data.copy.download", {"request": copy})
    archive = alice.send("POST", f"data-requests/{copy}/copy", {})
    content = zipfile.ZipFile(io.BytesIO(b"".join(archive.streaming_content)))
    answers += [(f"copy/{name}", content.read(name)) for name in content.namelist()]
    return alice, basic


@pytest.mark.usefixtures("no_limits")
def test_no_secret_is_anywhere_it_was_not_shown(
    fresh_db: Database, valkey_url: str, log: Talkative, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canaries, answers = Canaries(), list[tuple[str, bytes]]()
    canaries.add("server", settings.SECRET_KEY, settings.RAXX_FIELD_KEY, derive("api-key-pepper").hex())
    alice, basic = a_life(canaries, answers)
    canaries.add("operator link", operator_links.issue(email="olga@canary.example", now=clock.now()))
    app.send_task("console.data_requests")  # so that the queue holds what a queue would
    sealing.seal()
    assert canaries.count > 40

    for where, content in answers:
        assert canaries.found_in(content) == set() or where in SHOWN, where
    for where, content in (*database_dump(), *valkey_dump()):
        assert canaries.found_in(content) == set(), where
    assert len(log.lines) > 10
    for line in log.lines:
        assert canaries.found_in(line.encode()) == set(), line
    trail = tmp_path / "trail"
    with trail.open("w") as out:
        for kind, id_ in AuditEntry.objects.values_list("object_type", "object_id").distinct():
            call_command("audit_export", kind, id_, stdout=out)
    assert canaries.found_in(trail.read_bytes()) == set()
    shown = capsys.readouterr()
    assert canaries.found_in((shown.out + shown.err).encode()) == set()

    # And the web process, at its most talkative.
    talkative = {"RAXX_LOG_LEVEL": "DEBUG", "RAXX_LOG": "json"}
    jar = "; ".join(f"{name}={alice.client.cookies[name].value}" for name in (ACCESS, REFRESH))
    with web(fresh_db, tmp_path, **talkative) as site:
        for headers in ({"Authorization": basic}, {"Cookie": jar}, {"Authorization": basic, "Cookie": jar}):
            for method, path, body in (
                ("GET", "/api/mbt/account", None), ("POST", "/api/mbt/orders", basic.encode()), ("GET", "/nothing", None),
                ("POST", "/api/keys", b"{"), ("GET", "/account/keys", None), ("POST", "/api/sessions/recovery", b'{"code":""}'),
            ):  # fmt: skip
                _, answered, content = site.ask(method, path, body, headers)
                assert canaries.found_in(content + str(answered).encode()) == set(), path
    said = (tmp_path / "web.log").read_bytes()
    assert b"/api/mbt/account" in said or b"/nothing" in said
    assert canaries.found_in(said) == set()


def test_the_search_finds_every_form() -> None:
    """Else it would prove nothing."""
    canaries, secret = Canaries(), "Zm9v-YmFy_0123456789abcdefghijklmnop"
    canaries.add("x", secret)
    raw = secret.encode()
    for around in (b"", b"a", b"ab", b"abc"):
        whole = around + raw + around
        for form in (whole, whole.hex().encode(), base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            assert canaries.found_in(b"<" + form + b">") == {"x"}, (around, form)
    assert canaries.found_in(quote("a/b " + secret, safe="").encode()) == {"x"}
    assert canaries.found_in(secret.replace("-", "").upper().encode()) == {"x"}
    assert canaries.found_in(b"nothing of it") == set()


def test_what_is_shown_is_seen(fresh_db: Database, valkey_url: str, no_limits: None) -> None:
    """The answers that show secrets do hold them, so that the exceptions are the ones that are needed."""
    canaries, answers = Canaries(), list[tuple[str, bytes]]()
    a_life(canaries, answers)
    assert {where for where, content in answers if canaries.found_in(content)} == SHOWN


def test_a_failure_tells_nothing(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:  # noqa: ANN401
    """What an exception says goes into the log, not into the answer."""
    client.raise_request_exception = False

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("SELECT secret FROM somewhere")

    monkeypatch.setattr("raxx.kernel.pages.JsonResponse", broken)
    response = client.get("/healthz")
    assert response.status_code == 500
    assert set(response.json()["error"]) == {"code", "message", "request_id", "details"}
    assert b"secret" not in response.content
    assert b"Traceback" not in response.content
