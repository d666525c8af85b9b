"""The demo's two customers, and how each connects its providers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Credential = Callable[[str], str | dict[str, Any]]


@dataclass(frozen=True)
class DemoOrg:
    """One organization of the demo; its slug decides what the sandbox says it used."""

    slug: str
    company: str
    email: str
    plan: str


ORGS = (
    DemoOrg("acme_corp", "Acme Corporation", "cfo@acme.example", "PROFESSIONAL"),
    DemoOrg("globex_inc", "Globex Incorporated", "finance@globex.example", "SCALE"),
)


@dataclass(frozen=True)
class Connection:
    """A provider as the demo connects and runs it.

    Attributes:
        provider: its id.
        name: what people call it.
        credential: the sandbox's credential of an organization, by slug.
        prepare: pipelines to run before, without days.
        pipelines: pipelines to run for the demo's days.
    """

    provider: str
    name: str
    credential: Credential
    pipelines: tuple[str, ...]
    prepare: tuple[str, ...] = ()


CONNECTIONS: tuple[Connection, ...] = (
    Connection(
        "openai",
        "OpenAI",
        lambda slug: f"sk-admin-sandbox-{slug}",
        ("openai/cost/usage_cost", "openai/cost/cost_extract"),
        prepare=("openai/seed_csv",),
    ),
    Connection(
        "anthropic",
        "Anthropic",
        lambda slug: f"sk-ant-admin-sandbox-{slug}",
        ("anthropic/usage_cost",),
    ),
    Connection(
        "deepseek",
        "DeepSeek",
        lambda slug: f"sk-deepseek-sandbox-{slug}",
        ("deepseek/balance",),
    ),
)
