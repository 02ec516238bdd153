import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.purging import purge_all, purges
from raxx.kernel import clock


class Command(BaseCommand):
    help = "Delete what has been kept for its time. Without --apply it only says how much that is."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="delete; without it nothing changes")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, apply: bool, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        counts = purge_all(clock.now(), apply=apply)
        if options["json"]:
            self.stdout.write(json.dumps({"applied": apply, "rows": counts}))
            return
        for name, count in counts.items():
            self.stdout.write(f"{count:>8}  {name}, kept for {purges[name].keep}")
        if not apply:
            self.stdout.write("Nothing was deleted. Add --apply to delete them.")
