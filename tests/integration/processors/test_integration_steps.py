"""Steps about stored credentials, with the stand-ins for KMS, BigQuery and the providers."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from convergence.errors import DecryptionError, IntegrationInvalidError
from convergence.processors.context import OrgContext, PipelineInfo
from convergence.processors.integrations.stored import stored_credentials
from convergence.processors.registry import find_config, find_operator
from convergence.security.kms import connect_kms
from convergence.tenants.audit import Actor
from convergence.tenants.credentials import compute_fingerprint
from support.processor_env import NOW, OrgEnv
from support.sandbox_process import SandboxProcess

KEY = "projects/local-dev-project/locations/global/keyRings/convergence/cryptoKeys/credentials"
FACTS = PipelineInfo(pipeline_id="integrations-x", dag_id="integrations.x")
SECRETS = {
    "OPENAI": "sk-admin-sandbox-acme",
    "ANTHROPIC": "sk-ant-admin-sandbox-acme",
    "DEEPSEEK": "sk-deepseek-sandbox-acme",
}


class Connected:
    """An org that has stored credentials."""

    def __init__(self, org: OrgEnv) -> None:
        self._org = org
        settings = org.env.settings.model_copy(update={"kms_key_name": KEY})
        self.context: OrgContext = org.context((), pipeline=FACTS)
        services = replace(self.context.services, settings=settings)
        self.context = replace(self.context, services=services)

    def put(self, provider: str, secret: str | None = None) -> None:
        stored_credentials(self.context.services).store_credential(
            self._org.slug,
            provider,
            secret or SECRETS[provider],
            credential_name=provider,
            validation_status="PENDING",
            by=Actor("root", "admin"),
            now=NOW,
        )

    def run(self, ps_type: str, **config: Any) -> dict[str, Any]:
        step: Any = find_operator(ps_type)(
            task_id="x", config={}, pipeline=FACTS, batch={"runs": []}
        )
        answer = step.run_step(self.context, find_config(ps_type).from_values(config)).to_dict()
        json.dumps(answer)
        return dict(answer)

    def status(self, provider: str) -> str:
        found = stored_credentials(self.context.services).get_credential(self._org.slug, provider)
        return found.validation_status

    def versions(self) -> set[str]:
        rows = self._org.env.ask(
            "SELECT kms_key_version FROM "
            f"`{self._org.env.warehouse.project}.organizations.org_integration_credentials` "
            f"WHERE org_slug = '{self._org.slug}' AND status = 'ACTIVE'"
        )
        return {row["kms_key_version"] for row in rows}


@pytest.fixture
def connected(org: OrgEnv) -> Connected:
    return Connected(org)


@pytest.fixture
def refusing(sandbox: SandboxProcess) -> Iterator[None]:
    url = f"{sandbox.providers}/_sandbox/faults"
    httpx.post(
        url, json={"kind": "unauthorized", "provider": "openai", "count": 2}, trust_env=False
    )
    yield
    httpx.delete(url, trust_env=False)


@pytest.mark.parametrize(
    ("ps_type", "provider"),
    [("openai", "OPENAI"), ("claude", "ANTHROPIC"), ("deepseek", "DEEPSEEK")],
)
def test_a_good_credential_is_recorded_valid_and_only_referred_to(
    connected: Connected, ps_type: str, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    connected.put(provider)
    with caplog.at_level(logging.DEBUG):
        answer = connected.run(f"integrations.validate_{ps_type}")
    assert answer["status"] == "SUCCESS"
    assert answer["validation_status"] == connected.status(provider) == "VALID"
    assert answer["fingerprint"] == compute_fingerprint(SECRETS[provider])
    assert SECRETS[provider] not in str(answer) + caplog.text


@pytest.mark.parametrize("name", ["openai", "claude", "deepseek", "gcp", "aws"])
def test_an_org_that_is_not_connected_is_skipped(connected: Connected, name: str) -> None:
    answer = connected.run(f"integrations.validate_{name}")
    assert answer == {"status": "SKIPPED", "reason": "The provider is not connected"}


@pytest.mark.usefixtures("refusing")
def test_a_credential_that_is_refused_fails_the_run_unless_it_may(connected: Connected) -> None:
    connected.put("OPENAI")
    with pytest.raises(IntegrationInvalidError, match="OpenAI refuses the stored credential"):
        connected.run("integrations.validate_openai")
    assert connected.status("OPENAI") == "INVALID"
    answer = connected.run("integrations.validate_openai", must_be_valid=False)
    assert answer["validation_status"] == "INVALID"


def test_decrypting_hands_on_references_and_no_secret(connected: Connected) -> None:
    connected.put("OPENAI")
    connected.put("DEEPSEEK")
    answer = connected.run("integrations.kms_decrypt")
    assert [one["provider"] for one in answer["credentials"]] == ["deepseek", "openai"]
    assert {one["fingerprint"] for one in answer["credentials"]} == {
        compute_fingerprint(SECRETS["OPENAI"]),
        compute_fingerprint(SECRETS["DEEPSEEK"]),
    }
    assert not any(secret in str(answer) for secret in SECRETS.values())
    only = connected.run("integrations.kms_decrypt", providers=["openai"])
    assert [one["provider"] for one in only["credentials"]] == ["openai"]
    with pytest.raises(IntegrationInvalidError, match="not connected"):
        connected.run("integrations.kms_decrypt", providers=["gcp"])


def test_a_ciphertext_of_another_does_not_open(connected: Connected, org: OrgEnv) -> None:
    connected.put("OPENAI")
    connected.put("DEEPSEEK")
    table = f"`{org.env.warehouse.project}.organizations.org_integration_credentials`"
    mine = f"org_slug = '{org.slug}' AND status = 'ACTIVE'"
    other = f"SELECT ciphertext FROM {table} WHERE {mine} AND provider = 'DEEPSEEK'"
    org.env.ask(f"UPDATE {table} SET ciphertext = ({other}) WHERE {mine} AND provider = 'OPENAI'")
    with pytest.raises(DecryptionError):
        connected.run("integrations.kms_decrypt")


def test_storing_again_moves_every_secret_to_the_newest_key_version(connected: Connected) -> None:
    connected.put("OPENAI")
    connected.put("DEEPSEEK")
    assert connected.run("integrations.kms_store")["ciphertexts_moved"] == 0
    before = connected.versions()
    with connect_kms(connected.context.settings) as kms:
        newest = kms.create_version()
    answer = connected.run("integrations.kms_store")
    assert answer["ciphertexts_moved"] == 2
    assert connected.versions() == {newest} != before
    assert connected.run("integrations.kms_decrypt")["status"] == "SUCCESS"
    assert connected.run("integrations.kms_store")["ciphertexts_moved"] == 0
