"""Finding and ending processes that may be somebody else's children. A zombie counts as dead, even
where nobody collects it."""

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil


def working_in(folder: Path, name: str) -> list[psutil.Process]:
    """The processes called `name` whose working folder is `folder`, even if it has been deleted."""
    return _matching(lambda found: found.name() == name and _folder(found) == str(folder))


def marked(variable: str, value: str) -> list[psutil.Process]:
    """The processes that were started with `variable` = `value`, without this one and its ancestors."""
    own = {psutil.Process().pid, *(parent.pid for parent in psutil.Process().parents())}
    return _matching(lambda found: found.pid not in own and found.environ().get(variable) == value)


def recorded_in(file: Path, name: str, folder: Path) -> psutil.Process | None:
    """The living process whose number begins `file`, if it is still the same program: a number in a
    stale file may belong to anybody by now."""
    try:
        process = psutil.Process(int(file.read_text().split()[0]))
        return process if process.name() == name and _folder(process) == str(folder) else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def end(processes: Iterable[psutil.Process], *steps: tuple[signal.Signals, float]) -> None:
    """Send the first signal, wait that many seconds, send the next to those still alive, and so on."""
    remaining = list(processes)
    for number, wait_s in steps:
        for process in remaining:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        deadline = time.monotonic() + wait_s
        while remaining and time.monotonic() < deadline:
            remaining = [process for process in remaining if _alive(process)]
            time.sleep(0.02 if remaining else 0)


def _matching(wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if wanted(process):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # gone, a zombie, or somebody else's
    return found


def _folder(process: psutil.Process) -> str:
    return process.cwd().removesuffix(" (deleted)")


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
