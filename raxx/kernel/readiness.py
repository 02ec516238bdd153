"""Whether the product as a whole can serve: each app adds what only it can tell.

    probes.register("engine", engine_answers)      # in AppConfig.ready

A probe is quick, writes nothing and never raises: False is its answer to any trouble.
"""

from collections.abc import Callable

from raxx.kernel.registry import Registry

probes: Registry[Callable[[], bool]] = Registry("readiness probes")


def missing() -> list[str]:
    """The names of the probes that say no."""
    return [name for name, probe in probes if not probe()]
