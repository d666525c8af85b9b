"""The factory: CPU time of 1,000 YAML pipelines against the same DAGs written in Python.

Each figure is the median of several fresh processes with all imports done; a process of each
kind takes its turn, so that load on the machine strikes all alike. dag-factory runs beside them
when it is installed, with a plain chain of four Bash tasks: less than ours build.

PYTHONPATH=plugins:tests python tests/benchmarks/bench_factory.py
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sample_pipelines
from benchmarks.report import Report

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = 1_000
ROUNDS = 3
MOST_TIMES_BY_HAND = 1.5
MOST_MS_FOR_ONE = 10.0
WARM_UP = PIPELINES

YAML = """\
pipeline_id: bench-usage-{n}
description: Usage and cost number {n}
provider: openai
schedule: "{minute} 6 * * *"
params:
  start_date: {{type: string, format: date, description: First day}}
  end_date: {{type: string, format: date, description: Last day}}
tags: [bench]
steps:
  - step: extract_usage
    processor: sample.fetch
    config:
      destination: bench_usage_{n}
      granularity: day
      page_size: 100
  - step: extract_more
    processor: sample.fetch
    config: {{destination: bench_more_{n}, granularity: hour}}
    depends_on: []
  - step: transform_cost
    processor: sample.price
    config: {{destination: bench_cost_{n}}}
    depends_on: [extract_usage, extract_more]
  - step: validate_cost
    processor: sample.price
    config: {{destination: bench_checked_{n}}}
retries: 2
"""


def main() -> int:
    """Measure all and print the table."""
    report = Report("factory")
    with tempfile.TemporaryDirectory(prefix="bench-factory-") as folder:
        configs = write_configs(Path(folder) / "configs")
        check_equal(configs)
        kinds = ["yaml", "hand", "load", "one"]
        if importlib.util.find_spec("dagfactory"):
            kinds.append("dagfactory")
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind in kinds:
                seconds[kind].append(measure(kind, configs))
    median = {kind: statistics.median(found) for kind, found in seconds.items()}
    report.add(f"{PIPELINES} DAGs by hand in Python", median["hand"], "CPU-s")
    report.add(f"{PIPELINES} DAGs from YAML", median["yaml"], "CPU-s")
    report.add("  of it reading and checking", median["load"], "CPU-s")
    ratio = median["yaml"] / median["hand"]
    report.add("YAML against by hand", ratio, "times", target=MOST_TIMES_BY_HAND)
    report.add(f"one DAG of {PIPELINES}", median["one"] * 1000, "CPU-ms", target=MOST_MS_FOR_ONE)
    if "dagfactory" in median:
        report.add(f"{PIPELINES} simpler DAGs by dag-factory", median["dagfactory"], "CPU-s")
    return report.finish()


def write_configs(folder: Path) -> Path:
    """One YAML file for each pipeline, and one to warm up with."""
    for n in range(PIPELINES + 1):
        sample_pipelines.write(folder, f"bench/g{n % 20}/usage_{n}.yml", text_of(n))
    return folder


def text_of(n: int) -> str:
    """The YAML of pipeline number n."""
    return YAML.format(n=n, minute=n % 60)


def dag_id_of(n: int) -> str:
    """Its identity."""
    return f"bench.g{n % 20}.usage_{n}"


def measure(kind: str, configs: Path) -> float:
    """CPU seconds of one kind of work in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="bench-airflow-") as home:
        done = subprocess.run(
            [sys.executable, __file__, kind, str(configs)],
            env=environment(configs, home=home),
            check=True,
            capture_output=True,
            text=True,
        )
    return float(json.loads(done.stdout.splitlines()[-1]))


