"""Without current quotes nothing new is taken; everything else goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pytest_django import Settings

from mbt.models import Order
from raxx.kernel import clock
from tests.mbt.paper_tools import Market, Trader, problem

Break = Callable[[], None]


@pytest.fixture(params=["never published", "silent for 16 s", "garbage on the board"])
def outage(request: pytest.FixtureRequest, market: Market) -> Break:
    def act() -> None:
        match request.param:
            case "never published":
                market.vanish()
            case "silent for 16 s":
                market.stand_still(16)
            case _:
                from raxx.kernel import valkey

                valkey.shared().hset(f"raxx:board:{market.feed}", ":clock", b"\xc1")

    return act


def test_nothing_new_is_taken_and_the_rest_works(trader: Trader, market: Market, outage: Break) -> None:
    trader.order(qty="10", order_type="market", client_order_id="filled")
    market.judge()
    resting = trader.order(client_order_id="resting")
    market.judge()
    outage()
    rows = list(Order.objects.order_by("number").values())

    for refused in (
        trader.place(),
        trader.place(side="sell"),
        trader.replace(resting["id"], limit_price="91.00"),
    ):
        problem(refused, 503, "MARKET_DATA_UNAVAILABLE")
        assert int(refused["Retry-After"]) > 0
    problem(trader.place(qty="NaN"), 422, "INVALID_INPUT", "qty")
    assert list(Order.objects.order_by("number").values()) == rows

    for name, body in (("filled", {"qty": "10", "order_type": "market"}), ("resting", {})):
        retried = trader.place(client_order_id=name, **body)
        assert (retried.status_code, retried["Idempotent-Replayed"]) == (201, "true")
    problem(trader.place(client_order_id="resting", qty="2"), 422, "CLIENT_ORDER_ID_REUSED")
    account = trader.read("/account")
    assert (account["cash"], account["cash_held"], account["buying_power"]) == (
        "98999.80",
        "90.00",
        "98909.80",
    )
    for path in ("/positions", "/positions/SPY", "/orders", f"/orders/{resting['id']}", "/activities"):
        assert trader.get(path).status_code == 200, path
    assert trader.why(resting["id"])["headline"]
    canceled = trader.cancel(resting["id"])
    assert (canceled.status_code, canceled.json()["data"]["status"]) == (200, "canceled")
    assert canceled.json()["data"]["canceled_at"] >= resting["accepted_at"]
    assert trader.read("/account")["cash_held"] == "0.00"


def test_without_valkey_only_cancels_are_served(trader: Trader, settings: Settings) -> None:
    """The rate limit cannot be counted: what takes risk away passes, the rest waits."""
    resting = trader.order(client_order_id="resting")
    url, settings.REDIS_URL = settings.REDIS_URL, "unix:///nowhere/valkey.sock"
    rows = list(Order.objects.order_by("number").values())
    for refused in (trader.place(), trader.replace(resting["id"], qty="2"), trader.get("/account")):
        problem(refused, 503, "SESSIONS_UNAVAILABLE")
        assert int(refused["Retry-After"]) > 0
    assert list(Order.objects.order_by("number").values()) == rows
    canceled = trader.cancel(resting["id"])
    assert (canceled.status_code, canceled.json()["data"]["status"]) == (200, "canceled")
    settings.REDIS_URL = url


def test_what_no_quote_says_is_null(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    resting = trader.order()
    market.judge()
    market.vanish()
    body = trader.get("/account").json()
    assert body["meta"] == {"marked_at": None}
    account: dict[str, Any] = body["data"]
    assert [account[name] for name in ("equity", "long_market_value", "unrealized_pl")] == [None] * 3
    body = trader.get("/positions").json()
    assert body["meta"] == {"marked_at": None}
    assert [body["data"][0][name] for name in ("mark_price", "market_value", "unrealized_pl")] == [None] * 3
    assert "market data does not answer" in trader.why(resting["id"])["headline"]


def test_old_marks_say_how_old_they_are(trader: Trader, market: Market) -> None:
    trader.order(qty="10", order_type="market")
    market.judge()
    market.stand_still(3_600)
    body = trader.get("/account").json()
    assert body["data"]["long_market_value"] == "1000.00"
    assert body["meta"] == {"marked_at": "2026-11-20T15:30:02Z"}


def test_fifteen_seconds_are_the_limit(trader: Trader, market: Market) -> None:
    market.stand_still(14)
    assert trader.place().status_code == 201
    market.stand_still(15.5)
    assert (
        problem(trader.place(), 503, "MARKET_DATA_UNAVAILABLE")["rule"] == "a feed speaks at least every 15 s"
    )
    market.pass_time(1)
    assert trader.place().status_code == 201


def test_a_dead_valkey_costs_little_time(trader: Trader, settings: Settings) -> None:
    resting = trader.order()
    with dead_port() as port:
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        began = clock.now()
        problem(trader.place(), 503, "SESSIONS_UNAVAILABLE")
        assert trader.get("/account").status_code == 503
        assert trader.cancel(resting["id"]).status_code == 200
        assert (clock.now() - began).total_seconds() < 6


@contextmanager
def dead_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
