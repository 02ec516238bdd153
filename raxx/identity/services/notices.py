"""What a person should hear about their own account: kept with the change, shown to them, and sent by mail.

Mail goes out afterwards, by a job: a mail server that is away delays no sign-in. A crash between sending and noting it
sends a mail twice, never not at all.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import F

from raxx.identity import events
from raxx.identity.models import Notice
from raxx.kernel import outbox

log = structlog.get_logger(__name__)

TOPIC = "identity.notice"
SESSIONS_TOPIC = "identity.session"
# The code of the event in the record, and what its person is told.
SENTENCES: Mapping[str, str] = {
    events.PASSKEY_ENROLLED: "A passkey was added to your account.",
    events.PASSKEY_REMOVED: "A passkey was removed from your account.",
    events.PASSKEY_SUSPECTED: "A passkey of yours was refused because it looks copied. Remove it if you did not expect this.",
    events.CODES_RENEWED: "New recovery codes were made. The ones before no longer work.",
    events.CODE_USED: "A recovery code was used to get into your account.",
    events.USER_RECOVERED: "Your account was recovered: a new passkey was added and every session was ended.",
    events.USER_LOCKED: "Signing in was locked for a quarter of an hour: a passkey of yours gave wrong answers.",
    events.SESSION_REFRESH_REUSED: "A session was ended because its token was used by two browsers.",
}
KEPT = timedelta(days=365)
_MAIL_WITHIN = timedelta(hours=24)  # later than that, the list on the page has to do
_FIRST_RETRY = timedelta(seconds=30)
_TRIES_MAX = 8
_BATCH = 20


def notify(*, user_id: UUID, what: str, at: datetime, **facts: object) -> None:
    """`what` is one of SENTENCES; `facts` are small and hold no secret."""
    Notice.objects.create(user_id=user_id, what=what, sentence=SENTENCES[what], at=at, mail_after=at)
    outbox.add(topic=TOPIC, key=str(user_id), payload={"what": what, "at": at, **facts})


def session_ended(*, user_id: UUID, session_id: UUID) -> None:
    """For streams that are open: they hang up."""
    outbox.add(topic=SESSIONS_TOPIC, key=str(user_id), payload={"session": session_id, "state": "revoked"})


def send_due(now: datetime) -> int:
    """Send what is due, unless no mail server is configured. How many went out. Safe to run twice, and beside itself."""
    if not settings.RAXX_MAIL_FROM:
        return 0
    due = Notice.objects.filter(
        mailed_at=None, mail_after__lte=now, at__gt=now - _MAIL_WITHIN, mail_tries__lt=_TRIES_MAX
    )
    return sum(_send(notice, now) for notice in due.select_related("user").order_by("at")[:_BATCH])


def _send(notice: Notice, now: datetime) -> bool:
    # Whoever moves `mail_after` on sends it. No transaction is open while the mail server is spoken to.
    wait = _FIRST_RETRY * 2**notice.mail_tries
    claimed = Notice.objects.filter(pk=notice.pk, mail_tries=notice.mail_tries, mailed_at=None).update(
        mail_tries=F("mail_tries") + 1, mail_after=now + wait
    )
    if not claimed:
        return False
    try:
        _message(notice).send()
    except OSError as problem:  # also every error of SMTP
        log.warning("a notice was not mailed", notice=str(notice.pk), problem=type(problem).__name__)
        return False
    Notice.objects.filter(pk=notice.pk).update(mailed_at=now)
    return True


def _message(notice: Notice) -> EmailMessage:
    origin = settings.RAXX_ORIGINS[0] if settings.RAXX_ORIGINS else "http://localhost"
    body = (
        f"{notice.sentence}\n\n"
        f"When: {notice.at:%d %B %Y, %H:%M} UTC\n\n"
        f"Was it you? Then there is nothing to do. If not, end all sessions and look at your passkeys:\n"
        f"{origin}/account/sessions\n\n"
        "We never ask for a password or a code by mail.\n"
    )
    return EmailMessage(
        subject=f"Raxx: {notice.sentence.split('.')[0].split(':')[0].lower()}",
        body=body,
        from_email=settings.RAXX_MAIL_FROM,
        to=[notice.user.email],
        headers={"Message-ID": f"<{notice.pk}@{settings.RAXX_RP_ID}>", "Auto-Submitted": "auto-generated"},
    )


def purge(now: datetime, *, apply: bool) -> int:
    """How many were forgotten, or would be."""
    old = Notice.objects.filter(at__lt=now - KEPT)
    return old.delete()[0] if apply else old.count()
