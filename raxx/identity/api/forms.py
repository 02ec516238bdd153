"""What requests about people and their ways in may hold."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from raxx.identity.models import Scope
from raxx.identity.text import NAME, NAME_RULE
from raxx.kernel.api.fields import Field, Form, Instant, Schema, Text, as_json
from raxx.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Anything(Field[dict[str, Any]]):
    """An object whose inside is judged elsewhere."""

    def read(self, name: str, raw: object) -> dict[str, Any]:
        if isinstance(raw, Mapping):
            return dict(raw)
        raise InvalidInput(field=name, rule="must be an object", value=as_json(raw)[:80], remedy="Send {…}.")

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": True, "description": self.doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes(Field[list[str]]):
    """What a key may do."""

    def read(self, name: str, raw: object) -> list[str]:
        if isinstance(raw, list) and len(raw) <= 10 and all(type(each) is str for each in raw):
            return raw
        raise InvalidInput(
            field=name, rule="must be a list of scopes", value=as_json(raw)[:80],
            remedy="Send some of: " + ", ".join(Scope.values) + ".",
        )  # fmt: skip

    def schema(self) -> Schema:
        return {
            "type": "array", "items": {"type": "string", "enum": list(Scope.values)}, "maxItems": 10,
            "description": self.doc,
        }  # fmt: skip


_CREDENTIAL = Anything(doc="What the browser gives: `PublicKeyCredential.toJSON()`", required=True)
_NAME = Text(doc="What to call it", required=True, pattern=NAME, rule=NAME_RULE, example="My laptop")
_ACTION = Text(
    doc="What is to be confirmed, such as identity.api_key.issue", required=True,
    pattern=re.compile(r"[a-z0-9._]{1,64}", re.ASCII), rule="must be the name of an action",
    example="identity.passkey.add",
)  # fmt: skip
_PARAMETERS = Anything(
    doc="Exactly what the action will be asked with; {} where it takes nothing", required=True
)

NOTHING = Form({})
EMAIL = Form(
    {
        "email": Text(
            doc="Where we can reach you; one account for each address",
            required=True,
            pattern=re.compile(r"[^\x00-\x20\x7f]{3,254}"),
            rule="must be an email address",
            example="alice@example.com",
        )
    }
)
CREDENTIAL = Form({"credential": _CREDENTIAL})
ENROLMENT = Form({"credential": _CREDENTIAL, "name": _NAME})
NAMED = Form({"name": _NAME})
STEP_UP_WISH = Form({"action": _ACTION, "parameters": _PARAMETERS})
STEP_UP = Form({"action": _ACTION, "parameters": _PARAMETERS, "credential": _CREDENTIAL})
RECOVERY = Form(
    {
        "code": Text(
            doc="A recovery code; dashes, blanks and case make no difference",
            required=True,
            pattern=re.compile(r"[A-Za-z2-7 -]{1,100}", re.ASCII),
            rule="must be a recovery code",
            example="ABCD-EFGH-IJKL-MNOP-QRST-UVWX-YZ23",
        )
    }
)
NEW_KEY = Form(
    {
        "name": _NAME,
        "scopes": Scopes(doc="What the key may do", required=True),
        "expires_at": Instant(doc="When it stops working; without it, when you revoke it"),
    }
)