def environment(configs: Path, *, home: str) -> dict[str, str]:
    """A process of its own: our packages, a private Airflow, no telemetry of others."""
    paths = [str(ROOT / "plugins"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "CONVERGENCE_CONFIGS_DIR": str(configs),
        "DO_NOT_TRACK": "true",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "SCARF_NO_ANALYTICS": "true",
    }


def work(kind: str, configs: Path) -> float:
    """Do it in this process, warm; CPU seconds."""
    sample_pipelines.install_processors()
    kinds: dict[str, Callable[[], Callable[[], int]]] = {
        "yaml": lambda: all_from_yaml(configs),
        "hand": all_by_hand,
        "load": lambda: only_loaded(configs),
        "one": lambda: one_from_yaml(configs),
        "dagfactory": all_by_dag_factory,
    }
    timed = kinds[kind]()
    started = time.process_time()
    count = timed()
    taken = time.process_time() - started
    assert count == (1 if kind == "one" else PIPELINES), count
    return taken


def all_from_yaml(configs: Path) -> Callable[[], int]:
    """Every DAG, as the DAG processor builds them."""
    from convergence.pipelines.factory import register

    warm_up(configs)
    (configs / f"bench/g{WARM_UP % 20}/usage_{WARM_UP}.yml").rename(configs / "warm")

    def build() -> int:
        namespace: dict[str, Any] = {}
        register(namespace)
        return len(namespace)

    return restoring(build, configs)


def restoring(build: Callable[[], int], configs: Path) -> Callable[[], int]:
    """Put the warm-up file back afterwards, for the next process."""

    def wrapped() -> int:
        count = build()
        (configs / "warm").rename(configs / f"bench/g{WARM_UP % 20}/usage_{WARM_UP}.yml")
        return count

    return wrapped


def only_loaded(configs: Path) -> Callable[[], int]:
    """Every file read and checked, no DAG built."""
    from convergence.pipelines.loader import load_all

    warm_up(configs)
    return lambda: len(load_all(configs).specs) - 1


def one_from_yaml(configs: Path) -> Callable[[], int]:
    """One DAG, as a task's process builds it."""
    from convergence.pipelines.factory import register

    warm_up(configs)
    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id_of(PIPELINES // 2)

    def build() -> int:
        namespace: dict[str, Any] = {}
        register(namespace)
        return len(namespace)

    return build


def warm_up(configs: Path) -> None:
    """Import everything that building a DAG imports."""
    from convergence.pipelines.factory import build_dag
    from convergence.pipelines.loader import load_dag
    from convergence.pipelines.spec import PipelineSpec

    spec = load_dag(dag_id_of(WARM_UP), configs)
    assert isinstance(spec, PipelineSpec)
    build_dag(spec)


def all_by_hand() -> Callable[[], int]:
    """The same DAGs without YAML."""
    by_hand(WARM_UP)

    def build() -> int:
        namespace = {dag_id_of(n): by_hand(n) for n in range(PIPELINES)}
        return len(namespace)

    return build


def by_hand(n: int) -> Any:
    """Pipeline number n, written down in Python."""
    from airflow.sdk import DAG, Param, TriggerRule, task_group

    from convergence.pipelines.lifecycle import CloseRun, SelectOrgs
    from convergence.processors.context import PipelineFacts

    # Written by this benchmark, so unknown to a type checker.
    sample = "convergence.processors.sample"
    Fetch = importlib.import_module(f"{sample}.fetch").Fetch  # noqa: N806 - a class
    Price = importlib.import_module(f"{sample}.price").Price  # noqa: N806 - a class

    day = {"type": ["null", "string"], "format": "date"}
    slug = {
        "type": ["null", "string"],
        "title": "Organization",
        "pattern": "^[a-z0-9][a-z0-9_]{1,48}[a-z0-9]$",
    }
    facts = PipelineFacts(
        pipeline_id=f"bench-usage-{n}",
        dag_id=dag_id_of(n),
        provider="openai",
        tables=(
            f"bench_usage_{n}",
            f"bench_more_{n}",
            f"bench_cost_{n}",
            f"bench_checked_{n}",
        ),
        upstream={
            "extract_usage": (),
            "extract_more": (),
            "transform_cost": ("extract_usage", "extract_more"),
            "validate_cost": ("transform_cost",),
        },
        params={
            "type": "object",
            "properties": {
                "start_date": {"type": "string", "description": "First day", "format": "date"},
                "end_date": {"type": "string", "description": "Last day", "format": "date"},
            },
            "required": [],
            "additionalProperties": False,
        },
    )
    lifecycle: dict[str, Any] = {
        "pipeline": facts,
        "execution_timeout": timedelta(minutes=15),
        "priority_weight": 10,
    }
    with DAG(
        dag_id_of(n),
        description=f"Usage and cost number {n}",
        schedule=f"{n % 60} 6 * * *",
        start_date=datetime(2025, 1, 1, tzinfo=UTC),
        catchup=False,
        is_paused_upon_creation=False,
        max_active_runs=16,
        max_active_tasks=8,
        params={
            "org_slug": Param(
                None, "Run for this org only; empty for every eligible org.", schema=slug
            ),
            "start_date": Param(None, "First day", schema=day),
            "end_date": Param(None, "Last day", schema=day),
        },
        tags=["bench", "daily", "openai", "org"],
        doc_md=doc_by_hand(n),
        default_args={
            "owner": "convergence",
            "retries": 2,
            "retry_delay": timedelta(seconds=15),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=10),
            "execution_timeout": timedelta(minutes=60),
            "priority_weight": 1,
            "weight_rule": "absolute",
        },
        render_template_as_native_obj=False,
    ) as dag:
        select = SelectOrgs(task_id="select_orgs", **lifecycle)

        @task_group(group_id="orgs")
        def orgs(batch: Any) -> None:
            usage = {
                "destination": f"bench_usage_{n}",
                "granularity": "day",
                "page_size": 100,
            }
            more = {"destination": f"bench_more_{n}", "granularity": "hour"}
            cost, checked = f"bench_cost_{n}", f"bench_checked_{n}"
            own = {"pipeline": facts, "batch": batch}
            first = Fetch(task_id="extract_usage", config=usage, **own)
            second = Fetch(task_id="extract_more", config=more, **own)
            third = Price(task_id="transform_cost", config={"destination": cost}, **own)
            fourth = Price(task_id="validate_cost", config={"destination": checked}, **own)
            first >> third
            second >> third
            third >> fourth

        mapped = orgs.expand(batch=select.output)
        close = CloseRun(task_id="close_run", trigger_rule=TriggerRule.ALL_DONE, **lifecycle)
        select >> close
        mapped >> close
    return dag


def doc_by_hand(n: int) -> str:
    """The documentation that the factory writes for pipeline number n, put together simply."""
    usage, more, cost, checked = (
        f"bench_{kind}_{n}" for kind in ("usage", "more", "cost", "checked")
    )
    return (
        f"### Usage and cost number {n}\n\n"
        f"- **Pipeline**: `bench-usage-{n}`, for every eligible org\n"
        f"- **Schedule**: `{n % 60} 6 * * *` (UTC)\n"
        "- **Provider**: openai\n"
        f"- **Tables**: `{usage}`, `{more}`, `{cost}`, `{checked}`\n"
        f"- **File**: `bench/g{n % 20}/usage_{n}.yml`\n\n"
        "| step | processor | does | after | tables |\n|---|---|---|---|---|\n"
        f"| `extract_usage` | `sample.fetch` | Fetches usage, page by page. |  | `{usage}` |\n"
        f"| `extract_more` | `sample.fetch` | Fetches usage, page by page. |  | `{more}` |\n"
        "| `transform_cost` | `sample.price` | Prices what was fetched. "
        f"| `extract_usage`, `extract_more` | `{cost}` |\n"
        "| `validate_cost` | `sample.price` | Prices what was fetched. "
        f"| `transform_cost` | `{checked}` |\n\n"
        "| param | type | | |\n|---|---|---|---|\n"
        "| `start_date` | string, date |  | First day |\n"
        "| `end_date` | string, date |  | Last day |\n\n"
        f"```yaml\n{text_of(n).rstrip()}\n```"
    )


def all_by_dag_factory() -> Callable[[], int]:
    """dag-factory's own format: a chain of four Bash tasks with schedule, tags, params, retries."""
    import dagfactory
    import yaml

    tasks = [
        {
            "task_id": f"t{at}",
            "operator": "airflow.providers.standard.operators.bash.BashOperator",
            "bash_command": "true",
            "dependencies": [f"t{at - 1}"] if at else [],
        }
        for at in range(4)
    ]
    folder = Path(tempfile.mkdtemp(prefix="bench-dag-factory-"))
    for n in range(PIPELINES + 1):
        one = {
            "default_args": {"owner": "bench", "start_date": "2025-01-01", "retries": 2},
            "description": f"Usage and cost number {n}",
            "schedule": f"{n % 60} 6 * * *",
            "catchup": False,
            "tags": ["bench"],
            "params": {"start_date": "2025-01-01"},
            "tasks": tasks,
        }
        (folder / f"{n}.yml").write_text(yaml.safe_dump({f"df_{n}": one}, sort_keys=False))
    warm = Path(tempfile.mkdtemp(prefix="bench-dag-factory-"))
    (folder / f"{WARM_UP}.yml").rename(warm / "warm.yml")
    generate(dagfactory, warm)
    return lambda: sum(name.startswith("df_") for name in generate(dagfactory, folder))


def generate(dagfactory: Any, folder: Path) -> dict[str, Any]:
    """Let dag-factory build the DAGs of every file in a folder, as its documentation says."""
    namespace: dict[str, Any] = {}
    dagfactory.load_yaml_dags(globals_dict=namespace, dags_folder=str(folder))
    return namespace


def check_equal(configs: Path) -> None:
    """Make sure that both ways build the same DAG, so that the comparison is one."""
    left, right = (
        subprocess.run(
            [sys.executable, __file__, "serialize", way, str(configs)],
            env=environment(configs, home=str(configs.parent / "airflow")),
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()[-1]
        for way in ("yaml", "hand")
    )
    if left != right:
        raise SystemExit(f"The DAGs differ:\n{left}\n{right}")


def serialize(way: str, configs: Path) -> str:
    """Pipeline 7 built one of the ways, as Airflow stores it."""
    from airflow.serialization.serialized_objects import DagSerialization

    from convergence.pipelines.factory import build_dag
    from convergence.pipelines.loader import load_dag
    from convergence.pipelines.spec import PipelineSpec

    sample_pipelines.install_processors()
    spec = load_dag(dag_id_of(7), configs)
    assert isinstance(spec, PipelineSpec)
    dag = build_dag(spec) if way == "yaml" else by_hand(7)
    dag.fileloc = "same"
    return json.dumps(DagSerialization.to_dict(dag), sort_keys=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            sys.exit(main())
        case ["serialize", way, configs]:
            print(serialize(way, Path(configs)))  # noqa: T201  # read by the parent
        case [kind, configs]:
            print(json.dumps(work(kind, Path(configs))))  # noqa: T201  # read by the parent
