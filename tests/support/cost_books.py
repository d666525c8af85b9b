"""An org with usage, prices and cost of one day, and processes that die at the worst moment."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from convergence.extract.spool import Spool
from convergence.processors.context import StepResult
from convergence.processors.lib.daily.fields import day_of
from convergence.processors.lib.pricing.pricing import price_usage
from convergence.processors.openai.config import CostConfig
from convergence.runs.ledger import Ledger, LedgerRow
from convergence.runs.publication import Publication
from convergence.runs.publisher import Attempt, PricedDay, Publisher
from convergence.runs.slices import SliceKey
from convergence.warehouse.day_file import DayFile
from convergence.warehouse.jobs import JobOutcome
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.publish import load_partition
from convergence.warehouse.schemas import TableSchema
from support.processor_env import USAGE_COST, USAGE_SCHEMA, OrgEnv

DAY = date(2026, 11, 17)
USAGE = "openai_usage_daily_raw"
COST = "openai_cost_daily"


class KilledError(BaseException):
    """The process died here; nothing may catch it."""


class KilledLedger(Ledger):
    """The ledger of a process that dies before it writes its row."""

    def append_rows(self, rows: Sequence[Any]) -> None:
        raise KilledError


class InterruptedPublisher(Publisher):
    """Lets something happen once before a pricing job, and may die right after the job."""

    before_job: Callable[[], None] | None = None
    killed = False

    def publish_query(self, slice_: SliceKey | Attempt, query: PricedDay, **how: Any) -> LedgerRow:
        happens, self.before_job = self.before_job, None
        if happens is not None:
            happens()
        if self.killed:
            query = replace(query, inputs_stand=_die)
        return super().publish_query(slice_, query, **how)


def _die(_: JobOutcome) -> bool:
    raise KilledError


def usage_rows(tokens: int, *, rows: int = 1) -> list[dict[str, Any]]:
    """A day's usage: plain input tokens of gpt-x, dealt over rows."""
    return [
        {
            "usage_date": DAY.isoformat(),
            "endpoint": "completions",
            "bucket_start": f"{DAY}T00:00:00+00:00",
            "bucket_end": f"{date(2026, 11, 18)}T00:00:00+00:00",
            "shape_version": 2,
            "user_id": f"{number:04d}",
            "model": "gpt-x",
            "batch": False,
            "service_tier": "default",
            "input_tokens": tokens,
            "input_uncached_tokens": tokens,
            "output_tokens": 0,
            "num_model_requests": tokens // 1000,
        }
        for number in range(rows)
    ]


@dataclass
class Books:
    """An org with usage, prices and cost of one day."""

    org: OrgEnv
    folder: Path

    def put_price(self, per_million: str) -> None:
        """Make this the price of gpt-x, as an API call does: by DML."""
        table = self.org.table("openai_model_pricing")
        self.org.env.ask(f"DELETE FROM {table} WHERE TRUE")
        self.org.env.ask(
            f"INSERT INTO {table} (model_id, service_tier, currency, is_override,"
            " input_per_million, effective_from, effective_basis, price_version, updated_at)"
            f" VALUES ('gpt-x', 'standard', 'USD', FALSE, NUMERIC '{per_million}',"
            " DATE '2020-01-01', 'announced', 'test', TIMESTAMP '2026-11-01')"
        )

    def extract(
        self,
        rows: list[dict[str, Any]],
        *,
        run_id: str | None = None,
        killed: bool = False,
    ) -> None:
        """Publish the usage as the extracting step does, or die after its job."""
        services = self.org.env.services
        publisher = services.publisher
        if killed:
            publisher = Publisher(
                services.warehouse, services.store, KilledLedger(services.warehouse)
            )
        with suppress(KilledError):
            publisher.publish_rows(
                self.key(USAGE),
                self.seal(rows),
                table=TableName(self.org.dataset, USAGE),
                schema=self.usage_schema,
                run_id=run_id or new_run(),
                now=services.now(),
                settle_days=3,
            )

    def end_late(self, attempt: Attempt, rows: list[dict[str, Any]]) -> None:
        """End the job of a process that died between its check and the job's end."""
        sealed = self.seal(rows)
        table = TableName(self.org.dataset, USAGE)
        work = Publication(
            attempt=attempt,
            table=table,
            run_id=new_run(),
            now=self.org.env.services.now(),
            settle_days=3,
            content_hash=sealed.content_hash,
            source_pages=1,
        )
        load_partition(
            self.org.env.warehouse,
            table,
            DAY,
            sealed.path,
            schema=self.usage_schema,
            rows=sealed.row_count,
            job_base=work.job_base,
            job_labels=work.job_labels,
        )

    def seal(self, rows: list[dict[str, Any]]) -> DayFile:
        spool = Spool.open(self.folder / uuid.uuid4().hex, fingerprint="test")
        spool.write_page(rows, next_token=None)
        return spool.write_day_files(day_of, [DAY])[DAY]

    @property
    def usage_schema(self) -> TableSchema:
        return TableSchema.load(self.org.env.settings.configs_dir / USAGE_SCHEMA)

    def price(
        self,
        *,
        run_id: str | None = None,
        attempt: int = 1,
        before_job: Callable[[], None] | None = None,
        killed: bool = False,
    ) -> StepResult:
        """Price the day; `before_job` happens once, between the look at the inputs and the job."""
        org = self.org
        if before_job is not None:
            services = org.env.services
            publisher = InterruptedPublisher(services.warehouse, services.store, services.ledger)
            publisher.before_job, publisher.killed = before_job, killed
            org = OrgEnv(
                replace(org.env, services=replace(services, publisher=publisher)), org.slug
            )
        return price_usage(
            org.context([DAY], run_id=run_id or new_run(), attempt=attempt), CostConfig()
        )

    def key(self, table: str) -> SliceKey:
        return SliceKey(self.org.slug, USAGE_COST.pipeline_id, table, DAY)

    def row(self, table: str) -> LedgerRow:
        """The ledger's newest row of the day."""
        latest = self.org.env.services.ledger.read_latest(
            orgs=[self.org.slug], pipeline_id=USAGE_COST.pipeline_id, since=DAY
        )
        return latest[self.key(table)]

    @property
    def cost(self) -> Decimal:
        """What the published cost comes to."""
        found = self.org.env.ask(
            f"SELECT SUM(effective_cost) AS cost FROM {self.org.table(COST)}"
            f" WHERE usage_date = '{DAY}'"
        )
        return Decimal(found[0]["cost"] or 0)

    def jobs(self) -> int:
        """Jobs that ever wrote a partition of the cost table."""
        client = self.org.env.warehouse.client
        return sum(
            (job.labels or {}).get("org") == self.org.slug
            and (job.labels or {}).get("table") == COST
            and job.destination is not None
            and job.destination.table_id.startswith(f"{COST}$")
            for job in client.list_jobs(state_filter="done")
            if job.job_type == "query"
        )


def new_run() -> str:
    return f"run_{uuid.uuid4().hex[:24]}"


def money(tokens: int, per_million: str, *, rows: int = 1) -> Decimal:
    """The independent calculation."""
    return round(Decimal(tokens) * rows * Decimal(per_million) / 1_000_000, 9)
