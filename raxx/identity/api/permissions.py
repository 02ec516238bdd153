from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from raxx.identity.models import Scope, SessionKind
from raxx.identity.selectors import KeyHolder
from raxx.identity.services.sessions import SessionHolder


class PaperScope(BasePermission):
    """A person in a full session may do everything; a key needs `paper:read` or `paper:trade` for reading,
    and `paper:trade` for everything else."""

    message = "This API key may not do that: it lacks the scope. Make a key with paper:trade."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if isinstance(request.auth, SessionHolder):
            self.message = "A recovery session can only add a passkey. Add one, then sign in with it."
            return request.auth.kind == SessionKind.FULL
        if not isinstance(request.auth, KeyHolder):
            return False
        enough = (
            {Scope.PAPER_TRADE, Scope.PAPER_READ} if request.method in SAFE_METHODS else {Scope.PAPER_TRADE}
        )
        return not request.auth.scopes.isdisjoint(enough)


class FullSession(BasePermission):
    """A person who signed in with a passkey."""

    message = "A recovery session can only add a passkey. Add one, then sign in with it."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, SessionHolder) and request.auth.kind == SessionKind.FULL


class AnySession(BasePermission):
    """A person who signed in with a passkey, or is coming back with a recovery code."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return isinstance(request.auth, SessionHolder)
