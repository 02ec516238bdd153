from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from raxx.identity.models import Scope
from raxx.identity.selectors import KeyHolder


class PaperScope(BasePermission):
    """Reading needs `paper:read` or `paper:trade`, everything else `paper:trade`."""

    message = "This API key may not do that: it lacks the scope. Make a key with paper:trade."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, KeyHolder):
            return False
        enough = (
            {Scope.PAPER_TRADE, Scope.PAPER_READ} if request.method in SAFE_METHODS else {Scope.PAPER_TRADE}
        )
        return not request.auth.scopes.isdisjoint(enough)
