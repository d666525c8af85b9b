"""A bootstrapped platform of the tests: a sandbox, a provider, and orgs with inputs to choose."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import yaml
from google.api_core.exceptions import GoogleAPIError
from google.cloud.bigquery import LoadJobConfig

from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.context import TaskServices
from convergence.processors.steplog import StepLog
from convergence.runs.records import RunRecords
from convergence.settings import PROJECT_ROOT
from convergence_sandbox.providers.openai.prices import COMPLETIONS
from crash.checking import content
from crash.checking.content import Content
from crash.provider import KEY_PREFIX
from crash.scenario import STEPS, Inputs
from crash.servers import Provider, Sandbox
from support.processor_env import ProcessorEnv, connect_env

SHIPPED = PROJECT_ROOT / "include" / "configs"
PIPELINE = "openai/cost/usage_cost.yml"
SUITE = "data_quality/expectations/openai_cost_suite.json"
EXPECTATIONS = ("requests_tie_to_the_usage", "priced_usage_has_a_cost")
USAGE_TABLE, COST_TABLE = "openai_usage_daily_raw", "openai_cost_daily"
STREAM_TABLE = "openai_api_authoritative_daily"
TABLES = (USAGE_TABLE, COST_TABLE, STREAM_TABLE)
PIPELINE_OF_STREAM = "openai-api-authoritative"
FIRST_DAY = date(2026, 2, 2)
RATES = {"p": "1.25", "q": "3.5"}


def days(count: int) -> list[date]:
    """The days of a slice; one page has one of them."""
    return [FIRST_DAY + timedelta(days=number) for number in range(count)]


@dataclass
class Platform:
    """What a lane works on.

    Attributes:
        clean: what a run that nothing disturbs makes of inputs.
        usual: seconds that each step took the last time that nothing disturbed it.
    """

    folder: Path
    sandbox: Sandbox
    provider: Provider
    env: ProcessorEnv
    spec: PipelineSpec
    clean: dict[Inputs, dict[str, Content]] = field(default_factory=dict)
    usual: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 1.0))

    @classmethod
    def start(cls, folder: Path) -> Platform:
        """Start the servers and bootstrap."""
        logging.getLogger("convergence").setLevel(logging.INFO)
        sandbox, provider = Sandbox(folder / "sandbox"), Provider(folder / "provider")
        sandbox.start()
        provider.start()
        configs = write_configs(folder / "configs")
        made = connect_env(
            cast("Any", SimpleNamespace(**sandbox.ready)), folder / "var", project="crash-tests"
        )
        made.bootstrap()
        settings = made.settings.model_copy(
            update={"openai_base_url": provider.url, "configs_dir": configs}
        )
        services = replace(
            made.services,
            settings=settings,
            steps=StepLog(made.services.store, RunRecords(made.services.store)),
            open_credential=lambda org, _provider: f"{KEY_PREFIX}{org}",
            now=lambda: datetime.now(UTC),
        )
        spec = load_pipeline(configs / PIPELINE, configs)
        assert isinstance(spec, PipelineSpec), [str(error) for error in spec]
        env = ProcessorEnv(settings, services)
        return cls(folder, sandbox, provider, env, spec)

    def services(self) -> TaskServices:
        """The same for a child process: connections of its own."""
        made = connect_env(
            cast("Any", SimpleNamespace(**self.sandbox.ready)),
            self.folder / "var",
            project="crash-tests",
        ).services
        return replace(
            made,
            settings=self.env.settings,
            steps=StepLog(made.store, RunRecords(made.store)),
            open_credential=self.env.services.open_credential,
            now=self.env.services.now,
        )

    def new_org(self) -> str:
        """The slug of a new org with its dataset."""
        return self.env.new_org().slug

    def set_inputs(self, org: str, inputs: Inputs) -> None:
        """Let the provider return this usage from now on, with this cost."""
        self.provider.set_version(org, inputs.usage)
        client = self.env.warehouse.client
        table = f"{client.project}.{self.dataset(org)}.openai_model_pricing"
        schema = client.get_table(table).schema
        config = LoadJobConfig(write_disposition="WRITE_TRUNCATE", schema=schema)
        client.load_table_from_json(_prices(inputs), table, job_config=config).result()

    def dataset(self, org: str) -> str:
        """The org's dataset."""
        return self.env.settings.org_dataset(org)

    def content(self, org: str) -> dict[str, Content]:
        """What the org's tables hold now."""
        client = self.env.warehouse.client
        return {table: content.read(client, self.dataset(org), table) for table in TABLES}

    def ledger(self, org: str) -> list[dict[str, Any]]:
        """Every row of the org's slices, oldest first."""
        project = self.env.warehouse.project
        return self.env.ask(
            "SELECT table_name, slice_day, action, attempt, run_id, job_id, content_hash,"
            " row_count, finality"
            f" FROM `{project}.organizations.org_meta_slices`"
            f" WHERE org_slug = '{org}' AND checked_at >= TIMESTAMP('2020-01-01')"
            " ORDER BY attempt, checked_at"
        )

    def log_of(self, seed: int) -> Path:
        """What the tries of a seed write."""
        return self.folder / f"{seed}.log"

    def restart_sandbox(self) -> None:
        """Start the sandbox again where it is down."""
        if not self.sandbox.alive:
            self.sandbox.start()

    def tidy(self) -> None:
        """Bring the servers back to health after a scenario."""
        self.restart_sandbox()
        self.sandbox.admin("DELETE", "faults")

    def stop(self) -> None:
        """Kill the servers and remove what they kept."""
        self.env.services.store.close()
        with suppress(GoogleAPIError):
            self.env.warehouse.client.close()
        self.sandbox.kill()
        self.provider.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def write_configs(folder: Path) -> Path:
    """The product's own configurations; usage and cost with one endpoint and a day a page."""
    pipeline = yaml.safe_load((SHIPPED / PIPELINE).read_text())
    extract = pipeline["steps"][0]["config"]
    extract["endpoints"] = [one for one in extract["endpoints"] if one["endpoint"] == "completions"]
    extract |= {"buckets_per_page": 1, "requests_per_minute": 6000}
    # A provider that returns to earlier, lower figures is what several scenarios are about.
    extract["shrink_guard"] = {"amount_percent": 100, "rows_percent": 100}
    suite = json.loads((SHIPPED / SUITE).read_text())
    suite["expectations"] = [one for one in suite["expectations"] if one["id"] in EXPECTATIONS]
    own = {PIPELINE: yaml.safe_dump(pipeline, sort_keys=False), SUITE: json.dumps(suite)}
    for source in _files():
        path = source.relative_to(SHIPPED)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if str(path) in own:
            target.write_text(own[str(path)], encoding="utf-8")
        else:
            target.symlink_to(source)
    return folder


def _files() -> Iterator[Path]:
    return (path for path in SHIPPED.rglob("*") if path.is_file())


def _prices(inputs: Inputs) -> list[dict[str, Any]]:
    """A rate for most models; the others' usage has none, and so no cost."""
    models = sorted({one.model for one in COMPLETIONS})[1:]
    rate = RATES[inputs.prices]
    return [
        {
            "model_id": model,
            "service_tier": tier,
            "currency": "USD",
            "is_override": False,
            "input_per_million": rate,
            "cached_input_per_million": rate,
            "cache_write_per_million": rate,
            "output_per_million": rate,
            "effective_from": "2020-01-01",
            "effective_basis": "announced",
            "price_version": inputs.prices,
            "updated_at": "2026-01-01T00:00:00Z",
        }
        for model in models
        for tier in ("standard", "batch", "flex", "priority")
    ]
