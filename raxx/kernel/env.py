"""Settings from the environment, read through types. A bad value stops the start with a sentence.

A variable that is unset, empty or blank counts as not given; then the default holds, and where there
is none the variable is required. Nothing here imports an app, so that settings can use it.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from raxx.kernel.errors import InvalidInput

_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_MAIL_PORTS = {"smtp": 25, "smtp+tls": 587, "smtps": 465}
_POSTGRES_SCHEMES = ("postgres", "postgresql")
_POSTGRES_OPTIONS = (
    "application_name",
    "channel_binding",
    "connect_timeout",
    "options",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)


class BadSetting(InvalidInput, ImproperlyConfigured):
    """An environment variable breaks its rule. The sentence names variable, rule, value and remedy."""

    code = "BAD_SETTING"
    http_status = 500


def given(name: str) -> str | None:
    """The variable's value without surrounding blanks, or None when it is unset or blank."""
    return os.environ.get(name, "").strip() or None


def text(name: str, default: str | None = None) -> str:
    """Raises BadSetting when the variable is not given and has no default; so do all below."""
    value = given(name) or default
    if value is None:
        raise _missing(name, f"Set {name} in the environment.")
    return value


def flag(name: str, default: bool) -> bool:
    """`1 true yes on` or `0 false no off`, in any case."""
    value = given(name)
    if value is None:
        return default
    if value.lower() in _YES:
        return True
    if value.lower() in _NO:
        return False
    raise BadSetting(
        field=name, rule="must be a yes or a no", value=value, remedy=f"Set {name} to 1 or 0, or unset it."
    )


def whole(name: str, default: int | None = None, *, minimum: int, maximum: int) -> int:
    """A whole number in plain digits, both bounds included."""
    value = given(name)
    if value is None and default is not None:
        return default
    remedy = f"Set {name} to such a number" + ("." if default is None else f", or unset it for {default}.")
    if value is None:
        raise _missing(name, remedy)
    if not _WHOLE.fullmatch(value) or not minimum <= int(value) <= maximum:
        rule = f"must be a whole number from {minimum} to {maximum}"
        raise BadSetting(field=name, rule=rule, value=value, remedy=remedy)
    return int(value)


def choice(name: str, options: tuple[str, ...], default: str | None = None) -> str:
    """One of `options`, spelled exactly so."""
    value = text(name, default)
    if value not in options:
        listed = ", ".join(options)
        remedy = f"Set {name} to one of them."
        raise BadSetting(field=name, rule=f"must be one of {listed}", value=value, remedy=remedy)
    return value


def url(name: str, default: str | None = None, *, schemes: tuple[str, ...] = ()) -> str:
    """An address with one of `schemes` (of none: any) and something behind it. The value is not shown
    in errors: such addresses carry passwords."""
    value = text(name, default)
    if not _is_url(value, schemes):
        listed = " or ".join(f"{scheme}://" for scheme in schemes or ("SCHEME",))
        raise _bad_url(name, f"must be an address that begins with {listed}")
    return value


def secret(name: str, default: str | None = None, *, minimum_length: int = 32) -> str:
    """`name`, or the content of the file that `name`_FILE points to. Never shown in errors."""
    value, file = given(name), given(f"{name}_FILE")
    remedy = f"Set {name} to a random value, for instance from `openssl rand -hex 32`."
    if value and file:
        remedy = f"Unset {name} or {name}_FILE."
        raise BadSetting(field=name, rule=f"and {name}_FILE exclude each other", value="both", remedy=remedy)
    if file:
        try:
            value = Path(file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            remedy = f"Point {name}_FILE to a readable text file."
            raise BadSetting(
                field=f"{name}_FILE",
                rule=f"cannot be read: {type(error).__name__}",
                value=file,
                remedy=remedy,
            ) from error
    if value is None:
        value = default
    if value is None:
        raise _missing(name, remedy)
    if len(value) < minimum_length:
        rule = f"must have at least {minimum_length} characters"
        raise BadSetting(field=name, rule=rule, value=f"{len(value)} characters", remedy=remedy)
    return value


def database(name: str, default: str | None = None) -> dict[str, Any]:
    """Django's database settings from `postgres://user:password@host:port/name?sslmode=require`.

    Every part may be percent-encoded. A Unix socket's folder is given as `?host=/folder`, or
    percent-encoded in the place of the host, as libpq takes it.
    """
    value = url(name, default, schemes=_POSTGRES_SCHEMES)
    try:
        parts = urlsplit(value)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = query.pop("port", str(parts.port or ""))
    except ValueError:  # whose own words would show a piece of the password
        raise _bad_url(name, "must read scheme://user:password@host:port/name?option=value") from None
    # Not parts.hostname where the host is a folder: it would be in lower case.
    folder = unquote(parts.netloc.rpartition("@")[2].partition(":")[0])
    host = query.pop("host", folder if folder.startswith("/") else parts.hostname or "")
    database_name = unquote(parts.path.removeprefix("/"))
    unknown = sorted(set(query) - set(_POSTGRES_OPTIONS))
    if unknown:
        raise _bad_url(name, f"has unknown options: {', '.join(unknown)}")
    if not database_name:
        raise _bad_url(name, "must end with /NAME-OF-THE-DATABASE")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database_name,
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": port,
        "OPTIONS": dict(query),
    }


def mail_server(name: str) -> dict[str, Any]:
    """Django's mail settings from `smtp+tls://user:password@host:587`. `smtps` speaks TLS from the first byte,
    `smtp+tls` after a greeting in the clear, `smtp` never. User and password may be percent-encoded, or left out."""
    value = url(name, schemes=tuple(_MAIL_PORTS))
    try:
        parts = urlsplit(value)
        port = parts.port or _MAIL_PORTS[parts.scheme]
    except ValueError:
        raise _bad_url(name, "must read scheme://user:password@host:port") from None
    if not parts.hostname or parts.path.strip("/") or parts.query:
        raise _bad_url(name, "must read scheme://user:password@host:port")
    return {
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtps",
    }


def _is_url(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    if not value.isprintable() or " " in value or "://" not in value:
        return False
    return parts.scheme in (schemes or (parts.scheme,)) and bool(parts.netloc or parts.path.strip("/"))


def _missing(name: str, remedy: str) -> BadSetting:
    return BadSetting(field=name, rule="must be set", value="nothing", remedy=remedy)


def _bad_url(name: str, rule: str) -> BadSetting:
    remedy = f"Correct {name}; characters such as @ : / ? in a password must be percent-encoded."
    return BadSetting(field=name, rule=rule, value="not shown: it may hold a password", remedy=remedy)
