"""A trigger through the API compared with Airflow's `POST dagRuns`, on a real stack, in turn.

On `make up`, and on `make up-celery` where `make setup-production` was run. On SQLite several
clients are measured by ours alone: Airflow's own trigger locks itself out there for seconds.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/benchmarks/bench_trigger.py
"""

from __future__ import annotations

import itertools
import secrets
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.report import Report, stopwatch
from e2e.customers import YESTERDAY, warehouse
from e2e.harness import PRODUCTION_PYTHON, RunningStack, start_stack
from e2e.life import USAGE_COST, Life

DAG = "openai.cost.usage_cost"
ORGS = 4
ROUNDS = 3
SLEEP_TRIES = 20
STOP_SECONDS = 120
# Per round and client; a rate limit of 100 a minute stands in the way of more.
TRIGGERS = {1: 20, 8: 5}
TARGET = 1.3

Trigger = Callable[[httpx.Client], httpx.Response]


def main() -> int:
    """Measure all and print the table."""
    report = Report("trigger")
    with running() as (stack, lives):
        measure_triggers(stack, lives, 1, report, where="SQLite")
        measure_triggers(stack, lives, 8, report, where="SQLite", beside=False)
    if PRODUCTION_PYTHON.exists():
        with running(celery=True) as (stack, lives):
            for clients in TRIGGERS:
                measure_triggers(stack, lives, clients, report, where="PostgreSQL")
    return report.finish()


@contextmanager
def running(*, celery: bool = False) -> Iterator[tuple[RunningStack, list[Life]]]:
    """A stack in which nothing starts what is triggered, and its organizations."""
    with tempfile.TemporaryDirectory(prefix="bench-trigger-") as folder:
        # PostgreSQL runs as a user of its own, who must get in.
        Path(folder).chmod(0o755)
        stack = start_stack(Path(folder) / "var", celery=celery)
        try:
            lives = settle(stack)
            with schedulers_asleep(stack):
                yield stack, lives
        finally:
            stack.stop(within=STOP_SECONDS)


def settle(stack: RunningStack) -> list[Life]:
    """Organizations whose plan is no limit, connected."""
    root_key = stack.secrets["root_api_key"]
    lives = [Life((stack.api_url,), root_key, f"bench_{secrets.token_hex(4)}") for _ in range(ORGS)]
    lives[0].bootstrap()
    for life in lives:
        life.onboard()
        life.connect()
    far = "SET concurrent_runs = 1000000, runs_per_day = 1000000, runs_per_month = 1000000"
    sql = f"UPDATE organizations.org_usage_quotas {far} WHERE TRUE"
    warehouse(stack).query_and_wait(sql)
    return lives


@contextmanager
def schedulers_asleep(stack: RunningStack) -> Iterator[None]:
    """Let nothing start what is triggered: both sides are measured by themselves."""
    names = ("scheduler", "dag-processor", "triggerer")
    asleep = [one for one in stack.components() if set(names) & set(one.cmdline())]
    assert len(asleep) == len(names), asleep
    for _ in range(SLEEP_TRIES):
        for process in asleep:
            process.suspend()
        if _database_is_free(stack):
            break
        for process in asleep:
            process.resume()
        time.sleep(0.5)
    try:
        yield
    finally:
        for process in asleep:
            process.resume()


def _database_is_free(stack: RunningStack) -> bool:
    """Whether none of those asleep holds the lock of Airflow's SQLite."""
    with stack.airflow() as admin:
        variable = {"key": f"bench_{secrets.token_hex(4)}", "value": "written"}
        try:
            return admin.post("/variables", json=variable, timeout=3.0).status_code == 201
        except httpx.TimeoutException:
            return False


def measure_triggers(
    stack: RunningStack,
    lives: list[Life],
    clients: int,
    report: Report,
    *,
    where: str,
    beside: bool = True,
) -> None:
    """Triggers by so many clients at once: ours, in turn with Airflow's own by default."""
    with stack.airflow() as admin:
        token = admin.headers["authorization"]
    kinds = {"ours": _ours(stack, lives)}
    if beside:
        kinds["Airflow's"] = _airflows(stack, token)
    took: dict[str, list[float]] = defaultdict(list)
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    for _ in range(ROUNDS):
        for name, trigger in kinds.items():
            for seconds, status in _at_once(trigger, clients):
                took[name].append(seconds)
                statuses[name][status] += 1
    label = f"{where}, {clients} client(s)"
    middle = {name: statistics.median(values) * 1000 for name, values in took.items()}
    for name, value in middle.items():
        report.add(f"{label}: {name}, p50", value, "ms")
        failed = sum(number for status, number in statuses[name].items() if status >= 500)
        target = 0 if name == "ours" else None
        report.add(f"{label}: {name}, answers 5xx", failed, "", target=target)
    if beside:
        ratio = middle["ours"] / middle["Airflow's"]
        report.add(f"{label}: their ratio", ratio, "x", target=TARGET)
    assert set(statuses["ours"]) <= {202} | set(range(500, 600)), statuses


def _ours(stack: RunningStack, lives: list[Life]) -> Trigger:
    turn = itertools.cycle(lives)

    def trigger(client: httpx.Client) -> httpx.Response:
        life = next(turn)
        headers = {"X-API-Key": life.key, "Idempotency-Key": secrets.token_hex(8)}
        url = f"{stack.api_url}/pipelines/run/{life.slug}/{USAGE_COST}"
        return client.post(url, headers=headers, json={"date": YESTERDAY.isoformat()})

    return trigger


def _airflows(stack: RunningStack, token: str) -> Trigger:
    url = f"{stack.airflow_url}/api/v2/dags/{DAG}/dagRuns"

    def trigger(client: httpx.Client) -> httpx.Response:
        run_id = f"bench__{secrets.token_hex(8)}"
        body: dict[str, object] = {"dag_run_id": run_id, "logical_date": None, "conf": {}}
        return client.post(url, headers={"Authorization": token}, json=body)

    return trigger


def _at_once(trigger: Trigger, clients: int) -> list[tuple[float, int]]:
    """Seconds and status of every trigger, each client sending its own one after the other."""

    def one_client(_number: int) -> list[tuple[float, int]]:
        found = []
        with httpx.Client(timeout=60.0, trust_env=False) as client:
            for _ in range(TRIGGERS[clients]):
                with stopwatch() as watch:
                    answer = trigger(client)
                found.append((watch.wall, answer.status_code))
        return found

    with ThreadPoolExecutor(clients) as pool:
        return [each for found in pool.map(one_client, range(clients)) for each in found]


if __name__ == "__main__":
    sys.exit(main())
