"""Where a credential goes, and that any provider can be pointed elsewhere by one setting."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from convergence.errors import SettingsError
from convergence.providers.authorization import authorize
from convergence.providers.registry import Auth, Provider, load_registry
from convergence.providers.validation import validate_credential_async
from convergence.settings import Environment, Settings, read_settings

SECRET = "vendor-sandbox-acme"
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("auth", "headers", "params"),
    [
        (Auth(prefix="Bearer "), {"Authorization": f"Bearer {SECRET}"}, ()),
        (Auth(header="X-API-Key"), {"X-API-Key": SECRET}, ()),
        (Auth(param="api_key"), {}, (("api_key", SECRET),)),
        (
            Auth(prefix="Basic ", encoding="base64"),
            {"Authorization": "Basic " + base64.b64encode(SECRET.encode()).decode()},
            (),
        ),
    ],
)
def test_a_credential_goes_where_the_entry_says(
    auth: Auth, headers: dict[str, str], params: tuple[tuple[str, str], ...]
) -> None:
    sent = authorize(auth, SECRET)
    assert (dict(sent.headers), sent.params) == (headers, params)
    assert SECRET not in repr(sent)


def vendor(**auth: Any) -> Provider:
    known = load_registry(Settings()).get("vendor_api")
    return known.model_copy(update={"auth": Auth(**auth)} if auth else {})


def asked(provider: Provider) -> httpx.Request:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    found = asyncio.run(
        validate_credential_async(
            provider, SECRET, settings=Settings(), now=NOW, transport=httpx.MockTransport(answer)
        )
    )
    assert found.status == "VALID"
    return seen[0]


def test_a_credential_is_validated_the_way_it_is_used() -> None:
    assert asked(vendor()).headers["x-api-key"] == SECRET
    by_param = asked(vendor(param="api_key"))
    assert by_param.url.params["api_key"] == SECRET
    assert SECRET not in str(by_param.headers)


def test_any_provider_is_pointed_elsewhere_by_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_BASE_URLS", '{"vendor_api": "http://127.0.0.1:9/vendor/"}')
    settings = read_settings()
    assert vendor().url(settings) == "http://127.0.0.1:9/vendor"
    assert load_registry(settings).get("openai").url(settings) == "https://api.openai.com/v1"


def test_production_refuses_stand_ins_of_any_provider() -> None:
    settings = Settings(
        environment=Environment.PRODUCTION,
        provider_base_urls={"vendor_api": "http://127.0.0.1:9"},
    )
    told = [fault for fault in settings.find_errors() if "PROVIDER_BASE_URLS" in fault]
    where = "set to vendor_api=http://127.0.0.1:9"
    assert told == [f"PROVIDER_BASE_URLS: {where}; production talks to the real service only"]


def test_a_variable_that_is_no_json_is_a_named_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_BASE_URLS", "vendor_api=http://127.0.0.1:9")
    with pytest.raises(SettingsError, match="PROVIDER_BASE_URLS"):
        read_settings()
