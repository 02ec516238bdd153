"""Valkey as identity uses it: for what lives minutes. Where it does not answer, the caller is told at once."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import redis
import structlog
from redis.exceptions import RedisError

from raxx.kernel import valkey
from raxx.kernel.errors import RaxxError

T = TypeVar("T")
log = structlog.get_logger(__name__)


class SessionsUnavailable(RaxxError):
    """Nobody can be told apart from somebody who was signed out: nobody is let in."""

    code = "SESSIONS_UNAVAILABLE"
    http_status = 503
    retry_after_s = 2


class _Breaker:
    """After a failure nobody waits for the next time-out: for a second everyone is told at once."""

    PAUSE_S = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closed_until = 0.0

    def is_open(self) -> bool:
        with self._lock:
            return time.monotonic() < self._closed_until

    def trip(self) -> None:
        with self._lock:
            self._closed_until = time.monotonic() + self.PAUSE_S

    def reset(self) -> None:
        with self._lock:
            self._closed_until = 0.0


breaker = _Breaker()


def ask(question: Callable[[redis.Redis], T]) -> T:
    """The answer of Valkey, within its time-outs. Raises SessionsUnavailable."""
    if breaker.is_open():
        raise unavailable()
    try:
        return question(valkey.shared())
    except RedisError as problem:
        breaker.trip()
        log.warning("valkey does not answer identity", problem=type(problem).__name__)
        raise unavailable() from problem


def script(source: str) -> Callable[..., Any]:
    """A Lua script to call as run(client, keys, args); it is sent again to a server that lost it."""
    prepared = redis.Redis().register_script(source)

    def run(client: redis.Redis, keys: list[str], args: list[str | int]) -> Any:  # noqa: ANN401 - what Lua returns
        return prepared(keys=keys, args=args, client=client)

    return run


def unavailable() -> SessionsUnavailable:
    return SessionsUnavailable(
        "We cannot check who you are right now. Nothing was done; try again in a moment."
        " Canceling orders and signing out still work.",
        remedy="Try again in a few seconds.",
    )
