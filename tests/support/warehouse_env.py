"""A bootstrapped warehouse in a project of its own, with one org's table and a publisher."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from convergence.runs.ledger import Ledger, LedgerRow
from convergence.runs.publisher import Attempt, Publisher
from convergence.runs.slices import SliceKey
from convergence.settings import PROJECT_ROOT, Settings
from convergence.state.store import StateStore
from convergence.warehouse.client import Warehouse, WarehouseTimeouts
from convergence.warehouse.day_file import DayFile, Money
from convergence.warehouse.names import CENTRAL, TableName
from convergence.warehouse.query import run_file
from convergence.warehouse.schemas import TableSchema
from convergence.warehouse.tables.bootstrap import LayoutReport, build_layout, central_layout
from convergence.warehouse.tables.datasets import ensure_dataset
from convergence.warehouse.tables.evolve import ensure_table
from support.sandbox_process import SandboxProcess

CONFIGS = PROJECT_ROOT / "include" / "configs"
DAY = date(2026, 11, 17)
NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
TABLE = TableName("acme_corp_dev", "usage")
KEY = SliceKey("acme_corp", "openai-usage-cost", "usage", DAY)
SCHEMA = TableSchema.model_validate(
    {
        "table": "usage",
        "description": "A table of the tests",
        "partition": {"field": "usage_date", "type": "DAY"},
        "clustering": ["model"],
        "fields": [
            {"name": "usage_date", "type": "DATE", "mode": "REQUIRED", "description": "UTC day."},
            {"name": "model", "type": "STRING", "description": "Model."},
            {"name": "cost", "type": "NUMERIC", "description": "Cost in USD."},
        ],
    }
)


def _nap(seconds: float) -> None:
    time.sleep(min(seconds, 0.1))


PATIENCE = WarehouseTimeouts(call=10, retry=10, job=60, poll=0.5, sleep=_nap)


def connect_warehouse(sandbox: SandboxProcess, *, project: str | None = None) -> Warehouse:
    """A warehouse in a project of its own."""
    settings = Settings(
        gcp_project_id=project or f"warehouse-{uuid.uuid4().hex[:12]}",
        bigquery_emulator_host=sandbox.bigquery,
    )
    return Warehouse.connect(settings, timeouts=PATIENCE)


def bootstrap_warehouse(w: Warehouse) -> LayoutReport:
    """The central dataset as the setup pipeline makes it."""
    return build_layout(
        w,
        central_layout(CONFIGS),
        dataset=CENTRAL,
        description="The central dataset of the tests",
        labels={"managed_by": "convergence", "kind": "central"},
    )


@dataclass
class WarehouseEnv:
    """What a test of publishing stands on."""

    warehouse: Warehouse
    store: StateStore
    folder: Path

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.warehouse)

    @property
    def publisher(self) -> Publisher:
        return Publisher(self.warehouse, self.store, self.ledger)

    def seal(self, costs: Sequence[str], *, day: date = DAY) -> DayFile:
        rows = [
            {"usage_date": day.isoformat(), "model": f"m{number}", "cost": cost}
            for number, cost in enumerate(costs)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        digest = hashlib.sha256(text.encode()).hexdigest()
        path = self.folder / f"{digest}.ndjson.gz"
        path.write_bytes(gzip.compress(text.encode()))
        total = Money("USD", "computed", sum(map(Decimal, costs), Decimal(0)))
        return DayFile(path, len(rows), digest, (total,), source_pages=1)

    def publish(
        self,
        costs: Sequence[str],
        *,
        run: str = "run_1",
        slice_: SliceKey | Attempt = KEY,
        now: datetime = NOW,
    ) -> LedgerRow:
        return self.publisher.publish_rows(
            slice_,
            self.seal(costs),
            table=TABLE,
            schema=SCHEMA,
            run_id=run,
            now=now,
            settle_days=5,
        )

    def query(self, sql: str, **params: object) -> list[dict[str, Any]]:
        path = self.folder / "test.sql"
        path.write_text(sql)
        return run_file(self.warehouse, path, identifiers={"dataset": TABLE.dataset}, params=params)

    def costs(self, *, day: date = DAY) -> list[Decimal]:
        sql = (
            "SELECT cost FROM `{{ project }}.{{ dataset }}.usage`"
            " WHERE usage_date = @day ORDER BY model"
        )
        return [row["cost"] for row in self.query(sql, day=day)]

    def newest(self) -> LedgerRow | None:
        rows = self.ledger.read_latest(orgs=[KEY.org_slug], pipeline_id=KEY.pipeline_id, since=DAY)
        return rows.get(KEY)

    def assert_sound(self, costs: Sequence[str]) -> None:
        assert self.costs() == [Decimal(cost) for cost in costs]
        newest = self.newest()
        assert newest is not None
        assert newest.content_hash == self.seal(costs).content_hash
        assert newest.row_count == len(costs)

    def jobs(self) -> list[str]:
        """Ids of the jobs that published, newest first."""
        client = self.warehouse.client
        return [job.job_id for job in client.list_jobs() if job.job_id.startswith("convergence-")]


def build_warehouse_env(w: Warehouse, store: StateStore, folder: Path) -> WarehouseEnv:
    """Bootstrap the warehouse and make the org's table."""
    bootstrap_warehouse(w)
    ensure_dataset(w, TABLE.dataset, description="An org's dataset")
    ensure_table(w, TABLE, SCHEMA)
    return WarehouseEnv(w, store, folder)
