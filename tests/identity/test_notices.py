"""What people hear about their accounts: on the page, by the API, and by mail through a real SMTP server."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.message import Message

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from pytest_django import Settings

from raxx.identity.models import Notice, User
from raxx.identity.services import notices
from raxx.identity.step_up import ADD_PASSKEY, RENEW_CODES
from raxx.kernel import clock
from tests.identity.authenticator import Authenticator
from tests.identity.browser import ORIGIN, Browser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]


class Inbox:
    """Takes mail, or turns it away as long as `refuses` says so."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.refuses = False

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.refuses:
            return "451 Try again later"
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content))
        return "250 OK"


@pytest.fixture
def inbox(settings: Settings) -> Iterator[Inbox]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inbox = Inbox()
    server = Controller(inbox, hostname="127.0.0.1", port=port)
    server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"  # tests have another by default
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port
    settings.RAXX_MAIL_FROM = "Raxx <no-reply@raxx.example>"
    settings.RAXX_ORIGINS = ("http://localhost",)
    yield inbox
    server.stop()


@pytest.fixture
def alice() -> Browser:
    return Browser().sign_up()


def renewed(alice: Browser) -> None:
    alice.confirm(RENEW_CODES)
    alice.ok("POST", "recovery-codes", {})


def test_the_page_and_the_api_tell_what_happened(alice: Browser) -> None:
    renewed(alice)
    told = alice.ok("GET", "notices")
    assert [(each["what"], each["message"]) for each in told][:1] == [
        (
            "identity.recovery_codes.renewed",
            "New recovery codes were made. The ones before no longer work.",
        )
    ]
    assert "New recovery codes were made." in alice.client.get("/account").content.decode()
    bob = Browser().sign_up("bob@example.com")
    assert "recovery_codes.renewed" not in {each["what"] for each in bob.ok("GET", "notices")}


def test_it_is_mailed_once(alice: Browser, inbox: Inbox) -> None:
    renewed(alice)
    now = clock.now()
    assert notices.send_due(now) == len(inbox.mails) == Notice.objects.count()
    assert notices.send_due(now) == 0
    mail = inbox.mails[-1]
    assert (mail["To"], mail["From"]) == ("alice@example.com", "Raxx <no-reply@raxx.example>")
    assert mail["Subject"] == "Raxx: new recovery codes were made"
    text = mail.get_payload()
    assert isinstance(text, str)
    assert "http://localhost/account/sessions" in text
    assert not any(code in text for code in alice.codes)


def test_a_server_that_is_away_is_asked_again_later(alice: Browser, inbox: Inbox) -> None:
    renewed(alice)
    inbox.refuses = True
    now = clock.now()
    assert notices.send_due(now) == 0
    inbox.refuses = False
    assert notices.send_due(now + timedelta(seconds=29)) == 0
    assert notices.send_due(now + timedelta(seconds=31)) == Notice.objects.count()
    assert Notice.objects.filter(mailed_at=None).count() == 0


def test_it_gives_up_after_eight_tries_and_after_a_day(alice: Browser, inbox: Inbox) -> None:
    renewed(alice)
    count = Notice.objects.count()
    Notice.objects.update(mail_tries=8)
    assert notices.send_due(clock.now()) == 0
    Notice.objects.update(mail_tries=0)
    assert notices.send_due(clock.now() + timedelta(hours=25)) == 0
    assert notices.send_due(clock.now()) == count


def test_without_a_server_nothing_is_sent_and_nothing_is_lost(alice: Browser, settings: Settings) -> None:
    settings.RAXX_MAIL_FROM = None
    renewed(alice)
    assert notices.send_due(clock.now()) == 0
    assert alice.ok("GET", "notices")


def test_a_passkey_that_is_added(alice: Browser) -> None:
    alice.confirm(ADD_PASSKEY)
    options = alice.ok("POST", "passkeys/options", {})["public_key"]
    second = Authenticator()
    alice.ok("POST", "passkeys", {"credential": second.create(options, ORIGIN), "name": "Key"})
    assert alice.ok("GET", "notices")[0]["message"] == "A passkey was added to your account."


def test_old_ones_are_forgotten(alice: Browser) -> None:
    renewed(alice)
    count = Notice.objects.count()
    later = clock.now() + timedelta(days=366)
    assert (notices.purge(later, apply=False), Notice.objects.count()) == (count, count)
    assert (notices.purge(later, apply=True), Notice.objects.count()) == (count, 0)


def test_they_go_with_their_person(alice: Browser) -> None:
    renewed(alice)
    User.objects.filter(pk=alice.user_id).delete()
    assert Notice.objects.count() == 0
