from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction

from audit.models import AuditEntry
from audit.pseudonym import OPERATOR_SHELL, actor_ref_for
from console import flags
from console.flags import FeatureOff, Rollout
from console.models import FlagRow, FlagUser
from console.services.flags import set_flag, set_for_user
from mbt.operator_views import INVESTOR_PROFILES, PAPER_TRADING
from raxx.identity.models import User
from raxx.kernel.errors import InvalidInput
from tests.operators import enrolled, operator

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither the environment nor an earlier test says anything."""
    for name in (PAPER_TRADING, INVESTOR_PROFILES):
        monkeypatch.delenv(name, raising=False)
    flags.forget()
    yield
    flags.forget()


@pytest.fixture
def alice() -> UUID:
    return User.objects.create_user(email="alice@example.com").pk


def put(
    name: str = INVESTOR_PROFILES, mode: Rollout = Rollout.ON, percent: int = 100, expires_at: datetime | None = None,
    owner: str = "olga", reason: str = "beta",
) -> bool:  # fmt: skip
    done = set_flag(
        name=name, mode=mode, percent=percent, owner=owner, reason=reason, expires_at=expires_at, actor=OPERATOR_SHELL,
        now=NOW,
    )  # fmt: skip
    flags.forget()  # a test's transaction never commits
    return done


def own(user_id: UUID, mode: Rollout | None) -> bool:
    done = set_for_user(
        name=INVESTOR_PROFILES, user_id=user_id, mode=mode, reason="asked", actor=OPERATOR_SHELL, now=NOW
    )
    flags.forget()
    return done


def got(user_id: UUID, now: datetime = NOW) -> Rollout:
    return flags.rollout(INVESTOR_PROFILES, user_id, now=now)


def test_a_flag_is_its_default_until_somebody_says_otherwise(alice: UUID) -> None:
    assert flags.rollout(PAPER_TRADING, alice) is Rollout.ON
    assert got(alice) is Rollout.OFF
    put(mode=Rollout.SHADOW)
    assert got(alice) is Rollout.SHADOW


def test_a_flag_that_nobody_declared_is_a_bug(alice: UUID) -> None:
    with pytest.raises(KeyError):
        flags.rollout("FLAG_NOBODY_KNOWS", alice)
    with pytest.raises(InvalidInput, match="FLAG_MBT_PAPER_TRADING"):
        put(name="FLAG_NOBODY_KNOWS")


def test_a_users_own_setting_goes_before_the_rest(alice: UUID) -> None:
    put(mode=Rollout.ON)
    own(alice, Rollout.OFF)
    assert got(alice) is Rollout.OFF
    assert got(uuid4()) is Rollout.ON
    assert own(alice, None)
    assert not own(alice, None)
    assert got(alice) is Rollout.ON
    User.objects.filter(pk=alice).delete()
    assert not FlagUser.objects.exists()


def test_the_environment_goes_before_everything(alice: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    own(alice, Rollout.ON)
    monkeypatch.setenv(INVESTOR_PROFILES, "shadow")
    assert got(alice) is Rollout.SHADOW
    monkeypatch.setenv(INVESTOR_PROFILES, "perhaps")  # what cannot be read is off
    assert got(alice) is Rollout.OFF


def test_after_its_end_the_default_holds_again(alice: UUID) -> None:
    put(expires_at=NOW + timedelta(hours=1))
    assert got(alice) is Rollout.ON
    assert got(alice, NOW + timedelta(hours=1)) is Rollout.OFF


def test_a_percentage_is_a_stable_share_that_only_grows() -> None:
    users = [UUID(int=number * 7919) for number in range(4_000)]
    shares = []
    before: set[UUID] = set()
    for percent in (0, 10, 50, 100):
        put(percent=percent)
        drawn = {user for user in users if got(user) is Rollout.ON}
        assert before <= drawn
        shares.append(len(drawn) / len(users))
        before = drawn
    assert shares[0] == 0
    assert shares[-1] == 1
    # Three standard deviations of 4,000 independent draws.
    assert abs(shares[1] - 0.10) < 3 * (0.10 * 0.90 / 4_000) ** 0.5
    assert abs(shares[2] - 0.50) < 3 * (0.50 * 0.50 / 4_000) ** 0.5


def test_flags_are_drawn_independently() -> None:
    users = [UUID(int=number * 104_729) for number in range(4_000)]
    both = sum(flags.draw("A", user) < 50 and flags.draw("B", user) < 50 for user in users)
    assert abs(both / 4_000 - 0.25) < 3 * (0.25 * 0.75 / 4_000) ** 0.5


def test_where_flags_cannot_be_read_the_default_holds(alice: UUID) -> None:
    put()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE console_flags RENAME TO lost")
        assert got(alice) is Rollout.OFF
        transaction.set_rollback(True)


def test_what_was_known_is_asked_again_after_a_second(alice: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    assert got(alice) is Rollout.OFF
    FlagRow.objects.create(name=INVESTOR_PROFILES, mode="on", changed_at=NOW)
    assert got(alice) is Rollout.OFF
    monkeypatch.setattr(flags, "KNOWN_FOR_S", 0.0)
    assert got(alice) is Rollout.ON


def test_changes_are_recorded_once_and_name_nobody(alice: UUID) -> None:
    assert put(percent=10)
    assert not put(percent=10, reason="again")
    assert own(alice, Rollout.ON)
    first, second = AuditEntry.objects.order_by("id")
    assert (first.action, first.object_id, first.reason) == (
        "console.flag.changed",
        INVESTOR_PROFILES,
        "beta",
    )
    assert first.changes == {"mode": ["off", "on"], "percent": [100, 10], "owner": ["", "olga"]}
    assert second.changes == {"user": actor_ref_for(alice), "mode": [None, "on"]}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"percent": 101}, "percent"), ({"percent": -1}, "percent"), ({"owner": " "}, "owner"), ({"reason": ""}, "reason"),
        ({"expires_at": NOW}, "expires_at"),
    ],
)  # fmt: skip
def test_a_wrong_change_names_the_field(wrong: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        put(**wrong)  # type: ignore[arg-type]  # parametrised
    assert caught.value.details["field"] == field
    assert not AuditEntry.objects.exists()


def test_require_on(alice: UUID) -> None:
    with pytest.raises(FeatureOff, match="not available to you yet"):
        flags.require_on(INVESTOR_PROFILES, alice)
    put(mode=Rollout.SHADOW)
    with pytest.raises(FeatureOff):
        flags.require_on(INVESTOR_PROFILES, alice)
    put(mode=Rollout.ON)
    flags.require_on(INVESTOR_PROFILES, alice)


def test_operators_set_them_on_the_operator_site(alice: UUID, valkey_url: str) -> None:
    olga = operator()
    person, page = enrolled(olga), "/admin/console/flagrow/"
    browser = person.client
    form = {
        "name": INVESTOR_PROFILES, "mode": "on", "percent": "25", "user": "", "owner": "olga", "expires_at": "",
        "reason": "beta",
    }  # fmt: skip
    assert b"25 % of users" in browser.post(page + "set/", form).content
    assert not FlagRow.objects.exists()
    assert browser.post(page + "set/", {**form, "confirmed": "yes"}).status_code == 403
    person.confirm("console.flag.set", form)
    assert browser.post(page + "set/", {**form, "confirmed": "yes"}).status_code == 302
    row = FlagRow.objects.get()
    assert (row.mode, row.percent, row.changed_by) == ("on", 25, actor_ref_for(olga.pk))
    one = {**form, "user": "Alice@example.com"}
    person.confirm("console.flag.set", one)
    one["confirmed"] = "yes"
    assert browser.post(page + "set/", one).status_code == 302
    assert FlagUser.objects.get().user_id == alice
    assert b"There is no user" in browser.post(page + "set/", {**one, "user": "bob@example.com"}).content
    assert browser.post(page + "set/", {**one, "mode": "as all"}).status_code == 403
    person.confirm("console.flag.set", {**form, "user": "Alice@example.com", "mode": "as all"})
    assert browser.post(page + "set/", {**one, "mode": "as all"}).status_code == 302
    assert not FlagUser.objects.exists()
    assert INVESTOR_PROFILES.encode() in browser.get(page).content
