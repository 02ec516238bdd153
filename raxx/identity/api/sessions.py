"""/api/sessions: signing up, signing in, coming back, staying, confirming, leaving."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from raxx.identity import cookies, rate_limits
from raxx.identity.api import csrf, forms, shapes
from raxx.identity.api.authentication import client_address
from raxx.identity.api.permissions import AnySession
from raxx.identity.api.views import OwnApi, StrangerApi, plain
from raxx.identity.models import User
from raxx.identity.services import entry, passkeys, recovery_codes, sessions, step_up
from raxx.identity.services.sessions import SessionInvalid
from raxx.kernel import clock
from raxx.kernel.api import schema
from raxx.kernel.api.envelope import reply

_OPTIONS = schema.envelope(shapes.OptionsShape)
_CEREMONY_FAILURES = (400, 403, 411, 413, 415, 421, 422, 429)


class SignUpOptionsApi(StrangerApi):
    ceremony = "sign-up-options"

    @extend_schema(
        operation_id="sign_up_options", summary="Begin to sign up", request=schema.request(forms.EMAIL),
        responses=schema.responses(_OPTIONS, failures=_CEREMONY_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Options for the first passkey; they say nothing about whether the address is taken."""
        email = forms.EMAIL.read(request.data)["email"]
        name = self.visitor(request) or cookies.new_visitor_name()
        options = entry.begin_sign_up(rp=self.relying_party(request), binding=name, email=email)
        response = reply(shapes.OptionsShape(options))
        cookies.new_visitor(response, name)
        return response


