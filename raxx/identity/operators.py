"""How operators come in: with the passkey and by the session that everybody has. The console asks for it, see
console/operators.py; what is theirs alone is that their sessions are shorter and that they carry the staff flag."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse

from console import operators, work_queue
from console.operators import Visitor
from console.work_queue import WorkItem
from raxx.identity import cookies, rate_limits, step_up
from raxx.identity.agents import label_of
from raxx.identity.fast_store import SessionsUnavailable
from raxx.identity.models import Session, SessionKind, User
from raxx.identity.services import sessions
from raxx.identity.services import step_up as confirmations
from raxx.identity.services.sessions import Issued, SessionHolder, SessionInvalid
from raxx.identity.step_up import Action
from raxx.kernel import clock


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person in a full session. `renewed` are cookies that must reach the browser."""

    user: User
    holder: SessionHolder
    renewed: Issued | None

    @property
    def is_operator(self) -> bool:
        return self.user.is_active and self.user.is_staff

    @property
    def in_doubt(self) -> bool:
        return self.holder.in_doubt

    def count(self, *, removes_risk: bool) -> None:
        rate_limits.count_user(self.holder.user_id, self.holder.tier, removes_risk=removes_risk)

    def confirm(self, *, action: str, parameters: Mapping[str, str], now: datetime) -> None:
        confirmations.use(holder=self.holder, action=action, parameters=parameters, now=now)

    def sign_out(self, response: HttpResponseBase, *, now: datetime) -> None:
        sessions.sign_out(holder=self.holder, now=now)
        cookies.clear(response)

    def put_cookies(self, response: HttpResponseBase) -> None:
        if (
            self.renewed is not None and cookies.ACCESS not in response.cookies
        ):  # or else they were just cleared
            cookies.put(response, self.renewed, clock.now())


class PasskeyEntrance:
    script = "identity/passkeys.js"

    def recognise(self, request: HttpRequest, *, removes_risk: bool) -> Visitor | None:
        access, renewal = (request.COOKIES.get(name, "") for name in (cookies.ACCESS, cookies.REFRESH))
        if not access and not renewal:
            return None
        try:
            holder, renewed = sessions.resume(
                access=access, renewal=renewal, now=clock.now(), removes_risk=removes_risk
            )
        except SessionInvalid:
            _count_stranger(request)
            return None
        if holder.kind != SessionKind.FULL:
            return None
        session = Session.objects.select_related("user").get(pk=holder.session_id)
        began_longer = session.expires_at - session.created_at > sessions.lifetime_of(session.user).absolute
        # Who has become an operator since signs in again, for a session as short as an operator's.
        return None if began_longer else SignedIn(session.user, holder, renewed)

    def sign_in_url(self, then: str) -> str:
        return f"{reverse('sign-in')}?{urlencode({'next': then})}"

    def admit_to_enrol(self, request: HttpRequest, user: AbstractBaseUser, *, now: datetime) -> HttpResponse:
        label = label_of(request.META.get("HTTP_USER_AGENT", ""))
        issued = sessions.start(
            user=User.objects.get(pk=user.pk), label=label, now=now, kind=SessionKind.RECOVERY
        )
        response = redirect("new-passkey")
        cookies.put(response, issued, now)
        return response

    def end_sessions(self, user_id: UUID, *, why: str, now: datetime) -> int:
        return sessions.revoke_all(user_id=user_id, now=now, why=why)


def locked_operators(now: datetime) -> Iterable[WorkItem]:
    """For the other operators: somebody is at the door."""
    for user in User.objects.filter(locked_until__gt=now).order_by("email"):
        yield WorkItem(
            f"Nobody signs in as {user.email} until {user.locked_until:%H:%M} UTC",
            "Somebody named their passkey and did not have it. They can come in by operator_link, and remove that passkey.",
            reverse("admin:identity_user_change", args=[user.pk]), is_urgent=True,
        )  # fmt: skip


def register() -> None:
    operators.register(PasskeyEntrance())
    work_queue.register("locked operators", locked_operators)
    step_up.register(*(Action(name, 300, description) for name, description in operators.confirmed_actions))


def _count_stranger(request: HttpRequest) -> None:
    try:
        rate_limits.count_stranger(rate_limits.address_of(request))
    except SessionsUnavailable:
        return  # they are refused anyway
