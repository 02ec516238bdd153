"""Every page of the operator site is for operators: asked before the page is, by the session that everybody has."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from console import operators, pages
from raxx.kernel.errors import RaxxError


class OperatorMiddleware(AuthenticationMiddleware):
    """Takes the place of Django's own, which would ask a session of its own. Elsewhere nobody is `request.user`."""

    def process_request(self, request: HttpRequest) -> None:
        request.user = AnonymousUser()

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponseBase], args: Any, kwargs: Any  # noqa: ANN401 - the view's own
    ) -> HttpResponseBase | None:  # fmt: skip
        if request.resolver_match is None or "admin" not in request.resolver_match.app_names:
            return None
        try:
            visitor = operators.recognise(request, removes_risk=operators.removes_risk(view))
        except RaxxError as refusal:
            return pages.trouble(request, refusal)
        if visitor is None:
            return pages.signed_out(request)
        return None if visitor.is_operator else pages.not_an_operator(request)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        operators.put_cookies(request, response)
        return response
