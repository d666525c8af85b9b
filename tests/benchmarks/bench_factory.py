"""The factory: CPU time of 1,000 YAML pipelines against the same DAGs written in Python.

Each figure is the median of several fresh processes with all imports done; a process of each
kind takes its turn, so that load on the machine strikes all alike. dag-factory runs beside them
when it is installed, with a plain chain of four Bash tasks: less than ours build.

PYTHONPATH=plugins:tests python tests/benchmarks/bench_factory.py
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sample_pipelines
from benchmarks.dags_by_hand import by_hand, dag_id_of, text_of
from benchmarks.report import Report
from stack import guarded

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = 1_000
ROUNDS = 3
MOST_TIMES_BY_HAND = 1.5
MOST_MS_FOR_ONE = 10.0
WARM_UP = PIPELINES


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


def measure(kind: str, configs: Path) -> float:
    """CPU seconds of one kind of work in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="bench-airflow-") as home:
        done = guarded.run(
            [sys.executable, __file__, kind, str(configs)],
            env=environment(configs, home=home),
            check=True,
            timeout=1800,
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
        guarded.run(
            [sys.executable, __file__, "serialize", way, str(configs)],
            env=environment(configs, home=str(configs.parent / "airflow")),
            check=True,
            timeout=1800,
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
