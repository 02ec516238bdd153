"""S1: what belongs to somebody else is answered like what does not exist, byte for byte, whatever the method; and
nothing of theirs is in any answer, lists and filters included."""

import os
import random
import re
from base64 import b32encode
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from django.apps import apps

from mbt.engine.account import Kind
from raxx.identity import data_rights, step_up
from raxx.kernel.ids import new_id
from tests.mbt.paper_tools import Market
from tests.security.people import CALL, Person, live

REQUESTS = 20_000 if os.environ.get("RAXX_SOAK") else 2_000
DESCRIBED = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Pages that do something with an id; they take forms.
PAGES = {
    "/account/sessions/{session_id}/end": "session_id",
    "/account/keys/{key_id}/revoke": "key_id",
    "/account/passkeys/{passkey_id}/rename": "passkey_id",
}
BODIES: tuple[object, ...] = (
    None,
    {},
    {"name": "mine now"},
    {"limit_price": "91.00"},
    {"qty": "1"},
    {"when": "expiration"},
    [1],
)
OTHER_SYMBOL = {"SPY": "AAPL", CALL: "SPY261218C00110000"}
# Confirmed beforehand for both ids, so that what is compared lies behind the confirmation.
CONFIRMED = {
    "request_id": [
        (action, "request") for action in (data_rights.HURRY, data_rights.LIFT, data_rights.DOWNLOAD)
    ],
    "passkey_id": [(step_up.REMOVE_PASSKEY, "passkey")],
}
LISTS: dict[str, dict[str, list[str]]] = {
    "/api/mbt/orders": {"status": ["open", "closed", "all"], "symbol": ["SPY", CALL], "limit": ["1", "500"]},
    "/api/mbt/activities": {"type": [str(kind) for kind in Kind], "limit": ["1", "500"], "from": ["2000-01-01T00:00:00Z"], "to": ["2100-01-01T00:00:00Z"]},
    "/api/mbt/positions": {}, "/api/mbt/structures": {}, "/api/mbt/exercise-instructions": {}, "/api/mbt/account": {}, "/api/mbt/account/margin": {},
    "/api/mbt/account/settings": {}, "/api/sessions": {}, "/api/sessions/current": {}, "/api/passkeys": {}, "/api/keys": {},
    "/api/data-requests": {}, "/api/notices": {}, "/api/recovery-codes": {}, "/account": {}, "/account/sessions": {}, "/account/keys": {},
}  # fmt: skip
MARKET_S_OWN = {"nearest", "progress"}  # columns that say how near the market came to an open order
# Headers that differ from answer to answer and say nothing about the id.
VARYING = {"Date", "Expires", "RateLimit-Remaining", "RateLimit-Reset", "Set-Cookie"}


@cache
def described() -> dict[str, dict[str, object]]:
    """Path → its methods."""
    paths: dict[str, dict[str, object]] = yaml.load(DESCRIBED.read_text(), Loader=yaml.CSafeLoader)["paths"]
    return paths


def paths_with_ids() -> dict[str, tuple[str, list[str]]]:
    """Path → the name of its id, and the methods that it serves."""
    found = {path: (name, ["POST"]) for path, name in PAGES.items()}
    for path, methods in described().items():
        for name in re.findall(r"{(\w+)}", path):
            found[path] = name, [method.upper() for method in methods]
    return found


class Bob:
    """Asks for everything, as he may: by his session or by his key."""

    def __init__(self, person: Person) -> None:
        self.person = person

    def ask(self, who: str, method: str, path: str, body: object) -> Any:  # noqa: ANN401 - Django's test response
        if path.startswith("/account"):
            return self.person.browser.client.generic(
                method, path, b"name=mine", content_type="application/x-www-form-urlencoded", headers={"x-request-id": "the-same-1"}
            )  # fmt: skip
        if who == "key":
            return self.person.trader.send(method, path, body, x_request_id="the-same-1")
        return self.person.browser.send(method, path.removeprefix("/api/"), body, x_request_id="the-same-1")


def seen(response: Any, id_: str) -> tuple[int, dict[str, str], bytes]:  # noqa: ANN401
    """Status, headers and body, without the id that was asked for."""
    body = b"".join(response.streaming_content) if response.streaming else response.content
    body = re.sub(rb'name="csrfmiddlewaretoken" value="[^"]+"', b"", body)
    headers = {
        name: value.replace(id_, "ID") for name, value in response.headers.items() if name not in VARYING
    }
    return response.status_code, headers, body.replace(id_.encode(), b"ID")


def unknown(name: str, theirs: str, chance: random.Random) -> str:
    """An id of the same form that nobody has."""
    if name == "symbol":
        return OTHER_SYMBOL[theirs]
    return "RX" + b32encode(chance.randbytes(12)).decode()[:18] if name == "key_id" else str(new_id())


Rows = dict[str, list[dict[str, object]]]


