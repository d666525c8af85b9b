"""A million usage rows priced by one statement, against the same join by hand in DuckDB.

The product's own SQL through the sandbox, as a job that replaces a day partition; by hand, the same
rules on the same rows into a table of a file. Both results are compared. CPU seconds are those of
the process that worked, so other load on the machine weighs little; the ratio is what must hold.

    python tests/benchmarks/bench_pricing.py [rows]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from google.cloud import bigquery

from benchmarks.report import Report, Stopwatch, stopwatch
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.openai.config import CostConfig, SeedCsvConfig
from convergence.settings import PROJECT_ROOT
from convergence.warehouse.names import TableName
from convergence.warehouse.partitions.fill import query_partition
from convergence.warehouse.query import Row
from convergence.warehouse.schemas import TableSchema
from support import processor_env
from support.processor_env import OrgEnv
from support.sandbox_process import SandboxProcess

SQL = Path(__file__).resolve().parent / "sql"
ROWS = 1_000_000
ROUNDS = 3
DAY = date(2026, 11, 17)
MAX_TIMES_BY_HAND = 5.0
"""The product also gives rates and amounts of each meter of a row, which the other way does not."""
CONFIG = CostConfig()
CONFIGS = PROJECT_ROOT / "include" / "configs"
USAGE_SCHEMA = "openai/cost/schemas/openai_usage_daily_raw.json"
PRICES_SCHEMA = "openai/seed/schemas/openai_model_pricing.json"
_TYPES = {
    "DATE": "DATE",
    "STRING": "VARCHAR",
    "TIMESTAMP": "TIMESTAMPTZ",
    "INT64": "BIGINT",
    "BOOL": "BOOLEAN",
    "NUMERIC": "DECIMAL(38, 9)",
    "JSON": "VARCHAR",
}
SUMS = (
    "SELECT COUNT(*), COUNT(unpriced_reason), SUM(effective_cost), SUM(list_cost),"
    " SUM(input_tokens), COUNT(DISTINCT price_model_id), COUNT(price_caveat) FROM "
)


@dataclass(frozen=True)
class Priced:
    """One way: the seconds of its best round, and what came out."""

    best: Stopwatch
    sums: tuple[Any, ...]


def main(arguments: list[str]) -> int:
    """Measure both ways and print the table."""
    rows = int(arguments[0]) if arguments else ROWS
    report = Report("pricing")
    with tempfile.TemporaryDirectory(prefix="bench-pricing-") as name:
        folder = Path(name)
        usage = usage_rows(folder / "usage.parquet", rows=rows)
        sandbox = SandboxProcess(folder / "sandbox")
        sandbox.start()
        try:
            org = stage(sandbox, usage, folder)
            product = by_the_product(org, pid=sandbox.pid)
            hand = by_hand(usage, org.rows(CONFIG.pricing_table), folder)
            org.env.services.store.close()
        finally:
            sandbox.stop()
    if product.sums != hand.sums:
        raise AssertionError(f"the two differ: {product.sums} and {hand.sums}")
    for way, one in (("the product's SQL", product), ("hand in DuckDB", hand)):
        report.add(f"{rows:,} rows by {way}", one.best.wall, "s")
        report.add(f"{rows:,} rows by {way}, CPU", one.best.cpu, "s")
    times = product.best.cpu / hand.best.cpu
    report.add("the product's compared with by hand, CPU", times, "times", target=MAX_TIMES_BY_HAND)
    report.add("the product's compared with by hand", product.best.wall / hand.best.wall, "times")
    return report.finish()


def usage_rows(path: Path, *, rows: int) -> Path:
    """A day of usage as a Parquet file."""
    made = (SQL / "usage_rows.sql").read_text().replace("$rows", str(rows))
    duckdb.sql(f"COPY ({made}) TO '{path}' (FORMAT parquet)")
    return path


def stage(sandbox: SandboxProcess, usage: Path, folder: Path) -> OrgEnv:
    """An org with the default prices and the day's usage."""
    env = processor_env.connect_env(sandbox, folder / "var", project="bench-project")
    env.bootstrap()
    org = env.new_org()
    seed_prices(org.context([]), SeedCsvConfig())
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
    target = f"{env.warehouse.project}.{org.dataset}.{CONFIG.usage_table}"
    with usage.open("rb") as file:
        env.warehouse.client.load_table_from_file(file, target, job_config=config).result()
    return org


def by_the_product(org: OrgEnv, *, pid: int) -> Priced:
    """The day priced as the product's job does it."""
    w, configs = org.env.warehouse, org.env.settings.configs_dir
    schema = TableSchema.load(configs / CONFIG.schema_file)
    watches = []
    for number in range(ROUNDS):
        with stopwatch(pid) as watch:
            query_partition(
                w,
                TableName(org.dataset, CONFIG.table),
                DAY,
                configs / CONFIG.sql_file,
                schema=schema,
                identifiers=CONFIG.identifiers(schema, dataset=org.dataset),
                params={"day": DAY},
                job_base=f"bench-{number}",
                job_labels={},
            )
        watches.append(watch)
    client: Any = w.client
    (told,) = client.query_and_wait(SUMS + org.table(CONFIG.table))
    return Priced(_best(watches), tuple(told.values()))


def by_hand(usage: Path, prices: Sequence[Row], folder: Path) -> Priced:
    """The same rules as DuckDB's own SQL has them, from a table of a file into another."""
    path = folder / "hand.duckdb"
    with duckdb.connect(str(path), config={"threads": "2", "memory_limit": "1GB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        _raw_table(connection, usage)
        _price_table(connection, prices)
        statement = (SQL / "priced_by_hand.sql").read_text()
        watches = []
        for _ in range(ROUNDS):
            with stopwatch() as watch:
                connection.execute(f"CREATE OR REPLACE TABLE cost AS {statement}")
            watches.append(watch)
        told = connection.execute(f"{SUMS}cost").fetchone()
    return Priced(_best(watches), told or ())


def _raw_table(connection: duckdb.DuckDBPyConnection, usage: Path) -> None:
    """The usage with every column of the raw table."""
    schema = TableSchema.load(CONFIGS / USAGE_SCHEMA)
    columns = ", ".join(f"{one.name} {_TYPES[one.type]}" for one in schema.fields)
    connection.execute(f"CREATE TABLE usage ({columns})")
    connection.execute(f"INSERT INTO usage BY NAME SELECT * FROM '{usage}'")


def _price_table(connection: duckdb.DuckDBPyConnection, prices: Sequence[Row]) -> None:
    schema = TableSchema.load(CONFIGS / PRICES_SCHEMA)
    names = [one.name for one in schema.fields]
    columns = ", ".join(f"{one.name} {_TYPES[one.type]}" for one in schema.fields)
    connection.execute(f"CREATE TABLE prices ({columns})")
    marks = ", ".join("?" for _ in names)
    connection.executemany(
        f"INSERT INTO prices VALUES ({marks})", [[row[name] for name in names] for row in prices]
    )


def _best(watches: Sequence[Stopwatch]) -> Stopwatch:
    return min(watches, key=lambda watch: watch.cpu)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
