"""`manage.py audit_verify`: is the audit record what it was?"""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from audit import signing, verification
from audit.verification import Findings
from raxx.kernel.errors import RaxxError


class Command(BaseCommand):
    help = (
        "Check the whole audit record: every row, the chain of its seals, and the signed checkpoints, of which "
        "copies lie outside of the database. Names the first bad row, or the missing tail. "
        "Exit codes: 0 sound, 1 failed, 3 something is wrong with the record."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--checkpoints",
            type=Path,
            action="append",
            metavar="FILE",
            help="a file of checkpoints, or a JSON log that has them; may be given several times "
            "(default: RAXX_AUDIT_CHECKPOINTS, where it exists)",
        )
        parser.add_argument(
            "--public-key",
            action="append",
            default=[],
            metavar="HEX",
            help="a former signing key's public half; may be given several times, or as RAXX_AUDIT_PUBLIC_KEYS",
        )
        parser.add_argument("--json", action="store_true", help="the findings as one JSON object")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's
        usual = Path(settings.RAXX_AUDIT_CHECKPOINTS)
        files = options["checkpoints"] or ([usual] if usual.exists() else [])
        try:
            findings = verification.verify(
                files=files, public_keys=options["public_key"], progress=_Progress(self.stderr)
            )
        except (OSError, RaxxError) as failure:
            self.stderr.write(self.style.ERROR(str(failure)))
            sys.exit(1)
        if options["json"]:
            shown = {"sound": findings.is_sound, "public_key": signing.public_key(), **asdict(findings)}
            self.stdout.write(msgspec.json.encode(shown).decode())
        else:
            self._tell(findings, files)
        if not findings.is_sound:
            sys.exit(3)

    def _tell(self, findings: Findings, files: list[Path]) -> None:
        rate = findings.seals / findings.seconds if findings.seconds else 0
        self.stdout.write(
            f"{findings.seals:,} seals, {findings.rows:,} rows, {findings.purged:,} purged, {findings.waiting:,} not yet "
            f"sealed; {findings.checkpoints:,} checkpoints, the last for seal {findings.signed_through:,}; "
            f"{findings.seconds:.1f} s ({rate:,.0f} a second)."
        )
        if not files:
            self.stdout.write(
                "No checkpoint from outside of the database was given, so a tail that is missing, or a record written "
                "anew with everything in it, could not be noticed: --checkpoints FILE."
            )
        if findings.is_sound:
            self.stdout.write(self.style.SUCCESS("The record is sound."))
            return
        self.stdout.write(
            self.style.ERROR(f"{findings.count:,} problem(s). The first: {findings.problems[0].text}")
        )
        for problem in findings.problems[1:]:
            self.stdout.write(f"  {problem.text}")


class _Progress:
    """Every two seconds a line on stderr."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - Django's OutputWrapper
        self._stream, self._said, self._began = stream, time.monotonic(), time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said < 2:
            return
        self._said, rate = now, done / (now - self._began)
        self._stream.write(
            f"{done:,} of {total:,} seals, {rate:,.0f} a second, {(total - done) / rate:.0f} s to go"
        )
