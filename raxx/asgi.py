"""The web process: HTTP goes to Django's WSGI application in threads.

Measured: sync views answer 4 to 5 times faster so than under Django's own ASGI handler. Being ASGI
at the door leaves the one port that a platform gives open to WebSockets and server-sent events.
"""

import os
from typing import Any, cast

os.environ.setdefault("RAXX_DB_POOL", "1")

from a2wsgi import WSGIMiddleware

from raxx.wsgi import application as django_application

# Only now: they read settings, which the line above brings up.
from console.status import poller  # isort: skip
from django.conf import settings  # isort: skip
from raxx.kernel import env  # isort: skip
from raxx.kernel.api.security_headers import SecurityHeaders  # isort: skip
from raxx.kernel.api.whole_body import SECONDS_MAX, WholeBody  # isort: skip

_threads = int(os.environ.get("RAXX_WEB_THREADS", "8"))
# Both libraries describe ASGI and WSGI by types of their own that do not match.
_sync: Any = WSGIMiddleware(cast(Any, django_application), workers=_threads)


def served(body_seconds_max: float = SECONDS_MAX) -> Any:  # noqa: ANN401 - see above
    """All that the port is given to."""
    return SecurityHeaders(WholeBody(_sync, seconds_max=body_seconds_max), tls=settings.SECURE_SSL_REDIRECT)


application = served()

if env.flag("RAXX_STATUS_POLLER", default=True):
    poller.start()
