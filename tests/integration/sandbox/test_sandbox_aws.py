"""The stand-in for AWS: who is let in, and what a customer's bucket holds."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from convergence.errors import ConfigurationError
from convergence.providers.aws_session import (
    AccessKey,
    AwsSession,
    Role,
    check_region,
    platform_key,
)
from convergence.providers.registry import load_registry
from convergence.providers.validation import Validation, validate_credential
from convergence.settings import Settings
from convergence_sandbox.aws import exports, keys
from convergence_sandbox.aws.lines import lines
from convergence_sandbox.aws.server import AwsServer
from convergence_sandbox.providers.clock import Clock

NOW = datetime(2026, 11, 8, 12, tzinfo=UTC)
ACME = AccessKey(keys.key_id("acme_corp"), keys.secret_of(keys.key_id("acme_corp")))


@dataclass
class Aws:
    url: str
    clock: Clock

    def settings(self, **more: Any) -> Settings:
        told: dict[str, Any] = {
            "aws_api_base_url": self.url,
            "aws_platform_access_key_id": keys.PLATFORM,
            "aws_platform_secret_access_key": SecretStr(keys.secret_of(keys.PLATFORM)),
        }
        return Settings(**{**told, **more})

    def session(self, key: AccessKey = ACME) -> AwsSession:
        return AwsSession.with_key(key, settings=self.settings())

    def validate(self, credential: dict[str, str], **more: Any) -> Validation:
        settings = self.settings(**more)
        provider = load_registry(settings).get("aws")
        return validate_credential(provider, json.dumps(credential), settings=settings, now=NOW)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    clock = Clock(tmp_path_factory.mktemp("aws") / "clock")
    clock.set(NOW)
    with socket.create_server(("127.0.0.1", 0)) as line:
        server = AwsServer(line, clock)
        server.start()
        yield Aws(f"http://127.0.0.1:{line.getsockname()[1]}", clock)
        server.stop()


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_a_known_key_and_a_role_that_trusts_us_are_valid(aws: Aws) -> None:
    assert aws.validate(keys.credential("acme_corp")) == Validation("VALID")
    assert aws.validate(keys.role("acme_corp")) == Validation("VALID")


@pytest.mark.parametrize(
    "credential",
    [
        {"access_key_id": "AKIA" + "Z" * 16, "secret_access_key": "z" * 40},
        keys.credential("acme_corp") | {"secret_access_key": "z" * 40},
        keys.role("acme_corp") | {"external_id": "external-other"},
        keys.role("acme_corp") | {"role_arn": "arn:aws:iam::123456789012:role/other"},
    ],
)
def test_other_keys_and_roles_are_invalid_and_not_quoted(
    aws: Aws, credential: dict[str, str]
) -> None:
    found = aws.validate(credential)
    assert found.status == "INVALID"
    assert found.error
    assert not any(secret in found.error for secret in credential.values())


def test_what_is_our_own_fault_says_nothing_of_a_role(aws: Aws) -> None:
    without = aws.validate(keys.role("acme_corp"), aws_platform_access_key_id=None)
    wrong = aws.validate(keys.role("acme_corp"), aws_platform_secret_access_key=SecretStr("z" * 40))
    assert (without.status, wrong.status) == ("PENDING", "PENDING")
    assert "no AWS key" in str(without.error)
    with pytest.raises(ConfigurationError, match="AWS_PLATFORM_ACCESS_KEY_ID"):
        platform_key(Settings())


def test_aws_that_is_not_there_says_nothing_of_a_key() -> None:
    nobody = Aws("http://127.0.0.1:1", Clock(Path("unused")))
    found = nobody.validate(keys.credential("acme_corp"))
    assert found.status == "PENDING"
    assert "could not be reached" in str(found.error)


def test_nothing_of_this_machine_is_used(
    aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[default]\naws_access_key_id = AKIASANDBOXOTHER0000\nregion = eu-north-1\n"
        "endpoint_url = http://127.0.0.1:1\n"
    )
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "AWS_ACCESS_KEY_ID": "AKIASANDBOXOTHER0000",
        "AWS_SECRET_ACCESS_KEY": "z" * 40,
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_CA_BUNDLE": "/nowhere",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert aws.validate(keys.credential("acme_corp")).status == "VALID"
    assert aws.validate(keys.role("acme_corp")).status == "VALID"
    assert check_region("eu-central-1") == "eu-central-1"
    real = AwsSession.with_key(ACME, settings=Settings())
    assert real.sts().meta.endpoint_url == "https://sts.us-east-1.amazonaws.com"
    assert real.s3().meta.endpoint_url == "https://s3.us-east-1.amazonaws.com"
    assert os.environ["AWS_PROFILE"] == "nobody"


def test_no_request_leaves_aws(aws: Aws) -> None:
    client = AwsSession.with_key(ACME, settings=Settings()).s3()

    def reroute(request: Any, **_more: Any) -> None:
        request.url = request.url.replace("amazonaws.com", "amazonaws.com.evil.example")

    client.meta.events.register_first("before-send", reroute)
    with pytest.raises(ConfigurationError, match="leave AWS"):
        client.list_objects_v2(Bucket="somebody")
    del aws


def test_a_customers_bucket_is_there_for_it_and_for_nobody_else(aws: Aws) -> None:
    name = keys.bucket("acme_corp")
    assert aws.session().s3().list_objects_v2(Bucket=name)["KeyCount"] == 27
    other = AccessKey(keys.key_id("globex"), keys.secret_of(keys.key_id("globex")))
    assert refused(lambda: aws.session(other).s3().list_objects_v2(Bucket=name)) == "AccessDenied"
    role = AwsSession.with_role(
        Role(keys.role("globex")["role_arn"], "external-globex"),
        settings=aws.settings(),
        session_name="test",
    )
    assert role.s3().list_objects_v2(Bucket=keys.bucket("globex"))["KeyCount"] == 27
    assert refused(lambda: role.s3().list_objects_v2(Bucket=name)) == "AccessDenied"
    answer = httpx.get(f"{aws.url}/{name}", trust_env=False)
    assert (answer.status_code, "AccessDenied" in answer.text) == (403, True)


def test_the_bucket_goes_with_the_day(aws: Aws) -> None:
    client, name = aws.session().s3(), keys.bucket("acme_corp")
    key = "exports/cur2-csv/data/BILLING_PERIOD=2026-11/cur2-csv-00001.csv.gz"
    before = client.head_object(Bucket=name, Key=key)["ETag"]
    assert client.head_object(Bucket=name, Key=key)["ETag"] == before
    try:
        aws.clock.set(NOW.replace(day=9))
        assert client.head_object(Bucket=name, Key=key)["ETag"] != before
    finally:
        aws.clock.set(NOW)
    assert client.head_object(Bucket=name, Key=key)["ETag"] == before


def test_a_customer_is_told_where_its_exports_are(aws: Aws) -> None:
    told = httpx.get(f"{aws.url}/_sandbox/exports/acme_corp", trust_env=False).json()
    assert told["access_key"] == keys.credential("acme_corp")
    assert told["params"]["focus-csv"] == {
        "bucket": "exports-acme-corp",
        "prefix": "exports",
        "export_name": "focus-csv",
        "region": "us-east-1",
        "kind": "focus",
    }


def test_the_same_question_has_the_same_answer() -> None:
    month, as_of = date(2026, 10, 1), date(2026, 11, 8)
    assert list(lines("a", month, as_of=as_of)) == list(lines("a", month, as_of=as_of))
    assert list(lines("a", month, as_of=as_of)) != list(lines("b", month, as_of=as_of))
    assert list(exports.objects("b", "a", as_of=as_of)) == list(
        exports.objects("b", "a", as_of=as_of)
    )
    open_ = list(lines("a", month, as_of=date(2026, 10, 20)))
    assert {line.invoice for line in open_} == {None}
    assert max(line.day for line in open_) == date(2026, 10, 19)
    assert None not in {line.invoice for line in lines("a", month, as_of=as_of)}
