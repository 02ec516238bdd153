from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from raxx.identity.models import User
from raxx.identity.services import sessions
from raxx.kernel import clock


class Command(BaseCommand):
    help = "End every session of one person, or of everybody. They may sign in again at once."

    def add_arguments(self, parser: CommandParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--email", help="of one person")
        whose.add_argument("--everyone", action="store_true")
        parser.add_argument("--reason", required=True, help="kept in the record, so name nobody")

    def handle(self, *args: Any, email: str | None, everyone: bool, reason: str, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        people = User.objects.all() if everyone else User.objects.filter(email=(email or "").lower())
        if not everyone and not people.exists():
            raise CommandError(f"There is no user {email}.", returncode=2)
        why = f"ended from the shell: {reason}"
        ended = sum(
            sessions.revoke_all(user_id=user_id, now=clock.now(), why=why)
            for user_id in people.filter(sessions__revoked_at=None).values_list("pk", flat=True).distinct()
        )
        self.stdout.write(f"Sessions ended: {ended}.")
