"""What pages and commands show of the console's own tables."""

from console.models import Switch
from console.switches import ENVIRONMENT, Mode, State, from_environment


def stops() -> list[State]:
    """Every kill switch that is not active, the environment's first, then by key."""
    return [
        *from_environment(key for key, _ in ENVIRONMENT.values()),
        *(
            State(Mode(row.mode), row.key, "database", row.reason, row.changed_at, row.expected_until)
            for row in Switch.objects.exclude(mode=Mode.ACTIVE)
        ),
    ]
