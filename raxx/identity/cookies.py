"""The cookies of a session. `__Host-` keeps them to this very host, Strict to pages that came from it, HttpOnly
away from scripts. Browsers take Secure cookies from http://localhost too."""

import secrets
from datetime import datetime

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from raxx.identity import tokens
from raxx.identity.services.sessions import Issued

ACCESS, REFRESH, VISITOR = "__Host-raxx", "__Host-raxx-r", "__Host-raxx-v"
_VISITOR_LIVES_S = 600


def put(response: HttpResponseBase, issued: Issued, now: datetime) -> None:
    """The session that was issued; a visitor's cookie goes."""
    left_s = max(0, int((issued.expires_at - now).total_seconds()))
    _set(response, ACCESS, issued.access, min(left_s, int(tokens.LIVES.total_seconds())))
    if issued.refresh is not None:
        _set(response, REFRESH, issued.refresh, left_s)
    _set(response, VISITOR, "", 0)


def clear(response: HttpResponseBase) -> None:
    for name in (ACCESS, REFRESH):
        _set(response, name, "", 0)


def visitor(request: HttpRequest) -> str:
    """The random name of a browser that is not signed in, or ""."""
    value = request.COOKIES.get(VISITOR, "")
    return value if len(value) == 43 else ""


def new_visitor(response: HttpResponseBase, value: str) -> None:
    _set(response, VISITOR, value, _VISITOR_LIVES_S)


def new_visitor_name() -> str:
    return secrets.token_urlsafe(32)


def _set(response: HttpResponseBase, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(
        name, value, max_age=max_age_s, path="/", secure=True, httponly=True, samesite="Strict"
    )
