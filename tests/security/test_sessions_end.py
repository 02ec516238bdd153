"""Whoever runs the product can put out one person, or everybody."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from audit.models import AuditEntry
from tests.identity.browser import Browser

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url", "no_limits")]


def said(*arguments: str) -> str:
    out = StringIO()
    call_command("sessions_end", *arguments, "--reason", "a stolen laptop", stdout=out)
    return out.getvalue()


def test_one_person_or_everybody_is_put_out() -> None:
    alice, bob = Browser().sign_up("alice@example.com"), Browser().sign_up("bob@example.com")
    tablet = alice.elsewhere()
    assert said("--email", "Alice@example.com") == "Sessions ended: 2.\n"
    assert (alice.is_in, tablet.is_in, bob.is_in) == (False, False, True)
    reasons = AuditEntry.objects.filter(action="identity.session.revoked").values_list("reason", flat=True)
    assert list(reasons) == ["ended from the shell: a stolen laptop"] * 2
    alice.sign_in()
    assert said("--everyone") == "Sessions ended: 2.\n"
    assert (alice.is_in, bob.is_in) == (False, False)
    assert said("--everyone") == "Sessions ended: 0.\n"


def test_a_person_who_is_not_there_is_a_mistake() -> None:
    with pytest.raises(CommandError, match=r"There is no user nobody@example\.com") as caught:
        said("--email", "nobody@example.com")
    assert caught.value.returncode == 2
