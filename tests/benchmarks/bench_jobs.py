"""What the warehouse does for one org and day of the daily pipelines: jobs, and bytes billed.

Each pipeline's steps run as their YAML says, on the providers' sandbox: for one day and for
several, with few rows and with more. What each further day takes must not depend on how many rows
it has.

    python tests/benchmarks/bench_jobs.py
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from benchmarks.report import Report
from convergence.metering import Resource, Use, Used, metered
from convergence.processors.anthropic import extraction as anthropic
from convergence.processors.anthropic.config import BilledConfig, CostConfig, UsageConfig
from convergence.processors.context import OrgContext, PipelineInfo, StepResult
from convergence.processors.generic.config import SeedCsvConfig
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai import config as openai_config
from convergence.processors.openai import extraction as openai
from convergence.processors.step_config import StepConfig
from convergence.settings import PROJECT_ROOT
from support import processor_env
from support.processor_env import NOW, OrgEnv, ProcessorEnv
from support.sandbox_process import SandboxProcess

CONFIGS = PROJECT_ROOT / "include" / "configs"
LAST = NOW.date() - timedelta(days=1)
DAYS = 7
KEYS = {"openai": "sk-admin-sandbox-bench", "anthropic": "sk-ant-admin-sandbox-bench"}
WAREHOUSE = (Resource.LOAD, Resource.QUERY, Resource.STREAM)
FEW = frozenset({"user_id", "api_key_id", "api_source"})
"""Groups that are left out where a day is to have few rows."""

Work = Callable[[OrgContext, Any], StepResult]
STEPS: Mapping[str, tuple[type[StepConfig], Work]] = {
    "generic.seed_csv": (SeedCsvConfig, seed_prices),
    "openai.usage": (openai_config.UsageConfig, openai.extract_usage),
    "openai.cost": (openai_config.CostConfig, price_usage),
    "openai.billed": (openai_config.BilledConfig, openai.extract_billed),
    "anthropic.usage": (UsageConfig, anthropic.extract_usage),
    "anthropic.cost": (CostConfig, price_usage),
    "anthropic.billed": (BilledConfig, anthropic.extract_billed),
}
PIPELINES = {
    "openai/cost/usage_cost": "openai",
    "openai/cost/cost_extract": "openai",
    "anthropic/usage_cost": "anthropic",
}


@dataclass(frozen=True)
class Ran:
    """A run: what it used, and the rows that its steps reported."""

    used: Used
    rows: int

    def calls(self, resource: Resource) -> int:
        """Jobs of a kind."""
        return self.used.get(resource, Use()).calls

    @property
    def bytes_billed(self) -> int:
        """Of BigQuery."""
        return sum(use.bytes_billed for use in self.used.values())


def main() -> int:
    """Measure and print the table; 1 when a day's jobs depend on its rows."""
    report = Report("jobs")
    with tempfile.TemporaryDirectory(prefix="bench-jobs-") as name:
        sandbox = SandboxProcess(Path(name) / "sandbox")
        sandbox.start()
        try:
            env = processor_env.connect_env(sandbox, Path(name) / "var", project="bench-project")
            env.bootstrap()
            for path, provider in PIPELINES.items():
                tell(report, env, path=path, provider=provider)
            env.services.store.close()
        finally:
            sandbox.stop()
    return report.finish()


def tell(report: Report, env: ProcessorEnv, *, path: str, provider: str) -> None:
    """One pipeline: a run of one day, what each further day adds, and what more rows add."""
    one = run_pipeline(env, path, provider=provider, days=1)
    many = run_pipeline(env, path, provider=provider, days=DAYS)
    few = run_pipeline(env, path, provider=provider, days=DAYS, without=FEW)
    for resource in WAREHOUSE:
        kind = resource.value.removeprefix("bigquery_")
        added = (many.calls(resource) - one.calls(resource)) / (DAYS - 1)
        report.add(f"{path}: {kind} jobs, run of 1 day", one.calls(resource), "jobs")
        report.add(f"{path}: {kind} jobs, each further day", added, "jobs")
        apart = abs(many.calls(resource) - few.calls(resource))
        rows = f"{few.rows:,} and {many.rows:,} rows"
        report.add(f"{path}: {kind} jobs, {rows}, differ by", apart, "jobs", target=0)
    billed = (many.bytes_billed - one.bytes_billed) / (DAYS - 1) / 2**20
    report.add(f"{path}: billed, run of 1 day", one.bytes_billed / 2**20, "MiB")
    report.add(f"{path}: billed, each further day", billed, "MiB")


def run_pipeline(
    env: ProcessorEnv,
    path: str,
    *,
    provider: str,
    days: int,
    without: frozenset[str] = frozenset(),
) -> Ran:
    """A pipeline's steps for an org of its own, which has run once before on another day."""
    org = env.new_org()
    env.keys[org.slug] = KEYS[provider]
    steps = yaml.safe_load((CONFIGS / f"{path}.yml").read_text())["steps"]
    if path == "openai/cost/usage_cost":
        seed_prices(org.context([]), openai_config.SeedCsvConfig())
    _all(org, steps, provider=provider, days=[LAST - timedelta(days=DAYS)], without=without)
    with metered() as meter:
        last_days = [LAST - timedelta(days=back) for back in range(days)]
        rows = _all(org, steps, provider=provider, days=last_days, without=without)
    return Ran(meter.used, rows)


def _all(
    org: OrgEnv,
    steps: Sequence[Mapping[str, Any]],
    *,
    provider: str,
    days: Sequence[date],
    without: frozenset[str],
) -> int:
    facts = PipelineInfo(pipeline_id="bench", dag_id="bench", provider=provider)
    run_id = f"run_{uuid.uuid4().hex}"
    rows = 0
    for step in steps:
        model, work = STEPS[step["processor"]]
        config = model.from_values(_narrowed(step["config"], without))
        context = org.context(days, run_id=run_id, step=step["step"], pipeline=facts)
        rows += work(context, config).rows_processed or 0
    return rows


def _narrowed(config: Mapping[str, Any], without: frozenset[str]) -> dict[str, Any]:
    """A step's configuration with fewer groups; fewer groups, fewer rows."""
    narrowed = dict(config)
    if "endpoints" in config:
        narrowed["endpoints"] = [_narrowed(one, without) for one in config["endpoints"]]
    if "group_by" in config:
        narrowed["group_by"] = [one for one in config["group_by"] if one not in without]
    return narrowed


if __name__ == "__main__":
    sys.exit(main())
