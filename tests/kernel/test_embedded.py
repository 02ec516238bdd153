import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from raxx.kernel import embedded, env
from raxx.kernel.embedded import EmbeddedServerFailed, programs, state

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
from raxx.kernel import embedded
with embedded.lease():
    print("up", flush=True)
    input()
"""


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    """A short folder that the servers' user can pass through; pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="raxx-test-", dir="/var/tmp")).resolve()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def used(reachable: Path) -> Path:
    return reachable / "used"


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Make the embedded servers those of another state folder."""

    def to(folder: Path) -> Path:
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.delenv("REDIS_URL", raising=False)
        monkeypatch.setenv("RAXX_STATE_DIR", str(folder))
        return folder

    return to


@pytest.fixture
def here(switch: Callable[[Path], Path], used: Path) -> Path:
    """A state folder that these tests share: its database is initialised once."""
    return switch(used)


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """Another process with a lease; it lets go when its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process


def is_up(process: subprocess.Popen[str]) -> bool:
    assert process.stdout
    return process.stdout.readline() == "up\n"


def servers(folder: Path) -> dict[str, psutil.Process]:
    """The two servers' first processes, found in the process table by the folder they work in."""
    found = {}
    for process in psutil.process_iter():
        try:
            parent = process.parent()
            if process.cwd().startswith(f"{folder}/servers/") and parent and parent.name() != process.name():
                found[process.name()] = process
        except psutil.Error:
            continue
    return found


def answers(urls: embedded.Urls) -> bool:
    with psycopg.connect(urls.database_url) as connection, redis.Redis.from_url(urls.redis_url) as valkey:
        return connection.execute("SELECT current_database()").fetchone() == ("raxx",) and bool(valkey.ping())


def test_two_first_starts_at_once_share_the_servers_and_the_last_to_leave_stops_them(here: Path) -> None:
    with holder() as one, holder() as two:
        assert is_up(one)
        assert is_up(two)
        assert answers(embedded.urls())
        both = servers(here)
        assert set(both) == {"postgres", "valkey-server"}
        one.communicate("\n")
        assert servers(here) == both
        assert answers(embedded.urls())
        two.communicate("\n")
    assert servers(here) == {}


