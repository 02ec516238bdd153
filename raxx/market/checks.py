"""What the doctor asks of market data."""

from datetime import datetime

from console.doctor import Finding, fail, ok, register
from raxx.kernel import clock
from raxx.market import calendar

HORIZON_MONTHS_MIN = 18


def register_all() -> None:
    register("calendar", calendar_reaches_far_enough)


def calendar_reaches_far_enough(now: datetime) -> Finding:
    """Orders that are good till canceled must find their session, and options their expiration."""
    days = [session.date for session in calendar.xnys()]
    today, last = now.astimezone(clock.EXCHANGE_ZONE).date(), days[-1]
    months = (last.year - today.year) * 12 + last.month - today.month - (last.day < today.day)
    facts = f"New York's sessions are known until {last:%d %b %Y}, {months} months ahead"
    if months < HORIZON_MONTHS_MIN:
        return fail(facts, remedy="Install a newer exchange-calendars and restart every process.")
    return ok(facts)
