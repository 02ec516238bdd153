"""Jobs of the record. Each may run twice, and several times at once."""

import structlog
from celery import shared_task

from audit.services import checkpoints, retention, sealing
from raxx.kernel import clock

log = structlog.get_logger(__name__)


@shared_task(name="audit.seal")
def seal() -> None:
    """Every second. What still waits after that, for longer than ten seconds, is an alarm: something keeps it
    from being sealed. That nobody seals at all, `manage.py doctor` says."""
    sealing.seal()
    oldest = sealing.oldest_unsealed()
    if oldest is not None and (late := (clock.now() - oldest).total_seconds()) > sealing.LATE_S:
        log.error("audit rows wait for their seal", seconds=round(late, 1))


@shared_task(name="audit.checkpoint")
def checkpoint() -> None:
    """Every minute."""
    try:
        checkpoints.make(now=clock.now())
    except checkpoints.RecordContradicted as contradiction:
        log.critical("the audit record was tampered with", reason=str(contradiction))
        raise


@shared_task(name="audit.purge")
def purge() -> None:
    """Every day. A task is short: what is left over is for the next day."""
    retention.purge(now=clock.now(), batches=20)
