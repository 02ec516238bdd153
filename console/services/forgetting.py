"""Taking back what Valkey and the outbox know of a person who is erased."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection

from raxx.kernel import outbox, valkey


def forget_events(keys: Collection[str]) -> int:
    """Delete the events about these objects from the outbox and from its streams. How many rows of the outbox.

    Raises RedisError where Valkey does not answer: the erasure is then tried again later.
    """
    if not keys:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM outbox WHERE key = ANY(%s)", [list(keys)])
        deleted = int(cursor.rowcount)
    client, wanted = valkey.shared(), {key.encode() for key in keys}
    for name in client.scan_iter(match=outbox.stream("*"), count=1_000):
        # A stream is cut at about 10,000 entries: this is bounded.
        entries: Any = client.xrange(name)
        gone = [entry_id for entry_id, fields in entries if fields.get(b"key") in wanted]
        for start in range(0, len(gone), 1_000):
            client.xdel(name, *gone[start : start + 1_000])
    return deleted


def forget_keys(user_id: UUID) -> int:
    """Delete what is kept under a name with the user's id in it, such as their rate limit. Raises RedisError."""
    client = valkey.shared()
    named = [
        key
        for form in (str(user_id), user_id.hex)
        for key in client.scan_iter(match=f"*{form}*", count=1_000)
    ]
    for start in range(0, len(named), 1_000):
        client.delete(*named[start : start + 1_000])
    return len(named)
