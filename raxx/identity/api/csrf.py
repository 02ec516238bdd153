"""What a write must bring that comes with a cookie: proof that a page of ours sent it."""

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from raxx.identity.relying_party import is_own_origin
from raxx.kernel.errors import RaxxError

HEADER = "X-Raxx-CSRF"


class CsrfRefused(RaxxError):
    """The request may have been made by a page of somebody else."""

    code = "CSRF_REFUSED"
    http_status = 403


def check(request: Request) -> None:
    """Raises CsrfRefused. A header of our own and a JSON body both make a browser ask before it sends them from
    another site, and nobody there is told yes; Origin and Sec-Fetch-Site say where a request comes from."""
    if request.method in SAFE_METHODS:
        return
    if request.META.get("HTTP_X_RAXX_CSRF") != "1":
        raise _refused(HEADER, "must be 1", f"Send the header {HEADER}: 1.")
    content_type = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if content_type != "application/json" and not (request.method == "DELETE" and not _has_body(request)):
        raise _refused(
            "Content-Type", "must be application/json", "Send the header Content-Type: application/json."
        )
    origin, site = request.META.get("HTTP_ORIGIN"), request.META.get("HTTP_SEC_FETCH_SITE")
    if origin is None and site is None:
        raise _refused("Origin", "must be sent with a cookie", "Send the request from a page of this site.")
    if origin is not None and not is_own_origin(request._request, origin):
        raise _refused("Origin", "must be this site", "Send the request from a page of this site.")
    if site is not None and site != "same-origin":
        raise _refused("Sec-Fetch-Site", "must be same-origin", "Send the request from a page of this site.")


def _has_body(request: Request) -> bool:
    return request.META.get("CONTENT_LENGTH", "") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in request.META


def _refused(field: str, rule: str, remedy: str) -> CsrfRefused:
    return CsrfRefused(f"{field} {rule}. {remedy}", field=field, rule=rule, remedy=remedy)
