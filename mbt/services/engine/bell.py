"""The engine's ear: ids of orders that changed, as soon as their transaction has committed.

It listens on the stream of the outbox. A bell that is not heard costs a second at most, because the
engine also sweeps; so this thread forgives everything and never stops the engine.
"""

import threading
import time
from typing import Any
from uuid import UUID

import msgspec
import structlog
from redis.exceptions import RedisError

from mbt.events import ORDERS_TOPIC
from raxx.kernel import outbox, valkey

log = structlog.get_logger(__name__)

_BLOCK_MS = 400
_PAUSE_S = 1.0


class Bell(threading.Thread):
    """`take` gives the ids that rang since the last call; `wait` sleeps until one rings."""

    def __init__(self) -> None:
        super().__init__(name="bell", daemon=True)
        self._lock = threading.Lock()
        self._ids: list[UUID] = []
        self._rang = threading.Event()
        self._stopping = threading.Event()

    def take(self) -> list[UUID]:
        with self._lock:
            taken, self._ids = self._ids, []
            self._rang.clear()
        return taken

    def wait(self, seconds: float) -> None:
        self._rang.wait(seconds)

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        name = outbox.stream(ORDERS_TOPIC)
        last: str | bytes = "$"
        while not self._stopping.is_set():
            try:
                found: Any = valkey.shared().xread({name: last}, count=1_000, block=_BLOCK_MS)
            except RedisError as failure:
                log.warning("bell not heard", reason=str(failure))
                time.sleep(_PAUSE_S)
                continue
            for _, entries in found or []:
                last = entries[-1][0]
                self._ring([entry for _, entry in entries])

    def _ring(self, entries: list[dict[bytes, bytes]]) -> None:
        ids = [UUID(msgspec.json.decode(entry[b"payload"])["order_id"]) for entry in entries]
        with self._lock:
            self._ids += ids
            self._rang.set()
