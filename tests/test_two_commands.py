"""`make run` and `make test`, as far as they can be tried from inside the second."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from raxx.kernel import install, processes
from raxx.kernel.supervisor import MARK, read_procfile
from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of the sources at a path with a space in it, and below it room for its state."""
    top = Path(tempfile.mkdtemp(prefix="raxx-test-", dir="/var/tmp")).resolve()
    top.chmod(0o711)  # PostgreSQL's user must be able to pass
    copy = top / "a folder" / "raxx copy"
    hidden = shutil.ignore_patterns(".*", "__pycache__", "tests", "docs", "staticfiles")
    shutil.copytree(ROOT, copy, ignore=hidden)
    yield copy
    shutil.rmtree(top)


def environment(checkout: Path, **more: str) -> dict[str, str]:
    left_out = {"DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE", "DJANGO_SECRET_KEY", "RAXX_FIELD_KEY"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "RAXX_STATE_DIR": str(checkout.parents[1] / "state"), "PATH": os.defpath, **more}


def call(url: str, key: tuple[str, str], body: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body else None)  # noqa: S310
    request.add_header("Authorization", "Basic " + base64.b64encode(":".join(key).encode()).decode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)["data"]
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{refused.code}: {refused.read().decode()}") from None


def until(process: subprocess.Popen[str], text: str) -> str:
    """What it says up to that text."""
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended without {text!r}:\n{said}")


def test_make_run_trades_explains_refuses_a_second_and_leaves_nothing(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        wanted = busy.getsockname()[1]
        command = [sys.executable, "manage.py", "run"]
        env = environment(checkout, PORT=str(wanted))
        with subprocess.Popen(
            command, cwd=checkout, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as run:
            said = until(run, "Ctrl-C stops everything")
            assert f"Port {wanted} is not free; taking" in said
            base = re.findall(r"API docs +(http://localhost:[0-9]+)/api/docs/", said)[0]
            key = re.findall(r"curl -u ([^:]+):(\S+) ", said)[0]
            order = json.loads(re.findall(r"-d '(.*)'", said)[0])
            with urllib.request.urlopen(f"{base}/api/docs/", timeout=10) as page:  # noqa: S310
                assert page.status == 200

            placed = call(f"{base}/api/mbt/orders", key, order)
            deadline = time.monotonic() + PATIENCE_S
            while (seen := call(f"{base}/api/mbt/orders/{placed['id']}", key))["status"] != "filled":
                assert time.monotonic() < deadline, seen
                time.sleep(0.1)
            assert call(f"{base}/api/mbt/orders/{placed['id']}/explain", key)["headline"].startswith(
                "Bought 1 "
            )

            second = subprocess.run(
                command, cwd=checkout, env=env, capture_output=True, text=True, timeout=60
            )
            assert second.returncode == 1
            assert f"Raxx already runs from this folder ({base}/)" in second.stdout

            run.send_signal(signal.SIGINT)
            asked = time.monotonic()
            assert run.stdout
            rest = run.stdout.read()
            assert run.wait() == 0, rest
            assert time.monotonic() - asked < 10
    assert rest.endswith("Stopped.\n")
    assert "Traceback" not in said + rest
    mark = str(checkout.parents[1] / "state")
    assert processes.marked(MARK, mark) == []
    assert processes.working_in(Path(mark) / "servers/postgresql", "postgres") == []
    assert processes.working_in(Path(mark) / "servers/valkey", "valkey-server") == []
    assert mark in (checkout / ".local" / "README").read_text()


def test_a_bad_setting_is_one_sentence_and_no_traceback(checkout: Path) -> None:
    env = environment(checkout, RAXX_STATE_DIR="not/absolute")
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate"], cwd=checkout, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("RAXX_STATE_DIR: must be an absolute path")
    assert done.stderr.count("\n") == 1


def test_without_django_a_command_says_what_to_do(checkout: Path) -> None:
    done = subprocess.run(  # -I -S: as if nothing were installed
        [sys.executable, "-S", "manage.py", "migrate"],
        cwd=checkout, env=environment(checkout), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Run `make setup`" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_refuses_another_python_in_a_sentence(checkout: Path, tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make, "make is not installed"
    other = tmp_path / "python3"
    other.write_text("#!/bin/sh\nexit 1\n")  # what a Python of another version answers to the question
    other.chmod(0o755)
    env = environment(checkout, PATH=str(tmp_path))
    done = subprocess.run([make, "run"], cwd=checkout, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Raxx needs Python 3.11" in done.stdout


def test_set_up_is_done_once_and_again_after_it_was_broken_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "a folder"
    root.mkdir()
    (root / "none.txt").touch()
    venv = root / ".venv"
    for name, value in {
        "ROOT": root, "VENV": venv, "PYTHON": venv / "bin" / "python", "_BROKEN_OFF": venv / "installing"
    }.items():  # fmt: skip
        monkeypatch.setattr(install, name, value)
    assert install.main(["none.txt"]) == 0
    assert "Installed none.txt" in capsys.readouterr().out
    assert install.main(["none.txt"]) == 0
    assert capsys.readouterr().out == ""
    (root / "none.txt").write_text("this is no requirement\n")
    assert install.main(["none.txt"]) == 1
    said = capsys.readouterr().out
    assert "pip failed" in said
    assert "Making" not in said
    assert not install._fits()  # so the next start makes it anew
    (venv / "installing").unlink()
    assert install._fits()
    moved = venv.rename(root / "moved")
    monkeypatch.setattr(install, "VENV", moved)
    assert not install._fits()  # its scripts name the path where it was made


def test_the_platform_runs_the_same_processes() -> None:
    programs = read_procfile((ROOT / "Procfile").read_text())
    app = json.loads((ROOT / "app.json").read_text())
    assert list(programs) == ["release", "web", "engine", "worker", "beat"]
    assert set(app["formation"]) == set(programs) - {"release"}
    assert app["formation"]["beat"]["quantity"] == app["formation"]["engine"]["quantity"] == 1
    known = (ROOT / "raxx" / "settings.py").read_text()
    for name, setting in app["env"].items():
        assert setting["description"]
        assert f'"{name}"' in known or name == "WEB_CONCURRENCY"  # gunicorn's own
