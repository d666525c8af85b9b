"""The sandbox's BigQuery against the figures it has to hold, through the official client.

PYTHONPATH=tests python tests/benchmarks/bench_sandbox.py
"""

from __future__ import annotations

import io
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from benchmarks.report import Report, resident_megabytes, stopwatch
from stack.guarded import die_with_parent
from support.sandbox_process import SandboxProcess

# The client's methods return more than their annotations declare.
Client: TypeAlias = Any

PROJECT = "bench-project"
KEYS = 10_000
LOOKUPS = 300
CLIENTS = 8
MIXED_SECONDS = 10.0
WIDE_ROWS = 200_000
WIDE_COLUMNS = 20


def main() -> int:
    """Measure all and print the table."""
    report = Report("sandbox")
    with tempfile.TemporaryDirectory(prefix="bench-sandbox-") as folder:
        sandbox = SandboxProcess(Path(folder))
        sandbox.start()
        report.add("start, fresh", sandbox.start_seconds, "s", target=3.0)
        try:
            measure_queries(sandbox, report)
        finally:
            sandbox.stop()
    return report.finish()


def measure_queries(sandbox: SandboxProcess, report: Report) -> None:
    """Everything after the start."""
    report.add("memory at rest, fresh", resident_megabytes(sandbox.pid), "MB", target=300)
    client = connect(sandbox.bigquery)
    client.create_dataset("bench")
    lookups(client, sandbox, report)
    mixed(sandbox, report)
    wide_load(client, sandbox, report)
    time.sleep(2)
    report.add("memory at rest, after all of this", resident_megabytes(sandbox.pid), "MB")
    sandbox.kill()
    sandbox.start()
    report.add("start, with this data, after a kill", sandbox.start_seconds, "s", target=3.0)
    report.add("memory at rest, with this data", resident_megabytes(sandbox.pid), "MB", target=300)
    client.close()


def connect(url: str) -> Client:
    """The official client."""
    return bigquery.Client(
        project=PROJECT,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
        location="US",
    )


def lookups(client: Client, sandbox: SandboxProcess, report: Report) -> None:
    """One row of 10,000 by its key, as authentication does."""
    schema = [bigquery.SchemaField("k", "STRING"), bigquery.SchemaField("v", "INTEGER")]
    rows = [{"k": f"key-{number}", "v": number} for number in range(KEYS)]
    load_rows(client, rows, "bench.keys", schema)
    times = []
    with stopwatch(sandbox.pid) as watch:
        for number in range(LOOKUPS):
            wanted = number * 31 % KEYS
            began = time.perf_counter()
            [row] = query_rows(client, "SELECT v FROM bench.keys WHERE k = @k", k=f"key-{wanted}")
            times.append(time.perf_counter() - began)
            if row["v"] != wanted:
                raise AssertionError(f"key {wanted} gave {row['v']}")
    millis = sorted(1000 * one for one in times)
    report.add("key lookup in 10,000 rows, p50", statistics.median(millis), "ms", target=25)
    report.add("key lookup in 10,000 rows, p95", millis[int(0.95 * len(millis))], "ms")
    report.add("key lookup, CPU of the sandbox", 1000 * watch.cpu / LOOKUPS, "ms")


