"""Read recorded quotes: CSV, plain or gzip, as described in docs/rules/market-data.md#tapes.

A tape is read whole into numpy columns, about a million rows a second and 48 bytes a row. Prices
go from decimal text to integer ticks without a float in between.
"""

import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias, cast

import numpy as np

from raxx.kernel.money import TICKS_PER_DOLLAR
from raxx.market.contracts import UnknownSymbolForm, parse_symbol
from raxx.market.feeds.columns import Columns, Ints
from raxx.market.feeds.errors import BadTape as BadTape
from raxx.market.feeds.halts import file_beside, read_halts
from raxx.market.status import TradingStatus

Paths: TypeAlias = str | Path | Sequence[str | Path]

FIELDS = ("ts_ns_utc", "symbol", "bid", "bid_size", "ask", "ask_size")
_HEADER = ",".join(FIELDS)
_NEWLINE, _COMMA = b"\n,"
_CHUNK_BYTES = 1 << 16  # fits the processor's cache with its cells: twice as fast as a megabyte
_INT64_MAX = 2**63 - 1
_NAME_MAX = 40  # leaves room in the 64 characters of a feed name for what is put around it

_PRICE = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,4})0*)?")
_SIZE = re.compile(r"[0-9]{1,12}")
_STAMP = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tape(Columns):
    """Recorded quotes.

    `name` comes from the file names, `digest` (sha256, hexadecimal) from the uncompressed contents:
    one file has the digest of its contents, several that of their digests in order, one a line. `halts` are told by
    the files beside, where there are any; they count in the digest like further files.
    """

    name: str
    digest: str
    halts: tuple[TradingStatus, ...] = ()


