"""Where a client may go: origins, addresses, and what it does with a credential that can't go."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from ipaddress import ip_address

import httpcore
import pytest

from convergence.errors import ConfigurationError, ProviderRejectedError, ProviderUnavailableError
from convergence.extract.clock import Deadline
from convergence.extract.egress import CheckedBackend, Egress, Resolve, is_public
from convergence.extract.http import HttpLimits, OriginClient
from convergence.extract.origin import Origin
from convergence.settings import Environment, Settings

HIDDEN = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("address", HIDDEN)
def test_an_address_that_is_not_public_is_noticed_in_every_disguise(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["104.18.6.192", "2606:4700::6812:7c0"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def resolving_to(*addresses: str) -> Resolve:
    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 443)) for each in addresses]

    return resolve


class NoNetwork(httpcore.NetworkBackend):
    """Notes whom it should connect to, and refuses."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    def connect_tcp(self, host: str, *_: object, **__: object) -> httpcore.NetworkStream:
        self.reached.append(host)
        raise httpcore.ConnectError("no network here")


def public_client(resolve: Resolve, network: NoNetwork) -> OriginClient:
    backend = CheckedBackend(Egress.PUBLIC, resolve=resolve, sockets=network)
    return OriginClient("https://api.vendor.test/v1", backend=backend)


@pytest.mark.parametrize(
    "addresses", [("104.18.6.192", "169.254.169.254"), ("127.0.0.1",), ("::ffff:10.0.0.1",)]
)
def test_one_private_address_refuses_the_name_before_anything_is_connected(
    addresses: tuple[str, ...],
) -> None:
    network = NoNetwork()
    client = public_client(resolving_to(*addresses), network)
    with client, pytest.raises(ConfigurationError, match="not allowed"):
        client.get("users")
    assert network.reached == []


def test_the_checked_address_is_the_one_connected_to() -> None:
    network = NoNetwork()
    client = public_client(resolving_to("104.18.6.192"), network)
    with client, pytest.raises(ProviderUnavailableError):
        client.get("users")
    assert network.reached == ["104.18.6.192"]


def test_an_unknown_name_is_a_provider_that_does_not_answer() -> None:
    def fail(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror("Name or service not known")

    with (
        public_client(fail, NoNetwork()) as client,
        pytest.raises(ProviderUnavailableError, match="broke"),
    ):
        client.get("users")


@pytest.mark.parametrize(
    "url", ["http://api.vendor.test", "https://api.vendor.test:8443", "http://127.0.0.1:9070"]
)
def test_only_https_on_443_is_public(url: str) -> None:
    with pytest.raises(ConfigurationError, match="port 443"):
        OriginClient(url)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1:80", "http://localhost.evil.test", "http://[::2]"]
)
def test_loopback_is_this_machine_alone(url: str) -> None:
    with pytest.raises(ConfigurationError, match="loopback"):
        OriginClient(url, egress=Egress.LOOPBACK)


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "https://", "https://u:p@h", "https://h/?a=1", "https://h/#a",
            "https://h/a/../b", "https://[::1", "https://h:99999"],
)  # fmt: skip
def test_a_base_url_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Origin.from_url(url)


def test_production_never_speaks_to_loopback() -> None:
    url = "http://127.0.0.1:9070/openai/v1"
    assert OriginClient.for_settings(url, settings=Settings()).origin.port == 9070
    production = Settings.model_construct(environment=Environment.PRODUCTION)
    with pytest.raises(ConfigurationError):
        OriginClient.for_settings(url, settings=production)


@pytest.mark.parametrize("secret", ["sk-é-secret", "sk-a\r\nX-Evil: 1", "sk-\x00"])
def test_a_credential_that_no_header_can_carry_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ProviderRejectedError) as refusal:
        OriginClient("https://api.vendor.test", headers={"authorization": secret})
    assert "sk-" not in str(refusal.value)


def test_proxy_variables_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    resolved: list[object] = []

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        resolved.append(host)
        raise socket.gaierror

    with public_client(resolve, NoNetwork()) as client, pytest.raises(ProviderUnavailableError):
        client.get("users")
    assert resolved == ["api.vendor.test"]


def test_nothing_is_begun_after_the_deadline() -> None:
    backend = CheckedBackend(Egress.LOOPBACK)
    backend.deadline = Deadline.after(-1)
    with pytest.raises(httpcore.ConnectTimeout):
        backend.connect_tcp("127.0.0.1", 9)


def test_headers_that_drip_end_at_the_deadline() -> None:
    """Each read succeeds, so no read timeout ever fires: only a deadline can stop it."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            line, _ = listener.accept()
            with line, suppress(OSError):
                line.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not done.wait(0.02):
                    line.sendall(b"a")

        thread = threading.Thread(target=drip)
        thread.start()
        client = OriginClient(
            f"http://127.0.0.1:{listener.getsockname()[1]}",
            egress=Egress.LOOPBACK,
            limits=HttpLimits(read_seconds=5, request_seconds=0.3),
        )
        began = time.monotonic()
        with client, pytest.raises(ProviderUnavailableError, match="in time"):
            client.get("users")
        assert time.monotonic() - began < 1
        done.set()
        thread.join()
