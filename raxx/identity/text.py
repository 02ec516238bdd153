"""Names that people give to their things."""

import re

from raxx.kernel.errors import InvalidInput

NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]{1,64}")
NAME_RULE = "must have 1 to 64 visible characters"


def checked_name(name: str, *, example: str) -> str:
    """The name without blanks around it. Raises InvalidInput."""
    name = name.strip()
    if not NAME.fullmatch(name):
        raise InvalidInput(
            field="name", rule=NAME_RULE, value=name, remedy=f"Send a name such as “{example}”."
        )
    return name
