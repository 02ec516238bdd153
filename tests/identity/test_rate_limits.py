"""Rate limits: exact over any window, by many processes; what stands in the headers; reserves and strangers."""

import json
import os
import subprocess
import sys
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.test import RequestFactory

from raxx.identity import fast_store, rate_limits
from raxx.identity.models import Tier, User
from raxx.identity.rate_limits import Standing, address_of
from raxx.kernel import valkey
from tests.identity.browser import Browser, problem

pytestmark = pytest.mark.usefixtures("valkey_url")
SOAK = bool(os.environ.get("RAXX_SOAK"))

HAMMER = """
import json, sys, time
import django; django.setup()
from raxx.identity import rate_limits
key, limit, window, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
print('up', flush=True); sys.stdin.readline()
end, passed, asked = time.monotonic() + seconds, [], 0
while time.monotonic() < end:
    found = rate_limits.count(key, limit, window_s=window); asked += 1
    if found.let_through: passed.append(found.at_us)
    else: time.sleep(0.0005)
print(json.dumps([asked, passed]))
"""


@pytest.mark.parametrize(
    ("limit", "window_s", "for_s"),
    [(60, 60, 190), (600, 60, 190), (3_000, 60, 190)] if SOAK else [(60, 0.5, 3.2), (600, 1, 3.2)],
)
def test_six_processes_never_exceed_the_limit_and_use_it_up(
    limit: int, window_s: float, for_s: float
) -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "raxx.settings", "REDIS_URL": settings.REDIS_URL}
    command = [sys.executable, "-c", HAMMER, "test", str(limit), str(window_s), str(for_s)]
    six = [
        subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for one in six:
        assert one.stdout
        assert one.stdout.readline() == "up\n"
    answers = []
    for one in six:
        assert one.stdin
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in six:
        out, _ = one.communicate(timeout=for_s + 30)
        answers.append(json.loads(out))
    assert sum(asked for asked, _ in answers) > limit * 6, "they did press"
    assert all(passed for _, passed in answers), "every process got some"
    instants = sorted(at for _, passed in answers for at in passed)
    window_us = round(window_s * 1_000_000)
    for later, earlier in zip(instants[limit:], instants, strict=False):
        assert later - earlier > window_us  # closed windows: the 61st comes after more than 60 s
    whole_windows = int((instants[-1] - instants[0]) / window_us)
    assert len(instants) >= 0.95 * limit * whole_windows


def test_the_reserve_and_the_tiers() -> None:
    user = uuid4()
    assert rate_limits.PER_MINUTE == {Tier.FREE: 60, Tier.PRO: 600, Tier.PRO_PLUS: 3_000}
    for used in range(1, 61):
        assert rate_limits.count_user(user, Tier.FREE).remaining == 60 - used
    with pytest.raises(rate_limits.RateLimited) as refusal:
        rate_limits.count_user(user, Tier.FREE)
    assert 1 <= (refusal.value.retry_after_s or 0) <= 60
    for _ in range(30):
        assert rate_limits.count_user(user, Tier.FREE, removes_risk=True)
    with pytest.raises(rate_limits.RateLimited):
        rate_limits.count_user(user, Tier.FREE, removes_risk=True)
    assert rate_limits.count_user(user, Tier.PRO).remaining == 600 - 61, "a new tier counts at once"
    assert rate_limits.count_user(uuid4(), Tier.FREE).remaining == 59


def test_a_list_of_requests_does_not_stay() -> None:
    rate_limits.count_user(UUID(int=7), Tier.PRO)
    [key] = valkey.shared().keys("raxx:rate:*")
    assert 60_000 < valkey.shared().pttl(key) <= 61_000


@pytest.mark.django_db
def test_headers_and_the_answer_when_it_is_used_up() -> None:
    alice = Browser().sign_up()
    response = alice.send("GET", "sessions/current")
    assert (response["RateLimit-Limit"], response["RateLimit-Policy"]) == ("60", "60;w=60")
    assert response["RateLimit-Remaining"] == "59"
    assert 1 <= int(response["RateLimit-Reset"]) <= 60
    User.objects.update(tier=Tier.PRO)
    assert alice.send("GET", "sessions/current")["RateLimit-Limit"] == "600"
    User.objects.update(tier=Tier.FREE)
    for _ in range(58):
        assert alice.send("GET", "sessions/current").status_code == 200
    refused = alice.send("GET", "sessions/current")
    problem(refused, 429, "RATE_LIMITED")
    assert refused["Retry-After"] == refused["RateLimit-Reset"]
    assert refused["RateLimit-Remaining"] == "0"
    assert alice.send("DELETE", "sessions").status_code == 200, "leaving has a reserve"


@pytest.mark.django_db
def test_ceremonies_are_ten_a_minute_and_address() -> None:
    for _ in range(10):
        assert Browser().send("POST", "sessions/options", {}).status_code == 200
    problem(Browser().send("POST", "sessions/options", {}), 429, "RATE_LIMITED")
    elsewhere = Browser()
    elsewhere.client.defaults["REMOTE_ADDR"] = "203.0.113.9"
    assert elsewhere.send("POST", "sessions/options", {}).status_code == 200
    codes = [Browser().send("POST", "sessions/recovery", {"code": "A"}).status_code for _ in range(11)]
    assert codes == [400] * 10 + [429]


@pytest.mark.django_db
def test_strangers_are_counted_by_address() -> None:
    codes = [Browser().send("GET", "mbt/account").status_code for _ in range(61)]
    assert codes == [401] * 60 + [429]


def test_addresses(settings: Any) -> None:  # noqa: ANN401
    def seen(forwarded: str | None) -> str:
        headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
        return address_of(RequestFactory().get("/", REMOTE_ADDR="10.0.0.1", headers=headers))

    settings.RAXX_PROXY_DEPTH = 0
    assert seen("1.2.3.4") == "10.0.0.1", "nobody of ours wrote that header"
    settings.RAXX_PROXY_DEPTH = 1
    assert seen("6.6.6.6, 1.2.3.4") == "1.2.3.4", "the right-most is what our proxy saw"
    assert seen(None) == seen("") == "10.0.0.1"
    settings.RAXX_PROXY_DEPTH = 2
    assert seen("6.6.6.6, 1.2.3.4, 10.0.0.2") == "1.2.3.4"
    assert seen("10.0.0.2") == "10.0.0.1"


def test_an_ipv6_customer_is_a_network() -> None:
    one, other, third = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"
    assert rate_limits._network(one) == rate_limits._network(other) != rate_limits._network(third)
    assert rate_limits._network("::ffff:1.2.3.4") == rate_limits._network("1.2.3.4") == "1.2.3.4"
    assert rate_limits._network("rubbish, 1") == "unknown"


def test_without_valkey_only_what_removes_risk_passes(settings: Any) -> None:  # noqa: ANN401
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    try:
        began = time.monotonic()
        with pytest.raises(fast_store.SessionsUnavailable):
            rate_limits.count_user(uuid4(), Tier.FREE)
        assert rate_limits.count_user(uuid4(), Tier.FREE, removes_risk=True) == Standing(60, 0, 60)
        assert time.monotonic() - began < 2
    finally:
        fast_store.breaker.reset()
