"""The same life through a client that openapi-python-client makes of the committed document."""

from __future__ import annotations

import importlib
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from e2e.customers import RANGE
from e2e.harness import REPOSITORY, RunningStack
from e2e.life import RUN_SECONDS, ended, wait_for
from stack import guarded

GENERATOR = "openapi-python-client==0.29.1"
PACKAGE = "generated_convergence_client"

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


class Generated:
    """The generated package: `call` finds an operation by its id, `model` a body by its name."""

    def __init__(self, folder: Path) -> None:
        _generate(folder / PACKAGE)
        sys.path.insert(0, str(folder))

    def client(self, url: str, header: str, key: str) -> Any:
        made = self._module("client").AuthenticatedClient
        patience = httpx.Timeout(180.0)
        return made(base_url=url, token=key, prefix="", auth_header_name=header, timeout=patience)

    def model(self, model: str, **fields: Any) -> Any:
        return self._module("models").__dict__[model].from_dict(fields)

    def choice(self, choice: str, value: str) -> Any:
        return self._module("models").__dict__[choice](value)

    def call(self, operation: str, *, status: int = 200, **told: Any) -> Any:
        """The parsed answer of `tag.operation`, which must have this status."""
        answer = self._module(f"api.{operation}").sync_detailed(**told)
        assert answer.status_code == status, f"{operation}: {answer.content!r}"
        return answer.parsed

    def _module(self, name: str) -> ModuleType:
        return importlib.import_module(f"{PACKAGE}.{name}")


def _generate(folder: Path) -> None:
    command = [
        str(REPOSITORY / ".venv" / "bin" / "uv"), "tool", "run", "--from", GENERATOR,
        "openapi-python-client", "generate", "--meta", "none", "--fail-on-warning",
        "--path", str(REPOSITORY / "docs" / "openapi.json"), "--output-path", str(folder),
    ]  # fmt: skip
    made = guarded.run(command, timeout=180)
    if made.returncode:
        said = (made.stdout + made.stderr)[-4000:]
        pytest.fail(f"{GENERATOR}, which is fetched from PyPI, made no client:\n{said}")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    folder = tmp_path_factory.mktemp("client")
    yield Generated(folder)
    sys.path.remove(str(folder))


def test_a_generated_client_lives_the_same_life(stack: RunningStack, generated: Generated) -> None:
    call, model, slug = generated.call, generated.model, f"client_{secrets.token_hex(4)}"
    root = generated.client(stack.api_url, "X-CA-Root-Key", stack.secrets["root_api_key"])
    call("platform.bootstrap_platform", client=root, body=model("BootstrapRequest"))
    company = {"org_slug": slug, "company_name": "Client & Co", "admin_email": "cfo@client.example"}
    wanted = model("OrganizationRequest", **company, subscription_plan="SCALE")
    onboarded = call(
        "organizations.onboard_organization", client=root, body=wanted, idempotency_key=slug
    )
    org = generated.client(stack.api_url, "X-API-Key", onboarded.api_key)

    credential = model("IntegrationRequest", credential=f"sk-admin-sandbox-{slug}")
    at: dict[str, Any] = {"org": slug, "provider": "openai"}
    connected = call("integrations.connect_provider", client=org, **at, body=credential)
    assert connected.validation_status == "VALID"
    setting = model("PipelineConfigRequest", enabled=True, timezone="Europe/Berlin")
    configured = call(
        "pipelines.set_pipeline_config",
        client=org,
        org=slug,
        pipeline="openai-usage-cost",
        body=setting,
    )
    assert configured.timezone == "Europe/Berlin"

    seeded = call(
        "pipelines.run_pipeline",
        client=org,
        **at,
        pipeline="seed_csv",
        status=202,
        body=model("RunRequest"),
    )
    watch(generated, org, slug, seeded.run_id)
    days = {"start_date": RANGE[0].isoformat(), "end_date": RANGE[1].isoformat()}
    where: dict[str, Any] = {**at, "domain": "cost", "pipeline": "usage_cost"}
    body = model("RunRequest", **days)
    accepted = call("pipelines.run_domain_pipeline", client=org, **where, status=202, body=body)
    assert len(accepted.days) == 3
    run = watch(generated, org, slug, accepted.run_id)
    assert run.rows_processed > 0
    listed = call("runs.list_runs", client=org, org=slug, limit=50).runs
    assert accepted.run_id in [one.run_id for one in listed]

    costs = call(
        "costs.get_costs",
        client=org,
        org=slug,
        start_date=RANGE[0],
        end_date=RANGE[1],
        group_by="model",
    )
    assert costs.rows
    assert costs.currency == "USD"
    rate = model("PriceRequest", effective_from="2020-01-01", input_per_million="1.25")
    prices = call("integrations.put_price", client=org, **at, model_id="gpt-5", body=rate)
    assert [row.is_override for row in prices.prices].count(True) == 1
    assert call("quota.get_quota", client=org, org=slug).runs_per_day.used >= 2

    overlap = model("RotationRequest", overlap_seconds=0)
    rotated = call("organizations.rotate_api_key", client=root, org=slug, body=overlap)
    refused = call("quota.get_quota", client=org, org=slug, status=401)
    assert refused.code == "not_authenticated"
    org = generated.client(stack.api_url, "X-API-Key", rotated.api_key)
    status = model("SubscriptionRequest", billing_status="paused")
    call("organizations.set_subscription", client=root, org=slug, body=status)
    refused = call("pipelines.run_domain_pipeline", client=org, **where, status=403, body=body)
    assert refused.code == "subscription_inactive"
    call("integrations.disconnect_provider", client=org, **at)
    data = generated.choice("RemoveOrganizationData", "delete")
    gone = call(
        "organizations.remove_organization", client=root, org=slug, confirmation=slug, data=data
    )
    assert gone.status == "DELETED"
    call("quota.get_quota", client=org, org=slug, status=401)


def watch(generated: Generated, client: Any, org: str, run_id: str) -> Any:
    """Follow a run to its success."""

    def look() -> Any:
        run = generated.call("runs.get_run", client=client, org=org, run_id=run_id)
        return run if ended(run.to_dict()) else None

    run = wait_for(look, seconds=RUN_SECONDS, every=2.0)
    assert run.status == "SUCCESS", run
    return run
