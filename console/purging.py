"""What is deleted when its time is over. Each app adds what only it knows:

    purges.register("status history", Purge(keep="400 days", run=…))      # in AppConfig.ready

Carve-outs of an erasure are among them: they leave on time, too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from raxx.kernel.registry import Registry


@dataclass(frozen=True, slots=True)
class Purge:
    """`keep` says for how long rows stay. `run(now, apply)` gives how many it deleted, or would; safe to run twice."""

    keep: str
    run: Callable[[datetime, bool], int]


purges: Registry[Purge] = Registry("purges", required=True)


def purge_all(now: datetime, *, apply: bool) -> dict[str, int]:
    """How many rows of each kind are deleted, or would be."""
    return {name: purge.run(now, apply) for name, purge in purges}
