"""The benchmark's pipelines: the YAML of number n, and the same DAG written down in Python."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from typing import Any

YAML = """\
pipeline_id: bench-usage-{n}
description: Usage and cost number {n}
provider: openai
schedule: "{minute} 6 * * *"
params:
  start_date: {{type: string, format: date, description: First day}}
  end_date: {{type: string, format: date, description: Last day}}
tags: [bench]
steps:
  - step: extract_usage
    processor: sample.fetch
    config:
      destination: bench_usage_{n}
      granularity: day
      page_size: 100
  - step: extract_more
    processor: sample.fetch
    config: {{destination: bench_more_{n}, granularity: hour}}
    depends_on: []
  - step: transform_cost
    processor: sample.price
    config: {{destination: bench_cost_{n}}}
    depends_on: [extract_usage, extract_more]
  - step: validate_cost
    processor: sample.price
    config: {{destination: bench_checked_{n}}}
retries: 2
"""


def text_of(n: int) -> str:
    """The YAML of pipeline number n."""
    return YAML.format(n=n, minute=n % 60)


def dag_id_of(n: int) -> str:
    """Its identity."""
    return f"bench.g{n % 20}.usage_{n}"


def by_hand(n: int) -> Any:
    """Pipeline number n, written down in Python."""
    from airflow.sdk import DAG, Param, TriggerRule, task_group

    from convergence.pipelines.dags.lifecycle import CloseRun, SelectOrgs
    from convergence.processors.context import PipelineInfo

    # Written by this benchmark, so unknown to a type checker.
    sample = "convergence.processors.sample"
    Fetch = importlib.import_module(f"{sample}.fetch").Fetch  # noqa: N806 - a class
    Price = importlib.import_module(f"{sample}.price").Price  # noqa: N806 - a class

    day = {"type": ["null", "string"], "format": "date"}
    slug = {
        "type": ["null", "string"],
        "title": "Organization",
        "pattern": "^[a-z0-9][a-z0-9_]{1,48}[a-z0-9]$",
    }
    facts = PipelineInfo(
        pipeline_id=f"bench-usage-{n}",
        dag_id=dag_id_of(n),
        provider="openai",
        tables=(
            f"bench_usage_{n}",
            f"bench_more_{n}",
            f"bench_cost_{n}",
            f"bench_checked_{n}",
        ),
        upstream={
            "extract_usage": (),
            "extract_more": (),
            "transform_cost": ("extract_usage", "extract_more"),
            "validate_cost": ("transform_cost",),
        },
        params={
            "type": "object",
            "properties": {
                "start_date": {"type": "string", "description": "First day", "format": "date"},
                "end_date": {"type": "string", "description": "Last day", "format": "date"},
            },
            "required": [],
            "additionalProperties": False,
        },
    )
    lifecycle: dict[str, Any] = {
        "pipeline": facts,
        "execution_timeout": timedelta(minutes=15),
        "priority_weight": 10,
    }
    with DAG(
        dag_id_of(n),
        description=f"Usage and cost number {n}",
        schedule=f"{n % 60} 6 * * *",
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=16,
        max_active_tasks=8,
        tags=["bench", "daily", "openai", "org"],
        doc_md=doc_by_hand(n),
        default_args={
            "owner": "convergence",
            "retries": 2,
            "retry_delay": timedelta(seconds=15),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": timedelta(minutes=60),
            "priority_weight": 1,
            "weight_rule": "absolute",
        },
        render_template_as_native_obj=False,
    ) as dag:
        select = SelectOrgs(task_id="select_orgs", **lifecycle)

        @task_group(group_id="orgs")
        def orgs(batch: Any) -> None:
            usage = {
                "destination": f"bench_usage_{n}",
                "granularity": "day",
                "page_size": 100,
            }
            more = {"destination": f"bench_more_{n}", "granularity": "hour"}
            cost, checked = f"bench_cost_{n}", f"bench_checked_{n}"
            own = {"pipeline": facts, "batch": batch}
            first = Fetch(task_id="extract_usage", config=usage, **own)
            second = Fetch(task_id="extract_more", config=more, **own)
            third = Price(task_id="transform_cost", config={"destination": cost}, **own)
            fourth = Price(task_id="validate_cost", config={"destination": checked}, **own)
            first >> third
            second >> third
            third >> fourth

        mapped = orgs.expand(batch=select.output)
        close = CloseRun(task_id="close_run", trigger_rule=TriggerRule.ALL_DONE, **lifecycle)
        select >> close
        mapped >> close
    # After the tasks and in place, as the factory does and says why.
    dag.params.update(
        {
            "org_slug": Param(
                None,
                "Run for this org only; leave empty to run for every eligible org.",
                schema=slug,
            ),
            "start_date": Param(None, "First day", schema=day),
            "end_date": Param(None, "Last day", schema=day),
        }
    )
    return dag


def doc_by_hand(n: int) -> str:
    """The documentation that the factory writes for pipeline number n, put together simply."""
    usage, more, cost, checked = (
        f"bench_{kind}_{n}" for kind in ("usage", "more", "cost", "checked")
    )
    return (
        f"### Usage and cost number {n}\n\n"
        f"- **Pipeline**: `bench-usage-{n}`, for every eligible org\n"
        f"- **Schedule**: `{n % 60} 6 * * *` (UTC)\n"
        "- **Provider**: openai\n"
        f"- **Tables**: `{usage}`, `{more}`, `{cost}`, `{checked}`\n"
        f"- **File**: `bench/g{n % 20}/usage_{n}.yml`\n\n"
        "| step | processor | does | after | tables |\n|---|---|---|---|---|\n"
        f"| `extract_usage` | `sample.fetch` | Fetches usage, page by page. |  | `{usage}` |\n"
        f"| `extract_more` | `sample.fetch` | Fetches usage, page by page. |  | `{more}` |\n"
        "| `transform_cost` | `sample.price` | Prices what was fetched. "
        f"| `extract_usage`, `extract_more` | `{cost}` |\n"
        "| `validate_cost` | `sample.price` | Prices what was fetched. "
        f"| `transform_cost` | `{checked}` |\n\n"
        "| param | type | | |\n|---|---|---|---|\n"
        "| `start_date` | string, date |  | First day |\n"
        "| `end_date` | string, date |  | Last day |\n\n"
        f"```yaml\n{text_of(n).rstrip()}\n```"
    )
