"""What GET costs uses: a year of 100 models in 20 projects, by month and model and by day.

CPU is that of this process, which is the product without the warehouse and without HTTP's part,
for which see `bench_api`. Bytes are those that the query bills.

    python tests/benchmarks/bench_costs.py
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from datetime import date
from pathlib import Path

import duckdb
from google.cloud import bigquery

from benchmarks.report import Report, stopwatch
from convergence.api.costs.reading import CostQuery, read_costs
from convergence.api.http.services import ApiServices
from convergence.metering import Resource, metered
from support import processor_env
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess

SQL = Path(__file__).resolve().parent / "sql"
ROUNDS = 7
FIRST, LAST = date(2025, 11, 1), date(2026, 10, 31)
MAX_CPU_MS = 60.0
MAX_OTHER_MIB = 20.0
TABLE = "openai_api_authoritative_daily"
GROUPINGS = {
    "by month and model": ("billing_month", "model"),
    "by day and provider": ("day", "provider"),
}


def main() -> int:
    """Measure both groupings and print the table."""
    logging.disable(logging.INFO)
    report = Report("costs")
    with tempfile.TemporaryDirectory(prefix="bench-costs-") as name:
        folder = Path(name)
        sandbox = SandboxProcess(folder / "sandbox")
        sandbox.start()
        try:
            measure(stage(sandbox, folder), report)
        finally:
            sandbox.stop()
    return report.finish()


def stage(sandbox: SandboxProcess, folder: Path) -> OrgEnv:
    """Return an org with a year of authoritative rows."""
    lines = folder / "lines.parquet"
    duckdb.sql(f"COPY ({(SQL / 'cost_lines.sql').read_text()}) TO '{lines}' (FORMAT parquet)")
    env = processor_env.connect_env(sandbox, folder / "var", project="bench-project")
    env.bootstrap()
    org = env.new_org()
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    target = f"{env.warehouse.project}.{org.dataset}.{TABLE}"
    with lines.open("rb") as file:
        env.warehouse.client.load_table_from_file(file, target, job_config=config).result()
    return org


def measure(org: OrgEnv, report: Report) -> None:
    """Add CPU, jobs and bytes of each grouping."""
    services = ApiServices(org.env.settings)
    table = org.env.warehouse.client.get_table(f"{org.env.warehouse.project}.{org.dataset}.{TABLE}")
    stored = (table.num_bytes or 0) / 2**20
    report.add("bytes of the requested partitions", stored, "MiB")
    for name, grouping in GROUPINGS.items():
        query = CostQuery(org.slug, FIRST, LAST, grouping)
        used = []
        for _ in range(ROUNDS):
            with stopwatch() as watch, metered() as meter:
                costs = read_costs(query, services=services)
                body = json.dumps(costs, ensure_ascii=False, separators=(",", ":"))
            used.append(watch.cpu * 1000)
        queries = meter.used[Resource.QUERY]
        report.add(f"{name}, CPU", min(used), "ms", target=MAX_CPU_MS)
        report.add(f"{name}, query jobs", queries.calls, "", target=1.0)
        report.add(f"{name}, rows", len(costs["rows"]), "")
        report.add(f"{name}, body", len(body) / 1024, "KiB")
        # Each of the other tables that the statement names is billed at least 10 MiB.
        billed = queries.bytes_billed / 2**20
        report.add(f"{name}, bytes billed", billed, "MiB", target=stored + MAX_OTHER_MIB)
    services.store.close()
    org.env.services.store.close()


if __name__ == "__main__":
    sys.exit(main())
