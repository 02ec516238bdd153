"""Anticipated failures. Each has a stable code; anything else is a bug and crashes."""

from typing import ClassVar


class RaxxError(Exception):
    """An anticipated failure. Its code is public API: never rename or reuse one.

    `message` is one sentence for people. `details` is the same as data: by convention the keys
    `field`, `rule`, `value` and `remedy`, then whatever else the failure knows. Values are shown
    to the caller as strings.
    """

    code: ClassVar[str]
    http_status: ClassVar[int] = 400
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = {key: str(value) for key, value in details.items() if value is not None}


class InvalidInput(RaxxError):
    """One field breaks one rule. `details` always names field, rule, value and remedy."""

    code = "INVALID_INPUT"
    http_status = 422

    def __init__(self, *, field: str, rule: str, value: object, remedy: str, **details: object) -> None:
        shown = _shorten(value)
        super().__init__(
            f"{field}: {rule} (got {shown}). {remedy}",
            field=field,
            rule=rule,
            value=shown,
            remedy=remedy,
            **details,
        )


class NotFound(RaxxError):
    """The object does not exist, or is somebody else's: the answer is the same."""

    code = "NOT_FOUND"
    http_status = 404


def _shorten(value: object, limit: int = 80) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
