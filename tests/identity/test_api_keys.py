import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from audit.models import AuditEntry
from audit.pseudonym import OPERATOR_SHELL, actor_ref_for
from raxx.identity.models import ApiKey, Tier, User
from raxx.identity.selectors import InvalidCredentials, authenticate
from raxx.identity.services.api_keys import IssuedKey, issue, note_use, revoke
from raxx.identity.services.users import register
from raxx.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def make_alice() -> User:
    return register(email="alice@example.com", tier=Tier.PRO, now=NOW)


@pytest.fixture
def alice(db: None) -> User:
    return make_alice()


def key_of(user: User, expires_at: datetime | None = None) -> IssuedKey:
    return issue(
        user=user, name="my bot", scopes=["paper:trade", "paper:read"], now=NOW, expires_at=expires_at
    )


def test_a_key_opens_its_owners_account(
    alice: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    bob = register(email="bob@example.com", now=NOW)
    hers, his = key_of(alice), issue(user=bob, name="reader", scopes=["paper:read"], now=NOW)
    with django_assert_num_queries(1):
        holder = authenticate(hers.key_id, hers.secret, LATER)
    assert (holder.user_id, holder.tier) == (alice.pk, Tier.PRO)
    assert holder.scopes == {"paper:trade", "paper:read"}
    assert holder.key_pk == ApiKey.objects.get(key_id=hers.key_id).pk
    assert authenticate(his.key_id, his.secret, LATER).scopes == {"paper:read"}


def test_only_a_keyed_hash_of_the_secret_is_kept(alice: User, settings: Settings) -> None:
    settings.RAXX_FIELD_KEY = "0123456789abcdef" * 4
    issued = key_of(alice)
    assert re.fullmatch("RX[A-Z2-7]{18}", issued.key_id)
    assert re.fullmatch("[A-Za-z0-9_-]{43}", issued.secret)
    row = ApiKey.objects.get()
    # HKDF-SHA256 and HMAC-SHA256 written out, from RFC 5869 and RFC 2104
    root = hmac.new(b"raxx.keys.v1", settings.RAXX_FIELD_KEY.encode(), hashlib.sha256).digest()
    pepper = hmac.new(root, b"api-key-pepper\x01", hashlib.sha256).digest()
    assert bytes(row.secret_hash) == hmac.new(pepper, issued.secret.encode(), hashlib.sha256).digest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT row_to_json(k)::text || row_to_json(a)::text FROM api_keys k, audit_log a")
        everything = " ".join(text for (text,) in cursor.fetchall()) + repr(issued) + repr(row)
    assert issued.key_id in everything
    for shape in (
        issued.secret,
        issued.secret.encode().hex(),
        base64.b64encode(issued.secret.encode()).decode(),
    ):
        assert shape not in everything


def test_making_and_ending_are_recorded(alice: User) -> None:
    issued = key_of(alice, expires_at=LATER)
    assert revoke(key_id=issued.key_id, actor=OPERATOR_SHELL, now=LATER, reason="leaked")
    assert not revoke(key_id=issued.key_id, actor=OPERATOR_SHELL, now=LATER, reason="again")
    assert not revoke(key_id="RXUNKNOWN", actor=OPERATOR_SHELL, now=LATER)
    pk = str(ApiKey.objects.get().pk)
    rows = AuditEntry.objects.filter(object_type="api_key").order_by("id")
    assert list(rows.values_list("action", "actor_ref", "object_id", "reason", "at")) == [
        ("identity.api_key.issued", actor_ref_for(alice.pk), pk, "", NOW),
        ("identity.api_key.revoked", OPERATOR_SHELL, pk, "leaked", LATER),
    ]
    assert rows[0].changes == {
        "key_id": issued.key_id,
        "scopes": ["paper:read", "paper:trade"],
        "expires_at": "2026-11-20T15:30:00Z",
    }


def _unknown(key: IssuedKey, alice: User) -> tuple[str, str]:
    return "RX" + "A" * 18, key.secret


def _wrong_secret(key: IssuedKey, alice: User) -> tuple[str, str]:
    return key.key_id, "x" * 43


def _revoked(key: IssuedKey, alice: User) -> tuple[str, str]:
    revoke(key_id=key.key_id, actor=OPERATOR_SHELL, now=NOW)
    return key.key_id, key.secret


def _inactive(key: IssuedKey, alice: User) -> tuple[str, str]:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    return key.key_id, key.secret


def _expired(key: IssuedKey, alice: User) -> tuple[str, str]:
    ApiKey.objects.update(expires_at=LATER)
    return key.key_id, key.secret


def _empty(key: IssuedKey, alice: User) -> tuple[str, str]:
    return "", ""


def _malformed(key: IssuedKey, alice: User) -> tuple[str, str]:
    return "\x00' OR 1=1 --", "\x00\ud800"


def _lower_case(key: IssuedKey, alice: User) -> tuple[str, str]:
    return key.key_id.lower(), key.secret


def _secret_of_another_key(key: IssuedKey, alice: User) -> tuple[str, str]:
    return key.key_id, key_of(alice).secret


@pytest.mark.parametrize(
    "spoil",
    [
        _unknown,
        _wrong_secret,
        _revoked,
        _inactive,
        _expired,
        _empty,
        _malformed,
        _lower_case,
        _secret_of_another_key,
    ],
)
def test_whatever_is_wrong_the_answer_and_the_work_are_the_same(
    alice: User,
    django_assert_num_queries: DjangoAssertNumQueries,
    spoil: Callable[[IssuedKey, User], tuple[str, str]],
) -> None:
    key_id, secret = spoil(key_of(alice), alice)
    with django_assert_num_queries(1), pytest.raises(InvalidCredentials) as caught:
        authenticate(key_id, secret, LATER)
    assert (caught.value.code, caught.value.http_status) == ("INVALID_CREDENTIALS", 401)
    assert caught.value.message == "The API key is not valid. Check key id and secret, or make a new key."


def test_a_key_works_until_the_instant_it_expires(alice: User) -> None:
    issued = key_of(alice, expires_at=LATER)
    authenticate(issued.key_id, issued.secret, LATER - timedelta(microseconds=1))
    with pytest.raises(InvalidCredentials):
        authenticate(issued.key_id, issued.secret, LATER)


@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("name", {"name": " "}),
        ("name", {"name": "x" * 65}),
        ("name", {"name": "a\x00b"}),
        ("name", {"name": "a\u202eb"}),
        ("scopes", {"scopes": []}),
        ("scopes", {"scopes": ["live:trade"]}),
        ("scopes", {"scopes": ["paper:read", ""]}),
        ("expires_at", {"expires_at": NOW}),
    ],
)
def test_bad_input_names_its_field(alice: User, field: str, overrides: dict[str, object]) -> None:
    values: dict[str, object] = {"name": "my bot", "scopes": ["paper:read"], "now": NOW, **overrides}
    with pytest.raises(InvalidInput) as caught:
        issue(user=alice, **values)  # type: ignore[arg-type]
    assert caught.value.details["field"] == field
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("rule", "columns"),
    [
        ("api_key_scopes_known", {"scopes": ["live:trade"]}),
        ("api_key_scopes_known", {"scopes": []}),
        ("api_key_hash_is_32_bytes", {"secret_hash": b"plain"}),
        ("api_key_expires_later", {"expires_at": NOW}),
    ],
)
def test_the_database_refuses_what_the_domain_forbids(
    alice: User, rule: str, columns: dict[str, object]
) -> None:
    key_of(alice)
    with pytest.raises(IntegrityError, match=rule), transaction.atomic():
        ApiKey.objects.update(**columns)


