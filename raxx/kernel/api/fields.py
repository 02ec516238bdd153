"""Declared input: what a body or a query string may hold, read strictly and documented from one place.

TICKET = Form({"symbol": Text(...), "qty": Number(...), ...})
values = TICKET.read(request.data)      # InvalidInput names field, rule, value and remedy
TICKET.schema()                         # the same as an OpenAPI object
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from raxx.kernel.errors import InvalidInput
from raxx.kernel.money import parse_number

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field(Generic[T]):
    """One named input. `read` turns what JSON or a query string gave into a value or raises InvalidInput."""

    doc: str
    required: bool = False

    def read(self, name: str, raw: object) -> T:
        raise NotImplementedError(name)  # pragma: no cover - abstract

    def schema(self) -> Schema:
        raise NotImplementedError  # pragma: no cover - abstract


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Field[str]):
    """A short string of allowed characters."""

    pattern: re.Pattern[str]
    rule: str
    example: str

    def read(self, name: str, raw: object) -> str:
        if type(raw) is str and self.pattern.fullmatch(raw):
            return raw
        raise InvalidInput(
            field=name, rule=self.rule, value=as_json(raw), remedy=f"Send for example {self.example!r}."
        )

    def schema(self) -> Schema:
        return {
            "type": "string",
            "pattern": f"^{self.pattern.pattern}$",
            "description": self.doc,
            "example": self.example,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Field[E]):
    """One of an enumeration's values."""

    options: type[E]

    def read(self, name: str, raw: object) -> E:
        if type(raw) is str:
            try:
                return self.options(raw)
            except ValueError:
                pass
        listed = ", ".join(self.options)
        raise InvalidInput(
            field=name,
            rule="must be one of the listed values",
            value=as_json(raw),
            remedy=f"Send one of: {listed}.",
        )

    def schema(self) -> Schema:
        return {"type": "string", "enum": [str(o) for o in self.options], "description": self.doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Field[Decimal]):
    """A positive decimal number, as a JSON string or number; with `signed` any. Source: docs/rules/numbers.md."""

    places: int
    maximum: Decimal
    unit: str
    signed: bool = False

    def read(self, name: str, raw: object) -> Decimal:
        if not isinstance(raw, str):
            raise self._wrong(name, "must be a number", raw, 'Send a decimal number such as "12.50".')
        value = parse_number(raw)
        if value is None:
            raise self._wrong(
                name,
                "must be a plain decimal number (ASCII digits, at most one point)",
                raw,
                'Send a decimal number such as "12.50".',
            )
        if value <= 0 and not self.signed:
            raise self._wrong(name, "must be greater than 0", raw, f"Send a positive number of {self.unit}.")
        if abs(value) > self.maximum:
            raise self._wrong(name, f"must be at most {self.maximum:,f}", raw, "Send a smaller number.")
        exponent = value.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > self.places:
            raise self._wrong(name, f"must have at most {self.places} decimals", raw, "Round it.")
        return value

    def _wrong(self, name: str, rule: str, raw: object, remedy: str) -> InvalidInput:
        return InvalidInput(field=name, rule=rule, value=as_json(raw), remedy=remedy)

    def schema(self) -> Schema:
        return {
            "type": "string",
            "format": "decimal",
            "description": f"{self.doc} ({self.unit}{'' if self.signed else ', > 0'}, at most {self.places} decimals).",
            "example": "1.00" if self.places else "1",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole(Field[int]):
    """A whole number within bounds."""

    minimum: int
    maximum: int

    def read(self, name: str, raw: object) -> int:
        value = parse_number(raw) if isinstance(raw, str) else None
        if value is None or value != value.to_integral_value() or not self.minimum <= value <= self.maximum:
            rule = f"must be a whole number from {self.minimum} to {self.maximum}"
            raise InvalidInput(
                field=name, rule=rule, value=as_json(raw), remedy="Send a number within those bounds."
            )
        return int(value)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum, "description": self.doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Field[bool]):
    """true or false."""

    def read(self, name: str, raw: object) -> bool:
        if isinstance(raw, bool):
            return raw
        raise InvalidInput(
            field=name, rule="must be true or false", value=as_json(raw), remedy="Send true or false."
        )

    def schema(self) -> Schema:
        return {"type": "boolean", "description": self.doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested(Field[dict[str, Any]]):
    """An object with fields of its own; errors name them with a dot."""

    form: "Form"

    def read(self, name: str, raw: object) -> dict[str, Any]:
        return self.form.read(raw, within=name)

    def schema(self) -> Schema:
        return {**self.form.schema(), "description": self.doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Field[list[dict[str, Any]]]):
    """A list of like objects; errors name them by their place, from 0."""

    form: "Form"
    maximum: int

    def read(self, name: str, raw: object) -> list[dict[str, Any]]:
        if not isinstance(raw, list) or len(raw) > self.maximum:
            raise InvalidInput(
                field=name, rule=f"must be a list of at most {self.maximum}", value=as_json(raw)[:200],
                remedy="Send […] with one object each.",
            )  # fmt: skip
        return [self.form.read(item, within=f"{name}[{place}]") for place, item in enumerate(raw)]

    def schema(self) -> Schema:
        return {
            "type": "array",
            "items": self.form.schema(),
            "maxItems": self.maximum,
            "description": self.doc,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier(Field[UUID]):
    """A UUID."""

    def read(self, name: str, raw: object) -> UUID:
        try:
            return UUID(raw) if type(raw) is str and len(raw) == 36 else _refuse()
        except ValueError:
            raise InvalidInput(
                field=name,
                rule="must be a UUID",
                value=as_json(raw),
                remedy='Send for example "018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f".',
            ) from None

    def schema(self) -> Schema:
        return {"type": "string", "format": "uuid", "description": self.doc}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant(Field[datetime]):
    """An RFC 3339 instant with its offset."""

    def read(self, name: str, raw: object) -> datetime:
        try:
            value = datetime.fromisoformat(raw) if type(raw) is str and raw.isascii() else _refuse()
            if value.tzinfo is None:
                _refuse()
            return value.astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidInput(
                field=name,
                rule="must be an RFC 3339 instant with an offset",
                value=as_json(raw),
                remedy='Send for example "2026-11-20T14:30:00Z".',
            ) from None

    def schema(self) -> Schema:
        return {"type": "string", "format": "date-time", "description": self.doc}


class Form:
    """A set of fields. Unknown names are refused, so that a misspelled limit is never a market order."""

    def __init__(self, fields: Mapping[str, Field[Any]]) -> None:
        self.fields = dict(fields)

    def read(self, data: object, *, within: str = "") -> dict[str, Any]:
        """Values by name; absent and null ones are left out. `within` names the field that holds the object.
        Raises InvalidInput."""
        prefix = f"{within}." if within else ""
        if not isinstance(data, Mapping):
            raise InvalidInput(
                field=within or "(body)",
                rule="must be a JSON object",
                value=as_json(data),
                remedy="Send {…} with named fields.",
            )
        for name in data:
            if name not in self.fields:
                known = ", ".join(self.fields)
                raise InvalidInput(
                    field=prefix + str(name)[:80],
                    rule="is not a field here",
                    value=as_json(data[name]),
                    remedy=f"Fields: {known}.",
                )
        values = {}
        for name, field in self.fields.items():
            raw = data.get(name)
            if raw is not None:
                values[name] = field.read(prefix + name, raw)
            elif field.required:
                raise InvalidInput(
                    field=prefix + name,
                    rule="is required",
                    value="nothing",
                    remedy=f"Send {name}: {field.doc}.",
                )
        return values

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                name: field.schema() if field.required else _or_null(field.schema())
                for name, field in self.fields.items()
            },
            "required": [name for name, field in self.fields.items() if field.required],
        }


def _or_null(schema: Schema) -> Schema:
    """As of a field that may be left out: null says the same."""
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable


def as_json(raw: object) -> str:
    """A refused value as its sender knows it: text and numbers as they came, the rest as JSON."""
    return raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False)


def _refuse() -> Any:  # noqa: ANN401 - never returns
    raise ValueError
