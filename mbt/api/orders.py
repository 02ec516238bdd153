"""/api/mbt/orders: submit, list, show, explain, replace, cancel."""

from collections.abc import Collection
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from console.flags import FeatureOff
from mbt import selectors
from mbt.api import forms, shapes
from mbt.api.views import PaperApi
from mbt.engine.explain import Explanation
from mbt.engine.tickets import Ticket
from mbt.selectors import AccountRef
from mbt.services import orders
from mbt.services.orders import previews
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply
from raxx.kernel.api.pagination import newest_first
from raxx.kernel.ids import new_id
from raxx.market.board import MarketDataUnavailable

ORDER = schema.envelope(shapes.OrderShape)


def submitted(
    view: PaperApi, request: Request, account: AccountRef, ticket: Ticket, *, closes: Collection[str] = (),
    opens: bool = True,
) -> Response:  # fmt: skip
    """The answer to an order that is sent. `closes`: symbols in which it must not open a position; `opens`: whether it
    may open any."""
    actor = view.actor(request)
    try:
        if opens:
            view.require_rollout(request)
        market = selectors.order_market(account, ticket.symbols)
    except (FeatureOff, MarketDataUnavailable):
        known = orders.resubmitted(account=account, ticket=ticket)
        if known is None:
            raise
        found = orders.Submitted(known, created=False)
    else:
        found = orders.submit(
            account=account, ticket=ticket, now_ns=market.now_ns, quotes=market.quotes, actor=actor, closes=closes
        )  # fmt: skip
    headers = None if found.created else {"Idempotent-Replayed": "true"}
    return reply(shapes.order(found.order), status=201, headers=headers)


class OrdersApi(PaperApi):
    @extend_schema(
        operation_id="orders_submit", summary="Submit an order", request=schema.request(forms.TICKET, forms.PACKAGE),
        examples=forms.TICKET_EXAMPLES + forms.PACKAGE_EXAMPLES,
        responses=schema.responses(ORDER, status=201, failures=(400, 403, 411, 413, 415, 422)),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Answers once the order is stored; it may fill a moment later. Sending the same `client_order_id` and
        terms again answers with the same order (header `Idempotent-Replayed: true`)."""
        ticket = forms.ticket(request.data)
        return submitted(self, request, self.account(request), ticket)

    @extend_schema(
        operation_id="orders_list", summary="List orders, newest first", parameters=schema.query(forms.ORDER_LIST),
        responses=schema.responses(schema.envelope(shapes.OrderShape, many=True, paged=True), failures=(422,)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Page by page; orders that come meanwhile do not move the pages that follow."""
        wanted = self.query(request, forms.ORDER_LIST)
        account = self.account(request)
        rows, following = newest_first(
            selectors.orders(account.id, openness=wanted.get("status"), symbol=wanted.get("symbol")),
            key="number", owner=account.id, limit=wanted.get("limit"), page_token=wanted.get("page_token"),
        )  # fmt: skip
        return reply([shapes.order(row) for row in rows], next_page_token=following)


class OrderPreviewApi(PaperApi):
    @extend_schema(
        operation_id="orders_preview", summary="What an order would need, before it is sent",
        request=schema.request(forms.TICKET, forms.PACKAGE), examples=forms.TICKET_EXAMPLES + forms.PACKAGE_EXAMPLES,
        responses=schema.responses(schema.envelope(shapes.PreviewShape), failures=(400, 403, 411, 413, 415, 422)),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Judges the order as a submission would, beside everything that is open, and stores nothing. A denial is
        part of the answer; so are the requirement before and after, group by group, the fees to expect, and warnings:
        of day trades, of unsettled cash, of halts."""
        ticket = forms.ticket(request.data)
        account = self.account(request)
        market = selectors.order_market(account, ticket.symbols)
        found = previews.preview(
            account=account, ticket=ticket, now_ns=market.now_ns, quotes=market.quotes, halted=market.halts
        )
        return reply(shapes.preview(found, selectors.structure_of(ticket)))


class OrderApi(PaperApi):
    removes_risk = frozenset({"DELETE"})

    @extend_schema(
        operation_id="orders_get",
        summary="Show one order",
        responses=schema.responses(ORDER),
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        """Its terms, its state, and what it holds until it is over."""
        account = self.account(request)
        return reply(shapes.order(selectors.order(account.id, order_id)))

    @extend_schema(
        operation_id="orders_replace", summary="Replace an open order", request=schema.request(forms.REPLACEMENT),
        examples=forms.REPLACEMENT_EXAMPLES,
        responses=schema.responses(ORDER, failures=(400, 403, 409, 411, 413, 415, 422)),
    )  # fmt: skip
    def patch(self, request: Request, order_id: UUID) -> Response:
        """Answers with a new order whose `replaces` names the old one. Both happen, or neither. What is filled in part
        keeps its fills and its `qty`; the new order's `qty` is the rest. Sending the same change with the same
        `client_order_id` again answers with the same order."""
        given = forms.REPLACEMENT.read(request.data)
        client_order_id = given.pop("client_order_id", None) or str(new_id())
        account = self.account(request)
        old = selectors.order(account.id, order_id)
        market = selectors.order_market(account, [leg["symbol"] for leg in old.legs] or [old.symbol])
        order = orders.replace(
            account=account, order_id=order_id, changes=orders.Changes(**given), client_order_id=client_order_id,
            now_ns=market.now_ns, quotes=market.quotes, actor=self.actor(request),
        )  # fmt: skip
        return reply(shapes.order(order))

    @extend_schema(
        operation_id="orders_cancel", summary="Cancel an open order",
        responses=schema.responses(ORDER, failures=(403, 409)),
    )  # fmt: skip
    def delete(self, request: Request, order_id: UUID) -> Response:
        """Works under every kill switch and without market data. Canceling a canceled order changes nothing."""
        account = self.account(request)
        order = orders.cancel(
            account=account, order_id=order_id, at=selectors.feed_instant(account.feed),
            actor=self.actor(request),
        )  # fmt: skip
        return reply(shapes.order(order))


class OrderExplanationApi(PaperApi):
    @extend_schema(
        operation_id="orders_explain", summary="Explain one order: why this price, why not yet, why not at all",
        responses=schema.responses(schema.envelope(Explanation)),
    )  # fmt: skip
    def get(self, request: Request, order_id: UUID) -> Response:
        """Sentences for people, and the same as facts for programs, from what was recorded when it happened."""
        account = self.account(request)
        return reply(selectors.explanation(account, order_id), order_id=order_id)