def test_use_is_noted_once_a_minute(alice: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    issued = key_of(alice)

    def use(now: datetime, statements: int) -> datetime | None:
        with django_assert_num_queries(1 + statements):
            holder = authenticate(issued.key_id, issued.secret, now)
            note_use(key_pk=holder.key_pk, last_used_at=holder.last_used_at, now=now)
        return ApiKey.objects.get().last_used_at

    assert use(NOW, statements=1) == NOW
    assert use(NOW + timedelta(seconds=59), statements=0) == NOW
    assert use(NOW + timedelta(seconds=60), statements=1) == NOW + timedelta(seconds=60)


@pytest.mark.usefixtures("fresh_db")
def test_noting_use_never_waits() -> None:
    issued = key_of(make_alice())
    key = ApiKey.objects.get(key_id=issued.key_id)
    done = threading.Event()

    def note() -> None:
        note_use(key_pk=key.pk, last_used_at=None, now=NOW)
        connection.close()
        done.set()

    with transaction.atomic():
        ApiKey.objects.select_for_update().get()
        threading.Thread(target=note).start()
        assert done.wait(2)
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.usefixtures("fresh_db")
def test_of_many_revocations_one_counts() -> None:
    issued = key_of(make_alice())
    gate, outcomes = threading.Barrier(6), []

    def end() -> None:
        gate.wait()
        outcomes.append(revoke(key_id=issued.key_id, actor=OPERATOR_SHELL, now=LATER))
        connection.close()

    threads = [threading.Thread(target=end) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 5 + [True]
    assert AuditEntry.objects.filter(action="identity.api_key.revoked").count() == 1


def test_keys_go_with_their_user(alice: User) -> None:
    key_of(alice)
    alice.delete()
    assert not ApiKey.objects.exists()
