"""Put the pinned requirements into `.venv`; at once when they are there already.

    python3.11 -P raxx/kernel/install.py requirements.txt [requirements-dev.txt …]

`make setup`, `make run` and `make test` begin with it. It runs before anything is installed, so it
needs the standard library alone; and it takes turns with a second start of the same folder.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
_BROKEN_OFF = VENV / "installing"


def main(names: list[str]) -> int:
    local = ROOT / ".local"
    local.mkdir(exist_ok=True)
    with (local / "install.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("Waiting for another set-up of the same folder …\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return 0 if _is_current(names) or _install(names) else 1
        except KeyboardInterrupt:
            _say("\nBroken off; the next start begins again.\n")
            return 130


def _stamp(name: str) -> str:
    """The venv's own path is part of it: its scripts name that path, so a copied venv is no good."""
    return hashlib.sha256(f"{VENV}\n".encode() + (ROOT / name).read_bytes()).hexdigest()


def _is_current(names: list[str]) -> bool:
    stamps = {name: VENV / f"{name}.sha256" for name in names}
    try:
        whole = PYTHON.exists() and not _BROKEN_OFF.exists()
        return whole and all(file.read_text() == _stamp(name) for name, file in stamps.items())
    except FileNotFoundError:
        return False


def _install(names: list[str]) -> bool:
    started = time.monotonic()
    if not _fits():
        _say(f"Making {VENV} with Python {sys.version.split()[0]} …\n")
        shutil.rmtree(VENV, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", VENV], check=False)  # noqa: S603
        if made.returncode:
            _say("The venv module does not work; on Debian and Ubuntu: apt-get install python3.11-venv\n")
            return False
    _BROKEN_OFF.touch()
    if not _pip(names):
        return False
    for name in names:
        (VENV / f"{name}.sha256").write_text(_stamp(name))
    _BROKEN_OFF.unlink()
    _say(f"Installed {' and '.join(names)} in {time.monotonic() - started:.0f} s.\n")
    return True


def _fits() -> bool:
    """Whether the venv that is there can be added to: it was made here, works and finished its last set-up."""
    made = VENV / "pyvenv.cfg"  # since Python 3.11 it holds the command that made it
    if _BROKEN_OFF.exists() or not made.exists() or f"-m venv {VENV}\n" not in made.read_text():
        return False
    question = f"import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    return PYTHON.exists() and subprocess.run([PYTHON, "-c", question], check=False).returncode == 0  # noqa: S603


def _pip(names: list[str]) -> bool:
    """Runs pip and shows how far it is; all that it said only when it fails."""
    total = sum(line[:1].isalnum() for name in names for line in (ROOT / name).read_text().splitlines())
    _say(f"Installing {' and '.join(names)}: {total} packages, a minute or two the first time …\n")
    listed = [part for name in names for part in ("-r", name)]
    command = [str(PYTHON), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    pip = subprocess.Popen(  # noqa: S603
        [*command, "--progress-bar", "off", "--require-hashes", *listed],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert pip.stdout  # noqa: S101, for the type checker
    said, count = [], 0
    with pip:
        for line in pip.stdout:
            said.append(line)
            if line.startswith(("Collecting", "Requirement already satisfied")):
                count += 1
                package = line.removeprefix("Requirement already satisfied:").removeprefix("Collecting")
                _progress(f"  {count} of {total}: {package.split()[0]}", count)
            elif line.startswith("Installing collected"):
                _progress("  downloaded; unpacking …", 0)
    _say("\n" if sys.stdout.isatty() else "")
    if pip.returncode:
        _say("".join(said[-40:]) + f"\npip failed (exit code {pip.returncode}); its last words are above.\n")
    return pip.returncode == 0


def _progress(text: str, count: int) -> None:
    """One line that changes on a terminal; every tenth line elsewhere."""
    if sys.stdout.isatty():
        _say(f"\r\033[K{text}")
    elif count % 10 == 0:
        _say(f"{text}\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
