"""A pytest plugin, loaded before Django's settings are read: real servers for the run, apart from those
of a `make run` on the same checkout, and for each worker of the run a Valkey database of its own."""

import os
from contextlib import ExitStack

import pytest

from raxx.kernel import embedded
from raxx.kernel.embedded import state

_held = ExitStack()


def _start() -> None:
    os.environ.setdefault("RAXX_STATE_DIR", f"{state.state_path()}-test")
    os.environ.setdefault("RAXX_STATUS_POLLER", "0")  # tests of the loop start it themselves
    urls = _held.enter_context(embedded.lease())
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    os.environ["REDIS_URL"] = f"{urls.redis_url.partition('?')[0]}?db={int(worker) + 1}"


_start()


def pytest_unconfigure(config: pytest.Config) -> None:
    _held.close()
