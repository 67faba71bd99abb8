"""Files for TLS that cannot be used: each is named, and not taken for a server that is not there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from fault_app import Order
from rig_tls import Certificates

from runnel_trio import App, BrokerUnavailable, Misconfigured
from runnel_trio._broker._redis._transport._endpoint import Endpoint, resolve
from runnel_trio._broker._values import ServerConfig


def key_alone(certificates: Certificates, path: Path, password: bytes = b"") -> Path:
    """The client's private key in a file of its own."""
    from cryptography.hazmat.primitives import serialization as form

    key: Any = form.load_pem_private_key(certificates.client.read_bytes(), None)
    hidden = form.BestAvailableEncryption(password) if password else form.NoEncryption()
    path.write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, hidden))
    return path


def sent(url: str, **options: Any) -> None:
    app = App("shop", redis_url=url, redis_options=options)
    orders = app.stream("orders", Order, partition_by="key")
    trio.run(orders.send, Order(key="a", n=1))


Broken = Callable[[Path, Certificates], dict[str, Any]]
BROKEN: dict[str, tuple[Broken, str]] = {
    "authorities are missing": (lambda d, _: {"ssl_ca_certs": f"{d}/no.pem"}, "no.pem' cannot be read: No such file"),
    "authorities are a directory": (lambda d, _: {"ssl_ca_certs": str(d)}, "cannot be read: Is a directory"),
    "authorities are no PEM": (lambda d, _: {"ssl_ca_certs": f"{d}/text"}, "text' has no certificate in PEM"),
    "authorities are a number": (lambda d, _: {"ssl_ca_certs": 1}, "ssl_ca_certs=1 is no path"),
    "authorities are no text": (lambda d, _: {"ssl_ca_data": "x"}, "ssl_ca_data has no certificate in PEM"),
    "the directory is missing": (lambda d, _: {"ssl_ca_path": f"{d}/no"}, "ssl_ca_path=.*No such file"),
    "the directory is a file": (lambda d, _: {"ssl_ca_path": f"{d}/text"}, "ssl_ca_path=.*Not a directory"),
    "the certificate is missing": (lambda d, _: {"ssl_certfile": f"{d}/no"}, "ssl_certfile=.*No such file"),
    "the certificate is no PEM": (lambda d, _: {"ssl_certfile": f"{d}/text"}, "ssl_certfile=.* cannot be used"),
    "the certificate has no key": (lambda d, c: {"ssl_certfile": str(c.ca)}, "a certificate and its key"),
    "the key is missing": (
        lambda d, c: {"ssl_certfile": str(c.client), "ssl_keyfile": f"{d}/no"}, "ssl_keyfile=.*No such file",
    ),
    "the key stands alone": (lambda d, c: {"ssl_keyfile": str(c.client)}, "ssl_certfile is missing"),
    "the key is another's": (
        lambda d, c: {"ssl_certfile": str(c.client), "ssl_keyfile": str(c.server)}, "KEY_VALUES_MISMATCH",
    ),
    "the key has a password": (
        lambda d, c: {"ssl_certfile": str(c.client), "ssl_keyfile": str(key_alone(c, d / "k", b"x"))}, "ssl_password",
    ),
    "the password is wrong": (
        lambda d, c: {
            "ssl_certfile": str(c.client), "ssl_keyfile": str(key_alone(c, d / "k", b"x")), "ssl_password": "s3cr3t",
        }, "ssl_password",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("url", ["rediss://127.0.0.1:1", "rediss+sentinel://127.0.0.1:1/main"])
def test_a_file_that_cannot_be_used_is_named_before_anything_is_connected_to(
    tmp_path: Path, certificates: Certificates, url: str, case: str
) -> None:
    (tmp_path / "text").write_text("nothing")
    make, said = BROKEN[case]
    with pytest.raises(Misconfigured, match=said) as caught:
        sent(url, **make(tmp_path, certificates))
    assert "no server" not in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_so_is_one_that_this_user_may_not_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch(mode=0)
    with pytest.raises(Misconfigured, match="ca.pem' cannot be read: Permission denied"):
        sent("rediss://127.0.0.1:1", ssl_ca_certs=str(tmp_path / "ca.pem"))


def test_files_of_connections_to_sentinels_are_looked_at_too(
    tmp_path: Path, certificates: Certificates
) -> None:
    options = {"ssl_ca_certs": str(certificates.ca), "sentinel_ssl_ca_certs": f"{tmp_path}/no.pem"}
    with pytest.raises(Misconfigured, match="no.pem' cannot be read"):
        sent("rediss+sentinel://127.0.0.1:1/main", **options)


def test_one_that_is_gone_while_a_worker_runs_is_waited_for_and_named(tmp_path: Path) -> None:
    endpoint = resolve(ServerConfig("rediss://127.0.0.1:1", {"ssl_ca_certs": f"{tmp_path}/gone.pem"}))
    assert isinstance(endpoint, Endpoint)
    with pytest.raises(BrokerUnavailable, match="gone.pem' cannot be read: No such file"):
        endpoint.connect()


def test_files_that_can_be_used_are_in_nobodys_way(tmp_path: Path, certificates: Certificates) -> None:
    key = key_alone(certificates, tmp_path / "k", b"x")
    options = {"ssl_certfile": str(certificates.client), "ssl_keyfile": str(key), "ssl_password": "x"}
    with pytest.raises(BrokerUnavailable, match="no server at rediss://127.0.0.1:1: "):
        sent("rediss://127.0.0.1:1", ssl_ca_certs=str(certificates.ca), **options)
