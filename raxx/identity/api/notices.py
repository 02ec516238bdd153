"""/api/notices: what a person was told about their account."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from raxx.identity.api import shapes
from raxx.identity.api.views import OwnApi
from raxx.identity.models import Notice
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply


class NoticesApi(OwnApi):
    @extend_schema(
        operation_id="notices_list", summary="What happened to your account",
        responses=schema.responses(schema.envelope(shapes.NoticeShape, many=True), failures=(403, 429)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The last 50, newest first: passkeys added and removed, codes used, sessions that were ended for safety."""
        rows = Notice.objects.filter(user_id=self.holder(request).user_id).order_by("-at")[:50]
        return reply([shapes.notice(row) for row in rows])
