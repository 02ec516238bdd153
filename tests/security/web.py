"""The product's web process as the Procfile starts it, and requests to it, also such as no library would send."""

import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil
from django.conf import settings

from raxx.kernel.supervisor import read_procfile
from tests.conftest import ROOT, Database


@dataclass
class Web:
    port: int
    process: subprocess.Popen[bytes]

    def connect(self, patience_s: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience_s)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = self.connect()
        try:
            connection.request(method, path, body, {"Host": "localhost", **(headers or {})})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """Whatever comes back for these bytes, until the server hangs up or says no more."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as line:
            with suppress(OSError):  # it may have hung up before it has read all
                line.sendall(data)
            answer = b""
            with suppress(TimeoutError, ConnectionResetError):
                while piece := line.recv(65_536):
                    answer += piece
                    if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                        line.settimeout(0.2)
        return answer

    @cached_property
    def worker(self) -> psutil.Process:
        """The process that answers, which gunicorn has started."""
        [child] = psutil.Process(self.process.pid).children()
        return child


@contextmanager
def web(database: Database, folder: Path, **environment: str) -> Iterator[Web]:
    """One worker on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = read_procfile((ROOT / "Procfile").read_text())["web"]
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "DATABASE_URL": database.url,
        "REDIS_URL": settings.REDIS_URL,
        "DJANGO_SECRET_KEY": settings.SECRET_KEY,
        "RAXX_FIELD_KEY": settings.RAXX_FIELD_KEY,
        "RAXX_RATE_FACTOR": "100000",
        "WEB_CONCURRENCY": "1",
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
        **environment,
    }
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(command), cwd=ROOT, env=env, stdout=log, stderr=log, start_new_session=True
        )
    found = Web(port, process)
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "web.log").read_text()[-3_000:]
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            time.sleep(0.05)
        yield found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
