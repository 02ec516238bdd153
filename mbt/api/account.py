"""/api/mbt/account, /positions, /activities: what there is and how it came about."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mbt import selectors
from mbt.api import forms, shapes
from mbt.api.views import PaperApi
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply
from raxx.kernel.api.pagination import newest_first


class AccountApi(PaperApi):
    @extend_schema(
        operation_id="account_get", summary="Cash, buying power, equity",
        responses=schema.responses(schema.envelope(shapes.AccountShape, marked=True)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """What depends on quotes is null while there are none; `meta.marked_at` says how old they are."""
        summary = selectors.account_summary(self.account(request))
        return reply(shapes.account(summary), marked_at=summary.marked_at)


class PositionsApi(PaperApi):
    @extend_schema(
        operation_id="positions_list", summary="Open positions",
        responses=schema.responses(schema.envelope(shapes.PositionShape, many=True, marked=True)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """By symbol. What depends on quotes is null for a position whose symbol has no two-sided quote."""
        holdings, marked_at = selectors.holdings(self.account(request))
        return reply([shapes.position(holding) for holding in holdings], marked_at=marked_at)


class PositionApi(PaperApi):
    @extend_schema(
        operation_id="positions_get", summary="One open position",
        responses=schema.responses(schema.envelope(shapes.PositionShape, marked=True), failures=(422,)),
    )  # fmt: skip
    def get(self, request: Request, symbol: str) -> Response:
        """By ticker or OSI option symbol."""
        holding, marked_at = selectors.holding(self.account(request), symbol)
        return reply(shapes.position(holding), marked_at=marked_at)


class ActivitiesApi(PaperApi):
    @extend_schema(
        operation_id="activities_list", summary="Every change of cash, newest first",
        parameters=schema.query(forms.ACTIVITY_LIST),
        responses=schema.responses(schema.envelope(shapes.ActivityShape, many=True, paged=True), failures=(422,)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Fills and adjustments; the amounts of all of them add up to the cash of the account."""
        wanted = self.query(request, forms.ACTIVITY_LIST)
        account = self.account(request)
        rows, following = newest_first(
            selectors.activities(account.id, kind=wanted.get("type"), start=wanted.get("from"), end=wanted.get("to")),
            key="id", owner=account.id, limit=wanted.get("limit"), page_token=wanted.get("page_token"),
        )  # fmt: skip
        return reply([shapes.activity(row) for row in rows], next_page_token=following)


class ActivityApi(PaperApi):
    @extend_schema(
        operation_id="activities_get", summary="One activity",
        responses=schema.responses(schema.envelope(shapes.ActivityShape)),
    )  # fmt: skip
    def get(self, request: Request, activity_id: UUID) -> Response:
        """A line of the account's history never changes."""
        account = self.account(request)
        return reply(shapes.activity(selectors.activity(account.id, activity_id)))
