"""One account whose decisions cannot be written does not stop the others.

What the engine decided is settled for many accounts in one transaction. Where the database refuses it (a constraint, a
number that does not fit) or the code stumbles over a row, the account that it is about is found, *set aside* and halted,
and the batch is settled without it. Its orders stay open as they are, and the engine leaves them alone: PostgreSQL says
where the account is. When an operator has mended it and released its kill switch, it goes on from there, on the quotes
from then on. docs/adr/0027-an-account-that-cannot-be-settled-is-set-aside.md
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

import structlog
from django.db import (
    InterfaceError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)

from audit import log as audit
from audit import pseudonym
from console import switches
from console.services.switches import set_switch
from console.switches import Mode, Scope
from mbt import events
from mbt.engine.matching import Decision
from mbt.models import Account
from mbt.services.fills import booking
from mbt.services.fills.booking import Applied
from raxx.kernel import clock
from raxx.kernel.clock import from_ns
from raxx.kernel.errors import RaxxError

log = structlog.get_logger(__name__)

# Of the server, the connection or the schema: every account would meet them, and waiting or a release mends them.
_NOT_THE_ACCOUNTS = (OperationalError, InterfaceError, ProgrammingError, NotSupportedError)
_REASON = "something of this account could not be recorded, and an operator is looking into it; its orders wait as they are"


def apply(decisions: Sequence[Decision], *, feed: str, position_ns: int, now: datetime) -> Applied:
    """Settle `decisions` of the engine of `feed`, which has matched every quote up to `position_ns`: all of them, but
    for accounts that cannot be settled, which are set aside. Raises what no account is to blame for.

    Until the batch is settled the engine's position stays, so after a crash in between the same is decided again.
    """
    try:
        return booking.apply(decisions, feed=feed, position_ns=position_ns, now=now)
    except _NOT_THE_ACCOUNTS:
        raise
    except Exception:
        found = _unsettleable(decisions, feed)
        if not found or 1 < len(found) == len({decision.order.account_id for decision in decisions}):
            raise  # nobody's, or everybody's
    for account_id, problem in found.items():
        orders = dict.fromkeys(d.order.id for d in decisions if d.order.account_id == account_id)
        set_aside(account_id, at=from_ns(position_ns), problem=problem, facts={"orders": list(orders)})
    return apply(decisions, feed=feed, position_ns=position_ns, now=now)


def _unsettleable(decisions: Sequence[Decision], feed: str) -> dict[UUID, Exception]:
    """Whose decisions cannot be written, and why: each account's are tried, and nothing of it stays."""
    by_account: dict[UUID, list[Decision]] = {}
    for decision in decisions:
        by_account.setdefault(decision.order.account_id, []).append(decision)
    found: dict[UUID, Exception] = {}
    with transaction.atomic():
        for account_id in by_account.keys() - booking.set_aside_among(by_account):
            try:
                with transaction.atomic():
                    booking.settle(by_account[account_id], feed=feed)
                    with connection.cursor() as cursor:
                        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what would fail at the commit
            except _NOT_THE_ACCOUNTS:
                raise
            except Exception as problem:
                found[account_id] = problem
        transaction.set_rollback(True)
    return found


@contextmanager
def isolated(account_id: UUID, *, at: datetime, event: str) -> Iterator[None]:
    """What the engine does to one account without an order: where it cannot be written the account is set aside, and
    the others go on. Raises what no account is to blame for."""
    try:
        yield
    except (RaxxError, *_NOT_THE_ACCOUNTS):
        raise
    except Exception as problem:
        set_aside(account_id, at=at, problem=problem, facts={"event": event})


def set_aside(account_id: UUID, *, at: datetime, problem: Exception, facts: Mapping[str, object]) -> None:
    """Halt an account, and let the engine leave it alone from now on. `at`: the instant of its feed."""
    what = _in_words(problem)
    log.error("account set aside", account=str(account_id), problem=what, exc_info=problem)
    with transaction.atomic():
        # The switch before the row: whoever has passed the gate may be waiting for the row.
        set_switch(
            key=_key(account_id), mode=Mode.HALTED, reason=_REASON, actor=pseudonym.ENGINE, now=clock.now()
        )
        before = Account.objects.select_for_update().values_list("set_aside_at", flat=True).get(pk=account_id)
        if before is None:
            Account.objects.filter(pk=account_id).update(set_aside_at=at, set_aside_because=what)
        audit.record(
            events.ACCOUNT_SET_ASIDE, actor=pseudonym.ENGINE, object_type="mbt.account", object_id=account_id, at=at,
            changes=facts, reason=what,
        )  # fmt: skip


def take_back(feed: str) -> list[UUID]:
    """The accounts that an operator has released since they were set aside: the engine works for them again."""
    rows = Account.objects.filter(feed=feed, set_aside_at__isnull=False).order_by("pk")
    released = [
        row.pk for row in rows if switches.read([_key(row.pk)]).mode is not Mode.HALTED
    ]  # what cannot be read counts as halted
    for account_id in released:
        with transaction.atomic():
            account = Account.objects.select_for_update().get(pk=account_id)
            audit.record(
                events.ACCOUNT_TAKEN_BACK, actor=pseudonym.ENGINE, object_type="mbt.account", object_id=account_id,
                at=clock.now(), changes={"set_aside_at": [account.set_aside_at, None]}, reason=account.set_aside_because,
            )  # fmt: skip
            account.set_aside_at, account.set_aside_because = None, ""
            account.save(update_fields=["set_aside_at", "set_aside_because"])
        log.info("account taken back", account=str(account_id))
    return released


def _key(account_id: UUID) -> str:
    return switches.key(Scope.ACCOUNT, account_id)


def _in_words(problem: Exception) -> str:
    """What kind of problem it is; its own words may tell what the account holds."""
    diagnosis = getattr(problem.__cause__, "diag", None)
    constraint = getattr(diagnosis, "constraint_name", None)
    return f"{type(problem).__name__} ({constraint})" if constraint else type(problem).__name__
