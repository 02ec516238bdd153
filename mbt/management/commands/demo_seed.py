"""The demo account of `make run`."""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from audit import pseudonym
from mbt.models import Account
from mbt.services.accounts import open_account
from raxx.identity.models import ApiKey, Scope, Tier, User
from raxx.identity.selectors import InvalidCredentials, authenticate
from raxx.identity.services import api_keys
from raxx.identity.services.users import register
from raxx.kernel import clock, embedded

EMAIL, CASH, SYMBOL = "demo@example.com", Decimal("100000.00"), "AAPL"


class Command(BaseCommand):
    help = "See to it that the demo user, its paper account and an API key exist. Prints the key as JSON."

    def handle(self, *args: Any, **options: Any) -> str:  # noqa: ANN401 - Django's
        file = embedded.state_dir() / "demo-key.json"
        with transaction.atomic():
            user, created = _user()
            key = _known_key(file)
            if key is None:
                issued = api_keys.issue(
                    user=user, name="demo", scopes=[Scope.PAPER_READ, Scope.PAPER_TRADE], now=clock.now(),
                    actor=pseudonym.OPERATOR_SHELL,
                )  # fmt: skip
                key = {"key_id": issued.key_id, "secret": issued.secret}
                _keep(file, key)
        account = Account.objects.get(user=user)
        return json.dumps({**key, "account_id": str(account.pk), "symbol": SYMBOL, "created": created})


def _user() -> tuple[User, bool]:
    now = clock.now()
    user = User.objects.filter(email=EMAIL).first()
    created = user is None
    if user is None:
        user = register(email=EMAIL, tier=Tier.PRO, now=now, actor=pseudonym.OPERATOR_SHELL)
    if not Account.objects.filter(user=user).exists():
        open_account(
            user_id=user.pk, cash=CASH, feed="simulated", now=now, actor=pseudonym.OPERATOR_SHELL,
            account_type=Account.Type.MARGIN,  # so that a newcomer can trade spreads
        )  # fmt: skip
    return user, created


def _known_key(file: Path) -> dict[str, str] | None:
    """The kept key, if it still opens this database's demo account."""
    try:
        key: dict[str, str] = json.loads(file.read_text())
        authenticate(key["key_id"], key["secret"], clock.now())
    except (OSError, ValueError, KeyError, InvalidCredentials):
        return None
    return key if ApiKey.objects.filter(key_id=key["key_id"], user__email=EMAIL).exists() else None


def _keep(file: Path, key: dict[str, str]) -> None:
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(key, stream)
