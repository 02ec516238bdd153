"""What every native API view is: strict JSON in, an envelope out, one error handler."""

from typing import Any

from rest_framework.request import Request
from rest_framework.views import APIView

from raxx.kernel.api.envelope import EnvelopeRenderer
from raxx.kernel.api.fields import Form
from raxx.kernel.api.json_body import StrictJsonParser


class ApiView(APIView):
    """Translates and calls one service or selector. Authentication comes from the settings."""

    parser_classes = [StrictJsonParser]
    renderer_classes = [EnvelopeRenderer]

    def query(self, request: Request, form: Form) -> dict[str, Any]:
        """The query string read by `form`; each name at most once (the last one counts)."""
        return form.read(request.query_params.dict())