class SignUpApi(StrangerApi):
    ceremony = "sign-up"

    @extend_schema(
        operation_id="sign_up", summary="Sign up with a passkey", request=schema.request(forms.CREDENTIAL),
        responses=schema.responses(
            schema.envelope(shapes.SignedUpShape), status=201, failures=(*_CEREMONY_FAILURES, 409)
        ),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Makes the user, their passkey and ten recovery codes, and signs them in."""
        now = clock.now()
        made = entry.finish_sign_up(
            credential=forms.CREDENTIAL.read(request.data)["credential"], rp=self.relying_party(request),
            binding=self.visitor(request), label=self.label(request), now=now,
        )  # fmt: skip
        issued = made.session
        response = reply(
            shapes.SignedUpShape(issued.session_id, issued.user_id, issued.expires_at, made.recovery_codes),
            status=201,
        )
        cookies.put(response, issued, now)
        return response


class SignInOptionsApi(StrangerApi):
    ceremony = "sign-in-options"

    @extend_schema(
        operation_id="sign_in_options", summary="Begin to sign in", request=schema.request(forms.NOTHING),
        responses=schema.responses(_OPTIONS, failures=_CEREMONY_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Options for any passkey of this site: the same for everyone, but for the challenge."""
        forms.NOTHING.read(request.data)
        name = self.visitor(request) or cookies.new_visitor_name()
        response = reply(
            shapes.OptionsShape(passkeys.begin_sign_in(rp=self.relying_party(request), binding=name))
        )
        cookies.new_visitor(response, name)
        return response


class SessionsApi(OwnApi):
    """GET and DELETE are for who is signed in, POST is how one comes to be."""

    removes_risk = frozenset({"DELETE"})

    def get_authenticators(self) -> list[BaseAuthentication]:
        # Without a request the documentation asks, which is told by the views' own schema.
        return (
            [] if self.request is not None and self.request.method == "POST" else super().get_authenticators()
        )

    def get_permissions(self) -> Any:  # noqa: ANN401 - as its base has it
        return [] if self.request.method == "POST" else super().get_permissions()

    @extend_schema(
        operation_id="sign_in", auth=[], summary="Sign in with a passkey", request=schema.request(forms.CREDENTIAL),
        responses=schema.responses(schema.envelope(shapes.SignedInShape), status=201, failures=_CEREMONY_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Sets the cookies of a new session. A failed ceremony is begun again with new options."""
        csrf.check(request)
        rate_limits.count_ceremony(client_address(request), "sign-in")
        now = clock.now()
        issued = entry.sign_in(
            credential=forms.CREDENTIAL.read(request.data)["credential"], rp=self.relying_party(request),
            binding=cookies.visitor(plain(request)), label=self.label(request), now=now,
        )  # fmt: skip
        _end_former(request)
        response = reply(shapes.signed_in(issued), status=201)
        cookies.put(response, issued, now)
        return response

    @extend_schema(
        operation_id="sessions_list", summary="List your sessions",
        responses=schema.responses(schema.envelope(shapes.SessionShape, many=True), failures=(403, 429)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Those that may still be alive, newest first."""
        holder = self.holder(request)
        rows = sessions.listed(user_id=holder.user_id, now=clock.now())
        return reply([shapes.session(row, holder.session_id) for row in rows])

    @extend_schema(
        operation_id="sessions_end_others", summary="Sign out everywhere else",
        responses=schema.responses(schema.envelope(shapes.EndedShape), failures=(403, 429)),
    )  # fmt: skip
    def delete(self, request: Request) -> Response:
        """Ends every session but this one. They are refused from the answer on, on every server."""
        holder = self.holder(request)
        ended = sessions.revoke_all(user_id=holder.user_id, now=clock.now(), but=holder.session_id)
        return reply(shapes.EndedShape(ended))


class CurrentSessionApi(OwnApi):
    permission_classes = [AnySession]
    removes_risk = frozenset({"DELETE"})

    @extend_schema(
        operation_id="session_current", summary="Who is signed in here",
        responses=schema.responses(schema.envelope(shapes.CurrentSessionShape), failures=(403, 429)),
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The user and the session; reading it counts as use."""
        holder = self.holder(request)
        user = User.objects.get(pk=holder.user_id)
        left = recovery_codes.left(user.pk)
        return reply(shapes.current(user, holder.session_id, holder.kind.value, holder.expires_at, left))

    @extend_schema(
        operation_id="sign_out", summary="Sign out",
        responses=schema.responses(schema.envelope(shapes.EndedShape), failures=(403, 429)),
    )  # fmt: skip
    def delete(self, request: Request) -> Response:
        """Ends this session and takes its cookies. Works in every degraded state."""
        sessions.sign_out(holder=self.holder(request), now=clock.now())
        response = reply(shapes.EndedShape(1))
        cookies.clear(response)
        return response


class SessionApi(OwnApi):
    removes_risk = frozenset({"DELETE"})

    @extend_schema(
        operation_id="session_end", summary="End one of your sessions",
        responses=schema.responses(schema.envelope(shapes.EndedShape), failures=(403, 429)),
    )  # fmt: skip
    def delete(self, request: Request, session_id: UUID) -> Response:
        """It is refused from the answer on, on every server. Ending it twice changes nothing."""
        sessions.revoke(user_id=self.holder(request).user_id, session_id=session_id, now=clock.now())
        return reply(shapes.EndedShape(1))


class RefreshApi(StrangerApi):
    ceremony = ""

    @extend_schema(
        operation_id="session_refresh", summary="Stay signed in", request=schema.request(forms.NOTHING),
        responses=schema.responses(schema.envelope(shapes.SignedInShape), failures=(400, 403, 411, 413, 415, 422, 429)),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """New cookies for the refresh cookie, which is good once. Its reuse ends the session."""
        forms.NOTHING.read(request.data)
        now, presented = clock.now(), request.COOKIES.get(cookies.REFRESH, "")
        rate_limits.count_refresh(presented)
        try:
            issued = sessions.refresh(presented=presented, now=now)
        except SessionInvalid:
            rate_limits.count_stranger(rate_limits.address_of(plain(request)))
            raise
        response = reply(shapes.signed_in(issued))
        cookies.put(response, issued, now)
        return response


class RecoveryApi(StrangerApi):
    ceremony = "recovery"

    @extend_schema(
        operation_id="session_recover", summary="Come back with a recovery code", request=schema.request(forms.RECOVERY),
        responses=schema.responses(schema.envelope(shapes.SignedInShape), status=201, failures=_CEREMONY_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Uses the code up and opens a session of 15 minutes that can add a passkey and nothing else."""
        now = clock.now()
        code = forms.RECOVERY.read(request.data)["code"]
        issued = entry.recover(code=code, label=self.label(request), now=now)
        response = reply(shapes.signed_in(issued), status=201)
        cookies.put(response, issued, now)
        return response


class StepUpOptionsApi(OwnApi):
    @extend_schema(
        operation_id="step_up_options", summary="Begin to confirm an action", request=schema.request(forms.STEP_UP_WISH),
        responses=schema.responses(_OPTIONS, failures=_CEREMONY_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """Options for one of your own passkeys, good for this action with these parameters only."""
        holder = self.holder(request)
        rate_limits.count_ceremony_of(holder.user_id, "step-up-options")
        given = forms.STEP_UP_WISH.read(request.data)
        options = step_up.begin(holder=holder, rp=self.relying_party(request), **given)
        return reply(shapes.OptionsShape(options))


class StepUpApi(OwnApi):
    @extend_schema(
        operation_id="step_up", summary="Confirm an action with a passkey", request=schema.request(forms.STEP_UP),
        responses=schema.responses(schema.envelope(shapes.GrantShape), status=201, failures=_CEREMONY_FAILURES),
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        """The confirmation waits for one use, 120 to 300 seconds. The session gets a new token."""
        holder, now = self.holder(request), clock.now()
        rate_limits.count_ceremony_of(holder.user_id, "step-up")
        given = forms.STEP_UP.read(request.data)
        grant, issued = step_up.finish(holder=holder, rp=self.relying_party(request), now=now, **given)
        response = reply(shapes.GrantShape(grant.action, grant.expires_at), status=201)
        cookies.put(response, issued, now)
        return response


def _end_former(request: Request) -> None:
    """The session that this browser had before: its cookies are about to be replaced."""
    try:
        former = sessions.present(access=request.COOKIES.get(cookies.ACCESS, ""), now=clock.now())
    except SessionInvalid:
        return
    sessions.sign_out(holder=former, now=clock.now())
