"""`manage.py audit_seal`: what the worker does every second and every minute, once and by hand."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.services import checkpoints, sealing
from raxx.kernel import clock


class Command(BaseCommand):
    help = "Seal every committed row of the audit record now, and sign a checkpoint."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--everything",
            action="store_true",
            help="look at all rows, also where by rights none is waiting",
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        done = sealing.seal(patience_s=float("inf"), everything=options["everything"])
        if done is None:
            raise CommandError("Another sealer is at it; try again in a moment.")
        try:
            signed = checkpoints.make(now=clock.now())
        except checkpoints.RecordContradicted as contradiction:
            raise CommandError(str(contradiction)) from contradiction
        self.stdout.write(
            f"{done.rows:,} rows sealed; the chain has {done.seq:,} seals. "
            + ("Signed." if signed else "Nothing new to sign.")
        )
