"""The rooms below the processors on a sandbox, and orgs in it: what a step finds when it runs."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from convergence.extract.spool import Spool
from convergence.processors.context import OrgContext, PipelineInfo, PlatformContext, TaskServices
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.setup.organizations.config import OnboardingConfig
from convergence.processors.setup.organizations.dataset import DatasetPlan, lay_out
from convergence.processors.steplog import StepLog
from convergence.runs.ledger import Ledger
from convergence.runs.publisher import Publisher
from convergence.runs.slices import SliceKey
from convergence.settings import Settings
from convergence.state.store import StateStore
from convergence.tenants.datasets import describe_central_dataset, describe_org_dataset
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Row
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.bootstrap import build_layout, central_layout
from convergence.warehouse.tables.evolve import ensure_table
from convergence_sandbox.aws.keys import PLATFORM as AWS_PLATFORM
from convergence_sandbox.aws.keys import secret_of
from support.sandbox_process import SandboxProcess

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
USAGE_SCHEMA = "openai/cost/schemas/openai_usage_daily_raw.json"
ONBOARDING = OnboardingConfig.from_values(
    {
        "provider_tables": [
            "openai/seed/schemas/openai_model_pricing.json",
            USAGE_SCHEMA,
            "openai/cost/schemas/openai_cost_daily.json",
        ],
    }
)
USAGE_COST = PipelineInfo(
    pipeline_id="openai-usage-cost", dag_id="openai.cost.usage_cost", provider="openai"
)


@dataclass
class ProcessorEnv:
    """The rooms below the processors, connected to one sandbox."""

    settings: Settings
    services: TaskServices
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def warehouse(self) -> Warehouse:
        return self.services.warehouse

    def ask(self, sql: str) -> list[Row]:
        """Rows of a query of the test's own."""
        return [dict(row.items()) for row in self.warehouse.client.query_and_wait(sql)]

    def platform(self, run_id: str = "manual__1") -> PlatformContext:
        return PlatformContext(
            pipeline=PipelineInfo(pipeline_id="setup", dag_id="setup", scope="platform"),
            step="create",
            dag_run_id=run_id,
            attempt=1,
            services=self.services,
            log=logging.getLogger("test"),
            stop=threading.Event(),
        )

    def bootstrap(self) -> None:
        kind = describe_central_dataset(self.settings)
        layout = central_layout(self.settings.configs_dir)
        build_layout(
            self.warehouse,
            layout,
            dataset=kind.name,
            description=kind.description,
            labels=kind.labels,
        )

    def new_org(self) -> OrgEnv:
        """An org with its dataset, and no profile: what steps of pipelines need."""
        slug = f"org_{uuid.uuid4().hex[:10]}"
        plan = DatasetPlan.load(self.settings.configs_dir, ONBOARDING)
        lay_out(self.warehouse, plan, describe_org_dataset(self.settings, slug), org_slug=slug)
        return OrgEnv(self, slug)


@dataclass
class OrgEnv:
    """One org of a `ProcessorEnv`."""

    env: ProcessorEnv
    slug: str

    @property
    def dataset(self) -> str:
        return self.env.settings.org_dataset(self.slug)

    def context(
        self,
        days: Sequence[date],
        *,
        run_id: str = "run_1",
        step: str = "step",
        attempt: int = 1,
        pipeline: PipelineInfo = USAGE_COST,
    ) -> OrgContext:
        return OrgContext(
            org_slug=self.slug,
            run_id=run_id,
            pipeline=pipeline,
            step=step,
            days=tuple(sorted(days, reverse=True)),
            params={},
            attempt=attempt,
            previous=None,
            resumes=attempt > 1,
            services=self.env.services,
            log=logging.getLogger("test"),
            stop=threading.Event(),
        )

    def at(self, now: datetime) -> OrgEnv:
        """The same org at another time."""
        services = replace(self.env.services, now=lambda: now)
        return OrgEnv(replace(self.env, services=services), self.slug)

    def served_by(self, **settings_of: Any) -> OrgEnv:
        """The same org with other settings: its providers' APIs or its configurations elsewhere."""
        settings = self.env.settings.model_copy(update=settings_of)
        services = replace(self.env.services, settings=settings)
        return OrgEnv(replace(self.env, settings=settings, services=services), self.slug)

    def table(self, name: str) -> str:
        return f"`{self.env.warehouse.project}.{self.dataset}.{name}`"

    def rows(self, table: str, more: str = "") -> list[Row]:
        return self.env.ask(f"SELECT * FROM {self.table(table)} {more}")  # ours

    def publish_usage(
        self,
        rows: Iterable[Mapping[str, Any]],
        days: Sequence[date],
        *,
        folder: Path,
        run_id: str = "run_1",
    ) -> None:
        """Make rows the published usage of days, as the extracting step does."""
        self.publish_rows(rows, days, schema_file=USAGE_SCHEMA, folder=folder, run_id=run_id)

    def publish_rows(
        self,
        rows: Iterable[Mapping[str, Any]],
        days: Sequence[date],
        *,
        schema_file: str,
        folder: Path,
        run_id: str = "run_1",
        pipeline_id: str = USAGE_COST.pipeline_id,
    ) -> None:
        """Make rows the published content of days of a table, and create the table."""
        spool = Spool.open(folder / uuid.uuid4().hex, fingerprint="test")
        spool.write_page(rows, next_token=None)
        sealed = spool.write_day_files(day_of, days)
        schema = TableSchema.load(self.env.settings.configs_dir / schema_file)
        ensure_table(self.env.warehouse, TableName(self.dataset, schema.table), schema)
        for day in days:
            self.env.services.publisher.publish_rows(
                SliceKey(self.slug, pipeline_id, schema.table, day),
                sealed[day],
                table=TableName(self.dataset, schema.table),
                schema=schema,
                run_id=run_id,
                now=self.env.services.now(),
                settle_days=3,
            )


def connect_env(sandbox: SandboxProcess, var_dir: Path, *, project: str) -> ProcessorEnv:
    """The rooms below, on a project of the sandbox that nobody has used."""
    settings = Settings(
        gcp_project_id=project,
        bigquery_emulator_host=sandbox.bigquery,
        kms_emulator_host=sandbox.kms,
        openai_base_url=f"{sandbox.providers}/openai/v1",
        anthropic_base_url=f"{sandbox.providers}/anthropic",
        deepseek_base_url=f"{sandbox.providers}/deepseek",
        aws_api_base_url=sandbox.aws,
        aws_platform_access_key_id=AWS_PLATFORM,
        aws_platform_secret_access_key=SecretStr(secret_of(AWS_PLATFORM)),
        provider_base_urls={"vendor_api": f"{sandbox.providers}/vendor/v1"},
        gcp_api_base_url=f"{sandbox.providers}/google",
        var_dir=var_dir,
    )
    warehouse = Warehouse.connect(settings)
    store = StateStore.connect(settings.state_url)
    ledger = Ledger(warehouse)
    keys: dict[str, str] = {}
    services = TaskServices(
        settings=settings,
        warehouse=warehouse,
        store=store,
        ledger=ledger,
        publisher=Publisher(warehouse, store, ledger),
        steps=cast("StepLog", None),
        open_credential=lambda org, _provider: keys[org],
        now=lambda: NOW,
    )
    return ProcessorEnv(settings, services, keys)
