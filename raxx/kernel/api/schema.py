"""OpenAPI pieces made from what the code really reads and writes."""

from http import HTTPStatus
from typing import Any

import msgspec

from raxx.kernel.api.fields import Field, Form
from raxx.kernel.api.fields import Schema as JsonSchema

_ERROR = {
    "title": "Error",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "Stable; branch on this."},
                "message": {"type": "string", "description": "One sentence for people."},
                "request_id": {"type": "string"},
                "details": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "field, rule, value, remedy and what else the failure knows.",
                },
            },
        }
    },
}


def envelope(
    kind: Any,  # noqa: ANN401 - a type form
    *,
    many: bool = False,
    paged: bool = False,
    marked: bool = False,
) -> JsonSchema:
    """The schema of {"data": kind, "meta": …}; with `paged` meta holds next_page_token, with `marked` the
    instant of the quotes, marked_at."""
    data = _inline(msgspec.json.schema(list[kind] if many else kind))
    meta: JsonSchema = {}
    if paged:
        meta["next_page_token"] = {"type": ["string", "null"], "description": "null: this was the last page."}
    if marked:
        meta["marked_at"] = {
            "type": ["string", "null"],
            "format": "date-time",
            "description": "null: no quotes.",
        }
    return {
        "type": "object",
        "required": ["data", "meta"],
        "properties": {"data": data, "meta": {"type": "object", "properties": meta, "required": list(meta)}},
    }


# What any request may meet: no key, too many requests, no account, an Accept header without JSON, a database that does not answer.
_ANYWHERE = (401, 404, 406, 429, 503)


def responses(success: JsonSchema, *, status: int = 200, failures: tuple[int, ...] = ()) -> dict[Any, Any]:
    """For `extend_schema(responses=…)`: the success and every documented failure."""
    from drf_spectacular.utils import OpenApiResponse

    return {
        (code, "application/json"): OpenApiResponse(
            success if code == status else _ERROR, description=HTTPStatus(code).phrase
        )
        for code in sorted({status, *_ANYWHERE, *failures})
    }


def request(*forms: Form) -> dict[str, JsonSchema]:
    """For `extend_schema(request=…)`: a body of one of these forms."""
    schemas = [form.schema() for form in forms]
    return {"application/json": schemas[0] if len(schemas) == 1 else {"oneOf": schemas}}


def example(name: str, **body: object) -> Any:  # noqa: ANN401 - an OpenApiExample
    """For `extend_schema(examples=…)`: a body that can be sent."""
    from drf_spectacular.utils import OpenApiExample

    return OpenApiExample(name, value=body, request_only=True)


def query(form: Form) -> list[Any]:
    """For `extend_schema(parameters=…)`."""
    from drf_spectacular.utils import OpenApiParameter

    return [
        OpenApiParameter(
            name=name,
            type={k: v for k, v in field.schema().items() if k != "description"},
            location=OpenApiParameter.QUERY,
            required=field.required,
            description=field.doc,
        )
        for name, field in _fields(form)
    ]


def _fields(form: Form) -> list[tuple[str, Field[Any]]]:
    return list(form.fields.items())


def _inline(schema: JsonSchema) -> JsonSchema:
    """msgspec puts structs under $defs; OpenAPI wants them in place (ours do not recurse)."""
    defs = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, dict):
            reference = node.get("$ref")
            if reference is not None:
                return resolve(defs[reference.rsplit("/", 1)[1]])
            return {key: resolve(value) for key, value in node.items()}
        return [resolve(value) for value in node] if isinstance(node, list) else node

    resolved: JsonSchema = resolve(schema)
    return resolved


def hoist(result: JsonSchema, **_: object) -> JsonSchema:
    """A drf-spectacular hook: named objects become components, each written once and referred to."""
    components = result.setdefault("components", {}).setdefault("schemas", {})

    def visit(node: Any) -> Any:  # noqa: ANN401 - JSON
        if isinstance(node, list):
            return [visit(value) for value in node]
        if not isinstance(node, dict):
            return node
        visited = {key: visit(value) for key, value in node.items()}
        title = visited.get("title")
        if visited.get("type") != "object" or not isinstance(title, str):
            return visited
        name = title.removesuffix("Shape")
        components[name] = {key: value for key, value in visited.items() if key != "title"}
        return {"$ref": f"#/components/schemas/{name}"}

    result["paths"] = visit(result["paths"])
    result["components"]["schemas"] = dict(sorted(components.items()))
    return result
