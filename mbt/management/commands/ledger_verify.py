"""Whether the books add up."""

import argparse
import json
import sys
from typing import Any

from django.core.management.base import BaseCommand

from mbt import books


class Command(BaseCommand):
    help = (
        "Check every account: cash is the sum of its activities, positions the sum of their fills, and what is held "
        "back is what open orders need. Exit status 3 when something does not add up."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--account", help="only this account id")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        checked, problems = books.verify(options["account"])
        if options["json"]:
            self.stdout.write(json.dumps({"accounts": checked, "problems": problems}))
        else:
            for problem in problems:
                self.stdout.write(problem)
            self.stdout.write(f"{checked} accounts checked, {len(problems)} problems")
        if problems:
            sys.exit(3)
