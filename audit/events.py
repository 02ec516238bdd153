"""The kinds of events that may be written into the record. Every app registers its own when it starts:

register(EventType("mbt.order.accepted", "7y", "An order was checked, held for and taken."))
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from raxx.kernel.registry import Registry

_CODE = re.compile(r"[a-z]+(\.[a-z_]+){2}", re.ASCII)

Retention = Literal["2y", "7y"]
RETENTIONS: tuple[Retention, ...] = get_args(Retention)


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event. `code` reads app.object.happened; `retention` is how long its rows are kept:
    7 years for what a regulator may ask about orders and money, 2 years for the rest.

    `forgets` names the changed fields (and "reason", if it is one) that tell something about a person.
    They are stored under that person's key, and nobody can read them once it is gone: private.py.
    """

    code: str
    retention: Retention
    description: str
    forgets: tuple[str, ...] = ()

    @property
    def years(self) -> int:
        return int(self.retention[0])


event_types: Registry[EventType] = Registry("audit event types", required=True)


def register(*types: EventType) -> None:
    """Raises ValueError on a malformed code, one that is taken, or an unknown retention class."""
    for kind in types:
        if kind.retention not in RETENTIONS:
            raise ValueError(f"audit event {kind.code!r}: retention must be one of {', '.join(RETENTIONS)}")
        if not _CODE.fullmatch(kind.code):
            raise ValueError(f"audit event {kind.code!r} must read app.object.happened")
        event_types.register(kind.code, kind)
