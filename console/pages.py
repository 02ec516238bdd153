"""How operators come in and go out, and what is said to who may not. These paths stand before those of the stock admin
and take the place of its login and logout."""

from urllib.parse import urlencode

from django.contrib import admin
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import operators
from console.services import operator_links
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError

_CSRF_FIELD = "csrfmiddlewaretoken"


@never_cache
@require_safe
def sign_in(request: HttpRequest) -> HttpResponseBase:
    """There is no form here: whoever is not signed in signs in where everybody does, and comes back."""
    home, wanted = reverse("admin:index"), request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) and wanted.startswith(home)
    then = wanted if is_ours else home
    try:
        visitor = operators.recognise(request)
        if visitor is None:
            return redirect(operators.entrance().sign_in_url(then))
    except RaxxError as refusal:
        return trouble(request, refusal)
    return redirect(then) if visitor.is_operator else not_an_operator(request)


@never_cache
@require_POST
def sign_out(request: HttpRequest) -> HttpResponseBase:
    """Works in every degraded state."""
    try:
        visitor = operators.recognise(request, removes_risk=True)
        response = redirect(operators.entrance().sign_in_url(reverse("admin:index")))
        if visitor is not None:
            visitor.sign_out(response, now=clock.now())
    except RaxxError as refusal:
        return trouble(request, refusal)
    return response


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """GET shows a button, whatever the token: programs that preview links must not use them up."""
    if request.method != "POST":
        return _page(request, "console/enter.html")
    now = clock.now()
    try:
        with transaction.atomic():
            operator = operator_links.redeem(token=token, now=now)
            return operators.entrance().admit_to_enrol(request, operator, now=now)
    except operator_links.OperatorLinkInvalid as refusal:
        return _page(
            request, "console/link_refused.html", {"refusal": refusal.message}, status=refusal.http_status
        )
    except RaxxError as refusal:
        return trouble(request, refusal)


def no_passwords(request: HttpRequest) -> HttpResponse:
    """Where the stock admin would have one change a password."""
    raise Http404


def signed_out(request: HttpRequest) -> HttpResponse:
    """A form that was sent is kept, to be sent again once its sender has signed in, in another tab."""
    sign_in = reverse("operator-sign-in")
    if request.method != "POST":
        return redirect(f"{sign_in}?{urlencode({'next': request.get_full_path()})}")
    answer = _kept(
        request, status=401, heading="Your session is over",
        message="Nothing was done. Sign in in another tab, then send this again.", sign_in=sign_in,
    )  # fmt: skip
    answer["WWW-Authenticate"] = 'Session realm="Raxx"'
    return answer


def not_an_operator(request: HttpRequest) -> HttpResponse:
    return _page(request, "console/not_an_operator.html", status=403)


def trouble(request: HttpRequest, refusal: RaxxError) -> HttpResponse:
    """Nobody can be asked who it is, or they have asked too often. A form that was sent is kept."""
    answer = _kept(request, status=refusal.http_status, heading="Not now", message=refusal.message)
    if refusal.retry_after_s is not None:
        answer["Retry-After"] = str(refusal.retry_after_s)
    return answer


def _kept(request: HttpRequest, *, status: int, **context: object) -> HttpResponse:
    """Only what came with Django's own token is shown again: no page of somebody else can have made it."""
    fields = [
        (name, value)
        for name, values in (request.POST.lists() if request.method == "POST" else ())
        for value in values
        if name != _CSRF_FIELD
    ]
    context |= {
        "fields": fields,
        "again": request.get_full_path(),
        "halt_url": reverse("admin:console_switch_set"),
    }
    return _page(request, "console/kept.html", context, status=status)


def _page(
    request: HttpRequest, template: str, context: dict[str, object] | None = None, *, status: int = 200
) -> HttpResponse:
    return render(request, template, {**admin.site.each_context(request), **(context or {})}, status=status)


urlpatterns = [
    path("login/", sign_in, name="operator-sign-in"),
    path("logout/", sign_out, name="operator-sign-out"),
    path("enter/<str:token>/", enter, name="operator-enter"),
    path("password_change/", no_passwords),
    path("password_change/done/", no_passwords),
]
