"""The API's description of itself, its docs page, and what lies outside of both."""

import re
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from django.test import Client
from django.urls import URLPattern
from drf_spectacular.validation import validate_schema

from mbt.api import urls
from tests.mbt.paper_tools import Market, Trader, fill_in, problem

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture
def described(client: Client, db: None) -> dict[str, Any]:
    response = client.get("/api/schema/?format=json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def operations(described: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """(method, path) → operation, of paper trading."""
    return {
        (m, path): item[m]
        for path, item in described["paths"].items()
        for m in METHODS
        if m in item and path.startswith("/api/mbt/")
    }


def served() -> set[tuple[str, str]]:
    """What the code answers to, from its own patterns and views."""
    found = set()
    for entry in urls.urlpatterns:
        assert isinstance(entry, URLPattern)
        path = re.sub(r"<\w+:(\w+)>", r"{\1}", f"/api/mbt/{entry.pattern}")
        view = entry.callback.view_class  # type: ignore[attr-defined]
        found |= {(method, path) for method in METHODS if hasattr(view, method)}
    return found


def resolve(described: dict[str, Any], node: Any) -> Any:  # noqa: ANN401 - JSON
    """The schema with its references to components filled in."""
    if isinstance(node, dict):
        if "$ref" in node:
            return resolve(described, described["components"]["schemas"][node["$ref"].rsplit("/", 1)[1]])
        return {key: resolve(described, value) for key, value in node.items()}
    return [resolve(described, value) for value in node] if isinstance(node, list) else node


def body_schema(described: dict[str, Any], part: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON schema
    assert set(part["content"]) == {"application/json"}
    return resolve(described, part["content"]["application/json"]["schema"])


def check(schema: Any, value: object) -> None:  # noqa: ANN401 - JSON schema
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)


CALL = "SPY261218C00100000"


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    validate_schema(described)  # type: ignore[no-untyped-call]


def test_every_operation_is_there_with_what_it_takes_and_gives(described: dict[str, Any]) -> None:
    found = operations(described)
    assert set(found) == served()
    assert len({operation["operationId"] for operation in found.values()}) == len(found) == 25
    assert described["components"]["securitySchemes"]["apiKey"]["scheme"] == "basic"
    for (method, path), operation in found.items():
        assert operation["security"] == [{"apiKey": []}, {"session": []}], path
        assert operation["summary"]
        assert "A view of" not in operation["description"]
        names = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))
        assert ("requestBody" in operation) == (method in ("post", "patch")), path
        sends = ("/api/mbt/orders", "/api/mbt/structures/close", "/api/mbt/structures/roll")
        success = "201" if method == "post" and path in sends else "200"
        assert {success, "401", "404", "503"} <= set(operation["responses"]), path
        for status, answer in operation["responses"].items():
            assert answer["description"]
            wanted = {"data", "meta"} if status == success else {"error"}
            assert set(body_schema(described, answer)["properties"]) == wanted, (path, status)


def test_what_is_described_is_what_is_answered(
    described: dict[str, Any], trader: Trader, market: Market
) -> None:
    market.quote(CALL, "0.90", "1.00")
    order = trader.order(order_type="market", qty="2", client_order_id="filled")
    trader.order(symbol=CALL, qty="3", limit_price="1.00")
    market.judge()
    working = trader.order()
    replaced = trader.order()
    activity = trader.read("/activities")[0]["id"]
    ids = {"order_id": order["id"], "activity_id": activity, "symbol": "SPY"}
    asked = {"structure": f"+1 {CALL}", "qty": "1", "order_type": "limit", "time_in_force": "day"}
    answers = {
        "orders_submit": [trader.place(), trader.place(qty="NaN"), trader.place(qty="99999"), trader.send("POST", "/orders", raw=b"{"),
                          trader.send("POST", "/orders", raw=b" " * 300_000), trader.send("POST", "/orders", raw=b"x", content_type="text/plain")],
        "orders_replace": [trader.replace(replaced["id"], qty="2"), trader.replace(order["id"], qty="3"), trader.replace(working["id"])],
        "orders_cancel": [trader.cancel(working["id"]), trader.cancel(order["id"])],
        "orders_list": [trader.get("/orders?limit=2"), trader.get("/orders?limit=x")],
        "activities_list": [trader.get("/activities?limit=1"), trader.get("/activities?type=x")],
        "orders_preview": [trader.send("POST", "/orders/preview", fill_in({})), trader.send("POST", "/orders/preview", fill_in({"qty": "99999"})),
                           trader.send("POST", "/orders/preview", raw=b"{")],
        "structures_close": [trader.send("POST", "/structures/close", asked | {"limit_price": "-5.00"}),
                             trader.send("POST", "/structures/close", asked | {"limit_price": "5.00"}),
                             trader.send("POST", "/structures/close", asked | {"structure": "-1 SPY", "limit_price": "5.00"}),
                             trader.send("POST", "/structures/close", raw=b"{")],
        "structures_roll": [trader.send("POST", "/structures/roll", asked | {"strike_shift": "5", "limit_price": "0.10"}),
                            trader.send("POST", "/structures/roll", asked), trader.send("POST", "/structures/roll", raw=b"{")],
        "positions_close": [trader.send("DELETE", "/positions/SPY?qty=1"), trader.send("DELETE", "/positions/AAPL"),
                            trader.send("DELETE", "/positions/SPY?qty=9"), trader.send("DELETE", "/positions/SPY?qty=x")],
        "positions_close_all": [trader.send("DELETE", "/positions?cancel_orders=true"), trader.send("DELETE", "/positions?cancel_orders=1")],
        "account_settings_change": [trader.send("PATCH", "/account/settings", {"size_cap": True}),
                                    trader.send("PATCH", "/account/settings", {"size_cap": 1})],
        "positions_exercise": [trader.send("POST", f"/positions/{CALL}/exercise", {"when": "expiration"}),
                               trader.send("POST", f"/positions/{CALL}/exercise", {"qty": "1", "client_request_id": "one"}),
                               trader.send("POST", "/positions/SPY/exercise"),
                               trader.send("POST", f"/positions/{CALL}/exercise", {"qty": "x"})],
        "positions_exercise_withdraw": [trader.send("DELETE", f"/positions/{CALL}/exercise"),
                                        trader.send("DELETE", "/positions/AAPL/exercise")],
        "positions_do_not_exercise": [trader.send("POST", f"/positions/{CALL}/do-not-exercise"),
                                      trader.send("POST", "/positions/AAPL/do-not-exercise")],
        "positions_do_not_exercise_withdraw": [trader.send("DELETE", f"/positions/{CALL}/do-not-exercise"),
                                               trader.send("DELETE", "/positions/AAPL/do-not-exercise")],
        "positions_get": [trader.get("/positions/spy"), trader.get("/positions/AAPL")],
    }  # fmt: skip
    for (method, path), operation in operations(described).items():
        given = answers.get(operation["operationId"], [])
        if method == "get":
            given = [*given, trader.get(path.removeprefix("/api/mbt").format(**ids)), Client().get(path.format(**ids)),
                     trader.get(path.removeprefix("/api/mbt").format(**ids), accept="text/html")]  # fmt: skip
        assert given, path
        for response in given:
            described_answer = operation["responses"][str(response.status_code)]  # no undocumented status
            check(body_schema(described, described_answer), response.json())


def test_examples_can_be_sent(described: dict[str, Any], trader: Trader) -> None:
    seen = 0
    for (method, path), operation in operations(described).items():
        for parameter in operation.get("parameters", []):
            if "example" in parameter["schema"]:
                check(parameter["schema"], parameter["schema"]["example"])
        if "requestBody" not in operation:
            continue
        schema = body_schema(described, operation["requestBody"])
        for form in schema.get("oneOf", [schema]):
            for field in form["properties"].values():
                if "example" in field:
                    check(field, field["example"])
        for example in operation["requestBody"]["content"]["application/json"].get("examples", {}).values():
            check(schema, example["value"])
            if method == "post":
                response = trader.send("POST", path.replace("{symbol}", CALL), example["value"])
                code = response.json().get("error", {}).get("code")
                assert code in (
                    None,
                    "INSUFFICIENT_QUANTITY",
                    "UNKNOWN_SYMBOL",
                    "INSUFFICIENT_BUYING_POWER",
                    "NOT_FOUND" if "{symbol}" in path else None,  # nothing is held
                    "NOTHING_TO_CLOSE" if "structures" in path else None,
                ), (example, code)
            seen += 1
    assert seen >= 4


def test_bodies_that_the_description_forbids_are_refused_and_the_other_way_round(
    described: dict[str, Any], trader: Trader
) -> None:
    schema = body_schema(described, operations(described)[("post", "/api/mbt/orders")]["requestBody"])
    single, package = schema["oneOf"]
    assert single["additionalProperties"] is package["additionalProperties"] is False
    assert set(single["required"]) == {"symbol", "side", "order_type", "time_in_force"}
    assert set(package["required"]) == {"order_class", "legs", "qty", "order_type", "time_in_force"}
    for name, choice in single["properties"].items():
        if "enum" in choice:
            for value in [*choice["enum"], "other"]:
                refused = trader.place(**{name: value}).json().get("error", {}).get("details", {})
                assert (refused.get("field") == name and "listed" in refused["rule"]) == (value == "other")


def test_the_docs_page_needs_nobody_else(client: Client, db: None) -> None:
    page = client.get("/api/docs/")
    assert page.status_code == 200
    assert page["Content-Type"].startswith("text/html")
    html = page.content.decode()
    references = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(references) >= 4
    assert not re.search(r"https?:|//[a-z]", html.replace("<!DOCTYPE html>", ""))
    for reference in references:
        assert reference.startswith("/"), reference
        asset = client.get(reference)
        assert asset.status_code == 200, reference
        content = asset.getvalue() if asset.streaming else asset.content
        assert len(content) > 100, reference
        if reference.endswith(".css"):
            assert not re.search(rb"url\([\"']?https?:|@import", content)
        if "script=" in reference:
            assert b"://" not in content
            assert b"/api/schema/" in content
            assert b'layout: "BaseLayout"' in content  # the other one asks a validator on the web


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/mbt/", "/api/mbt/nothing", "/api/mbt/orders/", "/api/mbt/account/",
                                  "/api/mbt/positions/", "/api/docs", "/api/schema", "/nothing", "/api//mbt/orders", "/API/mbt/orders"])  # fmt: skip
def test_where_there_is_nothing(trader: Trader, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        response = trader.send(method, path)
        problem(response, 404, "NOT_FOUND")
        assert "Location" not in response


def test_methods_that_a_path_does_not_have(trader: Trader) -> None:
    order = trader.order()["id"]
    rows = trader.read("/orders")
    for path, allowed in {
        "/account": {"GET"}, "/account/margin": {"GET"}, "/positions": {"GET", "DELETE"}, "/positions/SPY": {"GET", "DELETE"}, "/structures": {"GET"}, "/structures/close": {"POST"}, "/structures/roll": {"POST"}, "/orders/preview": {"POST"}, "/orders": {"GET", "POST"},
        f"/orders/{order}": {"GET", "PATCH", "DELETE"}, f"/orders/{order}/explain": {"GET"}, "/activities": {"GET"},
        f"/activities/{order}": {"GET"},
    }.items():  # fmt: skip
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "FOO"} - allowed:
            response = trader.send(method, path)
            problem(response, 405, "METHOD_NOT_ALLOWED")
            assert set(response["Allow"].split(", ")) == allowed | (
                {"HEAD", "OPTIONS"} if "GET" in allowed else {"OPTIONS"}
            ), path
        options = trader.send("OPTIONS", path)
        assert (options.status_code, options.content) == (204, b"")
        assert set(options["Allow"].split(", ")) == allowed | (
            {"HEAD", "OPTIONS"} if "GET" in allowed else {"OPTIONS"}
        ), path
    assert trader.read("/orders") == rows


def test_head_is_get_without_the_body(trader: Trader) -> None:
    order = trader.order()["id"]
    for path in ("/account", "/orders", f"/orders/{order}", f"/orders/{order}/explain", "/activities"):
        head, get = trader.send("HEAD", path), trader.get(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head["Content-Type"] == get["Content-Type"]
    assert trader.send("HEAD", "/positions/SPY").status_code == 404


def test_answers_are_json_or_nothing(trader: Trader) -> None:
    for accept in ("application/json", "*/*", "application/*", "text/html, */*;q=0.1"):
        assert trader.get("/account", accept=accept).status_code == 200
    problem(trader.get("/account", accept="text/html"), 406, "NOT_ACCEPTABLE")
    problem(trader.get("/account?format=xml"), 404, "NOT_FOUND")
