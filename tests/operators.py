"""Operators as the operator site meets them."""

from typing import Any

from django.test import Client

from raxx.identity import cookies
from raxx.identity.models import User
from raxx.identity.passkey_rules import RelyingParty
from raxx.identity.services import passkeys, sessions
from raxx.kernel import clock
from tests.identity.browser import ORIGIN, Browser

RP = RelyingParty("localhost", (ORIGIN,))


def operator(email: str = "olga@example.com", **fields: Any) -> User:  # noqa: ANN401 - any column
    return User.objects.create_user(email=email, **{"is_staff": True, "is_superuser": True, **fields})


def let_in(client: Client, user: User) -> Client:
    """A session as signing in makes it."""
    issued = sessions.start(user=user, label="Chrome on Linux", now=clock.now())
    client.cookies[cookies.ACCESS] = issued.access
    client.cookies[cookies.REFRESH] = str(issued.refresh)
    return client


def enrolled(user: User) -> Browser:
    """Their browser, signed in, with a device that holds a passkey of theirs."""
    browser = Browser(user_id=str(user.pk))
    options = passkeys.begin_enrolment(rp=RP, user=user, binding="enrolment")
    credential = browser.device.create(options, ORIGIN)
    passkeys.finish_enrolment(
        credential=credential, rp=RP, user=user, binding="enrolment", name="Key", now=clock.now()
    )
    return browser.sign_in()
