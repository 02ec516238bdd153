"""One way to reach Valkey (or Redis). It may vanish at any second; PostgreSQL is the only truth."""

import ssl
from functools import lru_cache

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

CONNECT_TIMEOUT_S = 0.25
READ_TIMEOUT_S = 0.5
_SCHEMES = ("redis://", "rediss://", "unix://")


def client(
    url: str,
    *,
    tls_insecure: bool = False,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> redis.Redis:
    """A client that speaks bytes and gives up within its timeouts. It connects when first used.

    `tls_insecure` (RAXX_REDIS_TLS_INSECURE) takes any certificate of a rediss:// server: Heroku's are
    self-signed. A blocking read needs a `read_timeout_s` longer than it blocks. Raises ValueError for
    other URLs than redis://, rediss:// and unix://.
    """
    if not url.startswith(_SCHEMES):
        raise ValueError("the URL of Valkey starts with " + ", ".join(_SCHEMES))
    tls: dict[str, object] = {}
    if url.startswith("rediss://") and tls_insecure:
        tls = {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=connect_timeout_s,
        socket_timeout=read_timeout_s,
        # One retry, at once, and only on a broken connection: a pooled one dies with a restart of the
        # server. The library's own default would go on for seconds.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **tls,
    )


def shared() -> redis.Redis:
    """This process's client of the configured server. Threads and forked processes may use it."""
    return _remembered(settings.REDIS_URL, settings.REDIS_TLS_INSECURE)


@lru_cache(maxsize=8)
def _remembered(url: str, tls_insecure: bool) -> redis.Redis:
    return client(url, tls_insecure=tls_insecure)
