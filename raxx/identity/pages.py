"""Pages for signing up, signing in, coming back, and for one's passkeys, sessions and keys.

GET shows and changes nothing. What needs a passkey is done by the script through the API; what only takes something
away also works without it, by forms with Django's token.
"""

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from audit.pseudonym import actor_ref_for
from raxx.identity import cookies, rate_limits
from raxx.identity.fast_store import SessionsUnavailable
from raxx.identity.models import ApiKey, Notice, Passkey, Scope, SessionKind, User
from raxx.identity.services import api_keys, passkeys, recovery_codes, sessions
from raxx.identity.services.sessions import SessionHolder, SessionInvalid
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError

View = Callable[..., HttpResponseBase]


def public(view: View) -> View:
    """A page for everyone, counted by address."""

    @wraps(view)
    @never_cache
    @require_safe
    def wrapper(request: HttpRequest) -> HttpResponseBase:
        return view(request)

    return wrapper


def signed_in(*, removes_risk: bool = False, recovery: bool = False) -> Callable[[View], View]:
    """A page for who is signed in. Others are sent to sign in, or the page asks for a fresh token by itself."""

    def decorate(view: View) -> View:
        @wraps(view)
        @never_cache
        def wrapper(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
            try:
                holder = sessions.present(
                    access=request.COOKIES.get(cookies.ACCESS, ""), now=clock.now(), removes_risk=removes_risk
                )
                rate_limits.count_user(holder.user_id, holder.tier, removes_risk=removes_risk)
            except SessionInvalid:
                if request.COOKIES.get(cookies.REFRESH) and request.method in ("GET", "HEAD"):
                    return render(request, "identity/continue.html")
                return redirect("sign-in")
            except (SessionsUnavailable, rate_limits.RateLimited) as refusal:
                return _trouble(request, refusal)
            if holder.kind != SessionKind.FULL and not recovery:
                return redirect("new-passkey")
            try:
                return view(request, holder, *args, **kwargs)
            except RaxxError as refusal:
                return _trouble(request, refusal)

        return wrapper

    return decorate


@public
def sign_up(request: HttpRequest) -> HttpResponse:
    return render(request, "identity/sign_up.html")


@public
def sign_in(request: HttpRequest) -> HttpResponse:
    """`next` is where one comes from, if that is a page of ours."""
    wanted = request.GET.get("next", "")
    is_ours = wanted.startswith("/") and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None)
    return render(request, "identity/sign_in.html", {"then": wanted if is_ours else reverse("account")})


@public
def recover(request: HttpRequest) -> HttpResponse:
    return render(request, "identity/recover.html")


@signed_in(recovery=True)
def new_passkey(request: HttpRequest, holder: SessionHolder) -> HttpResponse:
    """Where a recovery leads to, and an operator's link."""
    then = reverse("sign-in")
    if User.objects.get(pk=holder.user_id).is_staff:
        then += "?" + urlencode({"next": reverse("admin:index")})
    context = {"recovering": holder.kind != SessionKind.FULL, "then": then}
    return render(request, "identity/new_passkey.html", context)


@signed_in()
def account(request: HttpRequest, holder: SessionHolder) -> HttpResponse:
    user = User.objects.get(pk=holder.user_id)
    context = {
        "user_shown": user,
        "tier": user.get_tier_display(),
        "limit": rate_limits.PER_MINUTE[holder.tier],
        "passkeys": Passkey.objects.filter(user=user).order_by("created_at", "id"),
        "codes_left": recovery_codes.left(user.pk),
        "notices": Notice.objects.filter(user=user).order_by("-at")[:10],
        "page": "account",
    }
    return render(request, "identity/account.html", context)


@signed_in()
def own_sessions(request: HttpRequest, holder: SessionHolder) -> HttpResponse:
    rows = sessions.listed(user_id=holder.user_id, now=clock.now())
    return render(
        request, "identity/sessions.html", {"rows": rows, "current": holder.session_id, "page": "sessions"}
    )


@signed_in()
def own_keys(request: HttpRequest, holder: SessionHolder) -> HttpResponse:
    now = clock.now()
    rows = ApiKey.objects.filter(user_id=holder.user_id).order_by("-created_at")[:200]
    shown = [(row, row.works_at(now)) for row in rows]
    context = {"rows": shown, "scopes": Scope.choices, "page": "keys"}
    return render(request, "identity/keys.html", context)


@require_POST
@signed_in(removes_risk=True, recovery=True)
def sign_out(request: HttpRequest, holder: SessionHolder) -> HttpResponse:
    sessions.sign_out(holder=holder, now=clock.now())
    response = redirect("sign-in")
    cookies.clear(response)
    return response


@require_POST
@signed_in(removes_risk=True)
def end_session(request: HttpRequest, holder: SessionHolder, session_id: UUID) -> HttpResponse:
    sessions.revoke(user_id=holder.user_id, session_id=session_id, now=clock.now())
    return redirect("own-sessions")


@require_POST
@signed_in(removes_risk=True)
def end_others(request: HttpRequest, holder: SessionHolder) -> HttpResponse:
    sessions.revoke_all(user_id=holder.user_id, now=clock.now(), but=holder.session_id)
    return redirect("own-sessions")


@require_POST
@signed_in(removes_risk=True)
def revoke_key(request: HttpRequest, holder: SessionHolder, key_id: str) -> HttpResponse:
    if ApiKey.objects.filter(key_id=key_id[:20], user_id=holder.user_id).exists():
        api_keys.revoke(key_id=key_id, actor=actor_ref_for(holder.user_id), now=clock.now())
    return redirect("own-keys")


@require_POST
@signed_in()
def rename_passkey(request: HttpRequest, holder: SessionHolder, passkey_id: UUID) -> HttpResponse:
    name = request.POST.get("name", "")
    passkeys.rename(user_id=holder.user_id, passkey_id=passkey_id, name=name, now=clock.now())
    return redirect("account")


def _trouble(request: HttpRequest, refusal: RaxxError) -> HttpResponse:
    response = render(
        request, "identity/trouble.html", {"message": refusal.message}, status=refusal.http_status
    )
    if refusal.retry_after_s is not None:
        response["Retry-After"] = str(refusal.retry_after_s)
    return response


urlpatterns = [
    path("sign-up", sign_up, name="sign-up"),
    path("sign-in", sign_in, name="sign-in"),
    path("recover", recover, name="recover"),
    path("account", account, name="account"),
    path("account/new-passkey", new_passkey, name="new-passkey"),
    path("account/sessions", own_sessions, name="own-sessions"),
    path("account/sessions/end-others", end_others, name="end-other-sessions"),
    path("account/sessions/<uuid:session_id>/end", end_session, name="end-session"),
    path("account/keys", own_keys, name="own-keys"),
    path("account/keys/<str:key_id>/revoke", revoke_key, name="revoke-key"),
    path("account/passkeys/<uuid:passkey_id>/rename", rename_passkey, name="rename-passkey"),
    path("account/sign-out", sign_out, name="sign-out"),
]
