"""What tests of the API share: a market at the test's command, and traders who speak HTTP to it.

Nothing is imitated: quotes go through the real engine onto the real board, requests through the whole of
Django, rows into PostgreSQL. Only the feed is written by hand, so that a test says what the market does.
"""

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import connection
from django.http import HttpResponse
from django.test import Client

from audit import pseudonym
from mbt.models import EngineState, Order
from mbt.selectors import AccountRef
from mbt.services.accounts import open_account
from mbt.services.engine import Engine
from raxx.identity.models import Scope, Tier
from raxx.identity.services import api_keys
from raxx.identity.services.users import register
from raxx.kernel import clock, valkey
from raxx.kernel.clock import SECOND_NS
from raxx.kernel.ids import new_id
from raxx.kernel.money import to_ticks
from raxx.market import calendar
from raxx.market.board import Board
from raxx.market.contracts import Instrument, parse_symbol
from raxx.market.feeds.base import Batch
from raxx.market.quotes import Quote

# SPY and its kin at prices that are easy to reckon with; one option class each in cents and in nickels.
SYMBOLS = (
    "SPY",
    "AAPL",
    "PENNY",
    "SPY261218P00090000",
    "SPY261218P00095000",
    "SPY261218C00105000",
    "SPY261218C00110000",
    "SPY261218C00100000",
    "SPY261120P00100000",
    "ABCD261218C00050000",
)


class HandFeed:
    """A feed that says what the test tells it to."""

    def __init__(self, name: str, symbols: Iterable[str]) -> None:
        self.name = name
        self.sessions = calendar.of_feed(name)
        self._instruments = [parse_symbol(symbol) for symbol in symbols]

    def instruments(self) -> list[Instrument]:
        return self._instruments

    def start(self, after_ns: int | None) -> dict[str, Quote]:
        return {}

    def poll(self, wait_s: float) -> Batch | None:
        return None

    def close(self) -> None:
        pass


class Market:
    """A feed of its own with its engine and board. `now_ns` is its clock; it moves when told to."""

    def __init__(self, name: str, *, now_ns: int, symbols: Iterable[str] = SYMBOLS) -> None:
        self.feed, self.now_ns = name, now_ns
        self.board = Board(valkey.shared(), name)
        # As if the engine had come so far before: else it would walk through every session since 2006.
        EngineState.objects.create(feed=name, position_ns=now_ns, updated_at=clock.now())
        self.engine = Engine(HandFeed(name, symbols), self.board)
        self.engine.start()
        self.pass_time(0)

    def quote(
        self,
        symbol: str,
        bid: str | None,
        ask: str | None,
        *,
        sizes: tuple[int, int] = (300, 200),
        after_s: float = 1,
    ) -> Quote:
        """The NBBO of `symbol` becomes this, `after_s` later; orders sent before are judged on what was."""
        self.pass_time(after_s)
        quote = Quote(
            symbol, self.now_ns,
            to_ticks(Decimal(bid)) if bid else 0, sizes[0] if bid else 0,
            to_ticks(Decimal(ask)) if ask else 0, sizes[1] if ask else 0,
        )  # fmt: skip
        self.engine.advance(Batch([quote], self.now_ns))
        return quote

    def pass_time(self, seconds: float = 0) -> None:
        """Let the engine take in what was sent and judge it, then move the clock on."""
        self.engine.take_in()
        self.engine.advance(Batch([], self.now_ns))
        self.now_ns += round(seconds * SECOND_NS)
        self.engine.advance(Batch([], self.now_ns))

    def judge(self) -> None:
        """Orders sent until now meet the NBBO in force."""
        self.pass_time(0)

    def speak(self) -> None:
        """The feed says that nothing has changed: however slow the test is, it does not stand still."""
        self.board.publish([], now_ns=self.now_ns, wall_ns=clock.now_ns())

    def stand_still(self, seconds: float = 16) -> None:
        """As if nobody had published for so long."""
        self.board.publish([], now_ns=self.now_ns, wall_ns=clock.now_ns() - round(seconds * SECOND_NS))

    def vanish(self) -> None:
        """Nothing is on the board any more."""
        self.board.clear()

    def close(self) -> None:
        self.board.clear()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")


