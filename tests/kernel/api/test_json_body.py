import time
from contextlib import suppress

import pytest

from raxx.kernel.api.json_body import BODY_BYTES_MAX, BodyTooLarge, MalformedJson, RawNumber, load


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    return (opening * depth + closing * depth).encode()


def test_numbers_stay_as_they_were_spelled() -> None:
    spelled = ["1", "10.10", "-0", "1e308", "1E400", "0.1000", "9" * 5_000]
    found = load(f"[{','.join(spelled)}]".encode())
    assert found == spelled
    assert isinstance(found, list)
    assert {type(number) for number in found} == {RawNumber}


def test_what_is_no_number_keeps_its_json_type() -> None:
    assert load(b'{"a": null, "b": true, "c": "1", "d": {}, "e": []}') == {
        "a": None, "b": True, "c": "1", "d": {}, "e": [],
    }  # fmt: skip
    assert type(load(b'"1"')) is str


@pytest.mark.parametrize(
    "body", [nested(32), nested(32, '{"a":', "}").replace(b":}", b":1}"), b'"' + b"[" * 100_000 + b'"']
)
def test_thirty_two_levels_are_taken(body: bytes) -> None:
    load(body)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (nested(33), "levels deep"),
        (nested(100_000), "levels deep"),
        (b"[" * 250_000, "levels deep"),
        (b'{"a":' * 40_000, "levels deep"),
        (b'["\\"", ' + nested(33) + b"]", "levels deep"),  # an escaped quotation mark does not end a string
        (b'{"a": NaN}', "finite"),
        (b'{"a": Infinity}', "finite"),
        (b'{"a": -Infinity}', "finite"),
        (b'{"a": 1, "a": 1}', "each key"),
        (b'{"b": {"a": 1, "a": 2}}', "each key"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "each key"),
        (b"", "JSON"),
        (b" ", "JSON"),
        (b"{", "JSON"),
        (b"{}{}", "JSON"),
        (b"{'a': 1}", "JSON"),
        (b'{"a": 1,}', "JSON"),
        (b'{"a": 01}', "JSON"),
        (b'{"a": +1}', "JSON"),
        (b'{"a": .5}', "JSON"),
        (b'{"a": 0x10}', "JSON"),
        (b'{"a": 1_000}', "JSON"),
        ('{"a": ٣}'.encode(), "JSON"),
        (b'{"a": "\x01"}', "JSON"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\xc0\x80"}', "UTF-8"),  # overlong NUL
        (b'{"a": "\xed\xa0\x80"}', "UTF-8"),  # half a surrogate pair
        (b'{"a": "\\ud800"}', "UTF-8"),  # the same as an escape
        (b'{"\\udfff": 1}', "UTF-8"),
        (b'[{"a": ["\\ud83d"]}]', "UTF-8"),
        (b"\xef\xbb\xbf{}", "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16-le"), "UTF-8"),
        ('{"a": 1}'.encode("utf-32-be"), "UTF-8"),
    ],
)  # fmt: skip
def test_what_is_not_plain_json_is_refused_and_named(body: bytes, rule: str) -> None:
    with pytest.raises(MalformedJson) as refusal:
        load(body)
    assert refusal.value.details["field"] == "(body)"
    assert rule in refusal.value.details["rule"]
    refusal.value.message.encode()  # can be answered: holds no half characters itself


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert load(b'{"a": "\\ud83d\\ude00"}') == {"a": "😀"}


def test_the_size_is_bounded() -> None:
    assert load(b'"' + b"x" * (BODY_BYTES_MAX - 2) + b'"')
    with pytest.raises(BodyTooLarge):
        load(b'"' + b"x" * (BODY_BYTES_MAX - 1) + b'"')


@pytest.mark.parametrize(
    "body",
    [
        b"[" * (BODY_BYTES_MAX - 1),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'"' + b"[" * 200_000 + b'"',
        (
            "{" + ",".join(f'"k{n}":0' for n in range(20_000)) + ',"k19999":0}'
        ).encode(),  # the last key comes twice
        b"[" + b"9" * 250_000 + b"]",
        b'["' + b"\\u0041" * 40_000 + b'"]',
    ],
)
def test_the_worst_bodies_are_judged_fast(body: bytes) -> None:
    began = time.thread_time()
    with suppress(MalformedJson):
        load(body)
    assert time.thread_time() - began < 0.5
