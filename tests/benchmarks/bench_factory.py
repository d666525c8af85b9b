"""The factory: CPU time of 1,000 YAML pipelines against the same DAGs written in Python.

Each figure is the median of several processes, each forked from a process that has imported what
Airflow's DAG processor has imported when it forks one: with `CONVERGENCE_PRELOAD=packages` nothing
of ours, with `all` our code too. So the imports that every such process repeats are in the figure.
The kernel's accounting of the ended child is what counts. dag-factory runs after them when it is
installed, with a plain chain of four Bash tasks: less than ours build.

PYTHONPATH=plugins:tools:sandbox/src:tests python tests/benchmarks/bench_factory.py
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.dags_by_hand import by_hand, dag_id_of, text_of
from benchmarks.report import Report
from stack import guarded

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = 1_000
ROUNDS = 3
MOST_TIMES_BY_HAND = 1.5
MOST_SECONDS_STORED = 5.5
MOST_MS_FOR_ONE = 60.0
PRELOADS = ("packages", "all")
# What a component has imported by itself when it forks a process for a file or a task.
# pytest is imported by the sample processors' module alone; no component imports it.
_COMPONENT_IMPORTS = (
    "airflow.dag_processing.manager",
    "airflow.sdk.execution_time.supervisor",
    "pytest",
)


def main() -> int:
    """Measure all and print the table."""
    report = Report("factory")
    with tempfile.TemporaryDirectory(prefix="bench-factory-") as folder:
        configs = write_configs(Path(folder) / "configs")
        check_equal(configs)
        cold, warm = (measure_forks(preload, configs) for preload in PRELOADS)
    report.add(f"{PIPELINES} DAGs by hand in Python", cold["hand"], "CPU-s")
    report.add(f"{PIPELINES} DAGs from YAML", cold["yaml"], "CPU-s")
    report.add("  of it reading and checking", cold["load"], "CPU-s")
    ratio = cold["yaml"] / cold["hand"]
    report.add("YAML against by hand", ratio, "times", target=MOST_TIMES_BY_HAND)
    for name, found in (("nothing of ours imported", cold), ("our code imported", warm)):
        stored = f"{PIPELINES} DAGs built and serialized, {name}"
        report.add(stored, found["stored"], "CPU-s", target=MOST_SECONDS_STORED)
    one = f"one DAG of {PIPELINES} in a forked process"
    report.add(f"{one}, nothing of ours imported", cold["one"] * 1000, "CPU-ms")
    report.add(f"{one}, our code", warm["one"] * 1000, "CPU-ms", target=MOST_MS_FOR_ONE)
    report.add("the fork alone", warm["nothing"] * 1000, "CPU-ms")
    if "dagfactory" in cold:
        report.add(f"{PIPELINES} simpler DAGs by dag-factory", cold["dagfactory"], "CPU-s")
    return report.finish()


def write_configs(folder: Path) -> Path:
    """Write one YAML file for each pipeline."""
    for n in range(PIPELINES):
        path = folder / f"bench/g{n % 20}/usage_{n}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text_of(n), encoding="utf-8")
    return folder


def measure_forks(preload: str, configs: Path) -> dict[str, float]:
    """Return the median CPU seconds of each kind of work, in forks of one component."""
    with tempfile.TemporaryDirectory(prefix="bench-airflow-") as home:
        done = guarded.run(
            [sys.executable, __file__, "component", str(configs)],
            env=environment(configs, home=home) | {"CONVERGENCE_PRELOAD": preload},
            check=True,
            stderr=None,
            timeout=1800,
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


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


def measure_in_processor(configs: Path) -> dict[str, float]:
    """Become what the DAG processor is when it forks, and measure each kind of work in forks."""
    sys.argv[:] = ["airflow", "dag-processor"]
    settings = importlib.import_module("airflow.settings")
    settings.initialize()
    for name in _COMPONENT_IMPORTS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    kinds: dict[str, Callable[[], int]] = {
        "nothing": lambda: 0,
        "one": one_from_yaml,
        "load": lambda: only_loaded(configs),
        "yaml": all_from_yaml,
        "stored": all_stored,
        "hand": all_by_hand,
    }
    if importlib.util.find_spec("dagfactory"):
        kinds["dagfactory"] = all_by_dag_factory
    expected = {"nothing": 0, "one": 1}
    # A process of each kind takes its turn, so that load on the machine strikes all alike.
    rounds = [
        {kind: in_fork(work, count=expected.get(kind, PIPELINES)) for kind, work in kinds.items()}
        for _ in range(ROUNDS)
    ]
    return {kind: statistics.median(one[kind] for one in rounds) for kind in kinds}


def in_fork(work: Callable[[], int], *, count: int) -> float:
    """Do the work in a forked process; CPU seconds of that process from fork to end."""
    pid = os.fork()
    if pid == 0:
        # Not `sys.exit`: the child must never reach the code after the fork.
        code = 4
        try:
            code = 0 if work() == count else 3
        finally:
            if code == 4:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"a forked process ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def registered(dag_id: str = "") -> Mapping[str, Any]:
    """The DAGs that our DAG file makes, or the one that a task is for."""
    from support.sample_pipelines import install_processors

    install_processors()
    from convergence.pipelines.dags.factory import register_dags

    os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
    namespace: dict[str, Any] = {}
    register_dags(namespace)
    return namespace


def one_from_yaml() -> int:
    """One DAG, as a task's process builds it."""
    return len(registered(dag_id_of(PIPELINES // 2)))


def all_from_yaml() -> int:
    """Every DAG, as the DAG processor builds them."""
    return len(registered())


def all_stored() -> int:
    """Every DAG built and serialized, as the DAG processor hands them on."""
    from airflow.serialization.serialized_objects import DagSerialization

    return len([DagSerialization.to_dict(dag) for dag in registered().values()])


def only_loaded(configs: Path) -> int:
    """Every file read and checked, no DAG built."""
    from support.sample_pipelines import install_processors

    install_processors()
    from convergence.pipelines.files.loader import load_all

    return len(load_all(configs).specs)


def all_by_hand() -> int:
    """The same DAGs without YAML."""
    from support.sample_pipelines import install_processors

    install_processors()
    return len({dag_id_of(n): by_hand(n) for n in range(PIPELINES)})


def all_by_dag_factory() -> int:
    """dag-factory's own format: a chain of four Bash tasks with schedule, tags, params, retries."""
    import dagfactory
    import yaml

    folder = Path(tempfile.mkdtemp(prefix="bench-dag-factory-"))
    tasks = [
        {
            "task_id": f"t{at}",
            "operator": "airflow.providers.standard.operators.bash.BashOperator",
            "bash_command": "true",
            "dependencies": [f"t{at - 1}"] if at else [],
        }
        for at in range(4)
    ]
    for n in range(PIPELINES):
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
    namespace: dict[str, Any] = {}
    dagfactory.load_yaml_dags(globals_dict=namespace, dags_folder=str(folder))
    return sum(name.startswith("df_") for name in namespace)


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

    from convergence.pipelines.dags.factory import build_dag
    from convergence.pipelines.files.loader import load_dag
    from convergence.pipelines.files.spec import PipelineSpec
    from support import sample_pipelines

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
        case ["component", configs]:
            print(json.dumps(measure_in_processor(Path(configs))))  # noqa: T201  # read by the parent
