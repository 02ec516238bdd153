"""What is no order is refused by name, at once, and leaves no trace."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.mbt.paper_tools import Trader, fill_in, problem

TABLES = (
    "mbt_accounts", "mbt_orders", "mbt_fills", "mbt_positions", "mbt_activities", "outbox", "audit_log", "audit_subjects",
)  # fmt: skip


@pytest.fixture
def nothing_stored(trader: Trader) -> Iterator[None]:
    """The test must leave every table as it found it."""
    trader.read("/account")  # the first request of a key notes its use
    before = contents()
    yield
    assert contents() == before


def contents() -> dict[str, object]:
    found: dict[str, object] = {}
    with connection.cursor() as cursor:
        for table in TABLES:
            digest = "count(*), coalesce(bit_xor(hashtextextended(t::text, 0)), 0)"
            cursor.execute(f"SELECT {digest} FROM {table} t")  # noqa: S608 - names from above
            found[table] = cursor.fetchone()
    return found


def refused(
    trader: Trader, raw: bytes, field: str, *, content_type: str = "application/json"
) -> dict[str, str]:
    """Send a body; it must get a 4xx that costs less than a second of CPU and names the field and the rule it breaks."""
    began = time.thread_time()
    response = trader.send("POST", "/orders", raw=raw, content_type=content_type)
    assert time.thread_time() - began < 1
    error = json.loads(response.content)["error"]
    assert 400 <= response.status_code < 500, error
    details: dict[str, str] = error["details"]
    assert details["field"] == field, error
    assert details["rule"]
    assert details["remedy"]
    assert len(response.content) < 2_000
    return details


def ticket(**terms: object) -> bytes:
    return json.dumps(fill_in({}) | terms).encode()


# As they stand in the body: numbers as JSON strings and bare.
NO_NUMBERS = [
    '"NaN"', '"nan"', '"sNaN"', '"Infinity"', '"-Infinity"', '"inf"', '"1e308"', '"1E5"', '"1_000"', '"1,000"', '"٣"',
    '"３"', '"१"', '"½"', '"+5"', '" 5"', '"5 "', '"5\\n"', '"\\u00005"', '"5\\u0000"', '"0x10"', '"0b1"', '"0o7"', '""',
    '"-"', '"."', '"1.2.3"', '"5."', '".5"', '"007"', '"1e-30"', '"$5"', '"five"', '"\\u202e5"', '"true"', '"null"',
    f'"{"9" * 5_000}"', f'"0.{"0" * 5_000}1"', '"1.0000000000001"',
    "1e308", "1E5", "1e-30", "1e400", "-1e308", "9" * 5_000, f"0.{'0' * 5_000}1", "1.0000000000001",
    "true", "false", "[]", "{}", "[5]", '{"value": 5}', '["5"]', "[[[[[5]]]]]",
    '"-5"', "-5", '"-0"', "-0", '"0"', "0", '"0.000"', "0.000", '"-0.01"', "-1.5",
]  # fmt: skip


def shown(value: object) -> str:
    """A refused value as the answer shows it: as it was sent, cut at 80 characters."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 80 else text[:79] + "…"


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("field", ["qty", "limit_price"])
def test_what_is_no_positive_number(trader: Trader, field: str) -> None:
    for spelled in NO_NUMBERS:
        body = ticket(**{field: "HERE"}).replace(b'"HERE"', spelled.encode())
        value = json.loads(spelled, parse_float=str, parse_int=str)
        assert refused(trader, body, field)["value"] == shown(value)


