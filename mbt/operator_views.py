"""What the operator site is told of paper trading: what a kill switch would touch, and which features can be
rolled out."""

from uuid import UUID

from console import flags
from console.flags import Flag, Rollout
from console.services import switches
from console.switches import PAPER, Scope, key
from mbt.models import Account, Order

PAPER_TRADING = "FLAG_MBT_PAPER_TRADING"
INVESTOR_PROFILES = "FLAG_MBT_INVESTOR_PROFILES"


def register_all() -> None:
    flags.register(
        Flag(PAPER_TRADING, Rollout.ON, "Paper trading"),
        Flag(INVESTOR_PROFILES, Rollout.OFF, "Accounts that start from an investor profile"),
    )
    switches.effects.register("mbt", touched)


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
