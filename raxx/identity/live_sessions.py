"""The row of a session in Valkey, without which nobody is let in. Nothing of it is ever saved to disk:
where Valkey starts anew everyone signs in again, so that no crash brings a revoked session back."""

import hashlib
from typing import NamedTuple
from uuid import UUID

import redis

from raxx.identity import fast_store

_START = fast_store.script("""
redis.call('HSET', KEYS[1], 'user', ARGV[1], 'gen', ARGV[2], 'idle', ARGV[3], 'until', ARGV[4])
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('PEXPIRE', KEYS[1], math.max(1, math.min(tonumber(ARGV[3]), tonumber(ARGV[4]) - now)))
return 1
""")
# Being asked for is use: the row lives on for another idle time, but never beyond its absolute end.
_TOUCH = fast_store.script("""
local row = redis.call('HMGET', KEYS[1], 'user', 'gen', 'idle', 'until')
if not row[1] then return false end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local left = math.min(tonumber(row[3]), tonumber(row[4]) - now)
if left <= 0 then redis.call('DEL', KEYS[1]); return false end
redis.call('PEXPIRE', KEYS[1], left)
return {row[1], row[2]}
""")
_RAISE = fast_store.script("""
local gen = redis.call('HGET', KEYS[1], 'gen')
if not gen then return 0 end
if tonumber(gen) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'gen', ARGV[1]) end
return 1
""")


class Row(NamedTuple):
    user_id: UUID
    generation: int


def hash_sid(sid: str) -> bytes:
    return hashlib.sha256(sid.encode()).digest()


def start(*, sid_hash: bytes, user_id: UUID, generation: int, idle_s: int, until_s: float) -> None:
    """`until_s` is the absolute end in Unix seconds. Raises SessionsUnavailable."""
    args: list[str | int] = [str(user_id), generation, idle_s * 1000, int(until_s * 1000)]
    fast_store.ask(lambda valkey: _START(valkey, [_key(sid_hash)], args))


def touch(sid_hash: bytes) -> Row | None:
    """The row, whose idle time begins anew. Raises SessionsUnavailable."""
    found = fast_store.ask(lambda valkey: _TOUCH(valkey, [_key(sid_hash)], []))
    return Row(UUID(found[0].decode()), int(found[1])) if found else None


def raise_generation(sid_hash: bytes, generation: int) -> None:
    """Tokens of former generations open nothing from now on. Raises SessionsUnavailable."""
    fast_store.ask(lambda valkey: _RAISE(valkey, [_key(sid_hash)], [generation]))


def end(sid_hashes: list[bytes]) -> None:
    """Best effort: a session that is revoked in PostgreSQL is dead whatever is left here."""

    def delete(valkey: redis.Redis) -> object:
        return valkey.delete(*map(_key, sid_hashes))

    if sid_hashes:
        try:
            fast_store.ask(delete)
        except fast_store.SessionsUnavailable:
            return


def _key(sid_hash: bytes) -> str:
    return "raxx:sess:" + sid_hash.hex()