BEYOND = [
    ("qty", "0.0000000001"), ("qty", "1.0000000001"), ("qty", "1000000000"), ("qty", "999999999999999999"),
    ("qty", "0.5"), ("qty", "1.000000001"),  # a limit order
    ("limit_price", "0.00001"), ("limit_price", "90.001"), ("limit_price", "90.00001"), ("limit_price", "10000000.01"),
    ("limit_price", "999999999999999999"), ("limit_price", "99999999"),
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
def test_numbers_beyond_what_the_field_takes(trader: Trader) -> None:
    for field, value in BEYOND:
        refused(trader, ticket(**{field: value}), field)
        refused(trader, ticket(**{field: "HERE"}).replace(b'"HERE"', value.encode()), field)


NO_JSON_NUMBERS = ["NaN", "Infinity", "-Infinity", "+5", "0x10", "1_000", "٣", "007", ".5", "5.", "nul", "'5'"]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
def test_numbers_that_are_no_json(trader: Trader) -> None:
    for spelled in NO_JSON_NUMBERS:
        for field in ("qty", "limit_price"):
            refused(trader, ticket(**{field: "HERE"}).replace(b'"HERE"', spelled.encode()), "(body)")


NO_SYMBOLS = [
    "NOPE", "spy", "Spy", "SPY ", " SPY", "SP Y", "", "ＳＰＹ", "SPY\n", "SPY\x00", "\u202eYPS", "SРY", "TOOLONG", "SPY.", ".SPY",
    "123", "SPY;DROP TABLE", "SPY261218C0010000", "SPY261218C001000000", "SPY261218X00100000", "SPY261318C00100000",
    "SPY260231C00100000", "SPY261218C00000000", "SPY261218c00100000", "SPY  261218C00100000", "SPY    261218C00100000",
    "SPY261218C00999000", "SPY991218C00100000", "A" * 5_000, 1, True, ["SPY"], {"SPY": 1},
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
def test_symbols_that_name_nothing_here(trader: Trader) -> None:
    for symbol in NO_SYMBOLS:
        refused(trader, ticket(symbol=symbol), "symbol")


ODD: list[object] = ["", "x" * 5_000, 1, 1.5, True, [], {}]
NO_WORDS: dict[str, list[object]] = {
    "side": ["BUY", "Buy", "short", " buy", "buy\n", "ｂｕｙ", *ODD],
    "order_type": ["LIMIT", "stop-limit", "moo", "trailing", *ODD],
    "time_in_force": ["DAY", "gtd", "moc", *ODD],
    "client_order_id": [
        " ", "a b", "ü", "a\x00b", "a\nb", "\u202eabc", "a\u2066b", "\u200eabc", "a/b", "x" * 129, "<script>", "'--", "a%", *ODD,
    ],
}  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
@pytest.mark.parametrize("field", NO_WORDS)
def test_words_that_the_field_does_not_know(trader: Trader, field: str) -> None:
    for value in NO_WORDS[field]:
        refused(trader, ticket(**{field: value}), field)


@pytest.mark.usefixtures("nothing_stored")
def test_missing_and_null_fields(trader: Trader) -> None:
    for field in ("symbol", "side", "qty", "order_type", "time_in_force", "limit_price"):
        terms: dict[str, Any] = fill_in({})
        del terms[field]
        refused(trader, json.dumps(terms).encode(), field)
        refused(trader, json.dumps(terms | {field: None}).encode(), field)


VALUES: list[object] = [None, "1", {}, []]
NO_FIELDS = ["limit_prize", "stop", "legs", "Symbol", "qty ", "", "__proto__", "id", "account_id", "status", "\x00", "\u202e"]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
def test_unknown_fields(trader: Trader) -> None:
    for field in NO_FIELDS:
        for value in VALUES:
            details = refused(trader, ticket(**{field: value}), field)
            assert details["rule"] == "is not a field here"
            assert "limit_price" in details["remedy"]


GOOD = ticket()
NO_TICKETS = [
    (b"", "symbol"), (b"{}", "symbol"), (b"null", "(body)"), (b"[]", "(body)"), (b"[" + GOOD + b"]", "(body)"),
    (b'"' + b"x" * 1_000 + b'"', "(body)"), (b"5", "(body)"), (b"true", "(body)"), (b" ", "(body)"), (b"{", "(body)"),
    (GOOD[:-1], "(body)"), (GOOD + b"x", "(body)"), (GOOD + GOOD, "(body)"), (b"\x00" + GOOD, "(body)"),
    (b"\xef\xbb\xbf" + GOOD, "(body)"), (GOOD.decode().encode("utf-16"), "(body)"), (GOOD.decode().encode("utf-32"), "(body)"),
    (GOOD.replace(b"SPY", b"S\xffY"), "(body)"), (GOOD.replace(b"SPY", b"S\x00Y"), "(body)"),
    (GOOD.replace(b"SPY", b"S\\u0000Y"), "symbol"), (GOOD.replace(b"SPY", b"\\ud800"), "(body)"),
    (GOOD[:-1] + b',"\\udfff":1}', "(body)"), (GOOD[:-1] + b',"qty":"2"}', "(body)"), (GOOD[:-1] + b',"qty":"1"}', "(body)"),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "(body)"), (b'{"a":' * 32 + b"1" + b"}" * 32, "a"),
    (b"[" * 33 + b"]" * 33, "(body)"), (b"[" * 100_000 + b"]" * 100_000, "(body)"), (b"[" * 200_000, "(body)"),
    (ticket(client_order_id="x" * 300_000), "(body)"), (ticket(client_order_id="x" * 10_000_000), "(body)"),
    (("{" + ",".join(f'"k{n}":1' for n in range(100_000)) + "}").encode(), "(body)"),  # 1.2 MB
    (("{" + ",".join(f'"{n:x}":1' for n in range(25_000)) + "}").encode(), "0"),  # what fits into 256 KB
    (("{" + ",".join(f'"{n:x}":1' for n in range(20_000)) + ',"4e1f":1}').encode(), "(body)"),  # the last one twice
    (b"a" * 250_000, "(body)"), (b"9" * 250_000, "(body)"), (b"symbol=SPY&qty=1", "(body)"), (b"<order/>", "(body)"),
]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
def test_bodies_that_are_no_ticket(trader: Trader) -> None:
    for raw, field in NO_TICKETS:
        refused(trader, raw, field)


NO_JSON_TYPES = ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "text/json",
                     "application/xml", "application/jsonp", "json", "*/*", ""]  # fmt: skip


