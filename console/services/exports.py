"""Everything that is held about a person, as one zip: each kind of rows as JSON and as CSV, and a manifest.

No secrets: holders leave out hashes, keys and tokens, and a row that names one is a bug that stops the export.
"""

import csv
import hashlib
import json
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import IO
from uuid import UUID

import msgspec
from django.db import transaction

from console.data_rights import Row, holders
from console.models import DataExport, DataExportPart, DataRequest

FORMAT, VERSION = "raxx.data-export", 1
EXPIRES_AFTER = timedelta(days=7)
PART_BYTES = 1_048_576
_SPOOL_BYTES_MAX = 8 * PART_BYTES  # beyond this the zip is made on disk
# What a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_SECRETIVE = re.compile(r"secret|token|passw|hash|private|public_key|signature|sid$", re.IGNORECASE)
_README = """This is a copy of what Raxx holds about you, made on {made}.

manifest.json   the files with their number of rows and SHA-256
*.json          one list of objects for each kind of rows; amounts are strings, times are UTC (ISO 8601)
*.csv           the same for spreadsheets; text that looks like a formula begins with an apostrophe

Secrets are not in it: of keys, codes and sessions it only says that they exist.
"""


class SecretInExport(ValueError):
    """A holder exports a column that is named like a secret. A bug."""


def write_zip(target: IO[bytes], *, user_id: UUID, now: datetime) -> dict[str, int]:
    """Write the zip. Gives the number of rows by file name. Raises SecretInExport."""
    files: list[dict[str, object]] = []
    rows: dict[str, int] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", _README.format(made=f"{now:%Y-%m-%d %H:%M} UTC"))
        for app, holder in holders:
            for name, found in holder.export(user_id):
                stem = f"{app}/{name}"
                with tempfile.TemporaryFile("w+", newline="", encoding="utf-8") as table:
                    count, digest = _write_json(archive, f"{stem}.json", found, table)
                    files.append({"file": f"{stem}.json", "rows": count, "sha256": digest})
                    digest = _copy(archive, f"{stem}.csv", table)
                    files.append({"file": f"{stem}.csv", "rows": count, "sha256": digest})
                rows[stem] = count
        manifest = {
            "format": FORMAT, "version": VERSION, "made_at": now.isoformat(), "user_id": str(user_id), "files": files,
        }  # fmt: skip
        archive.writestr("manifest.json", json.dumps(manifest, indent=1))
    return rows


def _write_json(archive: zipfile.ZipFile, name: str, rows: Iterable[Row], table: IO[str]) -> tuple[int, str]:
    """The rows as JSON into the archive and as CSV into `table`, in one pass. How many, and the JSON's SHA-256."""
    digest, count, writer = hashlib.sha256(), 0, None
    with archive.open(name, "w", force_zip64=True) as stream:

        def put(data: bytes) -> None:
            digest.update(data)
            stream.write(data)

        put(b"[")
        for row in _checked(rows):
            put((b",\n" if count else b"\n") + msgspec.json.encode(_plain(row)))
            if writer is None:
                writer = csv.DictWriter(table, fieldnames=list(row), extrasaction="raise")
                writer.writeheader()
            writer.writerow({column: cell(value) for column, value in row.items()})
            count += 1
        put(b"\n]\n")
    return count, digest.hexdigest()


def _checked(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        named = [column for column in row if _SECRETIVE.search(column)]
        if named:
            raise SecretInExport(f"{named[0]!r} is named like a secret: leave it out of the export")
        yield row


def _copy(archive: zipfile.ZipFile, name: str, table: IO[str]) -> str:
    table.seek(0)
    digest = hashlib.sha256()
    with archive.open(name, "w", force_zip64=True) as stream:
        while chunk := table.read(PART_BYTES):
            digest.update(chunk.encode())
            stream.write(chunk.encode())
    return digest.hexdigest()


def cell(value: object) -> str:
    """A value as a cell of a CSV that no spreadsheet takes for a formula. Numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Mapping | list | tuple):
        return cell(msgspec.json.encode(_plain(value)).decode())
    text = str(value)
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


def _plain(value: object) -> object:
    """As JSON may hold it: amounts and ids as text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def make(*, request: DataRequest, now: datetime) -> DataExport:
    """The export that answers a request, stored in parts. Made anew where there was one."""
    if request.user_id is None:
        raise ValueError("an erased person has no data to export")
    with tempfile.SpooledTemporaryFile(_SPOOL_BYTES_MAX) as file:
        write_zip(file, user_id=request.user_id, now=now)
        size, digest = file.tell(), hashlib.sha256()
        file.seek(0)
        with transaction.atomic():
            DataExport.objects.filter(pk=request.pk).delete()
            export = DataExport.objects.create(
                request=request, made_at=now, expires_at=now + EXPIRES_AFTER, size=size, sha256=""
            )
            number = 0
            while chunk := file.read(PART_BYTES):
                digest.update(chunk)
                DataExportPart.objects.create(export=export, number=number, content=chunk)
                number += 1
            export.sha256 = digest.hexdigest()
            export.save(update_fields=["sha256"])
    return export


def read(export: DataExport) -> Iterator[bytes]:
    """The zip, a part at a time."""
    for number in export.parts.order_by("number").values_list("number", flat=True):
        yield bytes(export.parts.get(number=number).content)
