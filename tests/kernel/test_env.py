from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from raxx.kernel import env
from raxx.kernel.env import BadSetting
from raxx.kernel.errors import RaxxError

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("X", raising=False)
    monkeypatch.delenv("X_FILE", raising=False)


def test_a_bad_value_is_refused_in_one_sentence_that_names_all_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "twelve")
    with pytest.raises(BadSetting) as refused:
        env.whole("X", 4, minimum=1, maximum=50)
    expected = (
        "X: must be a whole number from 1 to 50 (got twelve). Set X to such a number, or unset it for 4."
    )
    assert str(refused.value) == expected
    assert isinstance(refused.value, RaxxError)
    assert isinstance(refused.value, ImproperlyConfigured)  # what Django's commands show plainly


@pytest.mark.parametrize("value", ["1_0", "٣", "+3", "3.0", "1e1", "0x1", "0", "51", "-1", "9" * 40])
def test_a_whole_number_is_plain_digits_inside_its_bounds(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(BadSetting):
        env.whole("X", minimum=1, maximum=50)


@pytest.mark.parametrize(("value", "number"), [("1", 1), ("50", 50), (" 7 ", 7), ("", 4), ("  ", 4)])
def test_whole_numbers(monkeypatch: pytest.MonkeyPatch, value: str, number: int) -> None:
    monkeypatch.setenv("X", value)
    assert env.whole("X", 4, minimum=1, maximum=50) == number


@pytest.mark.parametrize(
    ("value", "answer"),
    [("1", True), ("TRUE", True), ("on", True), ("yes", True), ("0", False), ("Off", False), ("no", False)],
)
def test_flags(monkeypatch: pytest.MonkeyPatch, value: str, answer: bool) -> None:
    monkeypatch.setenv("X", value)
    assert env.flag("X", default=not answer) is answer


@pytest.mark.parametrize("value", ["2", "tru", "enabled", "nein", "1 1"])
def test_a_flag_that_is_neither_yes_nor_no_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(BadSetting):
        env.flag("X", default=False)


def test_what_is_required_says_so() -> None:
    with pytest.raises(BadSetting, match=r"X: must be set \(got nothing\)\. Set X in the environment\."):
        env.text("X")
    assert env.text("X", "default") == "default"


def test_a_choice_lists_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "Replay")
    with pytest.raises(BadSetting, match="must be one of simulated, replay"):
        env.choice("X", ("simulated", "replay"), "simulated")


@pytest.mark.parametrize("value", ["localhost:6379", "http://host", "redis://", "redis:/x", "redis://a b"])
def test_an_address_needs_a_known_scheme_and_a_target(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("X", value)
    with pytest.raises(BadSetting):
        env.url("X", schemes=("redis", "rediss", "unix"))


def test_a_secret_comes_from_the_variable_or_from_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("X_FILE", str(file))
    assert env.secret("X") == SECRET
    monkeypatch.setenv("X", SECRET)
    with pytest.raises(BadSetting, match="exclude each other"):
        env.secret("X")


@pytest.mark.parametrize("content", ["", "short", None])
def test_a_secret_file_that_holds_none_is_refused_rather_than_replaced_by_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    monkeypatch.setenv("X_FILE", str(tmp_path / "secret"))
    with pytest.raises(BadSetting):
        env.secret("X", default=SECRET)


def test_a_short_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", "hunter2")
    with pytest.raises(BadSetting) as refused:
        env.secret("X")
    assert "hunter2" not in f"{refused.value} {refused.value.details}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            "postgres://ada:pw@db.example.com:5433/raxx",
            {"USER": "ada", "PASSWORD": "pw", "HOST": "db.example.com", "PORT": "5433", "NAME": "raxx"},
            id="host and port",
        ),
        pytest.param(
            "postgresql://a%40b:p%3A%2F%3F%23%40@h/my%20db?sslmode=require",
            {
                "USER": "a@b",
                "PASSWORD": "p:/?#@",
                "HOST": "h",
                "NAME": "my db",
                "OPTIONS": {"sslmode": "require"},
            },
            id="percent-encoded, with an option",
        ),
        pytest.param(
            "postgresql://raxx@/raxx?host=/var/Run/pg",
            {"USER": "raxx", "PASSWORD": "", "HOST": "/var/Run/pg", "PORT": "", "OPTIONS": {}},
            id="socket folder as an option",
        ),
        pytest.param(
            "postgresql://raxx@%2Fvar%2FRun%2Fpg:5433/raxx",
            {"HOST": "/var/Run/pg", "PORT": "5433"},
            id="socket folder as the host",
        ),
        pytest.param("postgres://u@[::1]:5432/d", {"HOST": "::1", "PORT": "5432"}, id="IPv6"),
    ],
)
def test_a_database_address_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: dict[str, Any]
) -> None:
    monkeypatch.setenv("X", url)
    found = env.database("X")
    assert {key: found[key] for key in expected} == expected
    assert found["ENGINE"] == "django.db.backends.postgresql"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///db.sqlite3",
        "postgres://u:secretpw@host:port/db",
        "postgres://u:secret/pw@host/db",
        "postgres://u:secretpw@host:99999/db",
        "postgres://u:secretpw@host",
        "postgres://u:secretpw@host/db?sslmod=require",
        "postgres://u:secretpw@host/db?sslmode",
    ],
)
def test_a_bad_database_address_is_refused_without_showing_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("X", url)
    with pytest.raises(BadSetting) as refused:
        env.database("X")
    assert refused.value.__cause__ is None
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "host", "port", "tls", "ssl"),
    [
        ("smtp://mail.example", "mail.example", 25, False, False),
        ("smtp+tls://me%40x:p%3Aw@mail.example", "mail.example", 587, True, False),
        ("smtps://me:pw@mail.example:4465", "mail.example", 4465, False, True),
    ],
)
def test_a_mail_server_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch, given: str, host: str, port: int, tls: bool, ssl: bool
) -> None:
    monkeypatch.setenv("X", given)
    found = env.mail_server("X")
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"]) == (host, port)
    assert (found["EMAIL_USE_TLS"], found["EMAIL_USE_SSL"]) == (tls, ssl)
    if "%40" in given:
        assert (found["EMAIL_HOST_USER"], found["EMAIL_HOST_PASSWORD"]) == ("me@x", "p:w")


@pytest.mark.parametrize(
    "given",
    [
        "mail.example:25",
        "http://mail.example",
        "smtp://me:pw@",
        "smtp://me:secret@h/x",
        "smtp://me:secret@h:99999",
    ],
)
def test_a_bad_mail_server_is_refused_without_showing_its_password(
    monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("X", given)
    with pytest.raises(BadSetting) as refused:
        env.mail_server("X")
    assert "secret" not in str(refused.value)
