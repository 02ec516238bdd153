"""One event is one line of the log, whatever a stranger put into it."""

import re
from typing import Any

# Control characters, line ends of Unicode, and what turns the direction of writing.
_NOT_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def one_line(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - structlog's
    """A structlog processor: what would end the line, or move a terminal's cursor, is written as an escape."""
    text = event.get("event")
    if isinstance(text, str):
        event["event"] = _NOT_TEXT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return event
