import json
import os
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit import log as record
from audit.pseudonym import OPERATOR_SHELL, actor_ref_for
from console.services import exports
from console.services.data_requests import EXPORTED
from raxx.kernel import clock

FAILED, USAGE = 1, 2


class Command(BaseCommand):
    help = "Write everything that is held about a person into one zip (JSON and CSV), readable by you alone."

    def add_arguments(self, parser: CommandParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("--user", type=UUID, help="the user's id")
        who.add_argument("--email", help="the user's address")
        parser.add_argument("--out", required=True, type=Path, help="the zip to write; it must not exist yet")
        parser.add_argument("--reason", required=True, help="why; kept in the record")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, out: Path, reason: str, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        users = get_user_model().objects
        user_id = (
            options["user"]
            or users.filter(email=options["email"].lower()).values_list("pk", flat=True).first()
        )
        if user_id is None or not users.filter(pk=user_id).exists():
            raise CommandError("There is no such user.", returncode=FAILED)
        now = clock.now()
        try:
            file = os.fdopen(os.open(out, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")
        except OSError as problem:
            raise CommandError(f"{out} cannot be written: {problem.strerror}.", returncode=USAGE) from problem
        with transaction.atomic():
            record.record(
                EXPORTED, actor=OPERATOR_SHELL, object_type="user", object_id=actor_ref_for(user_id), at=now,
                reason=reason, subject=user_id,
            )  # fmt: skip
            with file:
                rows = exports.write_zip(file, user_id=user_id, now=now)
        if options["json"]:
            self.stdout.write(json.dumps({"file": str(out), "rows": rows}))
        else:
            self.stdout.write(
                f"{sum(rows.values())} rows in {out}. It holds personal data: delete it when it is sent."
            )
