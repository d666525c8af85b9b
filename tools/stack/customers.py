"""The demo's two customers, and how each connects its providers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from stack.settings import LOOPBACK, StackSettings

EXPORTED_DAYS = 14
"""Length of the history of Google's billing export of a customer."""

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
    """Return the customer's service account, once its project has a billing export."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    export = {
        "seed": slug,
        "first_day": (yesterday - timedelta(days=EXPORTED_DAYS - 1)).isoformat(),
        "last_day": yesterday.isoformat(),
        "location": "EU",
    }
    bigquery, providers = settings.sandbox_bigquery_port, settings.sandbox_providers_port
    _send_request("POST", bigquery, "/_sandbox/google/billing_exports", export)
    return _send_request("GET", providers, f"/_sandbox/google/service_accounts/{slug}")


def _aws_exports(settings: StackSettings, slug: str) -> dict[str, Any]:
    return _send_request("GET", settings.sandbox_aws_port, f"/_sandbox/exports/{slug}")


def _declare_factors(_settings: StackSettings, slug: str) -> dict[str, Any]:
    """Return what an organization says of Anthropic's bill; no line of it states the region."""
    return {"declared_factors": ["regional 1.1 claude-opus-4-5*"]} if slug == "globex_inc" else {}


def _send_request(
    method: str, port: int, path: str, body: dict[str, str] | None = None
) -> dict[str, Any]:
    url = f"http://{LOOPBACK}:{port}{path}"
    response = httpx.request(method, url, json=body, timeout=60, trust_env=False)
    response.raise_for_status()
    document: dict[str, Any] = response.json()
    return document


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
        configure=("anthropic-usage-cost", _declare_factors),
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
