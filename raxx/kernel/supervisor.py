"""Run several programs as one: their output in one stream, and none outlives the others.

What `manage.py run` is made of. Each program gets a process group of its own, so that nothing it
started is left behind, and a mark in its environment, by which a later start finds what a killed
supervisor could not end itself.
"""

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from raxx.kernel import processes
from raxx.kernel.errors import RaxxError

MARK = "RAXX_RUN"
GRACE_S = 5  # a local stop need not wait for the slowest request

_COLOURS = (36, 33, 32, 35, 34, 31)


class BadProcfile(RaxxError):
    code = "BAD_PROCFILE"


def read_procfile(text: str) -> dict[str, str]:
    """Process name to shell command, in the order of the file."""
    programs = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            name, colon, command = line.partition(":")
            if not colon or not name.isidentifier() or not command.strip():
                raise BadProcfile(f"Procfile line {number} must read NAME: COMMAND.")
            programs[name] = command.strip()
    return programs


class Stop:
    """Whether someone asked to stop. The first SIGINT, SIGTERM or SIGHUP counts, later ones are
    ignored, so that a second Ctrl-C does not cut the cleaning up short."""

    def __init__(self) -> None:
        self.requested = False
        self.interrupts = True  # raise KeyboardInterrupt; set to False by whoever looks at `requested`

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        first, self.requested = not self.requested, True
        if first and self.interrupts:
            raise KeyboardInterrupt


@contextmanager
def stop_signals() -> Iterator[Stop]:
    stop = Stop()
    former = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Supervisor:
    """`mark` is this project's value of MARK; `write` takes one line of output without its end."""

    def __init__(
        self, *, env: Mapping[str, str], folder: Path, mark: str, write: Callable[[str], None], colour: bool
    ) -> None:
        self._env, self._folder = {**env, MARK: mark}, folder
        self._write, self._colour = write, colour
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self.ending = False

    def start(self, name: str, command: str) -> None:
        """`command` is a simple shell command, with leading NAME=value where it likes.

        On Linux the kernel ends it when this process dies, however it dies. That holds for the
        thread that calls this: it must be the main one.
        """
        guard = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        child = subprocess.Popen(  # noqa: S603, the project's own Procfile
            [*guard, "/bin/sh", "-c", f"exec env {command}"],
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        prefix = f"{name:<7}| "
        if self._colour:
            prefix = f"\033[{_COLOURS[len(self._children) % len(_COLOURS)]}m{prefix}\033[0m"
        self._children[name] = child
        threading.Thread(target=self._read, args=(child, prefix), daemon=True).start()

    def say(self, text: str) -> None:
        """From any thread: in line with the programs' output."""
        self._lines.put(text)

    def wait(self, stop: Stop, lost: Callable[[], str | None]) -> str | None:
        """Relay output until someone asks to stop (None), or a program ends or `lost` names something
        that is gone: then the sentence that says so."""
        looked_at = time.monotonic()
        while not stop.requested:
            self._relay(wait_s=0.1)
            ended = [
                f"{name} ended by itself ({_describe(code)})."
                for name, child in self._children.items()
                if (code := _exit_code(child)) is not None
            ]
            if ended or time.monotonic() - looked_at > 1:
                looked_at = time.monotonic()
                gone = lost()
                if gone:
                    ended.insert(0, f"{gone} is gone.")
            if ended:
                return " ".join(ended)
        return None

    def end(self, *, relay: bool) -> None:
        """End all programs and whatever they started. Takes GRACE_S at most and a moment.

        `relay` shows what they still have to say."""
        self.ending = True
        for child in self._children.values():
            if _exit_code(child) is None:
                child.terminate()
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and any(_exit_code(c) is None for c in self._children.values()):
            self._relay(wait_s=0.05, show=relay)
        for child in self._children.values():
            if _exit_code(child) is None:
                _kill_group(child)
                child.wait()
        self._relay(wait_s=0.05, show=relay)

    def _read(self, child: subprocess.Popen[bytes], prefix: str) -> None:
        assert child.stdout  # noqa: S101, for the type checker
        with child.stdout as stream:
            for line in stream:
                self._lines.put(prefix + line.decode(errors="replace").rstrip("\r\n"))

    def _relay(self, *, wait_s: float, show: bool = True) -> None:
        """Write what is there; wait for the first line only."""
        for number in range(1_000):  # then look after the programs again
            try:
                line = self._lines.get(timeout=0 if number else wait_s)
            except queue.Empty:
                return
            if show:
                self._write(line)


def end_leftovers(mark: str) -> int:
    """End the processes of a former run of this project, and return how many there were.

    They are known by the mark in their environment alone, so a number that now belongs to another
    program harms nobody.
    """
    found = processes.marked(MARK, mark)
    processes.end(found, (signal.SIGTERM, 2), (signal.SIGKILL, 1))
    return len(found)


def _exit_code(child: subprocess.Popen[bytes]) -> int | None:
    """None while it runs. What it leaves running when it ends is ended here: a killed web server, for
    one, leaves workers that hold the port."""
    running = child.returncode is None
    code = child.poll()
    if running and code is not None:
        _kill_group(child)
    return code


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the second is macOS's word for a group of zombies
        os.killpg(child.pid, signal.SIGKILL)


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
