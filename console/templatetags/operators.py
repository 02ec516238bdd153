from django import template

from console import work_queue as queue
from raxx.kernel import clock

register = template.Library()


@register.inclusion_tag("console/work_queue.html")
def work_queue() -> dict[str, object]:
    """What waits for an operator."""
    now = clock.now()
    found = queue.read(now)
    return {
        "items": found.items,
        "checked_at": found.checked_at,
        "age_s": max(int((now - found.checked_at).total_seconds()), 0),
    }
