"""The engine process with three clocks read, for tick_to_commit: `python -m bench.engine_probe FILE`.

It is `manage.py run_engine` on the simulated feed, and nothing is done differently; it notes when an order
has come into the index, when a fill was decided, and when the transaction with the fill has committed.
"""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec


class Notes(msgspec.Struct):
    """Wall clock in nanoseconds, by order."""

    indexed: dict[UUID, int] = {}
    decided: dict[UUID, int] = {}
    committed: dict[UUID, int] = {}


def main(file: Path) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raxx.settings")
    import django

    django.setup()
    from django.core.management import call_command

    from mbt.engine.matching import Decision, Filled
    from mbt.management.commands import run_engine
    from mbt.services import engine, fills
    from raxx.market.feeds.base import Batch

    notes = Notes()
    apply = fills.apply

    class NotedEngine(engine.Engine):
        def take_in(self, ids: Iterable[UUID] | None = None) -> int:
            named = None if ids is None else list(ids)
            taken = super().take_in(named)
            at = time.time_ns()
            for order_id in named or []:
                if order_id in self._matcher:
                    notes.indexed.setdefault(order_id, at)
            return taken

        def match(self, batch: Batch) -> list[Decision]:
            decisions = super().match(batch)
            if decisions:
                at = time.time_ns()
                notes.decided.update((d.order.id, at) for d in decisions if isinstance(d, Filled))
            return decisions

    def noted_apply(decisions: Sequence[Decision], **position: Any) -> fills.Applied:  # noqa: ANN401 - passed on
        applied = apply(decisions, **position)
        at = time.time_ns()
        notes.committed.update((d.order.id, at) for d in decisions if isinstance(d, Filled))
        return applied

    vars(run_engine)["Engine"] = NotedEngine
    fills.apply = noted_apply
    call_command("run_engine", feed="simulated")
    file.write_bytes(msgspec.json.encode(notes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
