import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from raxx.kernel.keys import derive, hkdf_sha256


@pytest.mark.parametrize(
    ("secret", "salt", "info", "length", "expected"),
    [
        pytest.param(
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            id="RFC 5869 A.1",
        ),
        pytest.param(
            bytes(range(0x00, 0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
            id="RFC 5869 A.2",
        ),
        pytest.param(
            "0b" * 22,
            "",
            "",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            id="RFC 5869 A.3",
        ),
    ],
)
def test_hkdf_published_vectors(secret: str, salt: str, info: str, length: int, expected: str) -> None:
    output = hkdf_sha256(
        bytes.fromhex(secret), salt=bytes.fromhex(salt), info=bytes.fromhex(info), length=length
    )
    assert output.hex() == expected


def test_each_purpose_has_its_own_key_and_keeps_it(settings: Settings) -> None:
    settings.RAXX_FIELD_KEY = "a" * 32
    pepper = derive("api-key-pepper")
    assert len(pepper) == 32
    assert derive("api-key-pepper") == pepper
    assert derive("something-else") != pepper
    settings.RAXX_FIELD_KEY = "b" * 32
    assert derive("api-key-pepper") != pepper


def test_a_short_root_secret_is_refused(settings: Settings) -> None:
    settings.RAXX_FIELD_KEY = "c" * 31
    with pytest.raises(ImproperlyConfigured, match="31 characters"):
        derive("api-key-pepper")
