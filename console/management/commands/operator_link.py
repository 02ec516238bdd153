from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.urls import reverse

from console.services import operator_links
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError


class Command(BaseCommand):
    help = (
        "Print a link by which an operator adds a passkey, once, within five minutes: the first one, or another when"
        " all are lost. Makes the operator where new."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", default="operator@localhost", help="whose link (default %(default)s)")
        parser.add_argument(
            "--site", default="http://localhost:8000", help="where the site is (default %(default)s)"
        )

    def handle(self, *args: Any, email: str, site: str, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        try:
            validate_email(email)
            token = operator_links.issue(email=email, now=clock.now())
        except ValidationError as problem:
            raise CommandError(f"{email!r} is not an email address", returncode=2) from problem
        except RaxxError as refusal:
            raise CommandError(refusal.message, returncode=1) from refusal
        self.stdout.write(site.rstrip("/") + reverse("operator-enter", args=[token]))
