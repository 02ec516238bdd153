"""Pages that the server sends whole renew the session in passing."""

from datetime import timedelta
from functools import partial

import pytest

from raxx.identity.models import RefreshToken, User
from raxx.identity.services import sessions
from raxx.identity.services.sessions import Issued, SessionHolder, SessionInvalid
from raxx.identity.services.users import register
from raxx.kernel import clock
from tests.conftest import Database
from tests.identity.test_outages import SOAK, at_once


@pytest.fixture
def alice(fresh_db: Database) -> User:
    return register(email="alice@example.com", now=clock.now())


def started(user: User) -> Issued:
    return sessions.start(user=user, label="Firefox on Linux", now=clock.now())


def resume(issued: Issued, access: str = "") -> tuple[SessionHolder, Issued | None]:
    return sessions.resume(access=access, renewal=issued.refresh or "", now=clock.now())


def test_a_token_that_is_good_is_not_renewed(alice: User) -> None:
    issued = started(alice)
    holder, renewed = resume(issued, issued.access)
    assert (holder.session_id, renewed) == (issued.session_id, None)
    assert RefreshToken.objects.get().used_at is None


def test_of_many_tabs_that_come_at_once_all_get_in_and_one_gets_the_next_token(alice: User) -> None:
    for _ in range(100 if SOAK else 5):
        issued = started(alice)
        found = at_once(8, partial(resume, issued))
        tabs = [each for each in found if isinstance(each, tuple)]
        assert len(tabs) == 8, found
        assert {holder.session_id for holder, _ in tabs} == {issued.session_id}
        [following] = [renewed for _, renewed in tabs if renewed and renewed.refresh]
        assert resume(following)[1] is not None


def test_a_copy_that_comes_late_ends_the_session_of_both(alice: User) -> None:
    issued = started(alice)
    _, renewed = resume(issued)
    assert renewed is not None
    RefreshToken.objects.filter(used_at__isnull=False).update(used_at=clock.now() - timedelta(seconds=11))
    with pytest.raises(SessionInvalid):
        resume(issued)
    with pytest.raises(SessionInvalid):
        resume(renewed, renewed.access)


@pytest.mark.parametrize("access", ["", "x.y.z"])
def test_without_a_refresh_token_nothing_is_renewed(alice: User, access: str) -> None:
    with pytest.raises(SessionInvalid):
        sessions.resume(access=access, renewal="", now=clock.now())
    with pytest.raises(SessionInvalid):
        sessions.resume(access=access, renewal="a.b", now=clock.now())
