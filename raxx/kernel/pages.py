"""The shell's own addresses: the front door, and whether this process and what it needs are alive."""

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import path
from redis.exceptions import RedisError

from raxx.kernel import valkey


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect("/api/docs/")


def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers. Asks nobody else."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> HttpResponse:
    """Whether everything that orders need answers; 503 names what does not."""
    parts = {"database": _database(), "valkey": _valkey()}
    ready = all(parts.values())
    return JsonResponse({"status": "ok" if ready else "degraded", **parts}, status=200 if ready else 503)


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _valkey() -> bool:
    try:
        return bool(valkey.shared().ping())
    except RedisError:
        return False


urlpatterns = [
    path("", home, name="home"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
]
