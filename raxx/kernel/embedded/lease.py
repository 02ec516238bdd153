"""How processes share the embedded servers.

Each holder has a shared lock on one file; the last to leave, who alone can make it exclusive, stops
both servers. The kernel drops the lock of a process that dies, however it dies. Starting and leaving
are serialised by a second lock, always taken first.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from raxx.kernel import env
from raxx.kernel.embedded import postgres, programs, state, valkey

Say = Callable[[str], None]


class _Server(Protocol):
    """What the modules `postgres` and `valkey` are."""

    LABEL: str
    VARIABLE: str

    def url(self) -> str: ...
    def running(self) -> bool: ...
    def start(self, say: Say) -> None: ...
    def stop(self) -> None: ...


_SERVERS: tuple[_Server, ...] = (postgres, valkey)


@dataclass(frozen=True, slots=True)
class Urls:
    """`database_url` as libpq takes it, `redis_url` as redis-py takes it."""

    database_url: str
    redis_url: str


def urls() -> Urls:
    """The addresses in force: the environment's, else the embedded ones. Starts nothing."""
    return Urls(
        database_url=env.given(postgres.VARIABLE) or postgres.url(),
        redis_url=env.given(valkey.VARIABLE) or valkey.url(),
    )


def environment() -> dict[str, str]:
    """What a child process needs to see the same servers without a lease of its own, and with an
    embedded database this machine's secrets, where the environment gives none."""
    in_force, demo = urls(), state.demo_secrets()
    values = {"DATABASE_URL": in_force.database_url, "REDIS_URL": in_force.redis_url}
    for name, value in (("DJANGO_SECRET_KEY", demo.django_secret_key), ("RAXX_FIELD_KEY", demo.field_key)):
        if value and not env.given(name) and not env.given(f"{name}_FILE"):
            values[name] = value
    return values


@contextmanager
def lease(say: Say = lambda _: None) -> Iterator[Urls]:
    """Servers that answer, for as long as this is held. Does nothing when both addresses are given.

    `say` is told what takes time. Raises EmbeddedServerFailed.
    """
    wanted = [server for server in _SERVERS if not env.given(server.VARIABLE)]
    if not wanted:
        yield urls()
        return
    state.leave_pointer()
    holder = _open("lease.lock")
    try:
        with _turn(say):
            fcntl.flock(holder, fcntl.LOCK_SH)
            try:
                programs.make_dir(state.servers_path())
                for server in wanted:
                    server.start(say)
            except BaseException:
                _leave(holder)
                raise
        try:
            yield urls()
        finally:
            with _turn():
                _leave(holder)
    finally:
        os.close(holder)


def lost() -> str | None:
    """The name of an embedded server that should run and does not. For whoever holds a lease."""
    for server in _SERVERS:
        if not env.given(server.VARIABLE) and not server.running():
            return server.LABEL
    return None


def _leave(holder: int) -> None:
    try:
        fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others still need the servers
    for server in reversed(_SERVERS):
        server.stop()


@contextmanager
def _turn(say: Say = lambda _: None) -> Iterator[None]:
    turn = _open("start.lock")
    try:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another process that starts or stops the same servers …")
            fcntl.flock(turn, fcntl.LOCK_EX)
        yield
    finally:
        os.close(turn)


def _open(name: str) -> int:
    return os.open(state.state_dir() / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
