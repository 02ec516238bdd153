"""Jobs of identity. Each may run twice, and several times at once."""

from celery import shared_task

from raxx.identity.services import notices
from raxx.kernel import clock


@shared_task(name="identity.mail_notices")
def mail_notices() -> None:
    """Every ten seconds: send by mail what people should hear about their accounts."""
    notices.send_due(clock.now())
