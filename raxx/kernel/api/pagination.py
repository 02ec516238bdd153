"""Lists a page at a time, by cursor: stable while rows are added, no page numbers to drift."""

import re
from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from django.core import signing
from django.db.models import Model, QuerySet

from raxx.kernel.api.fields import Field, Text, Whole
from raxx.kernel.errors import InvalidInput

M = TypeVar("M", bound=Model)
LIMIT_DEFAULT, LIMIT_MAX = 50, 500
_SALT = "raxx.page"

PAGE_FIELDS: dict[str, Field[object]] = {
    "limit": Whole(doc=f"Rows per page (default {LIMIT_DEFAULT})", minimum=1, maximum=LIMIT_MAX),  # type: ignore[dict-item]
    "page_token": Text(  # type: ignore[dict-item]
        doc="`meta.next_page_token` of the page before",
        pattern=re.compile(r"[A-Za-z0-9_:=\-]{1,300}"),
        rule="must be a page token",
        example="eyJ",
    ),
}


def newest_first(
    rows: "QuerySet[M]", *, key: str, owner: UUID, limit: int | None, page_token: str | None
) -> tuple[Sequence[M], str | None]:
    """One page of `rows` by descending unique `key`, and the token of the next one (None: this was the last).

    The token is signed and carries its owner, so it opens nobody else's list.
    """
    size = limit or LIMIT_DEFAULT
    if page_token is not None:
        rows = rows.filter(**{f"{key}__lt": _open(page_token, f"{owner}:{rows.model._meta.label}")})
    found = list(rows.order_by(f"-{key}")[: size + 1])
    if len(found) <= size:
        return found, None
    last = getattr(found[size - 1], key)
    token = signing.dumps([str(last), f"{owner}:{rows.model._meta.label}"], salt=_SALT)
    return found[:size], token


def _open(token: str, purpose: str) -> str:
    try:
        last, signed_for = signing.loads(token, salt=_SALT)
    except signing.BadSignature:
        last, signed_for = "", ""
    if signed_for != purpose:
        raise InvalidInput(
            field="page_token",
            rule="must be a token that this list gave you",
            value=token,
            remedy="Start again without page_token.",
        )
    return str(last)
