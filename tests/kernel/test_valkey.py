import ssl

import pytest
import redis
from redis.connection import SSLConnection

from raxx.kernel import valkey


@pytest.mark.parametrize(
    "url", ["", "http://localhost", "redis:/localhost", "localhost:6379", "redis+socket:///x"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://, rediss://, unix://"):
        valkey.client(url)


@pytest.mark.parametrize(
    "url", ["redis://localhost:6379/1", "rediss://:secret@localhost:6379", "unix:///tmp/s?db=2"]
)
def test_time_outs_are_short_unless_given(url: str) -> None:
    options = valkey.client(url).connection_pool.connection_kwargs
    assert (options["socket_connect_timeout"], options["socket_timeout"]) == (0.25, 0.5)
    patient = valkey.client(url, connect_timeout_s=1, read_timeout_s=30).connection_pool.connection_kwargs
    assert (patient["socket_connect_timeout"], patient["socket_timeout"]) == (1, 30)


def tls(client: redis.Redis) -> tuple[ssl.VerifyMode, bool]:
    connection = client.connection_pool.make_connection()
    assert isinstance(connection, SSLConnection)
    return connection.cert_reqs, connection.check_hostname


def test_certificates_are_checked_unless_said_otherwise() -> None:
    assert tls(valkey.client("rediss://localhost")) == (ssl.CERT_REQUIRED, True)
    assert tls(valkey.client("rediss://localhost", tls_insecure=True)) == (ssl.CERT_NONE, False)


def test_without_tls_there_is_no_certificate_to_take(valkey_url: str) -> None:
    assert valkey.client(valkey_url, tls_insecure=True).ping()


def test_answers_are_bytes(valkey_url: str) -> None:
    client = valkey.client(valkey_url)
    client.set("test", "value")
    assert client.get("test") == b"value"
