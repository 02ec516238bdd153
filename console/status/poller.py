"""The loop that keeps the status page fresh. It lives in the web processes: whoever can show the page can look.

It needs neither Valkey nor the job runner, whose absence it is to report. Of several processes each looks for
itself, and one of them notes what it saw.
"""

import threading

import structlog
from django.db import connections

from console.status import monitor
from raxx.kernel import clock

log = structlog.get_logger(__name__)

_thread: threading.Thread | None = None
_stopping = threading.Event()


def start() -> None:
    """Once per process; after that it does nothing."""
    global _thread
    if _thread is None or not _thread.is_alive():
        _stopping.clear()
        _thread = threading.Thread(target=_run, name="status", daemon=True)
        _thread.start()


def stop() -> None:
    """Returns when the loop has ended."""
    _stopping.set()
    if _thread is not None:
        _thread.join()


def runs() -> bool:
    return _thread is not None and _thread.is_alive()


def _run() -> None:
    while not _stopping.is_set():
        try:
            monitor.look(clock.now())
        except Exception:  # whatever it is, the next look may be better
            log.exception("the status page could not be refreshed")
        finally:
            connections.close_all()
        _stopping.wait(monitor.LOOK_EVERY_S)
