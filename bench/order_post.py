"""Order POST: an order taken through the real web stack, as the Procfile starts it, with one and two workers.

Latencies and rates come from a client in a process of its own. CPU per request, of the server's processes and of
PostgreSQL, is what repeats on a busy machine. With --yardstick the same order is also posted to a small application
on FastAPI and asyncpg, in turn with the product; its packages are downloaded into an environment that is
removed afterwards.
"""

import base64
import hashlib
import shlex
import socket
import statistics
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psutil
import psycopg

from bench import house as houses
from bench.common import Options, Report, main, percentile
from bench.house import PROJECT, House, Trader
from bench.load import NAME, Outcome, Task

TITLE = "Order POST"
FEED = "bench"
TRADERS = 64
RIVAL_PACKAGES = ("fastapi", "asyncpg", "uvicorn[standard]")
_ORDER = b'{"symbol":"AAPL","side":"buy","qty":"1","order_type":"limit","time_in_force":"gtc","limit_price":"1.00","client_order_id":"%s"}'


@dataclass
class Server:
    """A running server, the requests that it understands, and what was measured, by connections."""

    name: str
    process: psutil.Process
    port: int
    requests: list[bytes]
    runs: dict[int, list["Run"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    per_s: float
    latencies_ms: list[float]
    server_cpu_ms: float
    postgres_cpu_ms: float


def run(options: Options, report: Report) -> None:
    with houses.opened() as house, ExitStack() as stack:
        traders = house.traders(options.size(TRADERS, 4), feed=FEED)
        stack.enter_context(_market(house))
        count_statements(report, traders[0])
        workers = (1,) if options.quick else (1, 2)
        servers = [stack.enter_context(product(house, traders, count)) for count in workers]
        if options.yardstick:
            servers += stack.enter_context(rivals(house, workers, traders))
        connections = (8,) if options.quick else (1, 8, 32)
        rounds = options.size(5, 1)
        postgres = house.postgres()
        for server in servers:
            measure(server, max(connections), 1.0, postgres)  # warm: every thread has its connection
        before = _sessions(house)
        for _ in range(rounds):
            for count in connections:
                for server in servers:
                    server.runs.setdefault(count, []).append(
                        measure(server, count, options.size(2, 1), postgres)
                    )
        opened = _sessions(house) - before
        show(report, servers, connections)
        report.goal("8 database connections opened in steady state", opened, most=0, unit="")
        if options.yardstick:
            compare(report, servers, connections)


def measure(server: Server, connections: int, seconds: float, postgres: psutil.Process) -> Run:
    task = Task(server.port, connections, seconds, server.requests)
    cpu, postgres_cpu = houses.cpu_s(server.process), houses.cpu_s(postgres)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(task),
        capture_output=True,
        cwd=PROJECT,
        check=True,
        timeout=seconds + 60,
    )
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    if outcome.bad or not outcome.latencies_ns:
        raise AssertionError(f"{server.name} answered {outcome.bad} times otherwise: {outcome.examples}")
    count = len(outcome.latencies_ns)
    return Run(
        per_s=count / outcome.took_s,
        latencies_ms=[ns / 1e6 for ns in outcome.latencies_ns],
        server_cpu_ms=1_000 * (houses.cpu_s(server.process) - cpu) / count,
        postgres_cpu_ms=1_000 * (houses.cpu_s(postgres) - postgres_cpu) / count,
    )


def show(report: Report, servers: list[Server], connections: tuple[int, ...]) -> None:
    for count in connections:
        rows = []
        for server in servers:
            runs = server.runs[count]
            rows.append([
                server.name, _median(runs, "per_s"),
                *(statistics.median(percentile(r.latencies_ms, p) for r in runs) for p in (50, 95, 99)),
                _median(runs, "server_cpu_ms"), _median(runs, "postgres_cpu_ms"),
            ])  # fmt: skip
        columns = ["", "req/s", "p50 ms", "p95 ms", "p99 ms", "server CPU ms", "PostgreSQL CPU ms"]
        report.table(f"{count} connection{'s' * (count > 1)}", columns, rows)


def compare(report: Report, servers: list[Server], connections: tuple[int, ...]) -> None:
    """Product and rival with as many workers each, round by round."""
    half = len(servers) // 2
    ours, theirs = servers[half - 1], servers[-1]
    for count in connections:
        pairs = list(zip(ours.runs[count], theirs.runs[count], strict=True))
        cpu = statistics.median(
            (a.server_cpu_ms + a.postgres_cpu_ms) / (b.server_cpu_ms + b.postgres_cpu_ms) for a, b in pairs
        )
        slow = statistics.median(
            percentile(a.latencies_ms, 99) / percentile(b.latencies_ms, 99) for a, b in pairs
        )
        report.goal(f"7 CPU of a POST at {count} connections, of FastAPI's", cpu, most=1.25)
        report.goal(f"7 p99 of a POST at {count} connections, of FastAPI's", slow, most=2)


def count_statements(report: Report, trader: Trader) -> None:
    """In this process, through the same WSGI application: what one POST sends to PostgreSQL."""
    from django.core.handlers.wsgi import WSGIHandler
    from django.db import connection

    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: ANN401 - Django's
        statements.append(" ".join(sql.split()[:3]))
        return execute(sql, params, many, context)

    application = WSGIHandler()
    for attempt in range(3):  # the first ones learn the account and note the use of the key
        statements.clear()
        with connection.execute_wrapper(note):
            status = _call(application, trader, _ORDER % b"statements-%d" % attempt)
        assert status.startswith("201"), status
    report.say(f"one POST sends: {'; '.join(statements)}")
    report.goal("8 SQL statements of a POST", len(statements), most=3, unit="")


def _call(application: Any, trader: Trader, body: bytes) -> str:  # noqa: ANN401 - WSGI
    import io
    from wsgiref.util import setup_testing_defaults

    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/api/mbt/orders", "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)), "HTTP_AUTHORIZATION": _basic(trader), "HTTP_HOST": "localhost",
    }  # fmt: skip
    setup_testing_defaults(environ)
    environ["wsgi.input"] = io.BytesIO(body)
    statuses: list[str] = []
    answer = application(environ, lambda status, headers: statuses.append(status))
    answer.close()
    return statuses[0]


