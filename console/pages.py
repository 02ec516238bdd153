"""How operators come in. These paths stand before those of the stock admin and take the place of its login."""

from django.contrib import admin
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from console.services import operator_links
from raxx.kernel import clock

IDLE_S_MAX = 30 * 60


@never_cache
@require_safe
def sign_in_help(request: HttpRequest) -> HttpResponse:
    """There is no form to guess at: this says how to get a link."""
    return _page(request, "console/sign_in_help.html", {})


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows a button, whatever the token: programs that preview links must not use them up."""
    if request.method != "POST":
        return _page(request, "console/enter.html", {})
    try:
        operator = operator_links.redeem(token=token, now=clock.now())
    except operator_links.OperatorLinkInvalid as refusal:
        return _page(
            request, "console/sign_in_help.html", {"refusal": refusal.message}, status=refusal.http_status
        )
    login(request, operator)  # type: ignore[arg-type]  # the user model lives on a floor above
    request.session.set_expiry(IDLE_S_MAX)
    return redirect("admin:index")


def _page(request: HttpRequest, template: str, context: dict[str, object], status: int = 200) -> HttpResponse:
    return render(request, template, {**admin.site.each_context(request), **context}, status=status)


urlpatterns = [
    path("login/", sign_in_help, name="operator-sign-in-help"),
    path("enter/<str:token>/", enter, name="operator-enter"),
]
