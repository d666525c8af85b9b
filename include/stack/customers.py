"""The demo's two customers, and how each connects its providers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from stack.settings import LOOPBACK, StackSettings

Credential = Callable[[StackSettings, str], str | dict[str, Any]]
Params = Callable[[StackSettings, str], dict[str, Any]]


@dataclass(frozen=True)
class DemoOrg:
    """One organization of the demo; its slug decides what the sandbox says it used."""

    slug: str
    company: str
    email: str
    plan: str


ORGS = (
    DemoOrg("acme_corp", "Acme Corporation", "cfo@acme.example", "SCALE"),
    DemoOrg("globex_inc", "Globex Incorporated", "finance@globex.example", "SCALE"),
)


@dataclass(frozen=True)
class Connection:
    """A provider as the demo connects and runs it.

    Attributes:
        provider: its id.
        name: what people call it.
        credential: the sandbox's credential of an organization, by slug.
        pipelines: pipelines to run for the demo's days.
        prepare: pipelines to run before, without days.
        configure: a pipeline_id and the params that it needs of the organization.
    """

    provider: str
    name: str
    credential: Credential
    pipelines: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    configure: tuple[str, Params] | None = None


def _google_key(settings: StackSettings, slug: str) -> dict[str, Any]:
    port = settings.sandbox_providers_port
    return _told(f"http://{LOOPBACK}:{port}/_sandbox/google/service_accounts/{slug}")


def _aws_exports(settings: StackSettings, slug: str) -> dict[str, Any]:
    return _told(f"http://{LOOPBACK}:{settings.sandbox_aws_port}/_sandbox/exports/{slug}")


def _told(url: str) -> dict[str, Any]:
    answer = httpx.get(url, timeout=30, trust_env=False)
    answer.raise_for_status()
    told: dict[str, Any] = answer.json()
    return told


CONNECTIONS: tuple[Connection, ...] = (
    Connection(
        "openai",
        "OpenAI",
        lambda _settings, slug: f"sk-admin-sandbox-{slug}",
        ("openai/cost/usage_cost", "openai/cost/cost_extract"),
        prepare=("openai/seed_csv",),
    ),
    Connection(
        "anthropic",
        "Anthropic",
        lambda _settings, slug: f"sk-ant-admin-sandbox-{slug}",
        ("anthropic/usage_cost",),
    ),
    Connection(
        "deepseek",
        "DeepSeek",
        lambda _settings, slug: f"sk-deepseek-sandbox-{slug}",
        ("deepseek/balance",),
    ),
    Connection(
        "gcp",
        "Google Cloud",
        _google_key,
        ("gcp/cost/billing", "gcp/api/billing_accounts"),
    ),
    Connection(
        "aws",
        "AWS",
        lambda settings, slug: _aws_exports(settings, slug)["role"],
        ("aws/cost/data_export",),
        configure=(
            "aws-cost-data-export",
            lambda settings, slug: _aws_exports(settings, slug)["params"]["cur2-parquet"],
        ),
    ),
)
