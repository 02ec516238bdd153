"""Alice, who has used everything there is, and the search for what is left of her."""

import base64
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import redis
from django.conf import settings
from django.db import connection

from console.models import FlagRow, FlagUser, OperatorLink
from mbt.models import Account, Order
from raxx.identity.models import ApiKey, Passkey, Scope, User
from raxx.identity.services import api_keys, recovery_codes, sessions
from raxx.kernel import clock
from tests.mbt.paper_tools import Market, Trader


@dataclass(frozen=True, slots=True)
class Person:
    user_id: UUID
    account_id: UUID
    secrets: tuple[str, ...]  # what must be in no export, erased or not
    canaries: tuple[str, ...]  # what must be nowhere after the erasure
    object_ids: tuple[str, ...]  # what may only be in the record


def live(market: Market, *, name: str = "alice", orders: int = 3) -> Person:
    """A life with every kind of row: trades, keys, passkeys, sessions, codes, flags, operator links."""
    now, mark = clock.now(), uuid4().hex[:12]
    email = f"{name}-{mark}@canary.example"
    trader = Trader.opened(feed=market.feed)
    User.objects.filter(pk=trader.user_id).update(email=email)
    user = User.objects.get(pk=trader.user_id)
    key = api_keys.issue(user=user, name=f"bot {mark}", scopes=[Scope.PAPER_READ], now=now)
    codes = recovery_codes.renew(user_id=user.pk, now=now)
    Passkey.objects.create(
        user=user, credential_id=mark.encode(), public_key=f"pk-{mark}".encode(), sign_count=0, backup_eligible=False,
        backup_state=False, aaguid=uuid4(), name=f"phone {mark}", created_at=now,
    )  # fmt: skip
    issued = sessions.start(user=user, label=f"Firefox {mark}", now=now)
    flag = FlagRow.objects.get_or_create(name="FLAG_TEST", defaults={"mode": "on", "changed_at": now})[0]
    FlagUser.objects.create(flag=flag, user=user, mode="on")
    OperatorLink.objects.create(token_hash=mark.ljust(64, "0"), user=user, created_at=now, expires_at=now)
    trader.place(order_type="market", client_order_id=f"coid-{mark}-filled")
    for number in range(orders):
        trader.order(client_order_id=f"coid-{mark}-{number}")
    trader.place(qty="999999", client_order_id=f"coid-{mark}-denied")
    market.judge()
    account = Account.objects.get(user=user)
    object_ids = [
        str(account.pk),
        *map(str, Order.objects.filter(account=account).values_list("pk", flat=True)),
    ]
    object_ids += list(map(str, ApiKey.objects.filter(user=user).values_list("pk", flat=True)))
    return Person(
        user_id=user.pk,
        account_id=account.pk,
        secrets=(key.secret, *codes, f"pk-{mark}", str(issued.access), str(issued.refresh)),
        canaries=(str(user.pk), mark, email),
        object_ids=tuple(object_ids),
    )


def forms(canary: str) -> list[str]:
    """As it may be written: raw, as hex, in base64, and a UUID without its dashes."""
    raw = canary.encode()
    # The middle of base64 is the same only for one of three offsets.
    encoded = [base64.b64encode(b"x" * shift + raw)[4:-4].decode() for shift in range(3)]
    plain = [canary.replace("-", "")] if canary.count("-") == 4 and len(canary) == 36 else []
    return [canary, raw.hex(), *plain, *(text for text in encoded if len(text) > 10)]


def found_in_database(canaries: Iterable[str]) -> dict[str, set[str]]:
    """The tables in which each canary is, in any form, whatever the column."""
    wanted = {canary: [form.lower() for form in forms(canary)] for canary in canaries}
    found: dict[str, set[str]] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT lower(string_agg(t::text, '\n')) FROM \"{table}\" t")  # noqa: S608
            held = cursor.fetchone()[0] or ""
            for canary, written in wanted.items():
                if any(form in held for form in written):
                    found.setdefault(canary, set()).add(table)
    return found


def found_in_redis(canaries: Iterable[str]) -> set[str]:
    """The keys that name or hold a canary: sessions, streams, and the queue of the jobs."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    written = {form.encode() for canary in canaries for form in forms(canary)}
    found = set()
    for key in client.scan_iter(count=1_000):
        held = key + b"\0" + _value(client, key)
        if any(form in held for form in written):
            found.add(key.decode(errors="replace"))
    client.close()
    return found


def _value(client: "redis.Redis", key: bytes) -> bytes:
    kind = client.type(key)
    if kind == b"stream":
        return repr(client.xrange(key)).encode()
    if kind == b"hash":
        return repr(client.hgetall(key)).encode()
    if kind == b"set":
        return repr(client.smembers(key)).encode()
    if kind == b"zset":
        return repr(client.zrange(key, 0, -1)).encode()
    if kind == b"list":
        return repr(client.lrange(key, 0, -1)).encode()
    return repr(client.get(key)).encode()


def found_in_logs(records: list[logging.LogRecord], canaries: Iterable[str]) -> list[str]:
    written = [form for canary in canaries for form in forms(canary)]
    return [str(r.getMessage()) for r in records if any(form in str(r.getMessage()) for form in written)]


def later(days: float) -> datetime:
    return clock.now() + timedelta(days=days)
