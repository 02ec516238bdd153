"""What can be wrong with recorded data."""

from pathlib import Path

from raxx.kernel.errors import RaxxError


class BadTape(RaxxError):
    """A tape file breaks a rule. `details` names file, rule, value, remedy, and line and field if any."""

    code = "BAD_TAPE"

    def __init__(
        self,
        *,
        file: Path,
        rule: str,
        value: object,
        remedy: str,
        line: int | None = None,
        field: str | None = None,
    ) -> None:
        place = str(file) + (f", line {line}" if line else "") + (f", {field}" if field else "")
        shown = repr(value)[:80]
        super().__init__(
            f"{place}: {rule} (got {shown}). {remedy}",
            file=file, line=line, field=field, rule=rule, value=shown, remedy=remedy,
        )  # fmt: skip
