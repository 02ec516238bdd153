"""/api/mbt/account, /positions, /activities: what there is and how it came about."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mbt import selectors
from mbt.api import forms, shapes
from mbt.api.views import PaperApi
from mbt.services import accounts
from mbt.services.orders import closing
from mbt.services.restrictions import day_trading, settling
from raxx.kernel import clock
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply
from raxx.kernel.api.pagination import newest_first
from raxx.market.contracts import parse_symbol


class AccountApi(PaperApi):
    @extend_schema(
        operation_id="account_get", summary="Cash, buying power, equity",
        responses=schema.responses(schema.envelope(shapes.AccountShape, marked=True)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """What depends on quotes is null while there are none; `meta.marked_at` says how old they are."""
        account = self.account(request)
        summary = selectors.account_summary(account)
        row, now = summary.account, summary.marked_at or clock.now()
        is_plain = not account.is_margin and not row.shorts and row.restricted_until is None
        margin = None if is_plain else selectors.margin_summary(account)
        violations = [] if account.is_margin else settling.violations_of(account.id)
        trading = None
        if account.is_margin:
            found = margin.standing if margin else None
            excess = found.equity - found.requirement.maintenance if found else None
            trading = day_trading.summary(row, now_ns=clock.to_ns(now), excess=excess)
        shown = shapes.account(
            summary,
            margin,
            today=clock.exchange_date(clock.to_ns(now)),
            violations=violations,
            trading=trading,
        )
        return reply(shown, marked_at=summary.marked_at)


class AccountSettingsApi(PaperApi):
    @extend_schema(
        operation_id="account_settings", summary="How orders of the account fill, and what it is judged by",
        responses=schema.responses(schema.envelope(shapes.SettingsShape)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """A setting holds for orders that are sent from then on."""
        return reply(shapes.settings(selectors.account_summary(self.account(request)).account))

    @extend_schema(
        operation_id="account_settings_change", summary="Change settings", request=schema.request(forms.SETTINGS),
        examples=forms.SETTINGS_EXAMPLES,
        responses=schema.responses(
            schema.envelope(shapes.SettingsShape), failures=(400, 403, 409, 411, 413, 415, 422)
        ),
    )  # fmt: skip
    def patch(self, request: Request) -> Response:
        """All that are sent change, or none; what is left out stays. Open orders keep what they were accepted with. A
        margin model under which the account would not cover what it holds is refused: `MARGIN_MODEL_NOT_COVERED`."""
        wanted = accounts.Settings(**forms.SETTINGS.read(request.data))
        account = self.account(request)
        at = selectors.feed_instant(account.feed) or clock.now()
        row = accounts.change_settings(account, wanted, at=at, actor=self.actor(request))
        return reply(shapes.settings(row))


class MarginApi(PaperApi):
    @extend_schema(
        operation_id="account_margin", summary="What the account must have, group by group, and what is left",
        responses=schema.responses(schema.envelope(shapes.MarginShape, marked=True)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Each group names the positions that are charged together and the formula with its numbers; the amounts of
        the groups add up to the requirement."""
        summary = selectors.margin_summary(self.account(request))
        return reply(shapes.margin(summary), marked_at=summary.marked_at)


class PositionsApi(PaperApi):
    removes_risk = frozenset({"DELETE"})

    @extend_schema(
        operation_id="positions_list", summary="Open positions",
        responses=schema.responses(schema.envelope(shapes.PositionShape, many=True, marked=True)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """By symbol. What depends on quotes is null for a position whose symbol has no two-sided quote."""
        holdings, marked_at = selectors.holdings(self.account(request))
        return reply([shapes.position(holding) for holding in holdings], marked_at=marked_at)

    @extend_schema(
        operation_id="positions_close_all", summary="Close everything, each structure as one order",
        parameters=schema.query(forms.CLOSE_ALL),
        responses=schema.responses(schema.envelope(shapes.ClosedShape, many=True), failures=(403, 422)),
    )  # fmt: skip
    def delete(self, request: Request) -> Response:
        """Market orders: the options of a structure as one package, then the stock. Each is judged on its own; one
        that is denied is listed with its error and does not stop the others."""
        wanted = self.query(request, forms.CLOSE_ALL)
        account = self.account(request)
        market = selectors.order_market(account, selectors.held_symbols(account))
        found = closing.close_all(
            account=account, cancel_orders=wanted.get("cancel_orders") == forms.YesNo.TRUE, now_ns=market.now_ns,
            quotes=market.quotes, actor=self.actor(request),
        )  # fmt: skip
        return reply([shapes.closed(each) for each in found])


class PositionApi(PaperApi):
    removes_risk = frozenset({"DELETE"})

    @extend_schema(
        operation_id="positions_get", summary="One open position",
        responses=schema.responses(schema.envelope(shapes.PositionShape, marked=True), failures=(422,)),
    )  # fmt: skip
    def get(self, request: Request, symbol: str) -> Response:
        """By ticker or OSI option symbol."""
        holding, marked_at = selectors.holding(self.account(request), symbol)
        return reply(shapes.position(holding), marked_at=marked_at)

    @extend_schema(
        operation_id="positions_close", summary="Close one position at the market, whole or in part",
        parameters=schema.query(forms.CLOSE_ONE),
        responses=schema.responses(schema.envelope(shapes.OrderShape), failures=(403, 422)),
    )  # fmt: skip
    def delete(self, request: Request, symbol: str) -> Response:
        """Answers with the order. A long option that covers a short one is not sold alone: the denial names the
        package that closes both."""
        wanted = self.query(request, forms.CLOSE_ONE)
        account = self.account(request)
        symbol = parse_symbol(symbol).symbol
        market = selectors.order_market(account, [symbol])
        order = closing.close_position(
            account=account, symbol=symbol, qty=wanted.get("qty"), now_ns=market.now_ns, quotes=market.quotes,
            actor=self.actor(request),
        )  # fmt: skip
        return reply(shapes.order(order))


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
