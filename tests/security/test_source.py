"""What the product's source must not hold, and what it is made of. Such things cannot be shown by running it."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core import signing

ROOT = Path(__file__).resolve().parents[2]
APPS = ("audit", "console", "mbt", "raxx")
# Calls and modules by which data becomes code, and whole attributes that switch an escape off.
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "mark_safe",
    "SafeString",
    "RawSQL",
    "os.system",
    "os.popen",
    "yaml.load",
}
MODULES = {
    "pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "xml",
    "lxml",
    "defusedxml",
    "ldap",
    "memcache",
    "pylibmc",
    "telnetlib",
    "ftplib",
}
# Modules that reach out of the machine, and who may, to an address that only settings name.
OUTWARD = {
    "requests",
    "httpx",
    "urllib.request",
    "aiohttp",
    "smtplib",
    "django.core.mail",
    "http.client",
    "ftplib",
}
MAY_REACH = {
    "raxx/kernel/management/commands/run.py": "asks its own web process on this machine whether it is up",
    "raxx/identity/services/notices.py": "mails notices to the people concerned, through RAXX_MAIL_URL",
}
# Random numbers that somebody could foretell: simulations want them, secrets must not have them.
MAY_PREDICT = re.compile(
    r"mbt/engine/simulation/|raxx/market/feeds/|raxx/market/listing|mbt/engine/assignment|raxx/kernel/outbox|mbt/demo"
)
STORAGE = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|localStorage|sessionStorage|indexedDB|postMessage|\beval\(|new Function|document\.cookie|https?://")  # fmt: skip


@cache
def sources() -> list[tuple[str, ast.Module]]:
    paths = [path for app in APPS for path in sorted((ROOT / app).rglob("*.py"))]
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in paths]


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_data_never_becomes_code() -> None:
    found = []
    for path, tree in sources():
        found += [(path, name) for name in imported(tree) if name.partition(".")[0] in MODULES]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                shell = any(
                    word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords
                )
                if name in CALLS or shell:
                    found.append((path, name))
    assert found == []


def test_patterns_and_formats_are_constants() -> None:
    """Whoever chose a pattern or a format could have it match, or show, what it should not."""
    upper = re.compile(r"_?[A-Z][A-Z_]*|switches\.[A-Z_]+")
    found = []
    for path, tree in sources():
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            if not isinstance(node.func, ast.Attribute):
                continue
            kind, first = node.func.attr, node.args[0]
            if ast.unparse(node.func.value) == "re" and not isinstance(first, ast.Constant):
                constant = isinstance(first, ast.JoinedStr) or upper.fullmatch(ast.unparse(first))
                found += [] if constant else [(path, ast.unparse(node))]
            elif kind in ("format", "format_map") and not isinstance(node.func.value, ast.Constant):
                found += [] if upper.fullmatch(ast.unparse(node.func.value)) else [(path, ast.unparse(node))]
    assert found == []


def test_nobody_can_send_us_anywhere() -> None:
    """No call to an address that somebody may choose: nothing to forge (SSRF), no redirect to follow."""
    found = {path for path, tree in sources() if OUTWARD & set(imported(tree))}
    assert found == set(MAY_REACH)


def test_random_numbers_that_must_not_be_guessed_come_from_secrets() -> None:
    found = {
        path for path, tree in sources() if "random" in set(imported(tree)) and not MAY_PREDICT.search(path)
    }
    assert found == set()


def test_weak_hashes_and_ciphers_are_not_used() -> None:
    weak = re.compile(r"\bmd5\b|\bsha1\b|\bDES\b|\bECB\b|\bRC4\b|Blowfish", re.ASCII)
    names = {
        (path, ast.unparse(node))
        for path, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.Name) and weak.search(ast.unparse(node).rpartition(".")[2])
    }
    assert names == set()


def test_scripts_write_text_and_keep_nothing() -> None:
    """Our one kind of script: no markup from data, nothing stored in the browser, no message from other windows, no
    third party. Templates hold no script of their own: tests/identity/test_pages.py."""
    scripts = [path for app in APPS for path in (ROOT / app).rglob("static/**/*.js")]
    assert scripts
    for path in scripts:
        assert STORAGE.findall(path.read_text()) == [], path
    for path in [
        *ROOT.glob("templates/**/*.html"),
        *(p for app in APPS for p in (ROOT / app).rglob("templates/**/*.html")),
    ]:
        assert not re.search(r"\|\s*safe\b|autoescape off", path.read_text()), path


def test_every_requirement_is_pinned_and_hashed() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if re.match(r"[a-z0-9]", line, re.I)]
        assert len(lines) > 20
        for line in lines:
            assert re.fullmatch(r"[a-z0-9._-]+==[^ ]+ \\", line, re.I), line
        assert "index-url" not in (ROOT / name).read_text()


def test_there_is_no_debugging_and_no_password() -> None:
    assert settings.DEBUG is False, "a constant: no variable turns it on"
    assert "DEBUG" not in {name for path, tree in sources() for name in environment_names(tree)}
    assert settings.AUTHENTICATION_BACKENDS
    assert not any("ModelBackend" in backend for backend in settings.AUTHENTICATION_BACKENDS)
    assert make_password(None).startswith("!")
    assert signing.get_cookie_signer().algorithm == "sha256"


def environment_names(tree: ast.Module) -> Iterator[str]:
    """Names that are looked up in the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(
            ("env.", "os.environ.get", "os.getenv")
        ):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))
