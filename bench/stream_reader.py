"""The bare half of a handover, for tick_to_commit: `python -m bench.stream_reader URL STREAM FILE`.

Reads a Redis stream as soon as anything is on it and notes how old each entry is; an entry says when it was begun.
"""

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import redis


def main(url: str, stream: str, file: Path) -> None:
    client = redis.Redis.from_url(url)
    last: Any = "0"
    ages: list[int] = []
    file.with_suffix(".ready").touch()
    while True:
        found: Any = client.xread({stream: last}, block=200)
        for _, entries in found or []:
            at = time.time_ns()
            last = entries[-1][0]
            for _, fields in entries:
                if b"end" in fields:
                    file.write_bytes(msgspec.json.encode(ages))
                    return
                ages.append(at - int(fields[b"begun"]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
