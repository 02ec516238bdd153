"""Where the embedded servers of this checkout live.

Not inside the checkout: a Unix socket path may have 103 bytes at most (macOS; Linux takes 107), and
PostgreSQL's and Celery's settings take no space in it, while a checkout may lie anywhere. So the
folder is named by a hash of the checkout's path, which keeps two checkouts apart, and lies

- in XDG_STATE_HOME (`~/.local/state`) of an ordinary user, where data survives a restart;
- in /var/lib for root: the servers then run as `nobody`, who cannot enter root's home;
- in /var/tmp where the home is missing, read-only, too long or oddly named;
- in RAXX_STATE_DIR where that is set.

`.local/README` in the checkout says which. A checkout that is moved starts afresh.
"""

import hashlib
import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from raxx.kernel import env
from raxx.kernel.embedded.errors import EmbeddedServerFailed

PROJECT = Path(__file__).resolve().parents[3]

_PLAIN = re.compile(r"/[A-Za-z0-9_./+-]*")
_LENGTH_MAX = 80  # bytes; leaves 23 for the longest socket, /servers/.s.PGSQL.5432


def state_dir() -> Path:
    """The folder, made when it is missing. Raises EmbeddedServerFailed, or BadSetting for RAXX_STATE_DIR."""
    folder = state_path()
    remedy = (
        "Set RAXX_STATE_DIR to a folder of your own, or DATABASE_URL and REDIS_URL to servers of your own."
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            pass
        else:  # as root, the server's user must be able to pass through
            folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
        found = folder.lstat()
    except OSError as error:
        raise EmbeddedServerFailed(f"{folder} cannot be made: {error.strerror}.", remedy=remedy) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EmbeddedServerFailed(f"{folder} is not a folder that belongs to this user.", remedy=remedy)
    return folder


def state_path() -> Path:
    """The same without making it."""
    chosen = env.given("RAXX_STATE_DIR")
    if chosen:
        folder = Path(os.path.realpath(chosen))
        if not Path(chosen).is_absolute() or not _fits(folder):
            raise env.BadSetting(
                field="RAXX_STATE_DIR",
                rule=f"must be an absolute path of letters, digits and _./+- in at most {_LENGTH_MAX} bytes",
                value=chosen,
                remedy="Choose such a folder, or unset it.",
            )
        return folder
    key = hashlib.sha256(os.fsencode(PROJECT)).hexdigest()[:12]
    if os.geteuid() == 0:
        return Path(os.path.realpath("/var/lib/raxx")) / key
    base = Path(os.path.realpath(env.given("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")))
    folder = base / "raxx" / key
    if _fits(folder) and _can_be_made(folder):
        return folder
    return Path(os.path.realpath("/var/tmp")) / f"raxx-{os.geteuid()}-{key}"  # noqa: S108, its owner is checked


def servers_path() -> Path:
    """The part that belongs to the user whom the servers run as: data, logs and sockets."""
    return state_path() / "servers"


@dataclass(frozen=True, slots=True)
class DemoSecrets:
    """Random hex for this machine alone, or None where the environment names a database: who brings
    a database brings secrets."""

    django_secret_key: str | None
    field_key: str | None


def demo_secrets() -> DemoSecrets:
    """Made once and kept in a file that only this user can read."""
    if env.given("DATABASE_URL"):
        return DemoSecrets(django_secret_key=None, field_key=None)
    file = state_dir() / "secrets.json"
    if not file.exists():
        write_once(
            file, json.dumps({name: secrets.token_hex(32) for name in ("django_secret_key", "field_key")})
        )
    return DemoSecrets(**json.loads(file.read_text()))


def leave_pointer() -> None:
    """Say in the checkout's `.local` where the data are."""
    folder = PROJECT / ".local"
    text = (
        "The embedded PostgreSQL and Valkey of this checkout keep their data, logs and sockets in\n\n"
        f"    {state_path()}\n\n"
        "raxx/kernel/embedded/state.py says why they are not here. While nothing runs, that folder\n"
        "may be deleted: the next start makes a new one, with an empty database.\n"
    )
    try:
        folder.mkdir(exist_ok=True)
        file = folder / "README"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
    except OSError:
        pass  # a read-only checkout needs no pointer


def write_once(file: Path, text: str) -> None:
    """Whole or not at all, and the first of several writers wins."""
    draft = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _fits(folder: Path) -> bool:
    return bool(_PLAIN.fullmatch(str(folder))) and len(str(folder)) <= _LENGTH_MAX


def _can_be_made(folder: Path) -> bool:
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(nearest, os.W_OK | os.X_OK)
