"""Validating a credential at its provider: each response's meaning; the secret never leaks."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import CredentialRejectedError
from convergence.providers import validation
from convergence.providers.forms import check_form
from convergence.providers.registry import Provider, load_registry
from convergence.providers.validation import Validation, validate_credential
from convergence.settings import Settings

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "sk-admin-0123456789abcdef"
Handler = Callable[[httpx.Request], httpx.Response]

AWS_KEY = {"access_key_id": "AKIA" + "A" * 16, "secret_access_key": "b" * 40}
AZURE_APP = {
    "tenant_id": "11111111-2222-3333-4444-555555555555",
    "client_id": "11111111-2222-3333-4444-555555555555",
    "client_secret": "very-secret",
}
GOOGLE_ACCOUNT = {
    "type": "service_account",
    "client_email": "reader@acme.iam.gserviceaccount.com",
    "private_key": "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n",
    "token_uri": "https://oauth2.googleapis.com/token",
    "universe_domain": "googleapis.com",
}


def provider(name: str = "openai") -> Provider:
    return load_registry(Settings()).get(name)


def validate(handler: Handler, *, name: str = "openai", secret: str = SECRET) -> Validation:
    return validate_credential(
        provider(name),
        secret,
        settings=Settings(),
        now=NOW,
        transport=httpx.MockTransport(handler),
    )


def answering(status: int, **content: object) -> Handler:
    return lambda _request: httpx.Response(status, **content)  # type: ignore[arg-type]


def test_openai_is_asked_for_its_costs_of_yesterday() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"object": "page", "data": []})

    assert validate(handler) == Validation("VALID")
    (request,) = seen
    assert request.method == "GET"
    url = "https://api.openai.com/v1/organization/costs?start_time=1795132800&limit=1"
    assert str(request.url) == url
    assert datetime.fromtimestamp(1795132800, UTC) == datetime(2026, 11, 20, tzinfo=UTC)
    assert request.headers["Authorization"] == f"Bearer {SECRET}"


def test_anthropic_is_asked_who_the_organization_is() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "org", "type": "organization"})

    assert validate(handler, name="claude", secret="sk-ant-admin01-abcdefgh") == Validation("VALID")
    (request,) = seen
    assert str(request.url) == "https://api.anthropic.com/v1/organizations/me"
    assert request.headers["x-api-key"] == "sk-ant-admin01-abcdefgh"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in request.headers


def test_deepseek_is_asked_for_its_balance() -> None:
    answer = validate(answering(200, json={"is_available": True}), name="deepseek")
    assert answer == Validation("VALID")


@pytest.mark.parametrize(
    ("handler", "status", "told"),
    [
        (answering(401, json={"error": {}}), "INVALID", "does not know this key"),
        (answering(403, json={"error": {}}), "INVALID", "an admin key is needed"),
        (answering(429, json={"error": {}}), "PENDING", "throttling"),
        (answering(500, text="oops"), "PENDING", "HTTP 500"),
        (answering(503, text="oops"), "PENDING", "HTTP 503"),
        (answering(400, json={"error": {}}), "PENDING", "HTTP 400"),
        (answering(302, headers={"Location": "https://evil.example"}), "PENDING", "HTTP 302"),
        (answering(204), "PENDING", "HTTP 204"),
        (answering(200, text="<html>"), "PENDING", "not JSON"),
        (answering(200, text="[]"), "PENDING", "not JSON"),
        (answering(200, text=""), "PENDING", "not JSON"),
        (answering(200, text="[" * 100_000), "PENDING", "not JSON"),
        (answering(200, content=b"x" * 300_000), "PENDING", "not JSON"),
    ],
)
def test_each_answer_means_one_thing(handler: Handler, status: str, told: str) -> None:
    found = validate(handler)
    assert found.status == status
    assert told in (found.error or "")


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("broken"),
        httpx.ReadError("reset"),
    ],
)
def test_a_provider_that_can_not_be_reached_says_nothing_of_the_key(error: Exception) -> None:
    def handler(_request: httpx.Request) -> httpx.Response:
        raise error

    assert validate(handler).status == "PENDING"


def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://evil.example/"})

    validate(handler)
    assert asked == ["api.openai.com"]


class _Drip(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "


def test_a_body_that_drips_for_ever_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "DEADLINE_SECONDS", 0.2)
    found = validate(lambda _request: httpx.Response(200, stream=_Drip()))
    assert found == Validation("PENDING", "OpenAI did not respond in time; try again")


def test_an_endless_body_is_not_read_whole() -> None:
    read = 0

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal read
            while True:
                read += 65_536
                yield b"x" * 65_536

    assert validate(lambda _request: httpx.Response(200, stream=Endless())).status == "PENDING"
    assert read <= validation.MAX_BODY_BYTES + 2 * 65_536


@settings(max_examples=40)
@given(
    status=st.sampled_from([200, 400, 401, 403, 404, 429, 500, 503]),
    tail=st.from_regex(r"[A-Za-z0-9_-]{8,60}", fullmatch=True),
)
def test_no_answer_makes_the_secret_appear(status: int, tail: str) -> None:
    secret = f"sk-{tail}"
    echo = f"Incorrect API key provided: {secret}"
    found = validate(answering(status, json={"error": {"message": echo}}), secret=secret)
    told = f"{found!r} {found.error}"
    for form in (tail, quote(secret), base64.b64encode(secret.encode()).decode()):
        assert form not in told


class _Openai(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def loopback_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Openai) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, loopback_url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    settings = Settings.model_validate({"openai_base_url": loopback_url})
    assert validate_credential(provider(), SECRET, settings=settings, now=NOW) == Validation(
        "VALID"
    )


# --- forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("openai", f"  {SECRET}\n"),
        ("anthropic", "sk-ant-admin01-abcdefgh"),
        ("deepseek", "sk-0123456789abcdef"),
        ("gcp", json.dumps(GOOGLE_ACCOUNT)),
        ("aws", json.dumps(AWS_KEY)),
        (
            "aws",
            json.dumps({"role_arn": "arn:aws:iam::123456789012:role/r", "external_id": "acme"}),
        ),
        ("azure", json.dumps(AZURE_APP)),
    ],
)
def test_accepted_forms_are_accepted(name: str, secret: str) -> None:
    assert check_form(provider(name), secret) == secret.strip()


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("openai", ""),
        ("openai", "   "),
        ("openai", "sk-"),
        ("openai", "password123"),
        ("openai", "sk-abcdefgh\r\nX-Evil: 1"),
        ("openai", "sk-abcdéfgh"),
        ("openai", "sk-" + "a" * 40_000),
        ("anthropic", SECRET),
        ("gcp", "not json"),
        ("gcp", "[]"),
        ("gcp", "[" * 30_000),
        ("gcp", json.dumps(GOOGLE_ACCOUNT | {"type": "external_account"})),
        ("gcp", json.dumps(GOOGLE_ACCOUNT | {"type": "authorized_user"})),
        ("gcp", json.dumps(GOOGLE_ACCOUNT | {"token_uri": "https://evil.example/token"})),
        ("gcp", json.dumps(GOOGLE_ACCOUNT | {"universe_domain": "evil.example"})),
        ("gcp", json.dumps(GOOGLE_ACCOUNT | {"private_key": 5})),
        ("aws", json.dumps(AWS_KEY | {"credential_process": "rm -rf"})),
        ("aws", json.dumps({"role_arn": "arn:aws:iam::123456789012:role/r"})),
        ("azure", json.dumps(AZURE_APP | {"tenant_id": "../../evil"})),
    ],
)
def test_other_forms_are_refused_unasked_and_unquoted(name: str, secret: str) -> None:
    def never(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("the provider was asked")

    with pytest.raises(CredentialRejectedError) as caught:
        check_form(provider(name), secret)
    found = validate(never, name=name, secret=secret)
    assert found.status == "INVALID"
    if len(secret.strip()) > 3:
        assert secret.strip()[:200] not in str(caught.value) + (found.error or "")


@pytest.mark.parametrize(
    ("name", "secret", "status"),
    [("gcp", GOOGLE_ACCOUNT, "INVALID"), ("azure", AZURE_APP, "PENDING")],
)
def test_a_credential_that_is_no_token_is_not_sent_as_one(
    name: str, secret: dict[str, str], status: str
) -> None:
    def never(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("the provider was asked")

    assert validate(never, name=name, secret=json.dumps(secret)).status == status
