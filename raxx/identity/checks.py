"""What the doctor asks of identity, and what is deleted on time."""

from datetime import datetime

from django.conf import settings

from console import doctor
from console.doctor import Finding, fail, ok, warn
from console.purging import Purge, purges
from raxx.identity.models import User
from raxx.identity.services import sessions


def register_all() -> None:
    doctor.register("origins", origins_are_named)
    doctor.register("operators", operators_can_sign_in, needs=("database", "migrations"))
    purges.register(
        "sessions", Purge(keep=f"{sessions.KEEP_FOR.days} days after their end", run=_purge_sessions)
    )


def origins_are_named(now: datetime) -> Finding:
    """Whether passkeys know what name they belong to: https alone on a server, localhost on one machine."""
    origins = settings.RAXX_ORIGINS
    remedy = "Set RAXX_ORIGINS to the address that browsers open, such as https://raxx.example."
    if not origins:
        if settings.SECURE_SSL_REDIRECT:
            return fail("nobody can sign in: passkeys belong to localhost", remedy=remedy)
        return ok("passkeys belong to localhost")
    wrong = [origin for origin in origins if not origin.startswith("https://") or origin.count("/") != 2]
    if wrong:
        return fail(f"{wrong[0]} is no origin that passkeys can belong to", remedy=remedy)
    return ok(f"passkeys belong to {settings.RAXX_RP_ID}")


def operators_can_sign_in(now: datetime) -> Finding:
    """Whether every operator has a passkey. Those of a release that had none sign in by a link once."""
    locked_out = User.objects.filter(is_staff=True, is_active=True, passkeys=None).count()
    if locked_out:
        remedy = "Run manage.py operator_link --email … for each, and let them open it; or operator_revoke."
        return warn(f"{locked_out} cannot sign in: no passkey", remedy=remedy)
    return ok("every operator has a passkey")


def _purge_sessions(now: datetime, apply: bool) -> int:
    return sessions.purge(now=now) if apply else sessions.purgeable(now).count()
