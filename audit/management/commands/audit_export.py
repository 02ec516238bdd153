"""`manage.py audit_export`: the trail of one object."""

import csv
import sys
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandParser

from audit import selectors, signing
from audit.models import AuditCheckpoint
from audit.services import checkpoints, sealing

_VERSION = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\0")
_encode = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical").encode


class Command(BaseCommand):
    help = (
        "Write everything that was ever recorded of one object, oldest first, each row with its seal, as JSON lines "
        "or CSV. The last JSON line is the first signed checkpoint that covers them. Exit codes: 0 done, 3 no such trail."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("object_type", help="such as mbt.order, mbt.account, api_key, switch, user")
        parser.add_argument("object_id", help="the object's id as the record has it; a user's is a pseudonym")
        parser.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        rows = list(selectors.trail(object_type=options["object_type"], object_id=options["object_id"]))
        if not rows:
            self.stderr.write(f"Nothing is recorded of {options['object_type']} {options['object_id']}.")
            sys.exit(3)
        if options["format"] == "csv":
            self._csv(rows)
        else:
            self._json(rows)

    def _json(self, rows: list[selectors.TrailRow]) -> None:
        for row in rows:
            self.stdout.write(_encode({"version": _VERSION, **row._asdict()}).decode())
        covering = _covering(max((row.seq or 0 for row in rows), default=0))
        if covering is not None:
            shown = {"version": _VERSION, "checkpoint": covering, "public_key": signing.public_key()}
            self.stdout.write(_encode(shown).decode())

    def _csv(self, rows: list[selectors.TrailRow]) -> None:
        writer = csv.writer(self.stdout)
        writer.writerow(selectors.TrailRow._fields)
        for row in rows:
            writer.writerow([_cell(value) for value in row])


def _covering(seq: int) -> dict[str, object] | None:
    """The first checkpoint at or after the seal, as it was signed."""
    head = sealing.head()
    row = AuditCheckpoint.objects.filter(seq__gte=seq).order_by("seq").first()
    if head is None or row is None:
        return None
    found = checkpoints.of_row(head.record_id, row)
    return {**found.facts, "key_id": found.signature.key_id, "signature": found.signature.value.hex()}


def _cell(value: object) -> object:
    """Spreadsheets run what looks like a formula."""
    text = _encode(value).decode() if isinstance(value, dict) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
