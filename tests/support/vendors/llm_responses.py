"""Responses of OpenAI and Anthropic with chosen rows, served to the shipped pipelines of an org."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from convergence.processors.context import StepResult
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.openai.config import SeedCsvConfig as OpenAISeed
from support.costs.streams import sum_reasons
from support.pipeline_steps import run_steps
from support.processor_env import OrgEnv, ProcessorEnv
from support.vendors.recorded_api import recorded

DAY = date(2026, 11, 17)
PER_MILLION = Decimal("0.000001")
OPENAI_ENDPOINTS = (
    *("completions", "embeddings", "moderations", "images", "audio_speeches"),
    *("audio_transcriptions", "vector_stores", "code_interpreter_sessions"),
    *("file_search_calls", "web_search_calls"),
)
_ANTHROPIC_GROUPS = (
    *("actor", "actor_type", "agent_id", "api_key_id", "claude_tag_category"),
    *("claude_tag_user_id", "context_window", "deployment_id", "environment_id", "inference_geo"),
    *("model", "organization_id", "product", "rbac_group_id", "service_tier", "session_id"),
    *("slack_channel_id", "speed", "user_profile_id", "workspace_id"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Priced:
    """What a run left of one org.

    Attributes:
        org: the org, whose tables can be read.
        costs: rows of its computed cost table.
        results: of the last pipeline's steps, by name.
    """

    org: OrgEnv
    costs: list[Row]
    results: Mapping[str, StepResult]

    def cost(self) -> tuple[Decimal | None, str | None, str | None]:
        """Effective cost, reason and caveat of the only row."""
        (row,) = self.costs
        return row["effective_cost"], row["unpriced_reason"], row["price_caveat"]

    def read_reasons(self) -> dict[str, Decimal]:
        """Return why bill and computed cost differ, with the amount of each reason."""
        return sum_reasons(self.org.rows("cost_reconciliation_daily"))


def write_page(folder: Path, page: Row) -> Path:
    path = folder / f"{uuid.uuid4().hex}.json"
    path.write_text(json.dumps(page), encoding="utf-8")
    return path


def openai_page(rows: Sequence[Row], day: date = DAY, **more: object) -> Row:
    """One bucket of one day."""
    start = int(datetime.combine(day, time.min, UTC).timestamp())
    bucket = {
        "object": "bucket",
        "start_time": start,
        "end_time": start + 86400,
        "results": list(rows),
    }
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None, **more}


def completion(model: str, **more: object) -> Row:
    """A row of completions usage with one request and no token unless said otherwise."""
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": 0,
        "output_tokens": 0,
        "input_cached_tokens": 0,
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "num_model_requests": 1,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "model": model,
        "batch": False,
        "service_tier": "default",
        "api_source": None,
        **more,
    }


def cost_line(line_item: str, value: object, **more: object) -> Row:
    """A row of OpenAI's costs endpoint."""
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": "usd"},
        "line_item": line_item,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "api_source": None,
        "quantity": None,
        "quantity_unit": None,
        **more,
    }


def openai_pages(folder: Path, day: date = DAY, **rows: Sequence[Row]) -> dict[str, list[Path]]:
    """A page of each usage endpoint; those that are not named are empty."""
    return {
        f"/organization/usage/{name}": [write_page(folder, openai_page(rows.get(name, ()), day))]
        for name in OPENAI_ENDPOINTS
    }


def new_openai_org(env: ProcessorEnv) -> OrgEnv:
    """An org with a key and the default prices."""
    org = env.new_org()
    org.env.keys[org.slug] = "sk-admin-x"
    seed_prices(org.context([]), OpenAISeed())
    return org


def run_openai_usage(
    org: OrgEnv, pages: Mapping[str, list[Path]], day: date = DAY, *, run_id: str | None = None
) -> Priced:
    """Run OpenAI's usage and cost pipeline for one day."""
    with recorded(pages) as url:
        results = run_steps(
            org.served_by(openai_base_url=url),
            "openai/cost/usage_cost.yml",
            [day],
            run_id=run_id or uuid.uuid4().hex,
        )
    return Priced(org, org.rows("openai_cost_daily"), results)


