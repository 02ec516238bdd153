"""Option levels and the flag for naked shorts."""

import argparse
import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from audit import pseudonym
from mbt.models import Account
from mbt.services import accounts
from raxx.kernel import clock
from raxx.kernel.errors import RaxxError


class Command(BaseCommand):
    help = (
        "Set the option level of an account (0 stock only, 1 covered calls and secured puts, 2 long options, 3 spreads), "
        "its flag for naked shorts, or both. Without --apply it only says what would change."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("account", help="the id of the account, or the email address of its owner")
        parser.add_argument("--options-level", type=int, choices=(0, 1, 2, 3))
        parser.add_argument("--naked-shorts", choices=("on", "off"))
        parser.add_argument("--apply", action="store_true", help="do it")
        parser.add_argument("--json", action="store_true", help="the account before and after, as JSON")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - Django's
        level, flag = options["options_level"], options["naked_shorts"]
        if level is None and flag is None:
            raise CommandError("Give --options-level, --naked-shorts, or both.")
        row = _find(options["account"])
        before = _shown(row)
        after = before | ({} if level is None else {"options_level": level})
        after |= {} if flag is None else {"naked_shorts": flag == "on"}
        if options["apply"]:
            try:
                row = accounts.approve(
                    row.pk, options_level=level, naked_shorts=None if flag is None else flag == "on", at=clock.now(),
                    actor=pseudonym.OPERATOR_SHELL,
                )  # fmt: skip
            except RaxxError as problem:
                raise CommandError(problem.message) from None
            after = _shown(row)
        if options["json"]:
            self.stdout.write(json.dumps({"before": before, "after": after, "applied": options["apply"]}))
            return
        changes = [
            f"{name}: {before[name]} -> {after[name]}" for name in before if before[name] != after[name]
        ]
        self.stdout.write("; ".join(changes) or "Nothing changes.")
        if changes and not options["apply"]:
            self.stdout.write("Add --apply to do it.")


def _find(text: str) -> Account:
    try:
        row = Account.objects.filter(pk=UUID(text)).first()
    except ValueError:
        row = Account.objects.filter(user__email__iexact=text).first()
    if row is None:
        raise CommandError(f"There is no account of {text}.")
    return row


def _shown(row: Account) -> dict[str, object]:
    return {"account_id": str(row.pk), "options_level": row.options_level, "naked_shorts": row.naked_shorts}
