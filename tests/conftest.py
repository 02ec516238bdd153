import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from django.conf import settings
from django.db import connection, connections
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from raxx.kernel import valkey

ROOT = Path(__file__).resolve().parent.parent
TAPES = Path(os.environ.get("RAXX_TAPES") or ROOT.parent / "shared" / "data")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the recorded market data its tests are left out, and the run says so once."""
    if (TAPES / "manifest.json").exists():
        return
    left_out = [item for item in items if item.get_closest_marker("tapes")]
    items[:] = [item for item in items if not item.get_closest_marker("tapes")]
    config.hook.pytest_deselected(items=left_out)
    config.stash[_LEFT_OUT] = len(left_out)


_LEFT_OUT = pytest.StashKey[int]()


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    count = config.stash.get(_LEFT_OUT, 0)
    return (
        [f"left out: {count} tests on recorded tapes, because there are none in {TAPES} (RAXX_TAPES)"]
        if count
        else []
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Whoever changes state while a test runs records it, whatever the test is about: tests/witness.py."""
    from tests.witness import watching

    with watching() as witness:
        result = yield
        silent = [call for call in witness.collect() if call.is_silent]
    if item.path.name == "test_witness.py":  # there it is the subject
        return result
    assert not silent, f"changed tables and wrote nothing into the audit record: {silent} (tests/witness.py)"
    return result


@pytest.fixture(scope="session")
def tapes() -> Path:
    """The folder of recorded market data."""
    return TAPES


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_modify_db_settings: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """The migrated database of this worker: made for `fresh_db` as well as for tests marked django_db."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False, aliases={"default": None})
    yield
    with django_db_blocker.unblock():
        connections.close_all()
        teardown_databases(made, verbosity=0)


@pytest.fixture
def valkey_url() -> Iterator[str]:
    """This worker's Valkey database, empty."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    client.flushdb()
    yield settings.REDIS_URL
    client.flushdb()
    client.close()


@pytest.fixture(autouse=True)
def fresh_limits() -> None:
    """No test starts with the minute's requests of another one used up, or in the pause after its outage."""
    from raxx.identity import fast_store

    fast_store.breaker.reset()
    client = valkey.shared()
    with suppress(redis.RedisError):  # some tests have none
        keys = list(client.scan_iter("raxx:rate:*", count=1_000))
        if keys:
            client.delete(*keys)


@dataclass(frozen=True, slots=True)
class Database:
    name: str
    url: str


@pytest.fixture
def fresh_db(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, valkey_url: str
) -> Iterator[Database]:
    """A migrated database of the test's own: real commits, any thread, any process.

    It is a copy of the template, because the audit record refuses the truncation that Django would
    otherwise clean up with.
    """
    with django_db_blocker.unblock():
        template = connection.settings_dict["NAME"]
        name = f"{template}_{uuid4().hex[:8]}"
        connections.close_all()
        with _admin() as run:
            run(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        connection.settings_dict["NAME"] = name
        try:
            yield Database(name, settings_url(name))
        finally:
            connections.close_all()
            connection.settings_dict["NAME"] = template
            with _admin() as run:
                run(f'DROP DATABASE "{name}" WITH (FORCE)')


def settings_url(name: str) -> str:
    """The DATABASE_URL of another database on the same server."""
    from raxx.kernel import embedded

    before, _, options = embedded.urls().database_url.partition("?")
    return f"{before.rpartition('/')[0]}/{name}" + (f"?{options}" if options else "")


@contextmanager
def _admin() -> Iterator[Callable[[str], object]]:
    with connection._nodb_cursor() as cursor:
        yield cursor.execute
