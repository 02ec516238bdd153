"""Who may do what: Alice owns, Bob has his own, a stranger is refused, and scopes hold."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from audit.pseudonym import OPERATOR_SHELL
from mbt.models import Order
from raxx.identity.models import User
from raxx.identity.services.api_keys import revoke
from raxx.kernel import clock
from tests.mbt.paper_tools import Market, Trader, fill_in, problem

READS = ("/account", "/positions", "/positions/SPY", "/orders", "/orders/{order}", "/orders/{order}/explain",
         "/activities", "/activities/{activity}")  # fmt: skip
WRITES: list[tuple[str, str, object]] = [
    ("POST", "/orders", fill_in({})), ("PATCH", "/orders/{open}", {"qty": "2"}), ("DELETE", "/orders/{open}", None),
]  # fmt: skip


@pytest.fixture
def own(trader: Trader, market: Market) -> dict[str, str]:
    """Ids of Alice: a filled order, an open one, an activity."""
    order = trader.order(order_type="market", qty="3")["id"]
    market.judge()
    return {"order": order, "open": trader.order()["id"], "activity": trader.read("/activities")[0]["id"]}


@pytest.fixture
def bob(open_trader: Callable[..., Trader]) -> Trader:
    return open_trader(cash="5000.00")


def paths(own: dict[str, str]) -> Iterator[str]:
    return (path.format(**own) for path in READS)


def test_the_owner_reads_everything(trader: Trader, own: dict[str, str]) -> None:
    for path in paths(own):
        assert trader.get(path).status_code == 200, path


def test_what_is_anothers_does_not_exist(trader: Trader, bob: Trader, own: dict[str, str]) -> None:
    """Bob gets the same bytes for Alice's ids as for ids that nobody has."""
    rows = list(Order.objects.order_by("number").values())
    unknown = str(uuid4())

    def answer(method: str, path: str, name: str, id_: str, body: object) -> tuple[int, bytes]:
        response = bob.send(method, path.replace(f"{{{name}}}", id_), body, X_Request_ID="the-same-1")
        return response.status_code, response.content.replace(id_.encode(), b"ID")

    for method, path, name, body in [
        ("GET", "/orders/{order}", "order", None), ("GET", "/orders/{order}/explain", "order", None),
        ("GET", "/activities/{activity}", "activity", None), ("DELETE", "/orders/{open}", "open", None),
        ("PATCH", "/orders/{open}", "open", {"qty": "2"}),
    ]:  # fmt: skip
        theirs = answer(method, path, name, own[name], body)
        assert theirs == answer(method, path, name, unknown, body), path
        assert theirs[0] == 404
    assert list(Order.objects.order_by("number").values()) == rows


def test_lists_hold_only_ones_own(trader: Trader, bob: Trader, own: dict[str, str]) -> None:
    mine = bob.order(client_order_id="mine")
    assert [order["id"] for order in bob.read("/orders")] == [mine["id"]]
    assert bob.read("/positions") == []
    assert [line["amount"] for line in bob.read("/activities")] == ["5000.00"]
    assert bob.read("/account")["id"] == str(bob.account.id)
    problem(bob.get("/positions/SPY"), 404, "NOT_FOUND")
    secret = {*own.values(), str(trader.account.id), str(trader.user_id)}
    for path in ("/account", "/positions", "/orders", "/activities"):
        assert not secret & set(re.findall(r"[0-9a-f-]{36}", bob.get(path).content.decode())), path


def test_client_order_ids_are_ones_own_too(trader: Trader, bob: Trader) -> None:
    theirs = trader.order(client_order_id="same-name", qty="2")
    mine = bob.order(client_order_id="same-name", qty="1")
    assert mine["id"] != theirs["id"]
    assert bob.read(f"/orders/{mine['id']}")["qty"] == "1"


