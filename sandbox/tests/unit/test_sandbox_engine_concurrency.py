"""Readers next to writers, and a killed process: nothing mixed, no acknowledged write lost."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.resources.model import TableRef
from stack import guarded

SOURCES = Path(__file__).parents[2] / "src"
DAILY = "CREATE TABLE d.daily (day DATE, n INT64, part INT64) PARTITION BY day"


def made(path: Path | None = None) -> Engine:
    engine = Engine(path)
    engine.create_dataset("p", {"datasetReference": {"datasetId": "d"}})
    engine.query(DAILY, project="p")
    return engine


def query_rows(engine: Engine, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(cell["v"] for cell in row["f"]) for row in engine.query(sql, project="p").rows()]


def test_a_reader_sees_the_old_partition_or_the_new_never_a_mixture() -> None:
    engine = made()
    done = threading.Event()

    def replace(number: int) -> None:
        rows = [{"day": "2025-11-01", "n": number, "part": part} for part in range(50)]
        engine.load_rows(TableRef("p", "d", "daily$20251101"), [rows],
                         write_disposition="WRITE_TRUNCATE")  # fmt: skip

    def watch() -> int:
        seen = 0
        while not done.is_set():
            rows = query_rows(engine, "SELECT COUNT(DISTINCT n), COUNT(*) FROM d.daily")
            assert rows == [("1", "50")]
            seen += 1
        return seen

    replace(0)
    with ThreadPoolExecutor(4) as pool:
        watchers = [pool.submit(watch) for _ in range(3)]
        for number in range(1, 9):
            replace(number)
        done.set()
        assert all(watcher.result() > 0 for watcher in watchers)
    engine.close()


def test_eight_clients_lose_no_write() -> None:
    engine = made()
    calls: list[Callable[[int, int], object]] = [
        lambda who, turn: engine.query(
            f"INSERT INTO d.daily VALUES ('2025-11-02', {who}, {turn})", project="p"),
        lambda who, turn: engine.insert_all(TableRef("p", "d", "daily"), [
            {"insertId": f"{who}-{turn}", "json": {"day": "2025-11-03", "n": who, "part": turn}}]),
        lambda who, _turn: engine.query(
            f"MERGE d.daily t USING (SELECT {who} AS n) s ON t.n = s.n AND t.day = '2025-11-04'"
            " WHEN MATCHED THEN UPDATE SET part = t.part + 1"
            " WHEN NOT MATCHED THEN INSERT (day, n, part) VALUES ('2025-11-04', s.n, 1)",
            project="p"),
        lambda who, turn: engine.query(
            f"CREATE TABLE d.t_{who}_{turn} AS SELECT {turn} AS a", project="p"),
    ]  # fmt: skip

    def client(who: int) -> None:
        for turn in range(4):
            for call in calls:
                call(who, turn)
            assert query_rows(engine, f"SELECT a FROM d.t_{who}_{turn}") == [(str(turn),)]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    counts = query_rows(
        engine, "SELECT day, COUNT(*), SUM(part) FROM d.daily GROUP BY day ORDER BY day"
    )
    assert counts == [
        ("2025-11-02", "32", "48"), ("2025-11-03", "32", "48"), ("2025-11-04", "8", "32")
    ]  # fmt: skip
    assert len(engine.list_tables("p", "d")) == 1 + 32
    engine.close()


WRITER = """
import sys
from pathlib import Path
from convergence_sandbox.bigquery.engine import Engine
from convergence_sandbox.bigquery.resources.model import TableRef
engine = Engine(Path(sys.argv[1]))
ref = TableRef("p", "d", "daily$20251101")
number = 0
while True:
    number += 1
    rows = [{"day": "2025-11-01", "n": number, "part": part} for part in range(20)]
    engine.load_rows(ref, [rows], write_disposition="WRITE_TRUNCATE")
    engine.query(f"INSERT INTO d.daily VALUES ('2025-11-02', {number}, 0)", project="p")
    print(number, flush=True)
"""


def test_a_kill_loses_no_acknowledged_write(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    made(path).close()
    writer = guarded.GuardedProcess(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(SOURCES)},
    )
    assert writer.stdout is not None
    heard = [int(writer.stdout.readline()) for _ in range(6)]
    writer.kill()
    heard += [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    writer.stdout.close()
    engine = Engine(path)
    whole = query_rows(
        engine, "SELECT COUNT(*), MIN(n), MAX(n) FROM d.daily WHERE day = '2025-11-01'"
    )
    count, first, last = whole[0]
    assert count == "20"
    assert first == last
    assert int(first) >= heard[-1]
    sql = "SELECT COUNT(DISTINCT n) FROM d.daily WHERE day = '2025-11-02'"
    assert int(query_rows(engine, sql)[0][0]) >= heard[-1]
    engine.close()