def rows_of(person: Person) -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Everything of theirs, table by table."""
    own = {"user_id": person.user.pk, "account_id": person.trader.account.id, "session_id": person.session_id}
    for model in apps.get_models():
        columns = {field.attname for field in model._meta.concrete_fields}
        for column in columns & own.keys():
            manager = model._default_manager
            rows = manager.filter(**{column: own[column]}).order_by("pk")
            yield f"{model._meta.label}.{column}", list(rows.values(*sorted(columns - MARKET_S_OWN)))


def changed(before: Rows, after: Rows) -> list[object]:
    """The fields in which two states of somebody's rows differ."""
    found: list[object] = [table for table in before if len(before[table]) != len(after[table])]
    for table, rows in before.items():
        for old, new in zip(rows, after[table], strict=False):
            found += [(table, name, old[name], new[name]) for name in old if old[name] != new[name]]
    return found


def test_an_id_of_somebody_else_is_an_id_of_nobody(market: Market, no_limits: None) -> None:
    market.quote("AAPL", "99.98", "100.02")
    market.quote("SPY261218C00110000", "1.20", "1.25")
    alice, bob = live(market), Bob(live(market, holds=False))
    before, chance = dict(rows_of(alice)), random.Random(1)
    tokens = [
        response.json()["meta"]["next_page_token"]
        for response in (alice.trader.get("/orders?limit=1"), alice.trader.get("/activities?limit=1"))
    ]
    assert all(tokens)
    assert len(before) > 10
    hidden = {canary.encode() for canary in alice.canaries}
    every = [value for name, values in alice.ids.items() if name != "symbol" for value in values]
    every += [str(alice.user.pk), str(alice.trader.account.id)]
    paths = sorted(paths_with_ids().items())
    sent, statuses = 0, Counter[int]()

    def compare(who: str, method: str, path: str, name: str, theirs: str, body: object) -> None:
        nonlocal sent
        nobodys = unknown(name, theirs, chance)
        for action, parameter in CONFIRMED.get(name, []):
            for id_ in (theirs, nobodys):
                bob.person.grant(action, {parameter: id_})
        answers = [
            seen(bob.ask(who, method, path.replace(f"{{{name}}}", id_), body), id_)
            for id_ in (theirs, nobodys)
        ]
        assert answers[0] == answers[1], (who, method, path, theirs, body)
        statuses[answers[0][0]] += 1
        assert answers[0][0] >= 300 or method == "OPTIONS", (who, method, path, theirs, body, answers[0])
        assert not [canary for canary in hidden if canary in answers[0][2]], (method, path)
        sent += 2

    def browse(who: str) -> None:
        nonlocal sent
        path, filters = chance.choice(sorted(LISTS.items()))
        query = {name: chance.choice(values) for name, values in filters.items() if chance.random() < 0.5}
        if "limit" in filters and chance.random() < 0.3:
            query["page_token"] = chance.choice(tokens)
        text = "&".join(f"{name}={value}" for name, value in query.items())
        response = bob.ask(who, "GET", f"{path}?{text}", None)
        status, _, body = seen(response, query.get("page_token", "-"))
        assert status == (
            422 if "page_token" in query else 200 if who == "session" or "/mbt/" in path else status
        )
        assert not [canary for canary in hidden if canary in body], (path, query)
        sent += 1

    for path, (name, _) in paths:  # every path, method and way in at least once
        for method in METHODS:
            market.speak()
            for who in ("session", "key"):
                compare(who, method, path, name, chance.choice(alice.ids[name]), BODIES[1])
    while sent < REQUESTS:
        market.speak()
        who = chance.choice(("session", "session", "key"))
        if chance.random() < 0.25:
            browse(who)
            continue
        path, (name, served) = chance.choice(paths)
        theirs = chance.choice(
            alice.ids[name] if name in ("symbol", "key_id") or chance.random() < 0.7 else every
        )
        if theirs.startswith("RX") and name != "key_id":
            continue  # not the form of a UUID
        compare(who, chance.choice(served), path, name, theirs, chance.choice(BODIES))

    assert changed(before, dict(rows_of(alice))) == [], "and nothing of hers has changed"
    assert statuses[404] > sum(statuses.values()) / 4, statuses
    assert bob.person.browser.is_in, "he was himself all the time"


def test_every_list_is_known_here() -> None:
    assert {path for path, methods in described().items() if "get" in methods and "{" not in path} == {
        path for path in LISTS if path.startswith("/api/")
    }


def test_the_owner_is_answered_otherwise(market: Market, no_limits: None) -> None:
    """Else the comparison would prove nothing."""
    alice = live(market)
    for path, (name, _) in paths_with_ids().items():
        if path.startswith("/api/mbt/orders") or path.startswith("/api/mbt/activities"):
            own = Bob(alice).ask("session", "GET", path.replace(f"{{{name}}}", alice.ids[name][0]), None)
            assert own.status_code == 200, path
    for path in LISTS:
        body = Bob(alice).ask("session", "GET", path, None).content.decode()
        assert any(canary in body for canary in alice.canaries) or path.endswith(
            ("positions", "structures", "exercise-instructions", "settings", "margin", "recovery-codes")
        ), path
