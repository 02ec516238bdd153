"""What happens for everyone who signs up, in the transaction of their sign-up. Floors above register it:

newcomers.register("mbt.paper_account", open_paper_account)      # in AppConfig.ready
"""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from raxx.kernel.registry import Registry

newcomers: Registry[Callable[[UUID, datetime, str], None]] = Registry("newcomers")  # user id, now, actor_ref
