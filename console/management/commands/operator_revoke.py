from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.services import operators
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError


class Command(BaseCommand):
    help = "Take an operator's rights away. Their sessions end at once; they stay a customer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True, help="whose")
        parser.add_argument("--reason", default="", help="kept in the record, so name nobody")

    def handle(self, *args: Any, email: str, reason: str, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        try:
            ended = operators.revoke(email=email, reason=reason, now=clock.now())
        except RaxxError as refusal:
            raise CommandError(refusal.message, returncode=1) from refusal
        self.stdout.write(f"{email} is no longer an operator. Sessions ended: {ended}.")
