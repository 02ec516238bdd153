"""Django's commands. Without DATABASE_URL or REDIS_URL they find the embedded servers running."""

import os
import signal
import sys

# These need no server, or see to it themselves.
_WITHOUT_SERVERS = {
    "", "check", "collectstatic", "compilemessages", "diffsettings", "findstatic", "help", "makemessages", "run",
    "simulate", "spectacular", "startapp", "version", "--help", "--version", "-h",
}  # fmt: skip


def main(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raxx.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line

        from raxx.kernel import embedded
        from raxx.kernel.errors import RaxxError
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"{error.name} is not installed for {sys.executable}.\n"
            "Run `make setup`, then .venv/bin/python manage.py …\n"
        )
        return 1
    command = arguments[1] if len(arguments) > 1 else ""
    try:
        if command in _WITHOUT_SERVERS or "--help" in arguments or "-h" in arguments:
            execute_from_command_line(arguments)
        else:
            signal.signal(signal.SIGTERM, _leave)
            with embedded.lease(lambda text: print(text, file=sys.stderr, flush=True)):  # noqa: T201
                execute_from_command_line(arguments)
    except (RaxxError, ImproperlyConfigured) as error:
        log = error.details.get("log") if isinstance(error, RaxxError) else None
        sys.stderr.write(f"{error}\n" + (f"\n{log}\n" if log else ""))
        return 1
    return 0


def _leave(number: int, _frame: object) -> None:
    """Let go of the lease on the way out."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
