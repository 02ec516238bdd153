"""/api/mbt/positions/{symbol}/exercise, /do-not-exercise, and the instructions in force."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from mbt import selectors
from mbt.api import forms, shapes
from mbt.api.forms import When
from mbt.api.views import PaperApi
from mbt.models import ExerciseInstruction
from mbt.selectors.accounts import instructions_of
from mbt.selectors.markets import symbols_around, with_tickers
from mbt.services.events import instructions
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply
from raxx.market.contracts import parse_symbol

_FAILURES = (400, 403, 411, 413, 415, 422)
_INSTRUCTION = schema.envelope(shapes.InstructionShape)


class ExerciseApi(PaperApi):
    @extend_schema(
        operation_id="positions_exercise", summary="Exercise a long option, now or at expiration",
        request=schema.request(forms.EXERCISE), examples=forms.EXERCISE_EXAMPLES,
        responses=schema.responses(schema.envelope(shapes.ExerciseShape), failures=_FAILURES),
    )  # fmt: skip
    def post(self, request: Request, symbol: str) -> Response:
        """Now: whole or not at all, at once; without a body all that no open order offers. At expiration: also where
        the contract is not in the money; one that is in the money is exercised without being asked for. Sending the
        same `client_request_id` again answers with the same exercise (header `Idempotent-Replayed: true`)."""
        asked = forms.EXERCISE.read(request.data)
        account = self.account(request)
        symbol = parse_symbol(symbol).symbol
        if asked.get("when") == When.EXPIRATION:
            market = selectors.market(account.feed, [])
            given = instructions.instruct(
                account=account, symbol=symbol, kind=ExerciseInstruction.Kind.EXERCISE, qty=asked.get("qty"),
                now_ns=market.now_ns, actor=self.actor(request),
            )  # fmt: skip
            shape = shapes.ExerciseShape(symbol=symbol, activities=[], instruction=shapes.instruction(given))
            return reply(shape)
        wanted = symbols_around(account) | with_tickers([symbol])
        market = selectors.market(account.feed, sorted(wanted))
        done = instructions.exercise(
            account=account, symbol=symbol, qty=asked.get("qty"), request_id=asked.get("client_request_id"),
            now_ns=market.now_ns, quotes=market.quotes, actor=self.actor(request),
        )  # fmt: skip
        activities = [shapes.activity(row) for row in done.activities]
        shape = shapes.ExerciseShape(symbol=symbol, activities=activities, instruction=None)
        return reply(shape, headers=None if done.created else {"Idempotent-Replayed": "true"})

    @extend_schema(
        operation_id="positions_exercise_withdraw", summary="Take back an exercise at expiration",
        responses=schema.responses(_INSTRUCTION, failures=(403, 422)),
    )  # fmt: skip
    def delete(self, request: Request, symbol: str) -> Response:
        """Until the cut-off. Taking it back again changes nothing."""
        return _withdraw(self, request, symbol, ExerciseInstruction.Kind.EXERCISE)


class DoNotExerciseApi(PaperApi):
    @extend_schema(
        operation_id="positions_do_not_exercise", summary="Leave a long option unexercised at expiration",
        request=schema.request(forms.DO_NOT_EXERCISE),
        responses=schema.responses(_INSTRUCTION, failures=_FAILURES),
    )  # fmt: skip
    def post(self, request: Request, symbol: str) -> Response:
        """Although it is in the money. Given again it stands as it was; works under every kill switch."""
        asked = forms.DO_NOT_EXERCISE.read(request.data)
        account = self.account(request)
        market = selectors.market(account.feed, [])
        given = instructions.instruct(
            account=account, symbol=parse_symbol(symbol).symbol, kind=ExerciseInstruction.Kind.DO_NOT_EXERCISE,
            qty=asked.get("qty"), now_ns=market.now_ns, actor=self.actor(request),
        )  # fmt: skip
        return reply(shapes.instruction(given))

    @extend_schema(
        operation_id="positions_do_not_exercise_withdraw", summary="Take back a do-not-exercise",
        responses=schema.responses(_INSTRUCTION, failures=(403, 422)),
    )  # fmt: skip
    def delete(self, request: Request, symbol: str) -> Response:
        """Until the cut-off. Taking it back again changes nothing."""
        return _withdraw(self, request, symbol, ExerciseInstruction.Kind.DO_NOT_EXERCISE)


class InstructionsApi(PaperApi):
    @extend_schema(
        operation_id="exercise_instructions_list", summary="The instructions for expiration that are in force",
        responses=schema.responses(schema.envelope(shapes.InstructionShape, many=True)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """By symbol."""
        found = instructions_of(self.account(request).id)
        return reply([shapes.instruction(row) for row in found])


def _withdraw(view: PaperApi, request: Request, symbol: str, kind: ExerciseInstruction.Kind) -> Response:
    account = view.account(request)
    market = selectors.market(account.feed, [])
    found = instructions.withdraw(
        account=account, symbol=parse_symbol(symbol).symbol, kind=kind, now_ns=market.now_ns, actor=view.actor(request)
    )  # fmt: skip
    return reply(shapes.instruction(found))