@contextmanager
def product(house: House, traders: list[Trader], workers: int) -> Iterator[Server]:
    """The Procfile's web process."""
    from raxx.kernel.supervisor import read_procfile

    port = _free_port()
    command = shlex.split(read_procfile((PROJECT / "Procfile").read_text())["web"])
    command = [sys.executable, "-m", *command, "--workers", str(workers), "--bind", f"127.0.0.1:{port}"]
    # The loop behind the status page tries a connection of its own every 15 s, which no order opened.
    with house.process(command, RAXX_STATUS_POLLER="0") as program:
        _wait(port, program)
        yield Server(
            f"Raxx, {workers} worker{'s' * (workers > 1)}", psutil.Process(program.pid), port,
            [_request(_basic(trader)) for trader in traders],
        )  # fmt: skip


@contextmanager
def rivals(house: House, workers: tuple[int, ...], traders: list[Trader]) -> Iterator[list[Server]]:
    environment = house.folder / "rival"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *RIVAL_PACKAGES],
        check=True,
        capture_output=True,
    )
    with psycopg.connect(house.database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE rival")
    url = house.database_url.replace("/raxx?", "/rival?")
    tables = (PROJECT / "bench" / "rival.py").read_text().partition('TABLES = """')[2].partition('"""')[0]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(tables)
        for trader in traders:
            connection.execute(
                "INSERT INTO rival.accounts (key_id, secret_hash, cash) VALUES (%s, %s, %s)",
                [trader.key_id, hashlib.sha256(trader.secret.encode()).digest(), houses.CASH],
            )
    with ExitStack() as stack:
        servers = []
        for count in workers:
            port = _free_port()
            command = [
                str(python),
                "-m",
                "uvicorn",
                "bench.rival:app",
                "--no-access-log",
                "--workers",
                str(count),
                "--port",
                str(port),
            ]
            program = stack.enter_context(house.process(command, RIVAL_DATABASE_URL=url))
            _wait(port, program)
            servers.append(Server(
                f"FastAPI + asyncpg, {count} worker{'s' * (count > 1)}", psutil.Process(program.pid), port,
                [_request(_basic(trader)) for trader in traders],
            ))  # fmt: skip
        yield servers


@contextmanager
def _market(house: House) -> Iterator[None]:
    """A feed that is alive without an engine, which would take its share of the cores."""
    from mbt.models import Account
    from raxx.kernel import clock, valkey
    from raxx.market.board import Board
    from raxx.market.contracts import parse_symbol
    from raxx.market.quotes import Quote
    from raxx.market.services import instruments

    assert Account.objects.filter(feed=FEED).exists()
    instruments.load(feed=FEED, found=[parse_symbol("AAPL")])
    board = Board(valkey.client(house.redis_url), FEED)
    over = threading.Event()

    def publish() -> None:
        now_ns = clock.now_ns()
        board.publish([Quote("AAPL", now_ns, 1_999_900, 100, 2_000_100, 100)], now_ns=now_ns, wall_ns=now_ns)

    def keep() -> None:
        while not over.wait(1.0):
            publish()

    publish()
    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _sessions(house: House) -> int:
    """How many connections the database has ever had, but for those that ask this."""
    with psycopg.connect(house.database_url, autocommit=True) as connection:
        time.sleep(1.5)  # a session reports itself within a second
        row = connection.execute(
            "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        _asked.append(1)
        return int(row[0]) - len(_asked)


_asked: list[int] = []


def _median(runs: list[Run], what: str) -> float:
    return float(statistics.median(getattr(run, what) for run in runs))


def _request(authorization: str) -> bytes:
    body = _ORDER % NAME
    length = len(body) - len(NAME) + len(b"%x-%08d" % (time.time_ns(), 0))
    head = (
        f"POST /api/mbt/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
    return head.encode() + body


def _basic(trader: Trader) -> str:
    return "Basic " + base64.b64encode(f"{trader.key_id}:{trader.secret}".encode()).decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, program: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert program.poll() is None, "the server ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError("the server does not answer")


if __name__ == "__main__":
    main(run, TITLE)
