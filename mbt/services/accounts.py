"""Opening a paper account."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from audit import log
from mbt import events
from mbt.models import Account, Activity
from raxx.kernel.errors import InvalidInput, RaxxError
from raxx.kernel.money import CENT

CASH_MIN, CASH_MAX = Decimal("1.00"), Decimal("10000000.00")


class AccountExists(RaxxError):
    """Every user has one paper account."""

    code = "ACCOUNT_EXISTS"
    http_status = 409


# The option level that an account of a type begins with: long options, or spreads.
_LEVELS = {Account.Type.CASH: 2, Account.Type.MARGIN: 3}


@transaction.atomic
def open_account(
    *,
    user_id: UUID,
    cash: Decimal,
    feed: str,
    now: datetime,
    actor: str,
    account_type: str = Account.Type.CASH,
) -> Account:
    """Open the user's account with `cash` dollars, on the tape of `feed`. Its type stays what it is.

    Raises InvalidInput, AccountExists.
    """
    if not CASH_MIN <= cash <= CASH_MAX or cash % CENT:
        raise InvalidInput(
            field="cash",
            rule=f"must be whole cents from {CASH_MIN:,} to {CASH_MAX:,} dollars",
            value=f"{cash:f}",
            remedy="Choose a starting balance near your real one.",
        )
    if Account.objects.filter(user_id=user_id).exists():
        raise AccountExists("You have a paper account already.", remedy="Use the one you have.")
    kind = Account.Type(account_type)
    account = Account.objects.create(
        user_id=user_id,
        cash_balance=cash,
        feed=feed,
        created_at=now,
        account_type=kind,
        options_level=_LEVELS[kind],
    )
    Activity.objects.create(
        account=account,
        activity_type=Activity.Type.ADJUSTMENT,
        amount=cash,
        ref_id=account.pk,
        occurred_at=now,
    )
    log.record(
        events.ACCOUNT_OPENED,
        actor=actor,
        object_type="mbt.account",
        object_id=account.pk,
        at=now,
        changes={"cash_balance": cash, "feed": feed, "account_type": account.account_type},
    )
    return account
