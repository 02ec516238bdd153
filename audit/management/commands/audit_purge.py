"""`manage.py audit_purge`: delete the rows whose time is over."""

from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from audit.services import retention
from raxx.kernel import clock


class Command(BaseCommand):
    help = (
        "Count the audit rows whose retention time (2 or 7 years) is over; with --apply delete them, keep their "
        "seals, and write a signed manifest. The worker does it every day."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--apply", action="store_true", help="delete; without it nothing is changed")
        parser.add_argument("--batches", type=int, default=1_000, help="at most so many of 10,000 rows")
        parser.add_argument("--json", action="store_true")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        done = retention.purge(now=clock.now(), batches=options["batches"], apply=options["apply"])
        if options["json"]:
            self.stdout.write(msgspec.json.encode({"applied": options["apply"], **done._asdict()}).decode())
        elif options["apply"]:
            self.stdout.write(f"{done.rows:,} rows deleted, {done.manifests:,} manifests written.")
        else:
            self.stdout.write(f"{done.rows:,} rows would be deleted. --apply deletes them.")
