import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raxx.kernel import processes, supervisor
from raxx.kernel.supervisor import MARK, BadProcfile, Stop, Supervisor, end_leftovers, read_procfile
from tests.patience import eventually

ROOT = Path(__file__).resolve().parents[2]


def test_a_procfile_is_read_in_order() -> None:
    text = "# what runs\n\nweb: gunicorn app:app --bind 0:80\nworker:   A=b celery worker\n"
    expected = {"web": "gunicorn app:app --bind 0:80", "worker": "A=b celery worker"}
    assert list(read_procfile(text).items()) == list(expected.items())


@pytest.mark.parametrize("text", ["web gunicorn", "web:", "two words: true", ": true"])
def test_a_line_that_is_no_process_is_refused_by_its_number(text: str) -> None:
    with pytest.raises(BadProcfile, match="line 2"):
        read_procfile(f"# comment\n{text}\n")


class House:
    """A supervisor of stand-in programs, with what it wrote."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.mark, self.stop = str(folder), Stop()
        self.stop.interrupts = False
        self.supervisor = Supervisor(
            env=dict(os.environ), folder=folder, mark=self.mark, write=self.lines.append, colour=False
        )

    def run(self, lost: Callable[[], str | None] = lambda: None) -> str | None:
        try:
            return self.supervisor.wait(self.stop, lost)
        finally:
            self.supervisor.end(relay=True)

    def when(self, line: str, then: Callable[[], object]) -> None:
        """Once that line has been relayed; the test's own time limit is the programs'."""

        def watch() -> None:
            while line not in self.lines and not self.supervisor.ending:
                time.sleep(0.02)
            then()

        threading.Thread(target=watch, daemon=True).start()

    def kill_leader(self) -> None:
        (leader,) = (one for one in processes.marked(MARK, self.mark) if os.getpgid(one.pid) == one.pid)
        leader.kill()

    def left(self) -> int:
        return len(processes.marked(MARK, self.mark))


@pytest.fixture
def house(tmp_path: Path) -> House:
    folder = tmp_path / "a folder"
    folder.mkdir()
    return House(folder)


def test_output_is_relayed_under_names_and_the_first_to_end_ends_all(house: House) -> None:
    house.supervisor.start("web", "WHAT=here sh -c 'echo $WHAT; pwd; sleep 60 & sleep 60'")
    house.supervisor.start("engine", "sh -c 'echo two >&2; sleep 0.3; exit 3'")
    assert house.run() == "engine ended by itself (exit code 3)."
    assert {"web    | here", f"web    | {house.mark}", "engine | two"} <= set(house.lines)
    assert house.left() == 0  # nor what `web` had left in the background


def test_a_killed_program_takes_its_own_children_along(house: House) -> None:
    house.supervisor.start("web", "sh -c 'sleep 60 & echo up; wait'")
    house.when("web    | up", house.kill_leader)
    assert house.run() == "web ended by itself (killed by SIGKILL)."
    assert house.left() == 0


def test_a_program_that_does_not_listen_is_killed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "GRACE_S", 0.3)
    house.supervisor.start("web", "sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 1; done'")
    house.when("web    | deaf", lambda: house.stop(signal.SIGTERM, None))
    started = time.monotonic()
    assert house.run() is None
    assert time.monotonic() - started < 2
    assert house.left() == 0


def test_a_server_that_is_gone_ends_all_and_is_named(house: House) -> None:
    house.supervisor.start("web", "sleep 60")
    assert house.run(lambda: "Valkey 8") == "Valkey 8 is gone."
    assert house.left() == 0


def test_only_the_first_request_to_stop_counts() -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)
    stop(signal.SIGINT, None)
    assert stop.requested


SUPERVISOR = """
import os, sys
from pathlib import Path
from raxx.kernel.supervisor import Stop, Supervisor
house = Supervisor(env=dict(os.environ), folder=Path(sys.argv[1]), mark=sys.argv[1], write=print, colour=False)
house.start("web", "sleep 60")
house.start("deaf", "sh -c 'trap \\"\\" TERM; sleep 60 & echo deaf; wait; wait'")
house.wait(Stop(), lambda: print("beat", flush=True))
"""


def test_after_a_killed_supervisor_the_next_start_ends_what_is_left(tmp_path: Path) -> None:
    mark = str(tmp_path)
    killed = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, mark], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout
    with killed, killed.stdout:
        for line in killed.stdout:
            if line.startswith("deaf"):
                break
        assert len(processes.marked(MARK, mark)) == 3
        killed.kill()
    told = shutil.which("setpriv") is not None  # then the kernel tells the children
    if told:
        eventually(lambda: len(processes.marked(MARK, mark)) <= 2)
    assert end_leftovers(mark) == (2 if told else 3)
    assert processes.marked(MARK, mark) == []
    assert end_leftovers(mark) == 0