def mixed(sandbox: SandboxProcess, report: Report) -> None:
    """8 processes that load, insert, stream, merge and read, each counting what it wrote."""
    client = connect(sandbox.bigquery)
    client.query_and_wait("CREATE TABLE bench.log (who INT64, n INT64, how STRING)")
    client.query_and_wait("CREATE TABLE bench.shared (who INT64, n INT64)")
    context = multiprocessing.get_context("spawn")
    with stopwatch(sandbox.pid) as watch, context.Pool(CLIENTS, die_with_parent) as pool:
        jobs = [(sandbox.bigquery, who, MIXED_SECONDS) for who in range(CLIENTS)]
        outcomes = pool.starmap(work, jobs)
    operations = sum(done for done, _, _ in outcomes)
    written = sum(rows for _, rows, _ in outcomes)
    seconds = max(lasted for _, _, lasted in outcomes)
    [found] = query_rows(
        client, "SELECT COUNT(*) AS n, COUNT(DISTINCT FORMAT('%d-%d', who, n)) AS d FROM bench.log"
    )
    [merged] = query_rows(client, "SELECT SUM(n) AS n FROM bench.shared")
    merges = sum(done // len(OPERATIONS) for done, _, _ in outcomes)
    rate = operations / seconds
    report.add("8 clients mixed", rate, "ops/s", target=60, at_least=True)
    report.add("8 clients mixed, rows lost", written - found["d"], "rows", target=0)
    report.add("8 clients mixed, rows doubled", found["n"] - found["d"], "rows", target=0)
    report.add("8 clients mixed, updates lost", merges - merged["n"], "updates", target=0)
    report.add("8 clients mixed, CPU of the sandbox", 1000 * watch.cpu / operations, "ms/op")
    client.close()


def work(url: str, who: int, seconds: float) -> tuple[int, int, float]:
    """One client's share: operations done, rows written to the log, seconds it took."""
    client = connect(url)
    began, operations = time.perf_counter(), 0
    while time.perf_counter() - began < seconds or operations % len(OPERATIONS):
        OPERATIONS[operations % len(OPERATIONS)](client, who, operations)
        operations += 1
    lasted = time.perf_counter() - began
    client.close()
    writes = sum(one in WRITES for one in OPERATIONS)
    return operations, operations // len(OPERATIONS) * writes, lasted


def insert(client: Client, who: int, n: int) -> None:
    """A row by DML."""
    query_rows(client, "INSERT INTO bench.log VALUES (@who, @n, 'insert')", who=who, n=n)


def stream(client: Client, who: int, n: int) -> None:
    """A row by insertAll."""
    rows = [{"who": who, "n": n, "how": "stream"}]
    errors = client.insert_rows_json(f"{PROJECT}.bench.log", rows, row_ids=[f"{who}-{n}"])
    if errors:
        raise AssertionError(errors)


def load_one(client: Client, who: int, n: int) -> None:
    """A row by a load job."""
    schema = [
        bigquery.SchemaField("who", "INTEGER"),
        bigquery.SchemaField("n", "INTEGER"),
        bigquery.SchemaField("how", "STRING"),
    ]
    load_rows(client, [{"who": who, "n": n, "how": "load"}], "bench.log", schema)


def merge(client: Client, who: int, n: int) -> None:
    """Count up in a table that all clients merge into."""
    del n
    query_rows(
        client,
        """
        MERGE bench.shared t USING (SELECT @who AS who) s ON t.who = s.who
        WHEN MATCHED THEN UPDATE SET n = t.n + 1
        WHEN NOT MATCHED THEN INSERT (who, n) VALUES (s.who, 1)
        """,
        who=who,
    )


def look_up_key(client: Client, who: int, n: int) -> None:
    """A key lookup."""
    query_rows(client, "SELECT v FROM bench.keys WHERE k = @k", k=f"key-{(who * 997 + n) % KEYS}")


def describe(client: Client, who: int, n: int) -> None:
    """A table's metadata."""
    del who, n
    client.get_table(f"{PROJECT}.bench.keys")


Operation = Callable[[Client, int, int], None]
OPERATIONS: tuple[Operation, ...] = (
    insert,
    look_up_key,
    stream,
    describe,
    load_one,
    look_up_key,
    merge,
    look_up_key,
)
WRITES = frozenset({insert, stream, load_one})


def wide_load(client: Client, sandbox: SandboxProcess, report: Report) -> None:
    """200,000 rows of 20 columns of mixed types, as newline-delimited JSON."""
    kinds = ("STRING", "INTEGER", "NUMERIC", "DATE", "TIMESTAMP")
    schema = [
        bigquery.SchemaField(f"c{number}", kinds[number % len(kinds)])
        for number in range(WIDE_COLUMNS)
    ]
    content = io.BytesIO(b"\n".join(_wide_row(number) for number in range(WIDE_ROWS)))
    config = bigquery.LoadJobConfig(
        schema=schema, source_format="NEWLINE_DELIMITED_JSON", write_disposition="WRITE_TRUNCATE"
    )
    with stopwatch(sandbox.pid) as watch:
        job = client.load_table_from_file(
            content, f"{PROJECT}.bench.wide", job_config=config
        ).result()
    if job.output_rows != WIDE_ROWS:
        raise AssertionError(f"{job.output_rows} rows of {WIDE_ROWS} arrived")
    report.add("200,000 rows of 20 columns loaded", watch.wall, "s", target=6.0)
    report.add("200,000 rows of 20 columns, CPU of the sandbox", watch.cpu, "s")


def _wide_row(number: int) -> bytes:
    values = (
        f"text {number}",
        number,
        f"{number}.{number % 1000:03d}",
        "2025-11-25",
        "2025-11-25T01:02:03.456Z",
    )
    row = {f"c{column}": values[column % len(values)] for column in range(WIDE_COLUMNS)}
    return json.dumps(row).encode()


def load_rows(
    client: Client,
    rows: list[dict[str, Any]],
    table: str,
    schema: list[bigquery.SchemaField],
) -> None:
    """A load job of a few rows."""
    config = bigquery.LoadJobConfig(schema=schema)
    client.load_table_from_json(rows, f"{PROJECT}.{table}", job_config=config).result()


def query_rows(client: Client, sql: str, **values: str | int) -> list[bigquery.Row]:
    """The rows of a query with parameters."""
    parameters = [
        bigquery.ScalarQueryParameter(name, "STRING" if isinstance(value, str) else "INT64", value)
        for name, value in values.items()
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    return list(client.query_and_wait(sql, job_config=config))


if __name__ == "__main__":
    sys.exit(main())
