"""What every view about people and their ways in shares."""

from django.http import HttpRequest
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from raxx.identity import cookies, rate_limits
from raxx.identity.agents import label_of
from raxx.identity.api import csrf
from raxx.identity.api.authentication import SessionAuthentication, client_address
from raxx.identity.api.permissions import FullSession
from raxx.identity.passkey_rules import RelyingParty
from raxx.identity.relying_party import relying_party
from raxx.identity.services.sessions import SessionHolder
from raxx.kernel.api.views import ApiView


class IdentityApi(ApiView):
    """Helpers only."""

    def relying_party(self, request: Request) -> RelyingParty:
        """Raises NotAtHome."""
        return relying_party(plain(request))

    def label(self, request: Request) -> str:
        return label_of(request.META.get("HTTP_USER_AGENT", ""))


class StrangerApi(IdentityApi):
    """A view for who is not signed in. Cookies are set here too, so a page of ours must have asked."""

    authentication_classes = []
    permission_classes = [AllowAny]
    ceremony = ""  # what is counted, ten times a minute and address

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        super().initial(request, *args, **kwargs)
        csrf.check(request)
        if self.ceremony:
            rate_limits.count_ceremony(client_address(request), self.ceremony)

    def visitor(self, request: Request) -> str:
        return cookies.visitor(plain(request))


class OwnApi(IdentityApi):
    """A view for a person in a full session. API keys open nothing here."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [FullSession]

    def holder(self, request: Request) -> SessionHolder:
        holder = request.auth
        if not isinstance(holder, SessionHolder):
            raise TypeError("a session's view was reached without one")  # its permission lets nobody else in
        return holder


def plain(request: Request) -> HttpRequest:
    """Django's own request."""
    return request._request
