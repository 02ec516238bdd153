from datetime import date

import pytest

from raxx.market.sessions import Session, Sessions

MONDAY = Session(date(2024, 1, 8), open_ns=100, close_ns=200)
TUESDAY = Session(date(2024, 1, 9), open_ns=300, close_ns=400, early_close=True)
TWO_DAYS = Sessions("TEST", [TUESDAY, MONDAY])


def test_sessions_come_in_order() -> None:
    assert list(TWO_DAYS) == [MONDAY, TUESDAY]
    assert len(TWO_DAYS) == 2


@pytest.mark.parametrize(
    ("at", "is_open", "next_session", "last"),
    [
        pytest.param(99, False, MONDAY, None, id="before the first"),
        pytest.param(100, True, MONDAY, MONDAY, id="the open belongs to the session"),
        pytest.param(199, True, MONDAY, MONDAY, id="last instant"),
        pytest.param(200, False, TUESDAY, MONDAY, id="the close does not"),
        pytest.param(399, True, TUESDAY, TUESDAY, id="second day"),
    ],
)
def test_where_an_instant_lies(at: int, is_open: bool, next_session: Session, last: Session | None) -> None:
    assert TWO_DAYS.is_open(at) is is_open
    assert TWO_DAYS.current_or_next(at) == next_session
    assert TWO_DAYS.last_opened(at) == last


def test_an_unknown_future_is_not_a_closed_market() -> None:
    with pytest.raises(LookupError):
        TWO_DAYS.current_or_next(400)


def test_a_date_without_a_session() -> None:
    assert TWO_DAYS.on(date(2024, 1, 9)) == TUESDAY
    assert TWO_DAYS.on(date(2024, 1, 10)) is None
