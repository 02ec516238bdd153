"""Opening a paper account, approving it for options, and its settings."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from audit import log
from mbt import events, selectors
from mbt.engine import daytrades
from mbt.engine.margin import Level
from mbt.engine.margin import Model as MarginModel
from mbt.engine.orders import FillPreference
from mbt.models import Account, Activity
from mbt.selectors import AccountRef
from raxx.kernel.errors import InvalidInput, NotFound, RaxxError
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


# -- approval ------------------------------------------------------------------------------------------


@transaction.atomic
def approve(
    account_id: UUID, *, options_level: int | None = None, naked_shorts: bool | None = None, at: datetime, actor: str
) -> Account:  # fmt: skip
    """Set the option level (0 to 3) of an account, its flag for naked shorts, or both. None: as it is.

    What an account holds and has open stays, also where it is approved for less from now on. Raises NotFound,
    InvalidInput.
    """
    account = _locked(account_id)
    if options_level is not None and options_level not in list(Level):
        raise InvalidInput(
            field="options_level", rule="must be 0, 1, 2 or 3", value=options_level, remedy="docs/rules/margin.md lists them."
        )  # fmt: skip
    flag = account.naked_shorts if naked_shorts is None else naked_shorts
    level = account.options_level if options_level is None else options_level
    if flag and (account.account_type != Account.Type.MARGIN or level < Level.SPREADS):
        raise InvalidInput(
            field="naked_shorts", rule="only margin accounts of option level 3 may sell uncovered options",
            value=f"{account.account_type}, level {level}", remedy="Set the level first, or leave the flag off.",
        )  # fmt: skip
    return _change(
        account, {"options_level": level, "naked_shorts": flag}, events.ACCOUNT_APPROVED, at=at, actor=actor
    )


# -- settings ------------------------------------------------------------------------------------------

LATENCY_MAX_MS = 60_000


class MarginModelNotCovered(RaxxError):
    """Under the other margin model the account would not have what its positions and open orders need."""

    code = "MARGIN_MODEL_NOT_COVERED"
    http_status = 409


@dataclass(frozen=True, slots=True)
class Settings:
    """What the owner of an account may change; None: as it is."""

    fill_preference: FillPreference | None = None
    size_cap: bool | None = None
    latency_ms: int | None = None
    margin_model: MarginModel | None = None
    day_trade_rules: daytrades.Model | None = None

    def given(self) -> dict[str, object]:
        named = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in named.items() if value is not None}


@transaction.atomic
def change_settings(account: AccountRef, settings: Settings, *, at: datetime, actor: str) -> Account:
    """Change them, all or none. Orders that are open keep what they were accepted with.

    Raises InvalidInput and MarginModelNotCovered.
    """
    row = _locked(account.id)
    if settings.latency_ms is not None and not 0 <= settings.latency_ms <= LATENCY_MAX_MS:
        raise InvalidInput(
            field="latency_ms", rule=f"must be from 0 to {LATENCY_MAX_MS}", value=settings.latency_ms, remedy="Send milliseconds."
        )  # fmt: skip
    if row.account_type != Account.Type.MARGIN:
        for name in ("margin_model", "day_trade_rules"):
            if getattr(settings, name) not in (None, getattr(row, name)):
                raise InvalidInput(
                    field=name, rule="is a setting of margin accounts", value=getattr(settings, name), remedy="Leave it out."
                )  # fmt: skip
    if settings.margin_model not in (None, row.margin_model):
        _check_covered(account, str(settings.margin_model))
    return _change(row, settings.given(), events.ACCOUNT_SETTINGS, at=at, actor=actor)


def _check_covered(account: AccountRef, model: str) -> None:
    found = selectors.margin_summary(account, model=model).standing
    if found is None:
        raise MarginModelNotCovered(
            "Something that is held has no price now, so what the other model requires cannot be told. Try again when it is quoted.",
            field="margin_model", rule="the account covers what the model requires", value=model,
            remedy="Try again when it is quoted.",
        )  # fmt: skip
    if found.available < 0:
        raise MarginModelNotCovered(
            f"Under {model} the account would need ${found.requirement.initial:,.2f}, ${-found.available:,.2f} more than it has free."
            " Close something first.",
            field="margin_model", rule="the account covers what the model requires", value=model,
            remedy="Close something first.", needed=f"{found.requirement.initial:.2f}", missing=f"{-found.available:.2f}",
        )  # fmt: skip


def _locked(account_id: UUID) -> Account:
    account = Account.objects.select_for_update().filter(pk=account_id).first()
    if account is None:
        raise NotFound(
            f"There is no account {account_id}.", field="account", value=account_id, remedy="Check the id."
        )
    return account


def _change(account: Account, wanted: dict[str, object], action: str, *, at: datetime, actor: str) -> Account:
    """Write what differs, and record from what to what."""
    changes = {
        name: [getattr(account, name), value] for name, value in wanted.items() if getattr(account, name) != value
    }  # fmt: skip
    if not changes:
        return account
    for name in changes:
        setattr(account, name, wanted[name])
    account.save(update_fields=list(changes))
    log.record(action, actor=actor, object_type="mbt.account", object_id=account.pk, at=at, changes=changes)
    return account
