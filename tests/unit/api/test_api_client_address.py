"""Whose address counts, behind which proxies, and that wrong keys lock nobody else out."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from convergence.api.app import create_app
from convergence.api.http import limits
from convergence.api.http.client_address import build_failure_key, client_address
from convergence.errors import SettingsError
from convergence.settings import read_settings
from support.api.env import ACME, ApiEnv, InMemoryServices, make_settings

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]
PATH = f"/pipelines/runs/{ACME}"


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["198.51.100.1, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["10.0.0.3"], "10.0.0.3"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("testclient", ["198.51.100.1"], "testclient"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_the_last_hop_that_is_no_trusted_proxy_is_the_client(
    peer: str | None, forwarded: list[str], expected: str | None
) -> None:
    assert client_address(peer, forwarded, PROXIES) == expected


SERVER_TRUSTS = [ip_network("127.0.0.1/32"), ip_network("::1/128"), ip_network("192.0.2.0/24")]
CHAINS = [
    (["127.0.0.1"], "198.51.100.1"),
    (["127.0.0.1"], "1.2.3.4, 198.51.100.1"),
    (["127.0.0.1"], "198.51.100.1, 10.0.0.2"),
    (["127.0.0.1"], "1.2.3.4, 198.51.100.1, 10.0.0.3, 10.0.0.2"),
    (["127.0.0.1"], "1.2.3.4, 198.51.100.1, 10.0.0.2, 127.0.0.1"),
    (["192.0.2.7"], "10.0.0.9, 198.51.100.1, 10.0.0.2, 192.0.2.8"),
    (["10.0.0.1"], "10.0.0.1, 198.51.100.1"),
    (["10.0.0.1"], "127.0.0.1, 198.51.100.1"),
    (["::1"], "1.2.3.4, 198.51.100.1, fd00::2"),
    (["198.51.100.1"], "10.0.0.1, 127.0.0.1"),
    (["198.51.100.1"], "198.51.100.1"),
]


@pytest.mark.parametrize("rewrites", [True, False])
@pytest.mark.parametrize(("peer", "forwarded"), CHAINS)
def test_the_client_is_the_same_whether_uvicorn_has_read_the_header_or_not(
    peer: list[str], forwarded: str, *, rewrites: bool
) -> None:
    trusted = [*PROXIES, *SERVER_TRUSTS]
    seen = as_uvicorn_sees(peer[0], forwarded) if rewrites else peer[0]
    found = client_address(seen, [forwarded], trusted, server_trusted=SERVER_TRUSTS)
    assert found == "198.51.100.1"
    # With uvicorn's help a proxy that it alone trusts needs no second mention.
    if rewrites:
        found = client_address(seen, [forwarded], PROXIES, server_trusted=SERVER_TRUSTS)
        assert found == "198.51.100.1"


def as_uvicorn_sees(peer: str, forwarded: str) -> str:
    """Return the peer that uvicorn's own middleware leaves in the scope."""
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive, send
        seen.append(scope["client"][0])

    headers = [(b"x-forwarded-for", forwarded.encode())]
    scope: Any = {"type": "http", "client": (peer, 4711), "headers": headers}
    wrapped = ProxyHeadersMiddleware(app, [str(network) for network in SERVER_TRUSTS])
    asyncio.run(wrapped(scope, cast("Any", None), cast("Any", None)))
    return seen[0]


def test_failures_are_counted_by_ipv4_address_and_ipv6_line() -> None:
    assert build_failure_key("198.51.100.1") == "198.51.100.1"
    assert build_failure_key("2001:db8:0:1::7") == build_failure_key("2001:db8:0:1:ffff::1")
    assert build_failure_key("2001:db8:0:1::7") != build_failure_key("2001:db8:0:2::7")
    assert build_failure_key(None) == "unknown"


def behind(
    env: ApiEnv, tmp_path: Path, *, peer: str = "10.0.0.1", trusted: str = "10.0.0.0/8"
) -> TestClient:
    settings = make_settings(tmp_path, trusted_proxies=trusted)
    app = create_app(services=InMemoryServices(settings, env))
    return TestClient(app, client=(peer, 4711))


def fail(client: TestClient, address: str, times: int, header: str = "X-API-Key") -> list[int]:
    return [
        client.get(
            PATH if header == "X-API-Key" else "/admin/operations/x",
            headers={header: f"{ACME}_api_{number:016}", "X-Forwarded-For": address},
        ).status_code
        for number in range(times)
    ]


def test_wrong_keys_of_one_client_do_not_lock_out_another(env: ApiEnv, tmp_path: Path) -> None:
    with behind(env, tmp_path) as client:
        most = limits.FAILED_KEYS_PER_MINUTE
        assert fail(client, "198.51.100.1", most + 2)[-2:] == [429, 429]
        assert fail(client, "198.51.100.2", 1) == [401]
        # The leftmost address is the client's own word: changing it changes nothing.
        assert fail(client, "1.2.3.4, 198.51.100.1", 1) == [429]


def test_a_good_key_is_served_whatever_failed_from_its_address(env: ApiEnv, tmp_path: Path) -> None:
    with behind(env, tmp_path, trusted="") as client:
        for header in ("X-API-Key", "X-CA-Root-Key"):
            assert fail(client, "198.51.100.1", 25, header=header)[-5:] == [429] * 5
        for name in ("acme", "globex"):
            org = env.headers[name]["X-API-Key"].partition("_api_")[0]
            answer = client.get(f"/pipelines/runs/{org}", headers=env.headers[name])
            assert answer.status_code == 200
        assert client.get("/admin/operations/x", headers=env.headers["root"]).status_code == 404


def test_an_untrusted_peer_can_not_choose_its_address(env: ApiEnv, tmp_path: Path) -> None:
    with behind(env, tmp_path, peer="203.0.113.9") as client:
        codes = [
            fail(client, f"198.51.100.{number}", 1)[0]
            for number in range(limits.FAILED_ADDRESS_PER_MINUTE + 1)
        ]
        assert codes == [401] * 20 + [429] * (len(codes) - 20)


def test_production_refuses_to_trust_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    for value in ("0.0.0.0/0", "::/0", "10.0.0.0/8,::/0"):
        monkeypatch.setenv("TRUSTED_PROXIES", value)
        with pytest.raises(SettingsError) as caught:
            read_settings()
        assert "trusts every address" in str(caught.value)
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert "TRUSTED_PROXIES" not in str(caught.value)
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/33")
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        read_settings()


@pytest.mark.parametrize("value", ["*", "127.0.0.1, *", "0.0.0.0/0", "::1,::/0"])
def test_production_refuses_a_server_that_believes_every_client(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert f"FORWARDED_ALLOW_IPS: {value} trusts every address" in str(caught.value)
    with pytest.raises(SettingsError) as caught:
        read_settings(serves_api=False)
    assert "FORWARDED_ALLOW_IPS" not in str(caught.value)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1,10.0.0.0/8,proxy.internal")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert "FORWARDED_ALLOW_IPS" not in str(caught.value)
