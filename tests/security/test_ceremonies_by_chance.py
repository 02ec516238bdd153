"""S6, by chance: a right answer to a ceremony with one bit changed, or a piece cut, doubled or taken from another answer."""

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from raxx.identity.models import Passkey
from raxx.identity.services.passkeys import CeremonyRefused
from tests.identity.authenticator import EDDSA, ES256, RS256, b64, unb64
from tests.identity.test_ceremonies import ORIGIN, Person, person

TRIES = 5_000 if os.environ.get("RAXX_SOAK") else 150
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_url")]

Answer = dict[str, Any]
PARTS = ("clientDataJSON", "authenticatorData", "signature", "userHandle", "id")
Spoil = Callable[[bytes, bytes, random.Random], bytes]


def flip(data: bytes, _other: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) * 8)
    return bytes(byte ^ (1 << place % 8 if index == place // 8 else 0) for index, byte in enumerate(data))


def cut(data: bytes, _other: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def grow(data: bytes, _other: bytes, chance: random.Random) -> bytes:
    return data + chance.randbytes(chance.randint(1, 40))


def double(data: bytes, _other: bytes, _chance: random.Random) -> bytes:
    return data + data


def borrow(_data: bytes, other: bytes, _chance: random.Random) -> bytes:
    return other


def spoiled(made: Answer, other: Answer, chance: random.Random) -> tuple[Answer, str]:
    """The answer with one part changed, and how."""
    while True:
        part, spoil = chance.choice(PARTS), chance.choice((flip, flip, flip, cut, grow, double, borrow))
        holder, others = (made, other) if part == "id" else (made["response"], other["response"])
        before = unb64(holder[part])
        after = b64(spoil(before, unb64(others[part]), chance))
        if after == b64(before):
            continue  # such as the id of one's own other answer
        if part == "id":
            return made | {"id": after, "rawId": after}, f"{spoil.__name__} {part}"
        return made | {"response": made["response"] | {part: after}}, f"{spoil.__name__} {part}"


@pytest.mark.parametrize("algorithm", [ES256, EDDSA, RS256])
def test_one_changed_bit_is_enough(algorithm: int) -> None:
    alice: Person = person("alice", algorithm=algorithm)
    alice.enrol()
    chance, before = random.Random(algorithm), Passkey.objects.values().get()
    for _ in range(-(-TRIES // 3)):
        other = alice.device.get(alice.options(), ORIGIN)
        answer, how = spoiled(alice.device.get(alice.options(), ORIGIN), other, chance)
        try:
            alice.present(answer)
        except CeremonyRefused:
            continue
        pytest.fail(f"taken: {how}")
    assert Passkey.objects.values().get() == before
    assert alice.sign_in(), "the right one still works"
