import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.pseudonym import OPERATOR_SHELL
from console.data_rights import carve_outs
from console.models import DataRequest
from console.services import data_requests, erasures
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError

FAILED, USAGE = 1, 2


class Command(BaseCommand):
    help = (
        "Erase a person: ask for it with --user and --reason (30 days of cooling-off, or --waive), or carry out what is "
        "due with --due. --list prints the erasure list; keep it with your backups. After a restore, --reapply erases "
        "again whoever came back. Nothing changes without --apply."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--user", type=UUID, help="the id of the user to erase")
        what.add_argument("--due", action="store_true", help="carry out the erasures whose time has come")
        what.add_argument(
            "--list", action="store_true", help="print the erasure list, one JSON object a line"
        )
        what.add_argument(
            "--reapply", nargs="?", const="", metavar="FILE",
            help="erase again who is on the list: of this database, or of FILE (a list or a log; - for standard input)",
        )  # fmt: skip
        parser.add_argument("--waive", action="store_true", help="with --user: do not wait for 30 days")
        parser.add_argument("--reason", default="", help="with --user: why; kept in the record")
        parser.add_argument("--apply", action="store_true", help="do it; without this the command only tells")
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as its base has it
        if options["list"]:
            for entry in erasures.stored_list():
                self.stdout.write(json.dumps({"mark": entry.mark, "erased_at": entry.erased_at.isoformat()}))
            return
        if options["reapply"] is not None:
            told = self._reapply(options["reapply"], apply=options["apply"])
        elif options["due"]:
            told = self._due(apply=options["apply"])
        else:
            told = self._user(**options)
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            for name, value in told.items():
                self.stdout.write(f"{name}: {value}")
            if not options["apply"]:
                self.stdout.write("Nothing was changed. Add --apply to do it.")

    def _user(self, *, user: UUID, waive: bool, reason: str, apply: bool, **_: object) -> dict[str, object]:
        if not reason.strip():
            raise CommandError("--user needs a --reason.", returncode=USAGE)
        if not get_user_model().objects.filter(pk=user).exists():
            raise CommandError("There is no such user.", returncode=FAILED)
        kept = [f"{carve_out.table} ({carve_out.keep}): {carve_out.why}" for carve_out in carve_outs()]
        if not apply:
            return {"would erase": str(user), "would keep": kept}
        now = clock.now()
        try:
            with transaction.atomic():
                request = data_requests.receive(
                    user_id=user, kind=DataRequest.Kind.ERASURE, actor=OPERATOR_SHELL, now=now, reason=reason
                )
                if waive:
                    data_requests.waive(request_id=request.pk, actor=OPERATOR_SHELL, now=now, reason=reason)
        except RaxxError as refusal:
            raise CommandError(refusal.message, returncode=FAILED) from refusal
        if waive:
            self._due(apply=True)
        request.refresh_from_db()
        until = request.cooling_until.isoformat() if request.cooling_until else None
        return {"request": str(request.pk), "status": request.status, "cooling until": until, "kept": kept}

    def _due(self, *, apply: bool) -> dict[str, object]:
        now = clock.now()
        if not apply:
            waiting = DataRequest.objects.filter(status="cooling", cooling_until__lte=now).count()
            return {"due": waiting + DataRequest.objects.filter(status="erasing").count()}
        done = data_requests.run(now)
        if done.failed:
            raise CommandError(
                f"{done.failed} failed; the log says why. They are tried again.", returncode=FAILED
            )
        return {"erased": done.erased, "copies made": done.exported}

    def _reapply(self, file: str, *, apply: bool) -> dict[str, object]:
        if not file:
            entries = list(erasures.stored_list())
        elif file == "-":
            entries = list(erasures.read_list(sys.stdin))
        else:
            try:
                entries = list(erasures.read_list(Path(file).read_text().splitlines()))
            except OSError as problem:
                raise CommandError(
                    f"{file} cannot be read: {problem.strerror}.", returncode=USAGE
                ) from problem
        back = erasures.reapply(entries=entries, now=clock.now(), apply=apply)
        listed = len({entry.mark for entry in entries})
        return {"on the list": listed, "erased again" if apply else "would erase again": len(back)}
