import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

HEADER = "ts_ns_utc,symbol,bid,bid_size,ask,ask_size\n"
WriteTape = Callable[..., Path]


@pytest.fixture
def write_tape(tmp_path: Path) -> WriteTape:
    """Writes rows, one text line each, as a tape file."""

    def write(*rows: str, name: str = "quotes_tick_TEST_20240108.csv.gz", header: str = HEADER) -> Path:
        path = tmp_path / name
        content = (header + "".join(f"{row}\n" for row in rows)).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        return path

    return write
