"""Which account: what never changes about it."""

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from mbt.models import Account
from raxx.kernel.errors import NotFound


@dataclass(frozen=True, slots=True)
class AccountRef:
    """What never changes about an account: enough to find it and its market."""

    id: UUID
    feed: str
    is_margin: bool = False


class NoAccount(NotFound):
    code = "NO_ACCOUNT"


@lru_cache(maxsize=10_000)
def account_ref(user_id: UUID) -> AccountRef:
    """The user's account. Remembered, because neither part ever changes. Raises NoAccount."""
    found = Account.objects.filter(user_id=user_id).values_list("id", "feed", "account_type").first()
    if found is None:
        raise NoAccount("You have no paper account yet.", remedy="Open one first.")
    account_id, feed, kind = found
    return AccountRef(account_id, feed, kind == Account.Type.MARGIN)
