"""The calendars that a feed can trade on, as runs of `Session` values.

XNYS is New York Stock Exchange regular hours with its holidays, half days and unscheduled
closures, from the exchange_calendars package. ALWAYS is the practice market that never closes.
Both reach from 2006 to the end of the third year from now.
"""

import warnings
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from functools import cache

from raxx.kernel import clock
from raxx.kernel.errors import InvalidInput
from raxx.market.sessions import Session, Sessions

_FIRST_DAY = date(2006, 1, 1)
_YEARS_AHEAD = 3


class UnknownCalendar(InvalidInput):
    """No calendar has that name."""

    code = "UNKNOWN_CALENDAR"


@cache
def xnys() -> Sessions:
    """Regular hours in New York. The first call of a process costs about 0.8 s, later ones nothing."""
    # Imported here because it brings pandas along, which most processes never need.
    from exchange_calendars.exchange_calendar_xnys import XNYSExchangeCalendar

    with warnings.catch_warnings():
        # The package still uses calls that pandas 3.1 announces to change; its values are right.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The end is given because the package's own default is only one year away: an order that
        # is good till canceled must find its session.
        exchange = XNYSExchangeCalendar(start=_FIRST_DAY.isoformat(), end=_last_day().isoformat())
        early = {stamp.date() for stamp in exchange.early_closes}
    days = [stamp.date() for stamp in exchange.sessions]
    hours = zip(days, exchange.opens_nanos.tolist(), exchange.closes_nanos.tolist(), strict=True)
    return Sessions("XNYS", [_new_york(d, o, c, early_close=d in early) for d, o, c in hours])


def _new_york(day: date, open_ns: int, close_ns: int, *, early_close: bool) -> Session:
    """Extended hours run from 04:00 to 20:00, on a half day to 17:00; late ones end a quarter past the close."""
    evening = time(17) if early_close else time(20)
    return Session(
        date=day, open_ns=open_ns, close_ns=close_ns, early_close=early_close,
        late_close_ns=close_ns + 15 * 60 * clock.SECOND_NS,
        extended_open_ns=clock.to_ns(datetime.combine(day, time(4), clock.EXCHANGE_ZONE)),
        extended_close_ns=clock.to_ns(datetime.combine(day, evening, clock.EXCHANGE_ZONE)),
    )  # fmt: skip


@cache
def always() -> Sessions:
    """One session on every calendar day, 00:00 to 24:00 in New York, so that days still end."""
    count = (_last_day() - _FIRST_DAY).days + 1
    days = [_FIRST_DAY + timedelta(days=n) for n in range(count + 1)]
    midnights = [clock.to_ns(datetime.combine(day, time(), clock.EXCHANGE_ZONE)) for day in days]
    return Sessions(
        "ALWAYS",
        [Session(date=days[n], open_ns=midnights[n], close_ns=midnights[n + 1]) for n in range(count)],
    )


_CALENDARS: dict[str, Callable[[], Sessions]] = {"ALWAYS": always, "XNYS": xnys}


def lookup(name: str) -> Sessions:
    """The calendar of that name. Raises UnknownCalendar."""
    if name not in _CALENDARS:
        raise UnknownCalendar(
            field="calendar",
            rule="is one of " + ", ".join(_CALENDARS),
            value=name,
            remedy="Name one of these.",
        )
    return _CALENDARS[name]()


def _last_day() -> date:
    return date(clock.now().year + _YEARS_AHEAD, 12, 31)


def of_feed(feed: str) -> Sessions:
    """The hours that hold on a feed: recorded tapes keep New York's, the practice market never closes."""
    return xnys() if feed.startswith("replay:") else always()
