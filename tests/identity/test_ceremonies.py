"""Forged, replayed and malformed passkey ceremonies. The software authenticator signs whatever a test asks for;
each ceremony below is right but for one thing."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import webauthn

from audit.models import AuditEntry
from raxx.identity.models import Passkey, User
from raxx.identity.passkey_rules import RelyingParty
from raxx.identity.services import passkeys
from raxx.identity.services.passkeys import CeremonyRefused
from raxx.identity.services.users import register
from raxx.kernel import valkey
from tests.identity.authenticator import (
    AT,
    BE,
    BS,
    EDDSA,
    ES256,
    ES384,
    RS256,
    UP,
    UV,
    Authenticator,
    b64,
    cbor,
    make_key,
    unb64,
    with_response,
)  # fmt: skip

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]
NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
ORIGIN = "https://raxx.example"
RP = RelyingParty("raxx.example", (ORIGIN, "https://www.raxx.example"))
Json = dict[str, Any]


@dataclass
class Person:
    user: User
    device: Authenticator
    browser: str = field(default_factory=lambda: os.urandom(16).hex())

    def enrol(self, spoil: Callable[[Authenticator, Json], Json] | None = None) -> Passkey:
        options = passkeys.begin_enrolment(rp=RP, user=self.user, binding=self.browser)
        made = spoil(self.device, options) if spoil else self.device.create(options, ORIGIN)
        return self.finish(made)

    def finish(self, made: Json) -> Passkey:
        return passkeys.finish_enrolment(
            credential=made, rp=RP, user=self.user, binding=self.browser, name="laptop", now=NOW
        )

    def options(self) -> Json:
        return passkeys.begin_sign_in(rp=RP, binding=self.browser)

    def present(self, made: Json, browser: str = "") -> passkeys.Proved:
        return passkeys.finish_sign_in(credential=made, rp=RP, binding=browser or self.browser, now=NOW)

    def sign_in(self, **how: Any) -> passkeys.Proved:  # noqa: ANN401
        return self.present(self.device.get(self.options(), how.pop("origin", ORIGIN), **how))


def person(name: str, **device: Any) -> Person:  # noqa: ANN401
    return Person(register(email=f"{name}@example.com", now=NOW), Authenticator(**device))


@pytest.fixture
def alice() -> Person:
    alice = person("alice")
    alice.enrol()
    return alice


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
@pytest.mark.parametrize("synced", [True, False])
def test_enrolled_then_used(algorithm: int, synced: bool) -> None:
    alice = person("alice", algorithm=algorithm, synced=synced)
    made = alice.enrol()
    assert (made.backup_eligible, made.backup_state, made.sign_count) == (synced, synced, 0 if synced else 1)
    assert bytes(made.credential_id) == alice.device.credential_id
    assert made.transports == ["internal"]
    for turn in (2, 3):
        proved = alice.sign_in()
        assert (proved.user, proved.passkey_id) == (alice.user, made.pk)
        made.refresh_from_db()
        assert (made.sign_count, made.last_used_at) == (0 if synced else turn, NOW)


def test_self_attestation_is_as_good_as_none() -> None:
    assert person("alice").enrol(lambda device, options: device.create(options, ORIGIN, fmt="packed"))


def test_every_own_origin_is_home(alice: Person) -> None:
    assert alice.sign_in(origin="https://www.raxx.example")


def test_options_ask_for_what_the_rules_demand(alice: Person) -> None:
    made = passkeys.begin_enrolment(rp=RP, user=alice.user, binding="x")
    assert len(unb64(made["challenge"])) == 32
    assert len(unb64(made["user"]["id"])) == 64
    assert made["authenticatorSelection"]["residentKey"] == "required"
    assert made["authenticatorSelection"]["userVerification"] == "required"
    assert (made["attestation"], made["timeout"]) == ("none", 300_000)
    assert [each["alg"] for each in made["pubKeyCredParams"]] == [EDDSA, ES256, RS256]
    assert [unb64(each["id"]) for each in made["excludeCredentials"]] == [alice.device.credential_id]
    # Nobody learns from sign-in options who has an account: but for the challenge they never differ.
    one, other = alice.options(), person("bob").options()
    assert one.pop("challenge") != other.pop("challenge")
    assert one == other == {
        "rpId": "raxx.example", "timeout": 300_000, "userVerification": "required", "allowCredentials": [],
    }  # fmt: skip


# -- registrations that are refused ---------------------------------------------------------------

Made = Callable[[Authenticator, Json], Json]


def create(**how: Any) -> Made:  # noqa: ANN401
    return lambda device, options: device.create(
        options, how.get("origin", ORIGIN), **{k: v for k, v in how.items() if k != "origin"}
    )


def client(**changes: Any) -> Made:  # noqa: ANN401
    return create(client=changes)


def response(**changes: Any) -> Made:  # noqa: ANN401
    return lambda device, options: with_response(device.create(options, ORIGIN), **changes)


def other_key(device: Authenticator, options: Json) -> Json:
    return device.create(
        options, ORIGIN, cose=replace(device, algorithm=ES384, key=make_key(ES384)).cose_key()
    )


def swapped_challenge(device: Authenticator, options: Json) -> Json:
    return device.create(options | {"challenge": b64(os.urandom(32))}, ORIGIN)


def bad_packed(device: Authenticator, options: Json) -> Json:
    return device.create(options, ORIGIN, fmt="packed", statement={"alg": ES256, "sig": os.urandom(70)})


def cut_attestation(device: Authenticator, options: Json) -> Json:
    made = device.create(options, ORIGIN)
    return with_response(made, attestationObject=made["response"]["attestationObject"][:-20])


def none_with_statement(device: Authenticator, options: Json) -> Json:
    return device.create(options, ORIGIN, statement={"alg": ES256, "sig": b"x"})


def an_assertion(device: Authenticator, options: Json) -> Json:
    device.create(options, ORIGIN)
    return device.get(options, ORIGIN)


BAD_REGISTRATIONS: dict[str, Made] = {
    "origin of another site": create(origin="https://evil.example"),
    "origin of a sub-domain": create(origin="https://x.raxx.example"),
    "origin over plain http": create(origin="http://raxx.example"),
    "origin with a port": create(origin="https://raxx.example:444"),
    "origin with a slash": create(origin="https://raxx.example/"),
    "rp id of another site": create(rp_id="evil.example"),
    "rp id of the parent": create(rp_id="example"),
    "challenge of our own making": swapped_challenge,
    "challenge empty": client(challenge=""),
    "type of a sign-in": client(type="webauthn.get"),
    "type missing": client(type=None),
    "frame of another site": client(crossOrigin=True),
    "cross origin not a flag": client(crossOrigin="false"),
    "below another page": client(topOrigin="https://evil.example"),
    "below our own page": client(topOrigin=ORIGIN),
    "user not verified": create(flags=UP | BE | BS),
    "user not present": create(flags=UV | BE | BS),
    "backed up, not eligible": create(flags=UP | UV | BS),
    "algorithm not offered": other_key,
    "key with rubbish": create(cose=cbor({1: 2, 3: ES256, -1: 1, -2: b"x", -3: b"y"})),
    "key off its curve": create(cose=cbor({1: 2, 3: ES256, -1: 1, -2: b"x" * 32, -3: b"y" * 32})),
    "key on a curve not offered": create(
        cose=Authenticator(algorithm=ES384).cose_key().replace(cbor({3: ES384})[1:], cbor({3: ES256})[1:], 1)
    ),
    "key too short": create(cose=cbor({1: 3, 3: RS256, -1: b"\xc1" * 128, -2: b"\x01\x00\x01"})),
    "key of no kind": create(cose=cbor({3: ES256})),
    "key missing": create(cose=b""),
    "id beside is another": create(id=b64(b"other"), rawId=b64(b"other")),
    "id and raw id differ": create(id=b64(b"other")),
    "id attested is another": create(attested_id=b"other"),
    "id attested is empty": create(attested_id=b""),
    "id not base64": create(id="a b", rawId="a b"),
    "id missing": create(id=None, rawId=None),
    "id padded": lambda device, options: (made := device.create(options, ORIGIN)) | {"id": made["id"] + "=", "rawId": made["id"] + "="},
    "id too long": lambda device, options: replace(device, credential_id=os.urandom(1_024)).create(options, ORIGIN),
    "type no public key": create(type="password"),
    "attestation of a kind unknown": create(fmt="raxx"),
    "attestation not asked for": create(fmt="android-safetynet"),
    "attestation with a bad signature": bad_packed,
    "attestation none with a statement": none_with_statement,
    "attestation cut": cut_attestation,
    "attestation missing": response(attestationObject=None),
    "attestation no CBOR": response(attestationObject=b64(b"\xff" * 40)),
    "attestation a bomb": response(attestationObject=b64(b"\x81" * 20_000)),
    "client data missing": response(clientDataJSON=None),
    "client data no JSON": response(clientDataJSON=b64(b"{")),
    "client data a list": response(clientDataJSON=b64(b"[]")),
    "client data not UTF-8": response(clientDataJSON=b64(b"\xff\xfe")),
    "client data deep": response(clientDataJSON=b64(b"[" * 9_000)),
    "client data a number": response(clientDataJSON=7),
    "response missing": create(response=None),
    "response a list": create(response=[]),
    "a sign-in instead": an_assertion,
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_REGISTRATIONS)
def test_registrations_refused(case: str) -> None:
    alice = person("alice")
    with pytest.raises(CeremonyRefused) as refusal:
        alice.enrol(BAD_REGISTRATIONS[case])
    assert refusal.value.message.startswith("That passkey could not be used here.")
    assert not Passkey.objects.exists()


# -- sign-ins that are refused --------------------------------------------------------------------


def get(**how: Any) -> Made:  # noqa: ANN401
    return lambda device, options: device.get(
        options, how.get("origin", ORIGIN), **{k: v for k, v in how.items() if k != "origin"}
    )


def got(**changes: Any) -> Made:  # noqa: ANN401
    return lambda device, options: with_response(device.get(options, ORIGIN), **changes)


def data_cut(device: Authenticator, options: Json) -> Json:
    made = device.get(options, ORIGIN)
    return with_response(made, authenticatorData=made["response"]["authenticatorData"][:20])


def data_longer(device: Authenticator, options: Json) -> Json:
    made = device.get(options, ORIGIN)
    data = unb64(made["response"]["authenticatorData"])
    return with_response(made, authenticatorData=b64(data + b"\x00"))


def count_raised(device: Authenticator, options: Json) -> Json:
    """Without the key nobody raises the counter."""
    made = device.get(options, ORIGIN)
    data = unb64(made["response"]["authenticatorData"])
    return with_response(made, authenticatorData=b64(data[:-1] + b"\x09"))


def client_data_swapped(device: Authenticator, options: Json) -> Json:
    return with_response(
        device.get(options, ORIGIN), clientDataJSON=device.get(options, ORIGIN, client={"more": 1})["response"]["clientDataJSON"]
    )  # fmt: skip


BAD_SIGN_INS: dict[str, Made] = {
    "signature spoiled": get(spoil_signature=True),
    "signature of another key": get(signer=Authenticator()),
    "signature of another kind": get(signer=Authenticator(algorithm=EDDSA)),
    "signature empty": got(signature=""),
    "signature missing": got(signature=None),
    "signature no base64": got(signature="%%%"),
    "origin of another site": get(origin="https://evil.example"),
    "origin alike": get(origin="https://raxx.example.evil.example"),
    "origin null": get(origin="null"),
    "origin missing": get(client={"origin": None}),
    "rp id of another site": get(rp_id="evil.example"),
    "challenge of our own making": lambda device, options: device.get({"challenge": b64(os.urandom(32))}, ORIGIN),
    "challenge empty": get(client={"challenge": ""}),
    "challenge missing": get(client={"challenge": None}),
    "type of a registration": get(client={"type": "webauthn.create"}),
    "type of a payment": get(client={"type": "payment.get"}),
    "frame of another site": get(client={"crossOrigin": True}),
    "cross origin a number": get(client={"crossOrigin": 1}),
    "below another page": get(client={"topOrigin": "https://evil.example"}),
    "user not verified": get(flags=UP | BE | BS),
    "user not present": get(flags=UV | BE | BS),
    "no flag at all": get(flags=0),
    "backup eligibility gone": get(flags=UP | UV),
    "backed up, not eligible": get(flags=UP | UV | BS),
    "attested data promised": get(flags=UP | UV | BE | BS | AT),
    "handle missing": get(handle=None),
    "handle of nobody": get(handle=os.urandom(64)),
    "handle empty": get(handle=b""),
    "handle too long": get(handle=os.urandom(500)),
    "id unknown": lambda device, options: replace(device, credential_id=os.urandom(32)).get(options, ORIGIN),
    "id and raw id differ": get(id=b64(b"other")),
    "id a number": get(id=7, rawId=7),
    "data cut": data_cut,
    "data longer": data_longer,
    "data missing": got(authenticatorData=None),
    "client data missing": got(clientDataJSON=None),
    "client data of another sign-in": client_data_swapped,
    "client data with a name twice": got(clientDataJSON=b64(b'{"type":"webauthn.get","type":"webauthn.get"}')),
    "counter raised by hand": count_raised,
    "token binding unknown": get(client={"tokenBinding": {"status": "rubbish"}}),
    "type no public key": get(type="password"),
    "response missing": get(response=None),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_SIGN_INS)
def test_sign_ins_refused(case: str, alice: Person) -> None:
    before = Passkey.objects.values().get()
    with pytest.raises(CeremonyRefused) as refusal:
        alice.present(BAD_SIGN_INS[case](alice.device, alice.options()))
    assert refusal.value.message.startswith("That passkey could not be used here.")
    assert Passkey.objects.values().get() == before
    assert alice.sign_in(), "the right one still works"


def test_there_are_enough_of_them() -> None:
    assert len(BAD_REGISTRATIONS) + len(BAD_SIGN_INS) >= 60


# -- replays ---------------------------------------------------------------------------------------


def test_an_answer_is_good_once(alice: Person) -> None:
    made = alice.device.get(alice.options(), ORIGIN)
    assert alice.present(made)
    with pytest.raises(CeremonyRefused):
        alice.present(made)


def test_a_registration_is_good_once() -> None:
    alice = person("alice")
    made = alice.device.create(
        passkeys.begin_enrolment(rp=RP, user=alice.user, binding=alice.browser), ORIGIN
    )
    alice.finish(made)
    with pytest.raises(CeremonyRefused):
        alice.finish(made)


def test_a_wrong_answer_uses_the_challenge_up(alice: Person) -> None:
    options = alice.options()
    with pytest.raises(CeremonyRefused):
        alice.present(alice.device.get(options, ORIGIN, spoil_signature=True))
    with pytest.raises(CeremonyRefused):
        alice.present(alice.device.get(options, ORIGIN))


def test_an_answer_belongs_to_its_browser(alice: Person) -> None:
    made = alice.device.get(alice.options(), ORIGIN)
    other = person("bob")
    other.options()
    with pytest.raises(CeremonyRefused):
        alice.present(made, browser=other.browser)
    with pytest.raises(CeremonyRefused):
        alice.present(made, browser="never begun")


def test_an_answer_belongs_to_its_purpose(alice: Person) -> None:
    """A sign-in does not confirm an order, and a confirmation of one thing not another."""
    user_id, browser = alice.user.pk, alice.browser

    def confirm(made: Json, action: bytes = b"sell all") -> passkeys.Proved:
        return passkeys.finish_step_up(
            credential=made, rp=RP, user_id=user_id, binding=browser, action=action, now=NOW
        )

    def ask(action: bytes = b"sell all") -> Json:
        return passkeys.begin_step_up(rp=RP, user_id=user_id, binding=browser, action=action)

    with pytest.raises(CeremonyRefused):
        confirm(alice.device.get(alice.options(), ORIGIN))
    with pytest.raises(CeremonyRefused):
        alice.present(alice.device.get(ask(), ORIGIN))
    with pytest.raises(CeremonyRefused):
        confirm(alice.device.get(ask(b"buy one"), ORIGIN))
    options = ask()
    assert [unb64(each["id"]) for each in options["allowCredentials"]] == [alice.device.credential_id]
    assert confirm(alice.device.get(options, ORIGIN, handle=None)), "nobody need be named twice"


def test_somebody_else_s_passkey_confirms_nothing(alice: Person) -> None:
    bob = person("bob")
    bob.enrol()
    options = passkeys.begin_step_up(rp=RP, user_id=alice.user.pk, binding="b", action=b"x")
    with pytest.raises(CeremonyRefused):
        passkeys.finish_step_up(
            credential=bob.device.get(options, ORIGIN),
            rp=RP,
            user_id=alice.user.pk,
            binding="b",
            action=b"x",
            now=NOW,
        )


def test_a_challenge_lives_five_minutes(alice: Person) -> None:
    made = alice.device.get(alice.options(), ORIGIN)
    [key] = valkey.shared().keys("raxx:ceremony:*")
    assert 295_000 < int(valkey.shared().pttl(key)) <= 300_000
    valkey.shared().pexpire(key, 1)
    while valkey.shared().exists(key):
        pass
    with pytest.raises(CeremonyRefused):
        alice.present(made)


def test_a_user_who_was_switched_off_stays_out(alice: Person) -> None:
    User.objects.filter(pk=alice.user.pk).update(is_active=False)
    with pytest.raises(CeremonyRefused):
        alice.sign_in()


# -- one credential, one user; clones -------------------------------------------------------------


def test_a_credential_id_belongs_to_one_user(alice: Person) -> None:
    bob = person("bob", credential_id=alice.device.credential_id)
    with pytest.raises(CeremonyRefused):
        bob.enrol()
    assert alice.sign_in().user == alice.user


@pytest.mark.parametrize("step", [0, -1, -2])
def test_a_counter_that_stands_still_means_a_copy(step: int) -> None:
    alice = person("alice", synced=False)
    made = alice.enrol()
    alice.sign_in(count=7)
    with pytest.raises(CeremonyRefused):
        alice.sign_in(count=7 + step)
    assert AuditEntry.objects.get(action="identity.passkey.suspected").object_id == str(made.pk)
    with pytest.raises(CeremonyRefused):
        alice.sign_in(count=0)
    assert alice.sign_in(count=8)


def test_a_changed_backup_flag_is_recorded() -> None:
    alice = person("alice", synced=False)
    alice.enrol()
    with pytest.raises(CeremonyRefused):
        alice.sign_in(flags=UP | UV | BE)
    assert "eligibility" in AuditEntry.objects.get(action="identity.passkey.suspected").reason


def test_a_passkey_may_become_backed_up() -> None:
    alice = person("alice")
    made = alice.enrol(lambda device, options: device.create(options, ORIGIN, flags=UP | UV | BE))
    assert not made.backup_state
    alice.sign_in()
    made.refresh_from_db()
    assert made.backup_state


# -- measured: what the library leaves to us --------------------------------------------------------


def library(made: Json, options: Json, alice: Person, **how: Any) -> object:  # noqa: ANN401
    return webauthn.verify_authentication_response(
        credential=made, expected_challenge=unb64(options["challenge"]), expected_rp_id=RP.id,
        expected_origin=list(RP.origins), credential_current_sign_count=0,
        credential_public_key=alice.device.cose_key(), **how,
    )  # fmt: skip


@pytest.mark.parametrize(
    "spoiled",
    [{"client": {"crossOrigin": True}}, {"client": {"topOrigin": "https://evil.example"}}, {"handle": b"nobody"}, {"flags": UP}],
)  # fmt: skip
def test_the_library_alone_would_let_these_in(spoiled: Json, alice: Person) -> None:
    """When this fails, the library has learned to refuse; ours may stay."""
    options = alice.options()
    assert library(alice.device.get(options, ORIGIN, **spoiled), options, alice)
    with pytest.raises(CeremonyRefused):
        alice.sign_in(**spoiled)
