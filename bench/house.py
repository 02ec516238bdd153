"""A house of the yardsticks' own to measure in: servers, database, traders and processes, all gone afterwards."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import psutil

from raxx.kernel import embedded
from raxx.kernel.embedded import state

PROJECT = Path(__file__).resolve().parent.parent
CASH = Decimal("10000000.00")
_OWN = ("DATABASE_URL", "REDIS_URL", "DJANGO_SECRET_KEY", "RAXX_FIELD_KEY", "RAXX_DB_POOL")


@dataclass(frozen=True, slots=True)
class Trader:
    """A user with a paper account and an API key."""

    user_id: UUID
    account_id: UUID
    key_id: str
    secret: str


@dataclass(frozen=True)
class House:
    """`folder` is for anything; it vanishes with the house."""

    folder: Path
    database_url: str
    redis_url: str
    environment: dict[str, str] = field(repr=False)

    def traders(self, count: int, *, feed: str, cash: Decimal = CASH) -> list[Trader]:
        """Opened through the product's own services."""
        from audit import pseudonym
        from mbt.services.accounts import open_account
        from raxx.identity.models import Scope
        from raxx.identity.services import api_keys
        from raxx.identity.services.users import register
        from raxx.kernel import clock
        from raxx.kernel.ids import new_id

        found = []
        for _ in range(count):
            now, actor = clock.now(), pseudonym.OPERATOR_SHELL
            user = register(email=f"{new_id().hex}@example.com", now=now, actor=actor)
            account = open_account(user_id=user.pk, cash=cash, feed=feed, now=now, actor=actor)
            key = api_keys.issue(user=user, name="bench", scopes=[Scope.PAPER_TRADE], now=now, actor=actor)
            found.append(Trader(user.pk, account.pk, key.key_id, key.secret))
        return found

    @contextmanager
    def process(self, command: Sequence[str], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program of the house, ended with everything that it started. Its output is shown if it failed."""
        log = self.folder / f"process-{len(list(self.folder.glob('process-*')))}.log"
        with log.open("wb") as output:
            program = subprocess.Popen(
                command, cwd=PROJECT, env={**self.environment, **environment}, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        try:
            yield program
        except BaseException:
            print(log.read_text(errors="replace")[-4_000:], file=sys.stderr)
            raise
        finally:
            _end(program)

    def postgres(self) -> psutil.Process:
        """The postmaster."""
        return psutil.Process(
            int((state.servers_path() / "postgresql" / "postmaster.pid").read_text().split()[0])
        )


@contextmanager
def opened() -> Iterator[House]:
    """Start PostgreSQL and Valkey in a new folder, migrate, and set Django up for this process."""
    if "django.conf" in sys.modules:
        raise RuntimeError("a house is opened once in a process, before Django's settings are read")
    folder = Path(tempfile.mkdtemp(prefix="raxx-bench-", dir="/var/tmp"))
    folder.chmod(0o711)  # the servers' user passes through
    before = dict(os.environ)
    for name in _OWN:
        os.environ.pop(name, None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "raxx.settings",
        "RAXX_STATE_DIR": str(folder / "state"),
        "RAXX_LOG_LEVEL": "WARNING",
    }
    try:
        with _terminable(), _unmoved_pointer(), embedded.lease() as urls:
            import django
            from django.core.management import call_command
            from django.db import connections

            django.setup()
            call_command("migrate", verbosity=0)
            environment = {
                **os.environ,
                **embedded.environment(),
                "RAXX_RATE_FACTOR": "100000",  # what is measured is not the rate limit
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            }
            try:
                yield House(folder, urls.database_url, urls.redis_url, environment)
            finally:
                connections.close_all()
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process, of those below it, and of those below it that have ended."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def own_and(process: psutil.Process) -> Callable[[], float]:
    """A clock of the CPU that this process and `process` take."""
    own = psutil.Process()

    def read() -> float:
        times = own.cpu_times()
        return times.user + times.system + cpu_s(process)

    return read


def _end(program: subprocess.Popen[bytes]) -> None:
    for number, wait_s in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        with suppress(subprocess.TimeoutExpired):
            program.wait(wait_s)
            return


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM leaves as Ctrl-C does: through every `finally`."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _unmoved_pointer() -> Iterator[None]:
    """A lease writes down where its servers live; ours are no news to the reader of that note."""
    note = PROJECT / ".local" / "README"
    before = note.read_bytes() if note.exists() else None
    try:
        yield
    finally:
        if before is not None:
            note.write_bytes(before)
        else:
            note.unlink(missing_ok=True)
