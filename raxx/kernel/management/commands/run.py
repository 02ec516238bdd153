"""`manage.py run`: the whole product on this machine, until Ctrl-C."""

import fcntl
import http.client
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from raxx.kernel import embedded, env, readiness
from raxx.kernel.errors import RaxxError
from raxx.kernel.supervisor import Stop, Supervisor, end_leftovers, read_procfile, stop_signals

_NOT_HERE = {"release"}  # migrates; done below, only when needed
_PATIENCE_S = 20


class AlreadyRunning(RaxxError):
    code = "ALREADY_RUNNING"


class NoPort(RaxxError):
    code = "NO_PORT"


class Command(BaseCommand):
    help = "Run the whole product on this machine: servers, web, engine, worker and beat, until Ctrl-C."
    requires_migrations_checks = False
    _unheard = False

    def handle(self, *_args: object, **_options: object) -> None:
        with stop_signals() as stop:
            try:
                ended = self._run(stop)
            except KeyboardInterrupt:
                ended = None
            except RaxxError as error:
                log = error.details.get("log")
                ended = f"{error}" + (f"\n\n{log}" if log else "")
        if ended:
            self._say(self.style.ERROR(ended))
            sys.exit(1)
        self._say("Stopped.")

    def _run(self, stop: Stop) -> str | None:
        """Until somebody asks to stop (None) or something fails, in a sentence."""
        mark = str(embedded.state_dir())
        with _only_one() as announce:
            left = end_leftovers(mark)
            if left:
                self._say(f"Ended {left} process(es) that a former run had left behind.")
            with embedded.lease(self._say):
                self._migrate()
                demo = self._seed()
                connections.close_all()
                port = self._port()
                announce(f"http://localhost:{port}/")
                stop.interrupts = False  # from here on `stop.requested` is looked at
                return self._supervise(stop, mark, port, demo)

    def _supervise(self, stop: Stop, mark: str, port: int, demo: dict[str, Any]) -> str | None:
        folder, terminal = Path(settings.BASE_DIR), sys.stdout.isatty()
        supervisor = Supervisor(
            env=_child_environment(port), folder=folder, mark=mark, write=self._say, colour=terminal
        )

        def lost() -> str | None:
            # Whoever has lost the reader is to stop; `ssh -t HOST make run` gets no SIGHUP of its own.
            stop.requested |= self._unheard or (terminal and not sys.stdout.isatty())
            return embedded.lost()

        ended = None
        try:
            for name, command in read_procfile((folder / "Procfile").read_text()).items():
                if name not in _NOT_HERE:
                    supervisor.start(name, command)
            threading.Thread(target=_greet, args=(supervisor, port, demo), daemon=True).start()
            ended = supervisor.wait(stop, lost)
            if not ended:
                self._say("\nStopping …")
        finally:
            supervisor.end(relay=ended is not None)
        return ended and f"{ended} Everything else has been stopped."

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            self._say(f"Applying {len(plan)} migration(s) to the database …")
            call_command("migrate", interactive=False, verbosity=0)

    def _seed(self) -> dict[str, Any]:
        demo: dict[str, Any] = json.loads(call_command("demo_seed", stdout=io.StringIO()))
        if demo["created"]:
            self._say("Made a demo account.")
        return demo

    def _port(self) -> int:
        wanted = env.whole("PORT", default=8000, minimum=1, maximum=65_535)
        for port in range(wanted, min(wanted + 50, 65_536)):
            if _is_free(port):
                if port != wanted:
                    self._say(f"Port {wanted} is not free; taking {port}.")
                return port
        raise NoPort(f"No port from {wanted} on is free for this user. Set PORT to one that is.")

    def _say(self, text: str) -> None:
        try:
            self.stdout.write(text)
            self.stdout.flush()
        except OSError:  # nobody reads any more; what is left in the buffer must go somewhere at exit
            self._unheard = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _only_one() -> Iterator[Any]:
    """One run for each checkout. Gives a function that tells a second one where this one is."""
    lock = os.open(embedded.state_dir() / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = os.read(lock, 200).decode() or "still starting"
            raise AlreadyRunning(
                f"Raxx already runs from this folder ({where}). Stop it there with Ctrl-C first."
            ) from None
        os.truncate(lock, 0)
        yield lambda where: os.write(lock, where.encode())
    finally:
        os.close(lock)


def _child_environment(port: int) -> dict[str, str]:
    bind = f"{os.environ.get('GUNICORN_CMD_ARGS', '')} --bind 127.0.0.1:{port}"
    return {
        "WEB_CONCURRENCY": "2",
        **os.environ,
        **embedded.environment(),
        # The Procfile's programs, without an activated virtual environment.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PORT": str(port),
        "GUNICORN_CMD_ARGS": bind.strip(),  # by itself gunicorn would listen to the whole network
        "PYTHONUNBUFFERED": "1",
    }


def _is_free(port: int) -> bool:
    """On both addresses that `localhost` may mean."""
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError:
            if family == socket.AF_INET or _answers(address, port):
                return False
    return True


def _answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False  # such as a machine without IPv6
    return True


def _greet(supervisor: Supervisor, port: int, demo: dict[str, Any]) -> None:
    """Once everything answers, say where to look; and once, what is slow to answer."""
    patience = time.monotonic() + _PATIENCE_S
    while not supervisor.ending:
        waiting = ["web"] if not _web_answers(port) else readiness.missing()
        if not waiting and not supervisor.ending:
            supervisor.say(_greeting(f"http://localhost:{port}", demo))
            return
        if time.monotonic() > patience:
            patience = float("inf")
            supervisor.say(f"Still waiting for {', '.join(waiting)} …")
        time.sleep(0.2)


def _web_answers(port: int) -> bool:
    web = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        web.request("GET", "/healthz")
        return web.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        web.close()


def _greeting(base: str, demo: dict[str, Any]) -> str:
    user = f"{demo['key_id']}:{demo['secret']}"
    order = json.dumps(
        {"symbol": demo["symbol"], "side": "buy", "qty": "1", "order_type": "market", "time_in_force": "day"}
    )
    return f"""
  Raxx is up.

    sign up      {base}/sign-up
    API docs     {base}/api/docs/
    demo key id  {demo["key_id"]}
    secret       {demo["secret"]}

  Buy a share of {demo["symbol"]} with paper money:

    curl -u {user} {base}/api/mbt/orders \\
      -H 'Content-Type: application/json' -d '{order}'

  Ask why it filled at its price; ORDER_ID is the "id" in the answer:

    curl -u {user} {base}/api/mbt/orders/ORDER_ID/explain

  Ctrl-C stops everything.
"""