def price_openai(
    env: ProcessorEnv, folder: Path, completions: Sequence[Row] = (), day: date = DAY, **rows: Any
) -> Priced:
    """Extract and price rows of OpenAI's usage for a new org."""
    pages = openai_pages(folder, day, completions=completions, **rows)
    return run_openai_usage(new_openai_org(env), pages, day)


def bill_openai(
    env: ProcessorEnv,
    folder: Path,
    completions: Sequence[Row],
    lines: Sequence[Row],
    day: date = DAY,
) -> Priced:
    """Price rows of OpenAI's usage, then extract the bill of the same day."""
    priced = price_openai(env, folder, completions, day)
    pages = {"/organization/costs": [write_page(folder, openai_page(lines, day))]}
    with recorded(pages) as url:
        org = priced.org.served_by(openai_base_url=url)
        results = run_steps(org, "openai/cost/cost_extract.yml", [day], run_id=uuid.uuid4().hex)
    return Priced(priced.org, priced.costs, results)


def message_usage(model: str, day: date = DAY, *, input_tokens: int = 0, **more: Any) -> Row:
    """A row of Anthropic's usage report.

    Args:
        model: its name.
        day: of the row.
        input_tokens: uncached ones.
        more: `cache_read`, `cache_write_5m`, `cache_write_1h`, `output`; anything else is a
            dimension of the group.
    """
    counts = {
        name: more.pop(name, 0)
        for name in ("cache_read", "cache_write_5m", "cache_write_1h", "output")
    }
    return {
        **_span(day),
        "group": _group(model, {"workspace_id": None, "speed": "standard", **more}),
        "usage": {
            "uncached_input_tokens": input_tokens,
            "cache_read_input_tokens": counts["cache_read"],
            "cache_creation": {
                "ephemeral_1h_input_tokens": counts["cache_write_1h"],
                "ephemeral_5m_input_tokens": counts["cache_write_5m"],
            },
            "output_tokens": counts["output"],
            "server_tool_use": {"web_search_requests": 0},
            "requests": 1,
            "total_tokens": input_tokens + sum(counts.values()),
        },
    }


def message_bill(model: str | None, cents: str, day: date = DAY, **group: object) -> Row:
    """A row of Anthropic's cost report; amounts are in cents."""
    kinds = {"cost_type": "tokens", "token_type": "uncached_input_tokens"}
    return {
        **_span(day),
        "group": _group(model, {**kinds, **group}),
        "cost": {"amount": cents, "list_amount": cents, "currency": "USD", "requests": None},
    }


def anthropic_page(rows: Iterable[Row], **more: object) -> Row:
    return {"data": list(rows), "has_more": False, "next_page": None, **more}


def run_anthropic(
    env: ProcessorEnv, usage: list[Path], bill: list[Path], day: date = DAY
) -> Priced:
    """Run Anthropic's pipeline for a new org on pages of usage and of the bill."""
    pages = {
        "/v1/organizations/analytics/usage": usage,
        "/v1/organizations/analytics/cost": bill,
    }
    org = env.new_org()
    org.env.keys[org.slug] = "sk-ant-admin-x"
    with recorded(pages) as url:
        results = run_steps(
            org.served_by(anthropic_base_url=url),
            "anthropic/usage_cost.yml",
            [day],
            run_id=uuid.uuid4().hex,
        )
    return Priced(org, org.rows("anthropic_cost_daily"), results)


def price_anthropic(
    env: ProcessorEnv, folder: Path, usage: Sequence[Row], bill: Sequence[Row] = ()
) -> Priced:
    """Extract and price rows of Anthropic's usage, and its bill, for a new org."""
    return run_anthropic(
        env,
        [write_page(folder, anthropic_page(usage))],
        [write_page(folder, anthropic_page(bill))],
    )


def _span(day: date) -> Row:
    return {
        "starting_at": f"{day}T00:00:00Z",
        "ending_at": f"{day + timedelta(days=1)}T00:00:00Z",
    }


def _group(model: str | None, more: Mapping[str, object]) -> Row:
    return {
        **dict.fromkeys(_ANTHROPIC_GROUPS),
        "model": model,
        "service_tier": "standard",
        "context_window": "0-200k",
        **more,
    }
