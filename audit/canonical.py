"""What exactly is hashed. Pure: bytes in, bytes out; docs/audit.md tells an outsider how to repeat it.

    line  = the row as COPY writes it in text format: the columns of ROW between tabs, backslash escapes
    leaf  = SHA256(0x00 ‖ line)
    chain = SHA256(0x01 ‖ chain before ‖ seq as 8 bytes, big-endian ‖ leaf)

The chain begins with `genesis` of the record's random id. A row's own MAC covers what the application
knew when it wrote the row; id and `recorded_at` come from the database.
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

MAC_LENGTH = 16

# Of audit_log as `l`. Instants are microseconds since 1970: no session setting changes how a row reads.
ROW = """
    l.id, (extract(epoch FROM l.at) * 1000000)::bigint, (extract(epoch FROM l.recorded_at) * 1000000)::bigint,
    l.actor_ref, l.action, l.object_type, l.object_id, l.changes::text, l.reason, l.request_id, encode(l.mac, 'hex')
"""

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class FloatInRecord(ValueError):
    """A changed field holds a binary float. A bug: it reads differently elsewhere; use Decimal."""


def _refuse_float(text: str) -> object:
    raise ValueError(f"audit changes hold the float {text}: record a Decimal")


_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder().decode
_decode_exact = msgspec.json.Decoder(float_hook=_refuse_float).decode


def genesis(record_id: UUID) -> bytes:
    """What stands before the first seal."""
    return hashlib.sha256(b"\x02raxx audit record" + record_id.bytes).digest()


def leaf_of(line: bytes) -> bytes:
    """`line` without its newline."""
    return hashlib.sha256(b"\x00" + line).digest()


def link(before: bytes, seq: int, leaf: bytes) -> bytes:
    """The chain after seal `seq`."""
    return hashlib.sha256(b"\x01" + before + seq.to_bytes(8, "big") + leaf).digest()


def microseconds(instant: datetime) -> int:
    """Since 1970-01-01 UTC, exactly."""
    return (instant - _EPOCH) // _MICROSECOND


def mac_of_entry(
    key: bytes,
    *,
    at: datetime,
    actor: str,
    action: str,
    object_type: str,
    object_id: str,
    changes: bytes,
    reason: str,
    request_id: str,
) -> bytes:
    """The MAC of a row that is about to be written. `changes` is its JSON.

    Raises FloatInRecord: jsonb writes floats in its own way, so their MAC could not be repeated.
    """
    try:
        tree = _decode_exact(changes)
    except msgspec.ValidationError as error:
        raise FloatInRecord(str(error)) from None
    return _mac(key, [microseconds(at), actor, action, object_type, object_id, tree, reason, request_id])


def mac_of_line(key: bytes, line: bytes) -> tuple[bytes, bytes]:
    """The MAC that a stored row should have, and the one that it has.

    Raises ValueError for a line that is no row.
    """
    _, at, _, actor, action, object_type, object_id, changes, reason, request_id, mac = (
        line.split(b"\t") if b"\\" not in line else [_unescape(part) for part in line.split(b"\t")]
    )
    texts = [part.decode() for part in (actor, action, object_type, object_id)]
    fields = [int(at), *texts, _decode(changes), reason.decode(), request_id.decode()]
    return _mac(key, fields), bytes.fromhex(mac.decode())


def _mac(key: bytes, fields: list[object]) -> bytes:
    return hmac.digest(key, _encode_sorted(fields), hashlib.sha256)[:MAC_LENGTH]


def _unescape(part: bytes) -> bytes:
    """A field as it is, out of COPY's text format."""
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), part)
