"""What runs once per deploy, before new code serves anybody."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Check the settings, then migrate."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        call_command("check", deploy=True, fail_level="ERROR")
        call_command("migrate", interactive=False)
