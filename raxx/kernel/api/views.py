"""What every native API view is: strict JSON in, an envelope out, one error handler."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from raxx.kernel.api.envelope import EnvelopeRenderer
from raxx.kernel.api.fields import Form
from raxx.kernel.api.json_body import StrictJsonParser
from raxx.kernel.errors import InvalidInput, RaxxError


class LengthRequired(RaxxError):
    """The body comes in chunks. Django would take it for an empty one."""

    code = "LENGTH_REQUIRED"
    http_status = 411


class ApiView(APIView):
    """Translates and calls one service or selector. Authentication comes from the settings."""

    parser_classes = [StrictJsonParser]
    renderer_classes = [EnvelopeRenderer]
    # Methods that take risk away: they have a reserve beyond the rate limit, and are served while Valkey is gone.
    removes_risk: frozenset[str] = frozenset()

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        if request.META.get("HTTP_TRANSFER_ENCODING") and not request.META.get("CONTENT_LENGTH"):
            raise LengthRequired(
                "The body was sent in chunks, which cannot be read here. Send it whole.",
                field="Content-Length",
                rule="must say how long the body is",
                remedy="Send the body whole, with the header Content-Length.",
            )

    def query(self, request: Request, form: Form) -> dict[str, Any]:
        """The query string read by `form`. Raises InvalidInput, also for a name that comes twice."""
        for name, given in request.query_params.lists():
            if len(given) > 1:
                raise InvalidInput(
                    field=name[:80],
                    rule="must come at most once",
                    value=", ".join(given),
                    remedy="Send it once.",
                )
        return form.read(request.query_params.dict())

    def options(self, request: Request, *args: object, **kwargs: object) -> Response:  # type: ignore[override]
        """What may be done here is in the header Allow; the rest is in /api/schema/."""
        return Response(status=204)

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        """What is private is kept by no cache."""
        final = super().finalize_response(request, response, *args, **kwargs)
        final["Cache-Control"] = "no-store"
        return final
