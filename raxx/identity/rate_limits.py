"""How many requests a minute: counted in Valkey, by its own clock, in one script, so that any number of processes
never let more through than the limit in any 60 seconds.

The script keeps the instants of the last minute's requests (not counts of seconds): exact, and nothing of the
limit is lost to rounding. A request at the very instant 60 s after another still counts that other.
"""

import hashlib
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest

from raxx.identity import fast_store
from raxx.identity.models import Tier
from raxx.kernel.errors import RaxxError

WINDOW_S = 60
PER_MINUTE = {Tier.FREE: 60, Tier.PRO: 600, Tier.PRO_PLUS: 3_000}
# What takes risk away (cancels, closing) may use as much again as half of the limit when that is used up.
RESERVE_SHARE = 2
STRANGER_PER_MINUTE = 60  # by address: requests that come with nothing, or with something wrong
CEREMONY_PER_MINUTE = 10
REFRESH_PER_MINUTE = 20

_COUNT = fast_store.script("""
local t = redis.call('TIME'); local now = t[1] * 1000000 + t[2]
local first = redis.call('LINDEX', KEYS[1], -1)
while first and tonumber(first) < now - tonumber(ARGV[2]) do
  redis.call('RPOP', KEYS[1]); first = redis.call('LINDEX', KEYS[1], -1)
end
local used = redis.call('LLEN', KEYS[1])
local let = 0
if used < tonumber(ARGV[1]) then
  redis.call('LPUSH', KEYS[1], string.format('%.0f', now)); used = used + 1; let = 1
  first = first or now
  redis.call('PEXPIRE', KEYS[1], math.floor(tonumber(ARGV[2]) / 1000) + 1000)
end
return {let, used, tonumber(first or now) + tonumber(ARGV[2]) - now, now}
""")


class RateLimited(RaxxError):
    """Too many requests within a minute. The header Retry-After says when the next one passes."""

    code = "RATE_LIMITED"
    http_status = 429

    def __init__(self, standing: "Standing", *, whose: str) -> None:
        super().__init__(
            f"{whose} may send {standing.limit} requests a minute, and they are used up."
            f" Try again in {standing.reset_s} s.",
            rule=f"must be at most {standing.limit} a minute",
            remedy=f"Wait {standing.reset_s} s.",
        )
        self.standing = standing
        self.retry_after_s = standing.reset_s  # type: ignore[misc]  # of this one, not of all


class Counted(NamedTuple):
    """`used` requests lie within the window, this one included if it was let through; the oldest leaves it in
    `wait_us`. `at_us` is when it was counted, in Unix microseconds."""

    let_through: bool
    used: int
    wait_us: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where somebody stands after a request that was let through."""

    limit: int
    remaining: int
    reset_s: int  # until the oldest request of the minute leaves it


def count_user(user_id: UUID, tier: Tier, *, removes_risk: bool = False) -> Standing:
    """One request of a user; sessions and keys share the limit. Raises RateLimited, SessionsUnavailable.

    What removes risk passes while Valkey does not answer.
    """
    limit = PER_MINUTE[tier] * settings.RAXX_RATE_FACTOR
    try:
        passed, standing = _standing(f"user:{user_id.hex}", limit)
        if not passed and removes_risk:
            passed, _ = _standing(f"reserve:{user_id.hex}", limit // RESERVE_SHARE)
    except fast_store.SessionsUnavailable:
        if removes_risk:
            return Standing(limit, 0, WINDOW_S)
        raise
    if not passed:
        raise RateLimited(standing, whose="You")
    return standing


def count_stranger(address: str) -> None:
    """One request that nobody stands behind. Raises RateLimited."""
    _or_refuse(f"stranger:{_network(address)}", STRANGER_PER_MINUTE)


def count_ceremony(address: str, kind: str) -> None:
    """One step of signing up, signing in, confirming or recovering. Raises RateLimited, SessionsUnavailable."""
    _or_refuse(f"ceremony:{kind}:{_network(address)}", CEREMONY_PER_MINUTE)


def count_ceremony_of(user_id: UUID, kind: str) -> None:
    """The same for somebody who is signed in. Raises RateLimited, SessionsUnavailable."""
    _or_refuse(f"ceremony:{kind}:{user_id.hex}", CEREMONY_PER_MINUTE)


def count_refresh(presented: str) -> None:
    """One use of a refresh cookie, by the session that it names. Raises RateLimited, SessionsUnavailable."""
    sid = presented.partition(".")[0]
    _or_refuse("refresh:" + hashlib.sha256(sid.encode(errors="replace")).hexdigest()[:32], REFRESH_PER_MINUTE)


def address_of(request: HttpRequest) -> str:
    """Where a request comes from: the peer, or behind RAXX_PROXY_DEPTH proxies of ours what the outermost of
    them has seen. What stands further left in X-Forwarded-For anybody can write."""
    depth = settings.RAXX_PROXY_DEPTH
    peer = str(request.META.get("REMOTE_ADDR") or "")
    if not depth:
        return peer
    seen = [each.strip() for each in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    return seen[-depth] if len(seen) >= depth and seen[-depth] else peer


def count(key: str, limit: int, *, window_s: float = WINDOW_S) -> Counted:
    """One request under `key`, let through if fewer than `limit` were within the last `window_s`, both ends
    included. Raises SessionsUnavailable."""
    args: list[str | int] = [limit, round(window_s * 1_000_000)]
    let, used, wait_us, at_us = fast_store.ask(lambda valkey: _COUNT(valkey, ["raxx:rate:" + key], args))
    return Counted(bool(let), used, wait_us, at_us)


def _standing(key: str, limit: int) -> tuple[bool, Standing]:
    found = count(key, limit)
    seconds = max(1, -(-found.wait_us // 1_000_000))
    return found.let_through, Standing(limit, max(0, limit - found.used), seconds)


def _or_refuse(key: str, limit: int) -> None:
    passed, standing = _standing(key, limit)
    if not passed:
        raise RateLimited(standing, whose="From your address you")


def _network(address: str) -> str:
    """An IPv6 customer has a whole /64."""
    try:
        parsed = ip_address(address.strip("[]"))
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return f"{int(parsed) >> 64:x}"
    return str(parsed)
