"""A browser with a passkey, as far as the server can tell."""

import json
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from tests.identity.authenticator import Authenticator

ORIGIN = "http://localhost"
ACCESS, REFRESH = "__Host-raxx", "__Host-raxx-r"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0 Safari/537.36"


@dataclass
class Browser:
    device: Authenticator = field(default_factory=Authenticator)
    client: Client = field(default_factory=lambda: Client(SERVER_NAME="localhost", HTTP_USER_AGENT=CHROME))
    codes: list[str] = field(default_factory=list)
    user_id: str = ""

    def send(self, method: str, path: str, body: object = None, **headers: str | None) -> Any:  # noqa: ANN401
        """A request as a page of ours sends it; a header that is None is left out."""
        usual: dict[str, str | None] = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
        if method not in ("GET", "HEAD"):
            usual |= {"x-raxx-csrf": "1", "content-type": "application/json"}
        wanted = usual | {name.replace("_", "-"): value for name, value in headers.items()}
        given = {name: value for name, value in wanted.items() if value is not None}
        content_type = given.pop("content-type", "")
        data = b"" if body is None else json.dumps(body).encode()
        return self.client.generic(method, f"/api/{path}", data, content_type=content_type, headers=given)

    def ok(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """The `data` of an answer that is no failure."""
        response = self.send(method, path, body)
        assert response.status_code in (200, 201), response.content
        return response.json()["data"]

    def sign_up(self, email: str = "alice@example.com") -> "Browser":
        options = self.ok("POST", "sessions/sign-up/options", {"email": email})["public_key"]
        made = self.ok("POST", "sessions/sign-up", {"credential": self.device.create(options, ORIGIN)})
        self.codes, self.user_id = made["recovery_codes"], made["user_id"]
        return self

    def sign_in(self) -> "Browser":
        options = self.ok("POST", "sessions/options", {})["public_key"]
        self.ok("POST", "sessions", {"credential": self.device.get(options, ORIGIN)})
        return self

    def elsewhere(self) -> "Browser":
        """Another browser of the same person, signed in with the same passkey."""
        return Browser(device=self.device, user_id=self.user_id).sign_in()

    def confirm(self, action: str, parameters: dict[str, Any] | None = None) -> Any:  # noqa: ANN401
        wish = {"action": action, "parameters": parameters or {}}
        options = self.ok("POST", "sessions/step-up/options", wish)["public_key"]
        return self.ok("POST", "sessions/step-up", wish | {"credential": self.device.get(options, ORIGIN)})

    def cookie(self, name: str = ACCESS) -> str:
        return self.client.cookies[name].value

    def with_cookies(self, **cookies: str) -> "Browser":
        """A browser to which somebody copied cookies: access=…, refresh=…"""
        thief = Browser()
        for name, value in cookies.items():
            thief.client.cookies[{"access": ACCESS, "refresh": REFRESH}[name]] = value
        return thief

    @property
    def is_in(self) -> bool:
        response = self.send("GET", "sessions/current")
        assert response.status_code in (200, 401), response.content
        return bool(response.status_code == 200)


def problem(response: Any, status: int, code: str) -> dict[str, str]:  # noqa: ANN401
    """The details of a failure."""
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.content
    details: dict[str, str] = response.json()["error"]["details"]
    return details