def read_tape(paths: Paths) -> Tape:
    """Read one or several files into one tape. Raises BadTape.

    Rows with equal stamps keep their order within a file; between files the one named first goes first.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files:
        raise ValueError("a tape needs at least one file")
    reader = _Reader()
    digests = [reader.read(file) for file in files]
    halts: list[TradingStatus] = []
    for beside in dict.fromkeys(map(file_beside, files)):
        if beside.exists():
            statuses, digest = read_halts(beside)
            halts += statuses
            digests.append(digest)
    halts.sort(key=lambda status: (status.ts, status.is_halt))
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
    ts, symbol_index, bid, bid_size, ask, ask_size = reader.columns()
    return Tape(
        name=_name(files, digest),
        digest=digest,
        halts=tuple(halts),
        symbols=tuple(reader.symbols),
        ts=ts,
        symbol_index=symbol_index.astype(np.intp, copy=False),
        bid=bid,
        bid_size=bid_size,
        ask=ask,
        ask_size=ask_size,
    )


class _Memo(dict[str, int]):
    """Text to integer, converted once: a day of quotes repeats a few thousand prices and sizes."""

    def __init__(self, convert: Callable[[str], int]) -> None:
        super().__init__()
        self.convert = convert

    def __missing__(self, text: str) -> int:
        value = self[text] = self.convert(text)
        return value

    def column(self, cells: list[str]) -> Ints:
        return np.fromiter(map(self.__getitem__, cells), np.int64, len(cells))


class _Reader:
    def __init__(self) -> None:
        self.symbols: dict[str, int] = {}
        self._pieces: list[list[Ints]] = []
        symbols, prices, sizes = _Memo(self._symbol), _Memo(_price), _Memo(_size)
        # Per field: the fast way for a column, and the exact way for one cell, which names the broken rule.
        self._converters: tuple[tuple[Callable[[list[str]], Ints], Callable[[str], int]], ...] = (
            (_stamps, _stamp),
            (symbols.column, self._symbol),
            (prices.column, _price),
            (sizes.column, _size),
            (prices.column, _price),
            (sizes.column, _size),
        )

    def read(self, file: Path) -> str:
        """Take in one file; returns the sha256 of its uncompressed contents."""
        digest = hashlib.sha256()
        line, last_ns = 2, 0
        try:
            with _open(file) as stream:
                header = stream.readline(len(_HEADER) + 2)
                digest.update(header)
                if header.rstrip(b"\r\n") != _HEADER.encode():
                    raise BadTape(
                        file=file,
                        line=1,
                        rule=f"the first line is {_HEADER}",
                        value=header.decode("utf-8", "replace").rstrip("\r\n"),
                        remedy="Give a file of quotes; trades and bars have other columns.",
                    )
                for chunk in _whole_lines(stream, digest.update):
                    columns = self._convert(chunk, file, line)
                    _check(columns, file, line, last_ns)
                    self._pieces.append(columns)
                    line += len(columns[0])
                    last_ns = int(columns[0][-1])
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadTape(
                file=file,
                rule="a .gz file is complete and undamaged gzip",
                value=str(error),
                remedy="Fetch the file again; rename it to .csv if it is not compressed.",
            ) from None
        except OSError as error:
            raise BadTape(
                file=file, rule="the file can be read", value=error.strerror, remedy="Check the path."
            ) from None
        if line == 2:
            raise BadTape(
                file=file, rule="a tape has at least one quote", value="no rows", remedy="Give another file."
            )
        return digest.hexdigest()

    def columns(self) -> list[Ints]:
        """All columns of all files, merged by time."""
        columns = [np.concatenate(pieces) for pieces in zip(*self._pieces, strict=True)]
        ts = columns[0]
        if np.all(ts[:-1] <= ts[1:]):
            return columns
        order = np.argsort(ts, kind="stable")
        return [column[order] for column in columns]

    def _convert(self, chunk: bytes, file: Path, first_line: int) -> list[Ints]:
        raw = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(raw == _NEWLINE)
        commas = np.cumsum(raw == _COMMA, dtype=np.int64)[ends]
        uneven = np.flatnonzero(commas != np.arange(1, len(ends) + 1) * (len(FIELDS) - 1))
        if uneven.size:
            raise BadTape(
                file=file,
                line=first_line + int(uneven[0]),
                rule=f"a row has {len(FIELDS)} fields",
                value=chunk.split(b"\n")[uneven[0]].decode("utf-8", "replace"),
                remedy="Write one quote a line, separated by commas, without quotation marks.",
            )
        cells = chunk.decode("utf-8", "replace").replace("\n", ",").split(",")
        cells.pop()  # what follows the last newline
        columns = []
        for number, (whole, single) in enumerate(self._converters):
            texts = cells[number :: len(FIELDS)]
            try:
                columns.append(whole(texts))
            except (ValueError, OverflowError):
                raise _first_bad_cell(texts, single, file, first_line, FIELDS[number]) from None
        return columns

    def _symbol(self, text: str) -> int:
        try:
            symbol = parse_symbol(text).symbol
        except UnknownSymbolForm as error:
            raise ValueError(error.details["rule"]) from None
        return self.symbols.setdefault(symbol, len(self.symbols))


def _open(file: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


def _whole_lines(stream: IO[bytes], seen: Callable[[bytes], None]) -> Iterator[bytes]:
    """The rest of the stream in chunks that end with a newline; `seen` is told every byte."""
    rest = b""
    while block := stream.read(_CHUNK_BYTES):
        seen(block)
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield lines.replace(b"\r\n", b"\n").removesuffix(b"\r") + newline
    if rest:
        yield rest + b"\n"


def _stamps(texts: list[str]) -> Ints:
    joined = "".join(texts)
    if not (joined.isascii() and joined.isdigit()):  # int() would take "1_000" and " 1"
        raise ValueError
    return np.fromiter(map(int, texts), np.int64, len(texts))


def _stamp(text: str) -> int:
    if not _STAMP.fullmatch(text) or int(text) > _INT64_MAX:
        raise ValueError("is nanoseconds since 1970 UTC, digits only")
    return int(text)


def _price(text: str) -> int:
    if not text:
        return 0
    parts = _PRICE.fullmatch(text)
    ticks = parts and int(parts[1]) * TICKS_PER_DOLLAR + int((parts[2] or "").ljust(4, "0"))
    if not ticks:
        raise ValueError("is a price above 0 in dollars with at most four decimals, or empty")
    return ticks


def _size(text: str) -> int:
    if not _SIZE.fullmatch(text):
        raise ValueError("is a whole number of shares or contracts, digits only")
    return int(text)


def _first_bad_cell(
    texts: list[str], convert: Callable[[str], int], file: Path, first_line: int, field: str
) -> Exception:
    for number, text in enumerate(texts):
        try:
            convert(text)
        except ValueError as error:
            return BadTape(
                file=file,
                line=first_line + number,
                field=field,
                rule=str(error),
                value=text,
                remedy="Correct this row, or leave it out.",
            )
    return AssertionError(f"{field}: the column was refused, but every cell of it passes")


def _check(columns: list[Ints], file: Path, first_line: int, last_ns: int) -> None:
    """Rules that hold between fields and rows."""
    ts, _, bid, bid_size, ask, ask_size = columns
    earlier = np.flatnonzero(np.diff(ts, prepend=last_ns) < 0)
    if earlier.size:
        row = int(earlier[0])
        raise BadTape(
            file=file,
            line=first_line + row,
            field=FIELDS[0],
            rule="is not before the row above",
            value=int(ts[row]),
            remedy="Sort the file by time with a stable sort.",
        )
    for field, price, size in (("bid_size", bid, bid_size), ("ask_size", ask, ask_size)):
        odd = np.flatnonzero((price == 0) != (size == 0))
        if odd.size:
            row = int(odd[0])
            raise BadTape(
                file=file,
                line=first_line + row,
                field=field,
                rule="is above 0 where its side has a price, and 0 where it has none",
                value=int(size[row]),
                remedy="Correct this row, or leave it out.",
            )


def _name(files: list[Path], digest: str) -> str:
    """`quotes_tick_IBM_20131007.csv.gz` is IBM-20131007; several are joined by a plus sign."""
    stems = (file.name.removesuffix(".gz").removesuffix(".csv") for file in files)
    plain = (stem.removeprefix("quotes_").removeprefix("tick_") for stem in stems)
    name = "+".join(re.sub(r"[^A-Za-z0-9.]+", "-", stem) for stem in plain)
    return name if len(name) <= _NAME_MAX else f"{name[: _NAME_MAX - 9]}-{digest[:8]}"
