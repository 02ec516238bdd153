"""Who operates. The operator site has no way in of its own: the floor above, which knows people, registers how operators
are known and how they confirm what they do. Where nobody has, nobody gets in.

    operators.register(entrance)      # in AppConfig.ready
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, Protocol, TypeVar
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from audit.pseudonym import actor_ref_for
from raxx.kernel.errors import RaxxError
from raxx.kernel.registry import Registry

V = TypeVar("V", bound=Callable[..., HttpResponseBase])


class NoEntrance(RaxxError):
    """Nobody has registered how operators are known."""

    code = "NO_ENTRANCE"
    http_status = 503


class Visitor(Protocol):
    """Somebody who is signed in in this browser, operator or not."""

    @property
    def user(self) -> AbstractBaseUser: ...

    @property
    def is_operator(self) -> bool: ...

    @property
    def in_doubt(self) -> bool:
        """Not everybody could be asked who must be: they may take risk away, and nothing else."""
        ...

    def count(self, *, removes_risk: bool) -> None:
        """This request, against their limit. Raises RaxxError."""
        ...

    def confirm(self, *, action: str, parameters: Mapping[str, str], now: datetime) -> None:
        """Use up their confirmation of exactly this, in the transaction of what it is for. Raises RaxxError."""
        ...

    def sign_out(self, response: HttpResponseBase, *, now: datetime) -> None: ...

    def put_cookies(self, response: HttpResponseBase) -> None:
        """What their session was renewed with in passing goes back to the browser with whatever is answered."""
        ...


class Entrance(Protocol):
    """How operators come in, and are put out."""

    @property
    def script(self) -> str:
        """The static file that has forms with `data-passkey="confirmed"` confirmed before they are sent."""
        ...

    def recognise(self, request: HttpRequest, *, removes_risk: bool) -> Visitor | None:
        """Raises RaxxError where nobody can say who it is."""
        ...

    def sign_in_url(self, then: str) -> str:
        """Where one signs in, to be brought to the path `then`."""
        ...

    def admit_to_enrol(self, request: HttpRequest, user: AbstractBaseUser, *, now: datetime) -> HttpResponse:
        """Let somebody add a passkey and do nothing else; the shell has vouched for them. Raises RaxxError."""
        ...

    def end_sessions(self, user_id: UUID, *, why: str, now: datetime) -> int: ...


# What operators confirm at the moment of doing it: the name of an action → what it is and what is confirmed of it.
confirmed_actions: Registry[str] = Registry("actions that operators confirm")

_registered: Registry[Entrance] = Registry("entrance of operators")
_NAME, _VISITOR = "entrance", "raxx.visitor"


def register(entrance: Entrance) -> None:
    """Raises ValueError for a second one."""
    _registered.register(_NAME, entrance)


def entrance() -> Entrance:
    """Raises NoEntrance."""
    if _NAME not in _registered:
        raise NoEntrance("Nobody can enter: no app says how operators are known.")
    return _registered[_NAME]


def recognise(request: HttpRequest, *, removes_risk: bool = False) -> Visitor | None:
    """Who is signed in here, for the rest of this request. Raises RaxxError."""
    visitor = entrance().recognise(request, removes_risk=removes_risk)
    if visitor is not None:
        request.META[_VISITOR] = visitor  # first of all: its cookies must go out even if it is refused
        visitor.count(removes_risk=removes_risk)
        request.user = visitor.user  # type: ignore[assignment]  # the user model lives on a floor above
    return visitor


def put_cookies(request: HttpRequest, response: HttpResponseBase) -> None:
    visitor: Visitor | None = request.META.get(_VISITOR)
    if visitor is not None:
        visitor.put_cookies(response)


def operator_of(request: HttpRequest) -> Visitor:
    """The operator that was recognised. Raises PermissionDenied."""
    visitor: Visitor | None = request.META.get(_VISITOR)
    if visitor is None or not visitor.is_operator:
        raise PermissionDenied
    return visitor


def actor_of(request: HttpRequest) -> str:
    """The actor_ref of the signed-in operator, for what the operator site does. Raises PermissionDenied."""
    if not request.user.is_authenticated:
        raise PermissionDenied
    return actor_ref_for(request.user.pk)


def removing_risk(view: V) -> V:
    """A view that can take risk away: it is served to operators who are in doubt. It does nothing else for them."""

    @wraps(view)
    def marked(*args: Any, **kwargs: Any) -> HttpResponseBase:  # noqa: ANN401 - the view's own
        return view(*args, **kwargs)

    marked.removes_risk = True  # type: ignore[attr-defined]  # the admin copies what a view says of itself
    return marked  # type: ignore[return-value]


def removes_risk(view: Callable[..., object]) -> bool:
    return getattr(view, "removes_risk", False) is True
