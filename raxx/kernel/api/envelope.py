"""The shape of every native answer: {"data": …, "meta": {…}}."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


def encode(value: object) -> bytes:
    """JSON. Decimals become strings, instants RFC 3339 in UTC, msgspec structs objects."""
    return _encoder.encode(value)


def reply(
    data: object, *, status: int = 200, headers: dict[str, str] | None = None, **meta: object
) -> Response:
    """An answer with its envelope. `data` may be a msgspec struct, a list of them or plain values."""
    return Response({"data": data, "meta": meta}, status=status, headers=headers)


class EnvelopeRenderer(BaseRenderer):
    """Encodes what `reply` and the error handler give."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: object,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else encode(data)
