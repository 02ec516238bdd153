"""What the operator site is told of paper trading: what a kill switch would touch, and which features can be
rolled out."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.urls import reverse

from console import flags, work_queue
from console.flags import Flag, Rollout
from console.services import switches
from console.switches import PAPER, Scope, key
from console.work_queue import WorkItem
from mbt.models import Account, Order

PAPER_TRADING = "FLAG_MBT_PAPER_TRADING"
INVESTOR_PROFILES = "FLAG_MBT_INVESTOR_PROFILES"


def register_all() -> None:
    flags.register(
        Flag(PAPER_TRADING, Rollout.ON, "Paper trading"),
        Flag(INVESTOR_PROFILES, Rollout.OFF, "Accounts that start from an investor profile"),
    )
    switches.effects.register("mbt", touched)
    work_queue.register("accounts set aside", set_aside)


def set_aside(now: datetime) -> Iterable[WorkItem]:
    """Accounts that the engine had to leave alone, each with what is to be done."""
    page = reverse("admin:console_switch_changelist")
    for row in Account.objects.filter(set_aside_at__isnull=False).order_by("set_aside_at", "pk"):
        yield WorkItem(
            f"Account {row.pk} is set aside since {row.set_aside_at:%d %b, %H:%M} UTC: {row.set_aside_because}",
            "Nothing of it fills, everybody else goes on. The log and audit_export tell what could not be recorded; mend it,"
            f" check it with ledger_verify, then release the switch {key(Scope.ACCOUNT, row.pk)}: the engine goes on with it.",
            page, is_urgent=True,
        )  # fmt: skip


def touched(scope: Scope, target: str) -> list[str]:
    """What a kill switch would meet of paper trading."""
    accounts = Account.objects.filter(status=Account.Status.ACTIVE)
    orders = Order.objects.filter(closed_at__isnull=True)
    match scope:
        case Scope.USER | Scope.ACCOUNT:
            try:
                pk = UUID(target)
            except ValueError:
                return [f"{target} is no {scope}'s id: nothing would be stopped."]
            accounts = accounts.filter(user_id=pk) if scope is Scope.USER else accounts.filter(pk=pk)
            orders = orders.filter(account__in=accounts)
        case Scope.SYMBOL:
            open_orders = orders.count()
            return [f"New orders in {target} and its options, in any of {accounts.count():,} paper accounts; "
                    f"{open_orders:,} open orders of all symbols keep working."]  # fmt: skip
        case Scope.BROKER | Scope.STRATEGY if key(scope, target) != PAPER:
            return []
    return [
        f"{accounts.count():,} active paper accounts.",
        f"{orders.count():,} open paper orders keep working and can be canceled.",
    ]
