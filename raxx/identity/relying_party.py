"""Who we are to a browser: fixed by RAXX_ORIGINS, or http://localhost on whatever port we run."""

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest

from raxx.identity.passkey_rules import RelyingParty
from raxx.kernel.errors import RaxxError


class NotAtHome(RaxxError):
    """Passkeys belong to a name, and this is not it."""

    code = "NOT_AT_HOME"
    http_status = 421


def relying_party(request: HttpRequest) -> RelyingParty:
    """Raises NotAtHome where the request came by a name that has no passkeys.

    Passkeys do not know ports, so on localhost any will do; browsers take it for secure.
    """
    if settings.RAXX_ORIGINS:
        return RelyingParty(str(settings.RAXX_RP_ID), settings.RAXX_ORIGINS)
    scheme = "https" if request.is_secure() else "http"
    origin = f"{scheme}://{request.get_host()}"
    if urlsplit(origin).hostname != "localhost":
        raise NotAtHome(
            "Passkeys belong to a name. Open http://localhost with the port of this address"
            " or, on a server, have RAXX_ORIGINS set.",
            field="Host",
            rule="must be localhost, or one of RAXX_ORIGINS",
            value=request.get_host(),
        )
    return RelyingParty("localhost", (origin,))


def is_own_origin(request: HttpRequest, origin: str) -> bool:
    """Whether a page of ours sent it."""
    if settings.RAXX_ORIGINS:
        return origin in settings.RAXX_ORIGINS
    return origin == f"{'https' if request.is_secure() else 'http'}://{request.get_host()}"
