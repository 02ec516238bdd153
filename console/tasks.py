"""Jobs of the console. Each may run twice."""

from celery import shared_task

from console.purging import purge_all
from console.services import data_requests, jobs
from raxx.kernel import clock


@shared_task(name=jobs.HEARTBEAT)
def heartbeat() -> None:
    """Twice a minute: proof that jobs run."""
    jobs.succeeded(jobs.HEARTBEAT, clock.now())


@shared_task(name="console.data_requests")
def carry_out_data_requests() -> None:
    """Every minute: make the copies that people asked for, and erase whose time has come."""
    data_requests.run(clock.now())


@shared_task(name="console.purge")
def purge() -> None:
    """Once a day: delete what has been kept for its time."""
    purge_all(clock.now(), apply=True)