@dataclass
class Trader:
    """A user with a paper account and an API key, and the requests they make."""

    user_id: UUID
    account: AccountRef
    authorization: str = field(repr=False)
    key_id: str
    client: Client = field(default_factory=Client)

    @classmethod
    def opened(
        cls,
        *,
        feed: str,
        cash: str = "100000.00",
        scopes: Iterable[str] = tuple(Scope.values),
        account_type: str = "cash",
    ) -> "Trader":
        """A new user with a new account on `feed`."""
        now = clock.now()
        user = register(email=f"{new_id().hex}@example.com", tier=Tier.PRO_PLUS, now=now)
        account = open_account(
            user_id=user.pk,
            cash=Decimal(cash),
            feed=feed,
            now=now,
            actor=pseudonym.OPERATOR_SHELL,
            account_type=account_type,
        )
        return cls(user.pk, AccountRef(account.pk, feed, account_type == "margin"), *new_key(user.pk, scopes))

    def with_scopes(self, *scopes: str) -> "Trader":
        """The same person with another key."""
        return Trader(self.user_id, self.account, *new_key(self.user_id, scopes))

    def send(
        self, method: str, path: str, body: object = None, *, raw: bytes | None = None, **headers: str
    ) -> Any:  # noqa: ANN401 - Django's test response
        """Any request. `path` below /api/mbt; `raw` is sent as it is, `body` as JSON."""
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        full = path if path.startswith("/api/") else f"/api/mbt{path}"
        headers = {"authorization": self.authorization, "content-type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        content_type = headers.pop("content-type")
        return self.client.generic(method, full, data, content_type=content_type, headers=headers)

    def get(self, path: str, **headers: str) -> Any:  # noqa: ANN401 - Django's test response
        return self.send("GET", path, None, raw=None, **headers)

    def read(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """The `data` of a successful GET."""
        response = self.get(path)
        assert response.status_code == 200, response.content
        return response.json()["data"]

    def place(self, **ticket: object) -> Any:  # noqa: ANN401 - Django's test response
        """POST /orders with `ticket` over a limit buy of one SPY at 90.00; None leaves a field out."""
        return self.send("POST", "/orders", fill_in(ticket))

    def order(self, **ticket: object) -> Any:  # noqa: ANN401 - JSON
        """Place an order that is taken; its `data`."""
        response = self.place(**ticket)
        assert response.status_code == 201, response.content
        return response.json()["data"]

    def replace(self, order_id: str, **changes: object) -> Any:  # noqa: ANN401 - Django's test response
        return self.send("PATCH", f"/orders/{order_id}", changes)

    def cancel(self, order_id: str) -> Any:  # noqa: ANN401 - Django's test response
        return self.send("DELETE", f"/orders/{order_id}")

    def why(self, order_id: str) -> Any:  # noqa: ANN401 - JSON
        """The explanation of an order."""
        return self.read(f"/orders/{order_id}/explain")

    def row(self, order_id: str) -> Order:
        return Order.objects.get(pk=order_id)


def fill_in(ticket: dict[str, object]) -> dict[str, object]:
    """`ticket` over a limit buy of one SPY at 90.00, without the fields that are None."""
    usual: dict[str, object] = {
        "symbol": "SPY", "side": "buy", "qty": "1", "order_type": "limit", "limit_price": "90.00", "time_in_force": "day",
    }  # fmt: skip
    if ticket.get("order_type") == "market":
        del usual["limit_price"]
    return {name: value for name, value in (usual | ticket).items() if value is not None}


def new_key(user_id: UUID, scopes: Iterable[str]) -> tuple[str, str]:
    """The Authorization header of a fresh key of the user, and its id."""
    from raxx.identity.models import User

    issued = api_keys.issue(user=User.objects.get(pk=user_id), name="test", scopes=scopes, now=clock.now())
    pair = f"{issued.key_id}:{issued.secret}"
    return "Basic " + base64.b64encode(pair.encode()).decode(), issued.key_id


def problem(response: HttpResponse, status: int, code: str, field: str | None = None) -> dict[str, str]:
    """The details of an error answer, after a look at its shape."""
    shown = json.loads(response.content)
    assert response.status_code == status, shown
    assert set(shown) == {"error"}
    error = shown["error"]
    assert set(error) == {"code", "message", "request_id", "details"}
    assert error["code"] == code, error
    assert error["request_id"] == response["X-Request-ID"]
    details: dict[str, str] = error["details"]
    if field is not None:
        assert details["field"] == field, error
        assert status == 404 or details["rule"]
    return details