def test_nobody_else_can_reach_the_servers(here: Path) -> None:
    with embedded.lease():
        for name, process in servers(here).items():
            # By the kernel's table: a socket that listens on an address has a row there.
            listening = [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
            assert listening == [], name
            assert process.uids().real != 0, f"{name} runs as root"
        for path in ("servers/.s.PGSQL.5432", "servers/valkey.sock"):
            found = (here / path).lstat()
            assert stat.S_ISSOCK(found.st_mode)
            assert stat.S_IMODE(found.st_mode) == 0o700
        assert stat.S_IMODE((here / "servers").lstat().st_mode) == 0o700


def test_the_settings_that_keep_money_safe_are_on(here: Path) -> None:
    with embedded.lease() as urls:
        with psycopg.connect(urls.database_url) as connection:
            expected = {
                "fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on",
                "max_connections": "100", "TimeZone": "UTC", "server_encoding": "UTF8", "log_statement": "none",
                "listen_addresses": "",
            }  # fmt: skip
            shown = {name: connection.execute(f"SHOW {name}").fetchone() for name in expected}
            assert shown == {name: (value,) for name, value in expected.items()}
            version = connection.execute("SHOW server_version_num").fetchone()
            assert version is not None
            assert version[0].startswith("18")
        with redis.Redis.from_url(urls.redis_url) as valkey:
            settings = valkey.config_get("save", "appendonly", "maxmemory-policy", "port")
            assert settings == {
                "save": "", "appendonly": "no", "maxmemory-policy": "noeviction", "port": "0",
            }  # fmt: skip


def test_after_every_process_was_killed_the_next_start_recovers_and_has_what_was_committed(
    here: Path,
) -> None:
    with holder() as killed:
        assert is_up(killed)
        with psycopg.connect(embedded.urls().database_url) as connection:
            connection.execute("DROP TABLE IF EXISTS kept")
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (42)")
        killed.kill()
        for process in servers(here).values():
            process.kill()
    # Numbers in stale files may belong to anybody by now: here to this very process.
    for file in ("postgresql/postmaster.pid", ".s.PGSQL.5432.lock", "valkey/valkey.pid"):
        path = here / "servers" / file
        lines = path.read_text().splitlines()
        path.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert embedded.lost() == "PostgreSQL 18"
    with embedded.lease() as urls:
        assert embedded.lost() is None
        with psycopg.connect(urls.database_url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (42,)
        with redis.Redis.from_url(urls.redis_url) as valkey:
            assert valkey.ping()
    assert servers(here) == {}


def test_sessions_that_outlive_a_killed_postmaster_are_ended_before_the_next_one_starts(here: Path) -> None:
    with holder() as killed:
        assert is_up(killed)
        connection = psycopg.connect(embedded.urls().database_url)
        session = psutil.Process(connection.info.backend_pid)
        session.suspend()  # it cannot notice that its postmaster is gone
        killed.kill()
        for process in servers(here).values():
            process.kill()
    with embedded.lease() as urls:
        assert not session.is_running() or session.status() == psutil.STATUS_ZOMBIE
        assert answers(urls)
    connection.close()


def test_servers_that_a_killed_holder_left_running_are_taken_over_and_then_stopped(here: Path) -> None:
    with holder() as killed:
        assert is_up(killed)
        killed.kill()
    left = servers(here)
    assert set(left) == {"postgres", "valkey-server"}
    with embedded.lease():
        assert servers(here) == left
    assert servers(here) == {}


def test_what_a_killed_first_start_left_is_cleared_away(
    switch: Callable[[Path], Path], reachable: Path
) -> None:
    folder = switch(reachable / "half")
    half = folder / "servers" / "postgresql.new-1"
    embedded.state_dir()
    programs.make_dir(half.parent)
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    said: list[str] = []
    with embedded.lease(said.append) as urls:
        assert answers(urls)
    assert not half.exists()
    assert any("Initialising" in line for line in said)


def test_a_database_of_another_version_is_refused_and_left_alone(
    switch: Callable[[Path], Path], reachable: Path
) -> None:
    data = switch(reachable / "old") / "servers" / "postgresql"
    embedded.state_dir()
    programs.make_dir(data.parent)
    data.mkdir()
    (data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerFailed, match=r"was made by PostgreSQL 17, this is 18\. Move"):
        embedded.lease().__enter__()
    assert (data / "PG_VERSION").read_text() == "17\n"
    assert servers(data.parents[1]) == {}


def test_a_server_that_cannot_start_says_why(
    switch: Callable[[Path], Path], reachable: Path, here: Path
) -> None:
    broken = reachable / "broken"
    shutil.copytree(
        here, broken, ignore=lambda _, names: [n for n in names if n.startswith(".s.") or n.endswith(".sock")]
    )
    for path in (broken / "servers", *(broken / "servers").rglob("*")):
        user = programs.server_user()
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)
    switch(broken)
    (broken / "servers/postgresql/global/pg_control").write_bytes(bytes(8192))
    with pytest.raises(
        EmbeddedServerFailed, match=r"PostgreSQL 18 did not start\. Read .*postgresql\.log"
    ) as no:
        embedded.lease().__enter__()
    assert "FATAL" in no.value.details["log"] or "PANIC" in no.value.details["log"]
    assert servers(broken) == {}


def test_nothing_is_started_and_nothing_written_where_both_addresses_are_given(
    switch: Callable[[Path], Path], reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = switch(reachable / "unused")
    monkeypatch.setenv("DATABASE_URL", "postgres://u@db/raxx")
    assert embedded.urls() == embedded.Urls(
        database_url="postgres://u@db/raxx", redis_url=f"unix://{folder}/servers/valkey.sock"
    )
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/0")
    with embedded.lease() as urls:
        assert urls == embedded.Urls(database_url="postgres://u@db/raxx", redis_url="redis://cache:6379/0")
    assert embedded.lost() is None
    assert embedded.demo_secrets() == embedded.DemoSecrets(django_secret_key=None, field_key=None)
    assert embedded.environment() == {
        "DATABASE_URL": "postgres://u@db/raxx", "REDIS_URL": "redis://cache:6379/0",
    }  # fmt: skip
    assert not folder.exists()


def test_only_the_server_that_is_not_given_is_started(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://u@db/raxx")
    with embedded.lease():
        assert set(servers(here)) == {"valkey-server"}
    assert servers(here) == {}


def test_demo_secrets_are_made_once_whoever_asks_first(
    switch: Callable[[Path], Path], reachable: Path
) -> None:
    folder = switch(reachable / "secrets")
    found: list[embedded.DemoSecrets] = []
    askers = [threading.Thread(target=lambda: found.append(embedded.demo_secrets())) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    (only,) = set(found)
    assert only.django_secret_key and only.field_key  # noqa: PT018, for the type checker
    assert len(bytes.fromhex(only.django_secret_key)) == len(bytes.fromhex(only.field_key)) == 32
    assert only.django_secret_key != only.field_key
    assert [file.name for file in folder.iterdir()] == ["secrets.json"]
    assert stat.S_IMODE((folder / "secrets.json").stat().st_mode) == 0o600
    assert embedded.environment()["RAXX_FIELD_KEY"] == only.field_key


@pytest.mark.parametrize("folder", ["relative/path", "/srv/with space", "/srv/a'quote", "/" + "x" * 90])
def test_a_state_folder_in_which_no_socket_can_live_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv("RAXX_STATE_DIR", folder)
    with pytest.raises(env.BadSetting, match="RAXX_STATE_DIR"):
        state.state_path()


@pytest.mark.parametrize("home", ["a home", "x" * 90, "file/below"])
def test_a_home_in_which_no_socket_can_live_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    monkeypatch.delenv("RAXX_STATE_DIR", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)  # root has one place, whatever its home
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / home))
    assert str(state.state_path()).startswith(f"{Path('/var/tmp').resolve()}/raxx-1234-")  # noqa: S108


def test_an_ordinary_home_is_where_the_state_is(monkeypatch: pytest.MonkeyPatch, reachable: Path) -> None:
    monkeypatch.delenv("RAXX_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("HOME", str(reachable))
    assert state.state_path().parent == reachable / ".local" / "state" / "raxx"


def test_the_longest_state_folder_leaves_room_for_its_sockets(
    switch: Callable[[Path], Path], reachable: Path
) -> None:
    folder = switch(reachable / ("x" * (80 - len(str(reachable)) - 1)))
    assert len(str(folder)) == 80
    path = embedded.urls().redis_url.removeprefix("unix://")
    longest = max(path, f"{folder}/servers/.s.PGSQL.5432", key=len)
    assert len(longest) <= 103  # sys/un.h: macOS has 104 bytes, Linux 108, the closing NUL included
    embedded.state_dir()
    (folder / "servers").mkdir()
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(longest)


def test_a_folder_of_somebody_else_is_refused(
    switch: Callable[[Path], Path], reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = switch(reachable / "elsewhere")
    assert embedded.state_dir() == folder
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(EmbeddedServerFailed, match="is not a folder that belongs to this user"):
        embedded.state_dir()


def test_a_signal_to_our_terminal_does_not_reach_the_servers(here: Path) -> None:
    with embedded.lease():
        for process in servers(here).values():
            assert os.getsid(process.pid) != os.getsid(0)
            assert process.ppid() != os.getpid()
