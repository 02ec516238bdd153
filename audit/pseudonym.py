"""Who did it, without saying who: every person has a random key, and is known in the record by

    actor_ref = first 128 bits of HMAC-SHA256(key, user id), as 32 hex digits

While the key exists, one can compute which rows are whose. When it is deleted the rows stay as they
are, and nobody can tell any more. Machines and operators at the shell are plain words behind
`system:`, which no pseudonym can look like.
"""

import hashlib
import hmac
import re
import secrets
import time
from functools import partial
from uuid import UUID

from django.db import connection, transaction

from audit.models import ACTOR_REF

ENGINE = "system:engine"
RELEASE = "system:release"
RETENTION = "system:retention"
OPERATOR_SHELL = "system:operator-shell"

_ACTOR_REF = re.compile(ACTOR_REF, re.ASCII)
_KEPT_MAX, _KEPT_FOR_S = 10_000, 600.0
_kept: dict[UUID, tuple[str, float]] = {}


def actor_ref(subject_id: UUID, key: bytes) -> str:
    """The pseudonym of a person under their key."""
    return hmac.digest(key, subject_id.bytes, hashlib.sha256)[:16].hex()


def is_actor_ref(text: str) -> bool:
    return _ACTOR_REF.fullmatch(text) is not None


def actor_ref_for(user_id: UUID) -> str:
    """The pseudonym of a user, whose key is made at first use.

    Costs a query the first time in a process, and every ten minutes: that is how long a process may
    still know somebody who was erased. What is remembered comes from committed rows only: a key whose
    transaction was rolled back must not go on signing.
    """
    known = _kept.get(user_id)
    if known is not None and time.monotonic() - known[1] < _KEPT_FOR_S:
        return known[0]
    ref = actor_ref(user_id, key_for(user_id))
    transaction.on_commit(partial(_keep, user_id, ref))
    return ref


def key_for(user_id: UUID) -> bytes:
    """The person's own key, made at first use. For audit alone."""
    return key_of(user_id) or _make_key(user_id)


def drop(user_id: UUID) -> None:
    """Forget what this process remembers of the person."""
    _kept.pop(user_id, None)


def _keep(user_id: UUID, ref: str) -> None:
    if len(_kept) >= _KEPT_MAX:
        _kept.clear()
    _kept[user_id] = ref, time.monotonic()


def key_of(user_id: UUID) -> bytes | None:
    """The person's own key, or None: they never did anything, or were erased. For audit alone."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM audit_subjects WHERE subject_id = %s", [user_id])
        row = cursor.fetchone()
    return bytes(row[0]) if row else None


def _make_key(user_id: UUID) -> bytes:
    """Of two who make one at the same time the second waits for the first, and takes the first's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO audit_subjects (subject_id, key) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            [user_id, secrets.token_bytes(32)],
        )
    key = key_of(user_id)
    if key is None:
        raise RuntimeError("an audit key vanished between being made and being read")
    return key
