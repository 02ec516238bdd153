"""Hundreds of tickets, most of them wrong in some way: each is answered properly, and stored or not at all.

Every path of the API is fuzzed in tests/security/test_fuzz.py; here it is what becomes of the rows.
"""

import json
import os

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mbt import books
from mbt.models import Activity, Order
from raxx.kernel.models import OutboxEvent
from tests.mbt.paper_tools import SYMBOLS, Market, Trader, fill_in

SOAK = bool(os.environ.get("RAXX_SOAK"))

numbers = st.one_of(
    st.integers(1, 50).map(str),
    st.integers(1, 50),
    st.decimals(min_value=0, max_value=200, places=2).map(lambda d: f"{d:f}"),
    st.decimals(min_value=0, max_value=2, places=9).map(lambda d: f"{d:f}"),
    st.sampled_from(["0.5", "99999999", "1e3", "NaN", "-1", "0", " 1", "1_0", "٣", ""]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**40), 10**40),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
words = st.sampled_from(
    ["buy", "sell", "market", "limit", "day", "gtc", "ioc", "fok", "SPY", "spy", "NOPE", "x" * 129]
)


@st.composite
def tickets(draw: st.DrawFn) -> dict[str, object]:
    """A sensible ticket, and in half of the cases one thing that is odd about it."""
    ticket: dict[str, object] = {
        "symbol": draw(st.sampled_from([*SYMBOLS, "SPY   261218C00100000"])),
        "side": draw(st.sampled_from(["buy", "buy", "sell"])),
        "qty": draw(st.integers(1, 5)),
        "order_type": draw(st.sampled_from(["market", "limit", "limit"])),
        "time_in_force": draw(st.sampled_from(["day", "gtc", "ioc", "fok"])),
    }
    if ticket["order_type"] == "limit":
        ticket["limit_price"] = f"{draw(st.integers(1, 60))}.{draw(st.sampled_from(['00', '10', '50']))}"
    if not draw(st.integers(0, 3)):
        ticket["client_order_id"] = draw(st.sampled_from(["a", "b", "c"]))
    match draw(st.integers(0, 7)):
        case 0:
            ticket[draw(st.sampled_from(["qty", "limit_price"]))] = draw(numbers)
        case 1:
            ticket[draw(st.sampled_from(sorted(ticket)))] = draw(anything | words)
        case 2:
            del ticket[draw(st.sampled_from(sorted(ticket)))]
        case 3:
            ticket[draw(st.text(max_size=10))] = draw(anything)
    return ticket


@pytest.fixture
def shop(trader: Trader, market: Market) -> Trader:
    """A trader with something of everything, so that many of the tickets are possible."""
    market.quote("SPY261218C00100000", "1.20", "1.25")
    trader.order(order_type="market", qty="100")
    trader.order(symbol="SPY261218C00100000", order_type="market", qty="10")
    market.judge()
    return trader


def counted() -> tuple[int, ...]:
    return (Order.objects.count(), OutboxEvent.objects.count(), Activity.objects.count())


@settings(
    max_examples=5_000 if SOAK else 300,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    body=st.one_of(tickets(), tickets(), tickets(), tickets(), tickets(), anything), ascii_only=st.booleans()
)
@example(body=fill_in({"qty": 1e308}), ascii_only=True)
@example(body=fill_in({"client_order_id": "\ud800"}), ascii_only=True)
@example(body=fill_in({"symbol": "\x00"}), ascii_only=False)
def test_one_row_more_if_and_only_if_the_answer_is_201(
    shop: Trader, market: Market, body: object, ascii_only: bool
) -> None:
    market.speak()
    raw = json.dumps(body, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    with transaction.atomic():
        orders, events, activities = counted()
        response = shop.send("POST", "/orders", raw=raw)
        assert response.status_code < 500, response.content
        answer = json.loads(response.content)
        taken = response.status_code == 201 and "Idempotent-Replayed" not in response
        assert counted() == (orders + taken, events + taken, activities)
        if response.status_code == 201:
            assert set(answer) == {"data", "meta"}
        else:
            assert response.status_code in (400, 403, 413, 422), answer
            details = answer["error"]["details"]
            assert {"field", "rule", "remedy"} <= set(details), details
        if taken:
            assert books.verify(shop.account.id) == (1, [])
        connection.set_rollback(not taken or orders > 30)  # keep some, so that the next meet a used account


ORDER_KEYS = st.dictionaries(
    st.sampled_from(["qty", "limit_price", "client_order_id", "side"]),
    numbers | numbers | anything,
    max_size=3,
)


@settings(
    max_examples=2_000 if SOAK else 100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes=st.one_of(ORDER_KEYS, anything))
def test_replacements_likewise(shop: Trader, market: Market, changes: object) -> None:
    market.speak()
    raw = json.dumps(changes).encode(errors="surrogatepass")
    with transaction.atomic():
        order = shop.order(qty="3")
        before = counted()
        response = shop.send("PATCH", f"/orders/{order['id']}", raw=raw)
        taken = response.status_code == 200
        assert taken or response.status_code in (400, 403, 409, 413, 422), response.content
        assert counted() == (before[0] + taken, before[1] + 2 * taken, before[2])
        assert shop.row(order["id"]).status == ("replaced" if taken else "accepted")
        assert books.verify(shop.account.id) == (1, [])
        connection.set_rollback(True)
