"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable

PATIENCE_S = 60.0  # of a busy machine: it bounds how long a failure takes, and says nothing about speed


def eventually(condition: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
