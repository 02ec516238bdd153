"""Jobs of the ground floor. Each may run twice."""

from celery import shared_task

from raxx.kernel import clock, outbox


@shared_task(name="kernel.outbox_sweep")
def outbox_sweep() -> None:
    """Every five seconds: announce what was stored and did not ring."""
    outbox.sweep(clock.now())
