"""What paper trading holds about a person: their account and everything that hangs on it."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Model

from audit import log
from audit.events import EventType
from audit.events import register as register_events
from console.data_rights import Act, Holder, Section, holders
from console.services.forgetting import forget_events
from mbt.models import (
    Account,
    Activity,
    ExerciseInstruction,
    Fill,
    InterestAccrual,
    Order,
    Position,
    Violation,
)
from mbt.selectors import AccountRef, feed_instant
from mbt.services import orders

# How each model leads to the account, leaves first: in this order rows are deleted.
_PATHS: tuple[tuple[type[Model], str], ...] = (
    (Activity, "account"),
    (Fill, "order__account"),
    (Violation, "account"),
    (InterestAccrual, "account"),
    (ExerciseInstruction, "account"),
    (Position, "account"),
    (Order, "account"),
)
_ROWS_AT_ONCE = 20_000

ACCOUNT_HELD, ACCOUNT_RELEASED = "mbt.account.held", "mbt.account.released"


def register() -> None:
    register_events(
        EventType(
            ACCOUNT_HELD,
            "7y",
            "Its owner's request stopped an account: its orders ended, nothing new is taken.",
        ),
        EventType(ACCOUNT_RELEASED, "7y", "An account that its owner's request had stopped may trade again."),
    )
    holders.register(
        "mbt",
        Holder(
            covers=("mbt.Account", *(model._meta.label for model, _ in _PATHS)),
            export=_export,
            erase=_erase,
            hold=_hold,
            release=_release,
        ),
    )


def _export(user_id: UUID) -> Iterator[Section]:
    yield "account", Account.objects.filter(user_id=user_id).values(*_columns(Account)).iterator()
    for model, path in reversed(_PATHS):
        rows = model._default_manager.filter(**{f"{path}__user_id": user_id}).order_by("pk")
        yield (
            model._meta.db_table.removeprefix("mbt_"),
            rows.values(*_columns(model)).iterator(chunk_size=2_000),
        )


def _columns(model: type[Model]) -> list[str]:
    """All but digests and the owner, whom the file names anyway."""
    left_out = {"fingerprint", "user"}
    return [field.attname for field in model._meta.concrete_fields if field.name not in left_out]


def _hold(act: Act) -> None:
    """Cancel what works, and take nothing new; positions stay as they are."""
    account = Account.objects.select_for_update().filter(user_id=act.user_id).first()
    if account is None:
        return
    ref, at = AccountRef(account.pk, account.feed), feed_instant(account.feed)
    for order_id in (
        Order.objects.filter(account=account, closed_at=None).order_by("number").values_list("pk", flat=True)
    ):
        try:
            orders.cancel(account=ref, order_id=order_id, at=at, actor=act.actor)
        except orders.OrderNotOpen:  # another one took it along, or it filled just now
            continue
    _set_status(account.pk, Account.Status.ACTIVE, Account.Status.RESTRICTED, ACCOUNT_HELD, act)


def _release(act: Act) -> None:
    account = Account.objects.filter(user_id=act.user_id).first()
    if account is not None:
        _set_status(account.pk, Account.Status.RESTRICTED, Account.Status.ACTIVE, ACCOUNT_RELEASED, act)


def _set_status(account_id: UUID, before: str, after: str, action: str, act: Act) -> None:
    """Does nothing to an account in another state: a closed one stays closed."""
    if Account.objects.filter(pk=account_id, status=before).update(status=after):
        log.record(
            action, actor=act.actor, object_type="mbt.account", object_id=account_id, at=act.now,
            changes={"status": [before, after]},
        )  # fmt: skip


def _erase(act: Act) -> Mapping[str, int]:
    """Large accounts in steps, so that no statement runs for long; what is left goes with the account at last."""
    account = Account.objects.filter(user_id=act.user_id).first()
    if account is None:
        return {}
    with transaction.atomic():
        _hold(act)
    _forget_events(account.pk)
    counts: dict[str, int] = {}
    for model, path in _PATHS[:-1]:
        table = model._meta.db_table
        while deleted := _delete(table, path, account.pk, limit=_ROWS_AT_ONCE):
            counts[table] = counts.get(table, 0) + deleted
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        Account.objects.select_for_update().get(pk=account.pk)
        for model, path in _PATHS:
            table = model._meta.db_table
            counts[table] = counts.get(table, 0) + _delete(table, path, account.pk)
        cursor.execute("DELETE FROM mbt_accounts WHERE id = %s", [account.pk])
        counts["mbt_accounts"] = cursor.rowcount
    return counts


def _delete(table: str, path: str, account_id: UUID, *, limit: int | None = None) -> int:
    of_account = (
        "account_id = %s"
        if path == "account"
        else "order_id IN (SELECT id FROM mbt_orders WHERE account_id = %s)"
    )
    rows = f"SELECT id FROM {table} WHERE {of_account} LIMIT %s"  # noqa: S608 - names of our own tables
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {table} WHERE id IN ({rows})", [account_id, limit])  # noqa: S608
        return int(cursor.rowcount)


def _forget_events(account_id: UUID) -> None:
    keys = [str(account_id)]
    for order_id in Order.objects.filter(account_id=account_id).values_list("pk", flat=True).iterator():
        keys.append(str(order_id))
        if len(keys) >= _ROWS_AT_ONCE:
            forget_events(keys)
            keys = []
    forget_events(keys)
