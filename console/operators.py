from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from audit.pseudonym import actor_ref_for


def actor_of(request: HttpRequest) -> str:
    """The actor_ref of the signed-in operator, for what the operator site does."""
    if not request.user.is_authenticated:
        raise PermissionDenied
    return actor_ref_for(request.user.pk)
