"""The product's own server, and Chromium with its virtual authenticator. Playwright downloads nothing: the browser
is the system's (`apt-get install chromium`), or the one that RAXX_CHROMIUM names."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from django.db import connection, connections
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.conftest import Database
from tests.patience import PATIENCE_S

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str | None:
    return os.environ.get("RAXX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def chrome(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Browser]:
    """Only for this folder's tests: its event loop would trouble the others."""
    path = chromium()
    if path is None:
        message = "Chromium is missing: install it (apt-get install chromium), or name one in RAXX_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # Playwright's loop runs in this thread, beside the ORM
    with django_db_blocker.unblock():
        connections.close_all()  # beside a running loop Django keeps others, and would never find these again
    expect.set_options(timeout=1_000 * PATIENCE_S)
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=path, args=["--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def site(fresh_db: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the product under its own ASGI server, headers and all."""
    monkeypatch.setenv("RAXX_DB_POOL", "")
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    from raxx.asgi import served

    server = uvicorn.Server(uvicorn.Config(served(), port=0, log_config=None, ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://localhost:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@dataclass
class Person:
    """A browser profile of its own with a device that holds passkeys."""

    page: Page
    site: str
    cdp: CDPSession
    authenticator: str
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str) -> "Person":
        self.page.goto(self.site + path)
        return self

    def go_through(self, path: str) -> None:
        """To a page that may go on to another one before it has loaded."""
        self.page.goto(self.site + path, wait_until="commit")

    def say(self) -> str:
        return self.page.locator(".status").first.inner_text()

    def passkeys(self) -> list[dict[str, Any]]:
        found = self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.authenticator})
        return list(found["credentials"])

    def give(self, passkey: dict[str, Any]) -> None:
        self.cdp.send(
            "WebAuthn.addCredential", {"authenticatorId": self.authenticator, "credential": passkey}
        )

    def lose(self) -> None:
        self.cdp.send("WebAuthn.clearCredentials", {"authenticatorId": self.authenticator})

    def verified(self, yes: bool) -> None:
        self.cdp.send(
            "WebAuthn.setUserVerified", {"authenticatorId": self.authenticator, "isUserVerified": yes}
        )


OPTIONS = {
    "protocol": "ctap2", "ctap2Version": "ctap2_1", "transport": "internal", "hasResidentKey": True,
    "hasUserVerification": True, "isUserVerified": True, "automaticPresenceSimulation": True,
}  # fmt: skip


@pytest.fixture
def open_person(chrome: Browser, site: str) -> Iterator[Callable[..., Person]]:
    """Makes people; in the end none of their pages may have complained."""
    contexts: list[BrowserContext] = []
    people: list[Person] = []

    def make(**profile: Any) -> Person:  # noqa: ANN401 - options of a context
        context = chrome.new_context(**profile)
        context.set_default_timeout(1_000 * PATIENCE_S)
        contexts.append(context)
        page = context.new_page()
        cdp = context.new_cdp_session(page)
        cdp.send("WebAuthn.enable", {"enableUI": False})
        authenticator = cdp.send("WebAuthn.addVirtualAuthenticator", {"options": OPTIONS})["authenticatorId"]
        person = Person(page, site, cdp, authenticator)
        page.on("console", lambda line: person.complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: person.complaints.append(str(error)))
        people.append(person)
        return person

    yield make
    for context in contexts:
        context.close()
    assert [person.complaints for person in people if person.complaints] == []


@pytest.fixture
def alice(open_person: Callable[..., Person]) -> Person:
    return open_person()
