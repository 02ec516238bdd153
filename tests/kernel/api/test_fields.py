import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

from raxx.kernel.api.fields import Choice, Field, Form, Identifier, Instant, Number, Text, Whole
from raxx.kernel.api.json_body import RawNumber
from raxx.kernel.errors import InvalidInput


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


NUMBER = Number(doc="how many", places=4, maximum=Decimal(1_000), unit="apples")
WHOLE = Whole(doc="rows", minimum=1, maximum=500)
TEXT = Text(doc="a name", pattern=re.compile(r"[a-z]{1,3}", re.ASCII), rule="must be short", example="abc")
CHOICE = Choice(doc="a colour", options=Colour)
ID = Identifier(doc="an id")
INSTANT = Instant(doc="when")


def refused(field: Field[Any], raw: object) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refusal:
        field.read("it", raw)
    assert refusal.value.details["field"] == "it"
    assert refusal.value.details["rule"]
    assert refusal.value.details["remedy"]
    return refusal.value.details


@pytest.mark.parametrize("text", ["1", "0.0001", "1000", "12.50", "1.000000"])
@pytest.mark.parametrize("kind", [str, RawNumber])
def test_plain_numbers_are_read(text: str, kind: type[str]) -> None:
    assert NUMBER.read("it", kind(text)) == Decimal(text)


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ("NaN", "plain"), ("Infinity", "plain"), ("-Infinity", "plain"), ("1e308", "plain"), ("1e3", "plain"),
        ("1_000", "plain"), ("1,000", "plain"), ("٣", "plain"), ("３", "plain"), ("+5", "plain"), (" 5", "plain"),
        ("5 ", "plain"), ("5\n", "plain"), ("0x10", "plain"), ("", "plain"), ("007", "plain"), (".5", "plain"),
        ("5.", "plain"), ("$5", "plain"), ("1e-30", "plain"), ("9" * 5_000, "plain"), ("½", "plain"), ("--1", "plain"),
        ("0", "greater than 0"), ("-0", "greater than 0"), ("0.00", "greater than 0"), ("-5", "greater than 0"),
        ("1000.0001", "at most 1,000"), ("999999999999999999", "at most 1,000"), ("1.00001", "at most 4 decimals"),
        (True, "must be a number"), (False, "must be a number"), ([], "must be a number"), ({}, "must be a number"),
        (["5"], "must be a number"), ({"5": "5"}, "must be a number"),
    ],
)  # fmt: skip
def test_other_numbers_are_refused_by_their_rule(raw: object, rule: str) -> None:
    assert rule in refused(NUMBER, raw)["rule"]


def test_a_refused_value_is_shown_as_it_was_sent() -> None:
    assert refused(NUMBER, RawNumber("1e3"))["value"] == "1e3"
    assert refused(NUMBER, True)["value"] == "true"
    assert refused(NUMBER, {"a": [RawNumber("1"), None]})["value"] == '{"a": ["1", null]}'
    assert len(refused(NUMBER, "9" * 5_000)["value"]) == 80


@pytest.mark.parametrize("raw", ["abcd", "", "ABC", "a\n", "a\x00", "ａ", RawNumber("1"), None, True, [], {}])
def test_text_holds_what_its_pattern_allows(raw: object) -> None:
    assert TEXT.read("it", "abc") == "abc"
    assert refused(TEXT, raw)["rule"] == "must be short"


@pytest.mark.parametrize("raw", ["RED", "red ", "", "green", RawNumber("1"), True, [], {}])
def test_a_choice_is_one_of_its_words(raw: object) -> None:
    assert CHOICE.read("it", "red") is Colour.RED
    assert "red, blue" in refused(CHOICE, raw)["remedy"]


@pytest.mark.parametrize("raw", ["0", "501", "1.5", "-1", "1e2", "", "x", True, [], "9" * 5_000])
def test_a_whole_number_lies_within_its_bounds(raw: object) -> None:
    assert (WHOLE.read("it", "1"), WHOLE.read("it", RawNumber("500"))) == (1, 500)
    assert "from 1 to 500" in refused(WHOLE, raw)["rule"]


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "x" * 36,
        "{018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f}",
        "018f3c1e7b2a7c3d9e4f5a6b7c8d9e0f",
        RawNumber("1"),
        True,
        [],
    ],
)
def test_an_identifier_is_a_uuid(raw: object) -> None:
    text = "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"
    assert ID.read("it", text) == UUID(text)
    assert refused(ID, raw)["rule"] == "must be a UUID"


@pytest.mark.parametrize(
    "raw",
    [
        "", "2026-11-20", "2026-11-20T14:30:00", "2026-11-20T25:00:00Z", "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59", "٢٠٢٦-11-20T14:30:00Z", RawNumber("1"), True, [],
    ],
)  # fmt: skip
def test_an_instant_has_an_offset(raw: object) -> None:
    for text in ("2026-11-20T14:30:00Z", "2026-11-20T09:30:00-05:00"):
        assert INSTANT.read("it", text) == datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
    assert "RFC 3339" in refused(INSTANT, raw)["rule"]


FORM = Form(
    {"name": Text(doc="a name", pattern=TEXT.pattern, rule="r", example="abc", required=True), "qty": NUMBER}
)


@pytest.mark.parametrize("data", [[], "x", None, True, RawNumber("1")])
def test_a_form_is_an_object(data: object) -> None:
    with pytest.raises(InvalidInput, match="must be a JSON object"):
        FORM.read(data)


def test_a_form_takes_its_fields_and_nothing_else() -> None:
    assert FORM.read({"name": "abc", "qty": "1"}) == {"name": "abc", "qty": Decimal(1)}
    assert FORM.read({"name": "abc", "qty": None}) == {"name": "abc"}
    with pytest.raises(InvalidInput, match="qtty: is not a field here") as unknown:
        FORM.read({"name": "abc", "qtty": "1"})
    assert unknown.value.details["remedy"] == "Fields: name, qty."
    for data in ({}, {"name": None}):
        with pytest.raises(InvalidInput, match=r"name: is required \(got nothing\)"):
            FORM.read(data)


def test_a_form_says_what_it_takes() -> None:
    schema = FORM.schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name"]
    assert set(schema["properties"]) == {"name", "qty"}


def test_what_may_be_left_out_may_be_null_and_nothing_else() -> None:
    form = Form(
        {"must": Choice(doc="d", options=Colour, required=True), "may": Choice(doc="d", options=Colour)}
    )
    described = form.schema()["properties"]
    assert (described["must"]["type"], described["must"]["enum"]) == ("string", ["red", "blue"])
    assert (described["may"]["type"], described["may"]["enum"]) == (["string", "null"], ["red", "blue", None])
