"""/api/data-requests: a person asks for a copy of their data, for erasure, or for restriction.

The requests are the console's; who asks, and that they have just confirmed it with a passkey, is told here.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import transaction
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.request import Request
from rest_framework.response import Response

from audit.pseudonym import actor_ref_for
from console import downloads
from console.models import DataRequest
from console.services import data_requests
from raxx.identity.api import forms
from raxx.identity.api.views import OwnApi
from raxx.identity.data_rights import ASK, DOWNLOAD, HURRY, LIFT
from raxx.identity.services import step_up
from raxx.kernel import clock
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply
from raxx.kernel.api.fields import Choice, Form

NEW = Form({"kind": Choice(options=DataRequest.Kind, doc="What you ask for", required=True)})
_WRITE_FAILURES = (400, 403, 409, 411, 413, 415, 422)


class DataRequestShape(msgspec.Struct, frozen=True):
    """`due_at`: by then it is answered. `cooling_until`: until then an erasure can be taken back.
    `copy_until`: until then the copy can be downloaded."""

    id: UUID
    kind: str
    status: str
    received_at: datetime
    due_at: datetime
    cooling_until: datetime | None
    closed_at: datetime | None
    copy_until: datetime | None


def shape(row: DataRequest) -> DataRequestShape:
    export = getattr(row, "export", None)
    return DataRequestShape(
        row.pk, row.kind, row.status, row.received_at, row.due_at, row.cooling_until, row.closed_at,
        export.expires_at if export else None,
    )  # fmt: skip


class DataRequestsApi(OwnApi):
    @extend_schema(
        operation_id="data_requests_list", summary="List your requests about your data",
        responses=schema.responses(schema.envelope(DataRequestShape, many=True), failures=(403,)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Newest first."""
        mine = DataRequest.objects.filter(user_id=self.holder(request).user_id).select_related("export")
        return reply([shape(row) for row in mine.order_by("-received_at")[:200]])

    @extend_schema(
        operation_id="data_request_make", summary="Ask for your data, for erasure, or for restriction",
        request=schema.request(NEW),
        responses=schema.responses(schema.envelope(DataRequestShape), status=201, failures=_WRITE_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Needs a confirmation of `data.request.make` with exactly this body. Asking for erasure signs you out
        everywhere and ends your API keys at once; it can be taken back for 30 days."""
        holder, now = self.holder(request), clock.now()
        given = NEW.read(request.data)
        with transaction.atomic():
            step_up.use(holder=holder, action=ASK, parameters=dict(request.data), now=now)
            made = data_requests.receive(
                user_id=holder.user_id, kind=given["kind"], actor=actor_ref_for(holder.user_id), now=now
            )
        return reply(shape(made), status=201)


class DataRequestApi(OwnApi):
    @extend_schema(
        operation_id="data_request_cancel", summary="Take a request back",
        responses=schema.responses(schema.envelope(DataRequestShape), failures=(403, 409)),
    )  # fmt: skip
    def delete(self, request: Request, request_id: UUID) -> Response:
        """An erasure while it waits, a copy before it is made. Doing it twice changes nothing."""
        user_id = self.holder(request).user_id
        row = data_requests.cancel(
            request_id=request_id, user_id=user_id, actor=actor_ref_for(user_id), now=clock.now()
        )
        return reply(shape(row))


class _ConfirmedApi(OwnApi):
    """Does one thing with one request, confirmed with `request`, its id."""

    action: str

    def confirm(self, request: Request, request_id: UUID, now: datetime) -> UUID:
        """Within the transaction of the deed. Raises StepUpRequired."""
        forms.NOTHING.read(request.data)
        holder = self.holder(request)
        confirmed: Mapping[str, object] = {"request": str(request_id)}
        step_up.use(holder=holder, action=self.action, parameters=confirmed, now=now)
        return holder.user_id


class _DeedApi(_ConfirmedApi):
    """`deed` is the service that does it."""

    deed: Callable[..., DataRequest]

    @transaction.atomic
    def post(self, request: Request, request_id: UUID) -> Response:
        now = clock.now()
        user_id = self.confirm(request, request_id, now)
        row = type(self).deed(request_id=request_id, user_id=user_id, actor=actor_ref_for(user_id), now=now)
        return reply(shape(row))


def _described(
    operation_id: str, summary: str, description: str
) -> Callable[[type[_DeedApi]], type[_DeedApi]]:
    return extend_schema_view(
        post=extend_schema(
            operation_id=operation_id, summary=summary, description=description, request=schema.request(forms.NOTHING),
            responses=schema.responses(schema.envelope(DataRequestShape), failures=_WRITE_FAILURES),
        )
    )  # fmt: skip


@_described(
    "data_request_hurry", "Be erased without waiting",
    "Needs a confirmation of `data.request.hurry` with `request`, the id. Cannot be taken back.",
)  # fmt: skip
class HurryApi(_DeedApi):
    action, deed = HURRY, data_requests.waive


@_described(
    "data_request_lift", "End a restriction",
    "Needs a confirmation of `data.request.lift` with `request`, the id.",
)  # fmt: skip
class LiftApi(_DeedApi):
    action, deed = LIFT, data_requests.lift


_COPY = {
    answer: described
    for answer, described in schema.responses(
        schema.envelope(DataRequestShape), failures=(*_WRITE_FAILURES, 410)
    ).items()
    if answer[0] != 200
} | {(200, "application/zip"): OpenApiResponse(OpenApiTypes.BINARY, description="The zip")}


class CopyApi(_ConfirmedApi):
    action = DOWNLOAD

    @extend_schema(
        operation_id="data_request_copy", summary="Download your copy", request=schema.request(forms.NOTHING),
        responses=_COPY,
    )  # fmt: skip
    def post(self, request: Request, request_id: UUID) -> Response | StreamingHttpResponse:
        """Needs a confirmation of `data.copy.download` with `request`, the id. For seven days after it was made."""
        now = clock.now()
        with transaction.atomic():
            user_id = self.confirm(request, request_id, now)
            export, parts = data_requests.download(request_id=request_id, user_id=user_id, now=now)
        return downloads.as_file(export, parts)
