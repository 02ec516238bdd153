import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from raxx.kernel import processes
from tests.patience import eventually


@contextmanager
def running(code: str, folder: Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A Python program that has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"print('up', flush=True)\n{code}"],
        cwd=folder, env={**os.environ, **env}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    with process, process.stdout:
        process.stdout.readline()
        yield process
        process.kill()


SLEEP = "import time; time.sleep(60)"


def test_a_process_is_known_by_its_name_and_folder_even_if_that_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    with running(SLEEP, folder) as process:
        name = psutil.Process(process.pid).name()
        assert [found.pid for found in processes.working_in(folder, name)] == [process.pid]
        assert processes.working_in(tmp_path, name) == []
        assert processes.working_in(folder, "postgres") == []
        shutil.rmtree(folder)
        assert [found.pid for found in processes.working_in(folder, name)] == [process.pid]


def test_a_stale_number_that_now_belongs_to_another_program_is_nobody(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with running(SLEEP, tmp_path) as process:
        name = psutil.Process(process.pid).name()
        file.write_text(f"{process.pid}\nand more\n")
        found = processes.recorded_in(file, name, tmp_path)
        assert found is not None
        assert found.pid == process.pid
        assert processes.recorded_in(file, "postgres", tmp_path) is None
        assert processes.recorded_in(file, name, tmp_path.parent) is None
    assert processes.recorded_in(file, name, tmp_path) is None


@pytest.mark.parametrize("content", ["", "\n", "x", "-1", "99999999999999999999"])
def test_a_spoilt_pid_file_is_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "pid").write_text(content)
    assert processes.recorded_in(tmp_path / "pid", "python", tmp_path) is None


def test_marks_are_inherited_and_neither_the_asker_nor_its_ancestors_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = str(tmp_path)
    monkeypatch.setenv("RAXX_TEST_MARK", mark)
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with running(child, tmp_path, RAXX_TEST_MARK=mark) as process:
        eventually(lambda: len(processes.marked("RAXX_TEST_MARK", mark)) >= 2)
        found = processes.marked("RAXX_TEST_MARK", mark)
        assert process.pid in {one.pid for one in found}
        assert len(found) == 2
        processes.end(found, (signal.SIGKILL, 5))
        assert processes.marked("RAXX_TEST_MARK", mark) == []


def test_who_does_not_listen_is_killed_and_a_zombie_is_not_waited_for(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    with running(deaf, tmp_path) as process:
        assert process.stdout
        process.stdout.readline()
        started = time.monotonic()
        # It stays a zombie until this test collects it.
        processes.end([psutil.Process(process.pid)], (signal.SIGTERM, 0.2), (signal.SIGKILL, 5))
        assert time.monotonic() - started < 2
        assert process.wait() == -signal.SIGKILL
