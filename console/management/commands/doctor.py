import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console import doctor
from raxx.kernel import clock

FOUND_PROBLEMS = 3


class Command(BaseCommand):
    help = (
        "Look at everything that has to be right: one line each (ok, warn or fail) and one remedy for whatever is "
        "not. Exit code 0 nothing failed, 2 usage, 3 something did."
    )
    # It is for the moment in which things are broken.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "checks",
            nargs="*",
            metavar="CHECK",
            help=f"only these, of {', '.join(n for n, _ in doctor.checks)}",
        )
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")

    def handle(self, *args: Any, checks: list[str], **options: Any) -> None:  # noqa: ANN401 - as its base has it
        unknown = [name for name in checks if name not in doctor.checks]
        if unknown:
            known = ", ".join(name for name, _ in doctor.checks)
            raise CommandError(f"There is no check {unknown[0]!r}. There are: {known}.", returncode=2)
        now = clock.now()
        results = doctor.examine(now, checks)
        well = doctor.is_well(results)
        if options["json"]:
            self.stdout.write(
                json.dumps({"ok": well, "checked_at": now.isoformat(), "checks": _plain(results)})
            )
        else:
            for result in results:
                self.stdout.write(_line(result))
        if not well:
            raise SystemExit(FOUND_PROBLEMS)


def _line(result: doctor.Result) -> str:
    finding = result.finding
    remedy = f". {finding.remedy}" if finding.remedy else ""
    return f"{finding.level:<4}  {result.name:<13} {finding.message}{remedy}"


def _plain(results: list[doctor.Result]) -> list[dict[str, object]]:
    return [
        {
            "name": result.name,
            "level": result.finding.level,
            "message": result.finding.message,
            "remedy": result.finding.remedy,
            "took_ms": result.took_ms,
        }
        for result in results
    ]
