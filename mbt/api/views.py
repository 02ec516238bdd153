"""What every view of paper trading shares."""

from uuid import UUID

from rest_framework.request import Request

from audit.pseudonym import actor_ref_for
from console import flags
from mbt import selectors
from mbt.operator_views import PAPER_TRADING
from mbt.selectors import AccountRef
from raxx.identity.api.authentication import Principal
from raxx.identity.api.permissions import PaperScope
from raxx.kernel.api.views import ApiView


class PaperApi(ApiView):
    """A view of the caller's own paper account."""

    permission_classes = [PaperScope]

    def account(self, request: Request) -> AccountRef:
        """Raises NoAccount."""
        return selectors.account_ref(_user_id(request))

    def require_rollout(self, request: Request) -> None:
        """For what opens new risk. Raises FeatureOff."""
        flags.require_on(PAPER_TRADING, _user_id(request))

    def actor(self, request: Request) -> str:
        """The caller as the audit record knows them."""
        return actor_ref_for(_user_id(request))


def _user_id(request: Request) -> UUID:
    principal = request.user
    if not isinstance(principal, Principal):
        raise TypeError("a paper view was reached without an API key")  # PaperScope lets nobody else in
    return principal.user_id
