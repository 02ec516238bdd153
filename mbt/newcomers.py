"""What everybody who signs up gets of paper trading."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from mbt.models import Account
from mbt.services.accounts import open_account
from raxx.identity.newcomers import newcomers

CASH, FEED = Decimal("100000.00"), "simulated"


def register() -> None:
    newcomers.register("mbt.paper_account", open_paper_account)


def open_paper_account(user_id: UUID, now: datetime, actor: str) -> None:
    """A margin account on the practice market, so that a newcomer can trade spreads at any hour."""
    open_account(
        user_id=user_id, cash=CASH, feed=FEED, now=now, actor=actor, account_type=Account.Type.MARGIN
    )
