"""Recorded halts: a CSV beside a tape, as described in docs/rules/market-data.md#halts."""

import csv
import hashlib
import re
from pathlib import Path

from raxx.market.contracts import UnknownSymbolForm, parse_symbol
from raxx.market.feeds.errors import BadTape
from raxx.market.status import EVERYTHING, Reason, TradingStatus

FIELDS = ("from_ns_utc", "symbol", "until_ns_utc", "reason")
_STAMP = re.compile(r"[0-9]{1,19}")
_INT64_MAX = 2**63 - 1
# How long these last is known when they begin; the end of others is news.
_OF_KNOWN_LENGTH = frozenset({Reason.PRICE_BAND, Reason.MARKET_7, Reason.MARKET_13, Reason.MARKET_20})


def file_beside(tape: Path) -> Path:
    """`quotes_tick_IBM_20131007.csv.gz` has its halts in `quotes_tick_IBM_20131007.halts.csv`."""
    return tape.with_name(tape.name.removesuffix(".gz").removesuffix(".csv") + ".halts.csv")


def read_halts(file: Path) -> tuple[list[TradingStatus], str]:
    """The statuses that a file tells, in the order of their instants, and the sha256 of its contents. Raises BadTape."""
    try:
        contents = file.read_bytes()
    except OSError as error:
        raise BadTape(
            file=file, rule="the file can be read", value=error.strerror, remedy="Check the path."
        ) from None
    rows = list(csv.reader(contents.decode("utf-8", "replace").splitlines()))
    if not rows or tuple(rows[0]) != FIELDS:
        raise BadTape(
            file=file, line=1, rule=f"the first line is {','.join(FIELDS)}", value=",".join(rows[0]) if rows else "",
            remedy="Write that line first.",
        )  # fmt: skip
    found = [status for line, row in enumerate(rows[1:], start=2) for status in _statuses(file, line, row)]
    # At one instant what ends goes before what begins.
    found.sort(key=lambda status: (status.ts, status.is_halt))
    return found, hashlib.sha256(contents).hexdigest()


def _statuses(file: Path, line: int, row: list[str]) -> list[TradingStatus]:
    if len(row) != len(FIELDS):
        raise BadTape(
            file=file, line=line, rule=f"a row has {len(FIELDS)} fields", value=",".join(row),
            remedy="Write one halt a line, separated by commas.",
        )  # fmt: skip
    begins, name, ends, code = row
    from_ns = _instant(file, line, FIELDS[0], begins)
    until_ns = _instant(file, line, FIELDS[2], ends) if ends else None
    if until_ns is not None and until_ns <= from_ns:
        raise _bad(file, line, FIELDS[2], "is after the beginning, or empty", ends)
    try:
        symbol = EVERYTHING if name == EVERYTHING else parse_symbol(name).symbol
    except UnknownSymbolForm as error:
        raise _bad(file, line, FIELDS[1], error.details["rule"], name) from None
    try:
        reason = Reason(code)
    except ValueError:
        raise _bad(file, line, FIELDS[3], f"is one of {', '.join(Reason)}", code) from None
    if until_ns is None or reason in _OF_KNOWN_LENGTH:
        return [TradingStatus(symbol, from_ns, reason, until_ns)]
    return [TradingStatus(symbol, from_ns, reason), TradingStatus(symbol, until_ns)]


def _instant(file: Path, line: int, field: str, text: str) -> int:
    if not _STAMP.fullmatch(text) or int(text) > _INT64_MAX:
        raise _bad(file, line, field, "is nanoseconds since 1970 UTC, digits only", text)
    return int(text)


def _bad(file: Path, line: int, field: str, rule: str, value: str) -> BadTape:
    return BadTape(
        file=file, line=line, field=field, rule=rule, value=value, remedy="Correct this row, or leave it out."
    )
