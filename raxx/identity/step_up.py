"""What a person confirms with a passkey at the very moment of doing it.

Each app registers its actions when it starts; the service that does the thing calls `services.step_up.use`
with the same action and parameters in the transaction of its change.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from raxx.kernel.registry import Registry

LIVES_S_MAX = 300
LIVE_ORDER_LIVES_S = 120


@dataclass(frozen=True, slots=True)
class Action:
    """`lives_s`: for how long a confirmation may wait to be used, at most 300 (a live order: 120)."""

    name: str
    lives_s: int
    description: str


actions: Registry[Action] = Registry("step-up actions", required=True)

ADD_PASSKEY = "identity.passkey.add"
REMOVE_PASSKEY = "identity.passkey.remove"
RENEW_CODES = "identity.recovery_codes.renew"
ISSUE_KEY = "identity.api_key.issue"


def register(*added: Action) -> None:
    """Raises ValueError for a lifetime that is too long, or a name that is taken."""
    for action in added:
        if not 0 < action.lives_s <= LIVES_S_MAX:
            raise ValueError(f"a step-up for {action.name} lives at most {LIVES_S_MAX} s")
        actions.register(action.name, action)


def register_own() -> None:
    register(
        Action(ADD_PASSKEY, 300, "Add a passkey. No parameters."),
        Action(REMOVE_PASSKEY, 300, "Remove a passkey: `passkey` is its id."),
        Action(RENEW_CODES, 300, "Make new recovery codes. No parameters."),
        Action(ISSUE_KEY, 300, "Make an API key: `name`, `scopes`, `expires_at` as they will be sent."),
    )


def hash_of(action: str, parameters: Mapping[str, object]) -> bytes:
    """SHA-256 of the canonical form: names sorted, every value as text, so that any change changes it."""
    canonical = json.dumps([action, _canonical(parameters)], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


def _canonical(value: object) -> object:
    if isinstance(value, Mapping):
        return {"{": [[str(name), _canonical(value[name])] for name in sorted(value, key=str)]}
    if isinstance(value, list | tuple):
        return [_canonical(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | int | Decimal | UUID):
        return str(value)
    raise TypeError(f"a step-up parameter cannot be {type(value).__name__}")