@pytest.mark.usefixtures("nothing_stored")
def test_other_content_types(trader: Trader) -> None:
    for content_type in NO_JSON_TYPES:
        for raw in (GOOD, b"symbol=SPY&side=buy&qty=1&order_type=market&time_in_force=day"):
            assert (
                refused(trader, raw, "Content-Type", content_type=content_type)["rule"]
                == "must be application/json"
            )


@pytest.mark.usefixtures("nothing_stored")
def test_a_body_in_chunks_is_not_mistaken_for_an_empty_one(trader: Trader) -> None:
    """Where a server passes chunks on, Django would see no body at all."""
    response = trader.send("POST", "/orders", raw=b"", transfer_encoding="chunked")
    assert problem(response, 411, "LENGTH_REQUIRED", "Content-Length")["remedy"]


def test_the_charset_of_json_is_utf_8_whatever_the_header_says(trader: Trader) -> None:
    for content_type in (
        "application/json; charset=utf-8",
        "application/json; charset=latin-1",
        "Application/JSON",
    ):
        response = trader.send("POST", "/orders", raw=ticket(), content_type=content_type)
        assert response.status_code == 201, content_type


def test_replacements_are_read_as_strictly(trader: Trader) -> None:
    order = trader.order()
    before = contents()
    for raw, field in [
        (b'{"qty":"1e5"}', "qty"), (b'{"qty":NaN}', "(body)"), (b'{"limit_price":0}', "limit_price"),
        (b'{"limit_price":"90.001"}', "limit_price"), (b'{"qty":"0.5"}', "qty"), (b'{"side":"sell"}', "side"),
        (b'{"stop_price":"1"}', "stop_price"), (b"[]", "(body)"), (b"{}", "(body)"), (b"", "(body)"),
        (b'{"qty":"1"}', "(body)"), (b'{"qty":null}', "(body)"), (b'{"client_order_id":"new"}', "(body)"),
        (b'{"client_order_id":"a b"}', "client_order_id"), (b'{"qty":"1","qty":"2"}', "(body)"),
        (b'{"qty":"\\ud800"}', "(body)"),
    ]:  # fmt: skip
        response = trader.send("PATCH", f"/orders/{order['id']}", raw=raw)
        assert 400 <= response.status_code < 500, raw
        details = json.loads(response.content)["error"]["details"]
        assert (details["field"], bool(details["rule"])) == (field, True), raw
    assert contents() == before


def test_ids_in_paths(trader: Trader) -> None:
    known = trader.order()["id"]
    for text in (
        known.upper(),
        known[:-1],
        known + "0",
        f"{{{known}}}",
        known.replace("-", ""),
        "1",
        "..",
        "%00",
        "٣",
        "x" * 5_000,
    ):
        for suffix in ("", "/explain"):
            problem(trader.get(f"/orders/{text}{suffix}"), 404, "NOT_FOUND")
        problem(trader.cancel(text), 404, "NOT_FOUND")


@pytest.mark.parametrize(
    "terms",
    [
        {"qty": "999999999", "limit_price": "10000000"}, {"qty": "999999999", "limit_price": "100.01"},
        {"symbol": "SPY261218C00105000", "qty": "999999999", "limit_price": "1.01"},
        {"side": "sell", "qty": "999999999", "limit_price": "10000000"},
        {"qty": "999999999", "order_type": "stop", "limit_price": None, "stop_price": "10000000"},
        {"qty": "999999999", "limit_price": "100.00", "order_class": "bracket", "take_profit": {"limit_price": "9999999"}, "stop_loss": {"stop_price": "1"}},
    ],
)  # fmt: skip
def test_no_order_names_more_money_than_accounts_are_kept_in(
    trader: Trader, terms: dict[str, object]
) -> None:
    details = problem(trader.place(**terms), 422, "INVALID_INPUT")
    assert details["rule"] == "quantity times price is at most $100,000,000,000"


def test_at_the_most_money_an_order_is_judged_by_what_there_is(trader: Trader) -> None:
    """A hundred thousand million: every column holds it, and the account does not."""
    problem(trader.place(qty="999999999", limit_price="100.00"), 403, "INSUFFICIENT_BUYING_POWER")
    problem(trader.place(qty="999999999", order_type="market"), 403, "INSUFFICIENT_BUYING_POWER")
