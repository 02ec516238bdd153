"""Reading JSON from strangers: small, shallow, without surprises.

Numbers stay text (`RawNumber`), so that `1e308`, a 5,000-digit integer and `10.10` are all judged by
the field that reads them and never pass through a float.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from raxx.kernel.errors import RaxxError

BODY_BYTES_MAX = 256 * 1024
DEPTH_MAX = 32


class MalformedJson(RaxxError):
    code = "MALFORMED_JSON"


class BodyTooLarge(RaxxError):
    code = "BODY_TOO_LARGE"
    http_status = 413


class RawNumber(str):
    """A JSON number exactly as it was spelled."""

    __slots__ = ()


class StrictJsonParser(BaseParser):
    """`application/json` up to 256 KB and 32 levels, no duplicate keys, no NaN or Infinity."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:  # noqa: ANN401 - any JSON value; forms refuse what is no object
        if "*" in (media_type or ""):  # the framework takes application/* and */* for a match
            raise UnsupportedMediaType(media_type or "")
        return load(stream.read(BODY_BYTES_MAX + 1))


def load(body: bytes) -> object:
    """The JSON value in `body`. Raises BodyTooLarge or MalformedJson."""
    if len(body) > BODY_BYTES_MAX:
        raise BodyTooLarge(
            f"The body is larger than {BODY_BYTES_MAX} bytes. Send less at once.",
            field="(body)",
            rule=f"must have at most {BODY_BYTES_MAX} bytes",
            value="larger",
            remedy="Send less at once.",
        )
    _refuse_deep(body)
    try:
        # Decoded here, because json would take UTF-16, UTF-32 and a byte order mark as well (RFC 8259, 8.1).
        value = json.loads(
            body.decode(),
            parse_int=RawNumber,
            parse_float=RawNumber,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
        if b"\\u" in body:
            # Half of a surrogate pair (`\ud800`) is no character: it can be neither stored nor answered.
            json.dumps(value, ensure_ascii=False).encode()
    except (UnicodeError, RecursionError, ValueError) as problem:
        raise _malformed(
            "must be JSON in UTF-8", str(problem), "Check the body with a JSON validator."
        ) from None
    return value


_Opening: frozenset[int] = frozenset(b"[{")
_Closing: frozenset[int] = frozenset(b"]}")


def _refuse_deep(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return
    depth, in_string, escaped = 0, False, False
    for byte in body:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in _Opening:
            depth += 1
            if depth > DEPTH_MAX:
                raise _malformed(f"must be at most {DEPTH_MAX} levels deep", "deeper", "Send a flat object.")
        elif byte in _Closing:
            depth -= 1


def _refuse_constant(name: str) -> object:
    raise _malformed("must hold finite numbers only", name, "Send an ordinary decimal number.")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise _malformed("must have each key at most once", twice, "Send it once.")
    return found


def _malformed(rule: str, value: str, remedy: str) -> MalformedJson:
    shown = value[:80].encode(errors="backslashreplace").decode()
    return MalformedJson(
        f"The body {rule} ({shown}). {remedy}", field="(body)", rule=rule, value=shown, remedy=remedy
    )
