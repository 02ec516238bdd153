"""/api/mbt/structures: what is held, structure by structure; closing one and rolling one as one order."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mbt.api import forms, shapes
from mbt.api.orders import ORDER, submitted
from mbt.api.views import PaperApi
from mbt.services.orders import closing
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply

_FAILURES = (400, 403, 409, 411, 413, 415, 422)


class StructuresApi(PaperApi):
    @extend_schema(
        operation_id="structures_list", summary="What is held, structure by structure, and what closing each costs",
        responses=schema.responses(schema.envelope(shapes.StructureShape, many=True, marked=True), failures=(422,)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Positions are grouped as in the account's margin requirement. An `id` says what a structure is: it means the
        same when prices have moved the grouping. `natural_price` and `mid_price` are net prices of the order that closes
        one unit, as its `limit_price` names them; the costs are dollars for all of it."""
        found, marked_at = closing.structures(self.account(request))
        return reply([shapes.structure(each) for each in found], marked_at=marked_at)


class StructureCloseApi(PaperApi):
    removes_risk = frozenset({"POST"})

    @extend_schema(
        operation_id="structures_close", summary="Close a structure as one order, whole or a part of it",
        request=schema.request(forms.CLOSE_STRUCTURE), examples=forms.CLOSE_STRUCTURE_EXAMPLES,
        responses=schema.responses(ORDER, status=201, failures=_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """All of its legs or none. What takes several orders is refused, `NOT_ONE_ORDER`, with those that do it. The
        order never opens a position: where a leg is gone meanwhile it is refused, `NOTHING_TO_CLOSE`. Sending the same
        again with its `client_order_id` answers with the same order (header `Idempotent-Replayed: true`)."""
        structure, qty, _, terms = forms.structure(forms.CLOSE_STRUCTURE, request.data)
        account = self.account(request)
        asked = closing.to_close(account, structure, qty, terms)
        return submitted(self, request, account, asked.ticket, closes=asked.closes, opens=False)


class StructureRollApi(PaperApi):
    @extend_schema(
        operation_id="structures_roll", summary="Roll a structure to other contracts as one order",
        request=schema.request(forms.ROLL_STRUCTURE), examples=forms.ROLL_STRUCTURE_EXAMPLES,
        responses=schema.responses(ORDER, status=201, failures=_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Closes a structure, or some legs of one, and opens the same in the contracts that `expiration`,
        `strike_shift` or `to` say; a leg that stays what it is is not traded. The limit is the net price of both
        together. What does not fit into the four legs of a package is refused, `NOT_ONE_ORDER`, with the rolls that do
        it."""
        structure, qty, into, terms = forms.structure(forms.ROLL_STRUCTURE, request.data)
        account = self.account(request)
        asked = closing.to_roll(account, structure, qty, into, terms)
        return submitted(self, request, account, asked.ticket, closes=asked.closes)