def test_a_page_token_opens_only_its_own_list(trader: Trader, bob: Trader) -> None:
    tokens = {}
    for who in (trader, bob):
        for _ in range(3):
            who.order()
        tokens[who.key_id] = who.get("/orders?limit=1").json()["meta"]["next_page_token"]
    assert trader.get(f"/orders?limit=1&page_token={tokens[trader.key_id]}").status_code == 200
    response = trader.get(f"/orders?limit=1&page_token={tokens[bob.key_id]}")
    problem(response, 422, "INVALID_INPUT", "page_token")
    problem(trader.get(f"/activities?page_token={tokens[trader.key_id]}"), 422, "INVALID_INPUT", "page_token")


def test_reading_and_trading_are_two_scopes(trader: Trader, own: dict[str, str]) -> None:
    reader, broker = trader.with_scopes("paper:read"), trader.with_scopes("paper:trade")
    for path in paths(own):
        assert reader.get(path).status_code == 200, path
        assert broker.get(path).status_code == 200, path
    rows = list(Order.objects.order_by("number").values())
    for method, path, body in WRITES:
        refused = reader.send(method, path.format(**own), body)
        problem(refused, 403, "FORBIDDEN")
        assert "paper:trade" in refused.json()["error"]["message"]
    assert list(Order.objects.order_by("number").values()) == rows
    problem(reader.send("POST", "/orders", raw=b"[" * 200_000), 403, "FORBIDDEN")  # the body is not even read
    for method, path, body in WRITES[:1] + WRITES[2:]:
        assert broker.send(method, path.format(**own), body).status_code in (200, 201)


def everything(own: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    yield from (("GET", path, None) for path in paths(own))
    yield from ((method, path.format(**own), body) for method, path, body in WRITES)


def test_without_credentials(trader: Trader, own: dict[str, str], stranger: Client) -> None:
    for method, path, _ in everything(own):
        for method_ in (method, "OPTIONS", "HEAD"):
            response: Any = stranger.generic(method_, f"/api/mbt{path}")
            assert response.status_code == 401, (method_, path)
            assert response["WWW-Authenticate"].startswith("Basic realm=")
            if method_ == method:
                problem(response, 401, "NOT_AUTHENTICATED")
    assert Order.objects.count() == 2


def test_a_revoked_key_opens_nothing(trader: Trader, own: dict[str, str]) -> None:
    other = trader.with_scopes("paper:trade")
    revoke(key_id=trader.key_id, actor=OPERATOR_SHELL, now=clock.now())
    for method, path, body in everything(own):
        response = trader.send(method, path, body)
        problem(response, 401, "INVALID_CREDENTIALS")
        assert response["WWW-Authenticate"].startswith("Basic realm=")
    assert other.get("/account").status_code == 200


def test_the_key_of_an_inactive_user_opens_nothing(trader: Trader) -> None:
    User.objects.filter(pk=trader.user_id).update(is_active=False)
    problem(trader.get("/account"), 401, "INVALID_CREDENTIALS")
    problem(trader.place(), 401, "INVALID_CREDENTIALS")


def test_a_wrong_secret_opens_nothing(trader: Trader) -> None:
    trader.authorization = trader.authorization[:-4] + "AAA="
    problem(trader.get("/account"), 401, "INVALID_CREDENTIALS")


def test_request_ids_are_in_answers_and_errors(trader: Trader) -> None:
    for offered, kept in (
        ("my-trace.0001", True),
        ("x", False),
        ("a b c d e f", False),
        ("ü" * 10, False),
        ("x" * 65, False),
    ):
        for response in (
            trader.get("/account", X_Request_ID=offered), trader.get("/nothing", X_Request_ID=offered),
            trader.send("POST", "/orders", {}, X_Request_ID=offered), trader.send("PUT", "/orders", X_Request_ID=offered),
        ):  # fmt: skip
            assert (response["X-Request-ID"] == offered) is kept
            if response.status_code >= 400:
                assert response.json()["error"]["request_id"] == response["X-Request-ID"]
