import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from console.status import State, monitor
from raxx.kernel import clock

FOUND_PROBLEMS = 3


class Command(BaseCommand):
    help = (
        "Look at every surface of the status page and note what is seen. The web processes do so by themselves; this "
        "is for looking from elsewhere. Exit code 3 when something is not operational."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--loop", action="store_true", help=f"look every {monitor.LOOK_EVERY_S} s until stopped"
        )
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, loop: bool, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        while True:
            seen = monitor.look(clock.now())
            states = {view.surface.id: view.state for view in seen.surfaces}
            if options["json"]:
                self.stdout.write(json.dumps({"checked_at": seen.checked_at.isoformat(), "surfaces": states}))
            else:
                for surface, state in states.items():
                    self.stdout.write(f"{state:<12} {surface}")
            if not loop:
                break
            time.sleep(monitor.LOOK_EVERY_S)
        if seen.state is not State.OPERATIONAL:
            raise SystemExit(FOUND_PROBLEMS)
