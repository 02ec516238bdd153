"""What the log tells: who was refused and why, a line each, which nobody else can write."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.conf import settings

from tests.identity.browser import Browser

FORGED = "/a\n2026-11-21T10:00:00Z [info     ] signed in\x1b[2K\r\u2028\u202eolleh"


def printed(style: str, *args: object) -> str:
    """As the product's own formatter prints it, in plain or as JSON."""
    logging_settings: dict[str, Any] = settings.LOGGING
    line = logging_settings["formatters"]["line"]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=line["foreign_pre_chain"], processors=[*line["processors"][:-1], renderer]
    )
    return formatter.format(logging.LogRecord("x", logging.WARNING, "x.py", 1, "Not found: %s", args, None))


@pytest.mark.parametrize("style", ["plain", "json"])
def test_nobody_forges_a_line(style: str) -> None:
    text = printed(style, FORGED)
    assert len(text.splitlines()) == 1, text
    assert not [char for char in text if ord(char) < 32 or char in "\x7f\u2028\u202e"]
    assert "signed in" in text, "and it can still be read"
    if style == "json":
        assert json.loads(text)["event"].startswith("Not found: /a\\n")


def test_a_line_has_its_instant_in_utc_and_its_level() -> None:
    line = json.loads(printed("json", "x"))
    assert line["timestamp"].endswith("Z")
    assert line["level"] == "warning"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear, root = Ear(), logging.getLogger()
    root.addHandler(ear)
    yield heard
    root.removeHandler(ear)


@pytest.mark.django_db
@pytest.mark.usefixtures("valkey_url")
def test_refusals_are_logged(lines: list[str]) -> None:
    """Wrong credentials, wrong ceremonies, forged sessions, other sites, what one may not do, and too much."""
    stranger = Browser()
    for method, path, headers, told in (
        ("GET", "mbt/account", {"authorization": "Basic eDp5"}, "Unauthorized: /api/mbt/account"),
        ("GET", "keys", {"cookie": "__Host-raxx=x.y.z"}, "Unauthorized: /api/keys"),
        ("POST", "sessions/options", {"origin": "https://evil.example"}, "Forbidden: /api/sessions/options"),
    ):
        lines.clear()
        stranger.send(method, path, {} if method == "POST" else None, **headers)
        assert any(told in line for line in lines), (path, lines)
    lines.clear()
    stranger.send("POST", "sessions", {"credential": {"id": "x"}})
    assert any("ceremony refused" in line for line in lines), lines
    lines.clear()
    for _ in range(12):
        stranger.send("POST", "sessions/recovery", {"code": "AAAA"})
    assert any("Too Many Requests: /api/sessions/recovery" in line for line in lines), lines
