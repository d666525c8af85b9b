"""A pipeline's steps, run one after the other as its operators run them, here or in a process.

python tests/support/pipeline_steps.py '{"sandbox": {…}, "project": …, …}'    (see `Job`)
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.processors.base import OrgProcessor
from convergence.processors.context import StepResult
from convergence.processors.registry import find_operator
from convergence.settings import PROJECT_ROOT
from stack import guarded
from support.processor_env import OrgEnv, connect_env
from support.sandbox_process import SandboxProcess


def run_steps(
    org: OrgEnv,
    path: str,
    days: Sequence[date],
    *,
    run_id: str = "run_1",
    attempt: int = 1,
    only: str | None = None,
) -> dict[str, StepResult]:
    """Run the steps of a pipeline file for one org, in the file's order."""
    configs = org.env.settings.configs_dir
    spec = load_pipeline(configs / path, configs)
    assert isinstance(spec, PipelineSpec), [str(fault) for fault in spec]
    results: dict[str, StepResult] = {}
    for step in spec.steps:
        if only not in {None, step.step}:
            continue
        kind = cast("type[OrgProcessor[Any]]", find_operator(step.ps_type))
        operator = kind(task_id=step.step, config=step.config, pipeline=spec.build_info(), batch={})
        context = org.context(
            days, run_id=run_id, step=step.step, attempt=attempt, pipeline=spec.build_info()
        )
        results[step.step] = operator.run_step(context, operator.parse_config())
    return results


def endpoints(sandbox: SandboxProcess) -> dict[str, str]:
    """Where a sandbox listens, for a process of its own."""
    return {
        name: value
        for name, value in vars(sandbox).items()
        if isinstance(value, str) and not name.startswith("_")
    }


@dataclass(frozen=True)
class Job:
    """What a process of its own needs to run a pipeline's steps for one org."""

    sandbox: dict[str, str]
    project: str
    var_dir: str
    settings: dict[str, Any]
    org_slug: str
    key: str
    path: str
    days: list[str]
    run_id: str = "run_1"
    attempt: int = 1
    only: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> guarded.GuardedProcess:
        """Begin the process; it prints each step's result as JSON."""
        rooms = ":".join(
            str(PROJECT_ROOT / name) for name in ("plugins", "tools", "sandbox/src", "tests")
        )
        return guarded.GuardedProcess(
            [sys.executable, __file__, json.dumps(asdict(self))],
            env={"PYTHONPATH": rooms, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self) -> dict[str, StepResult]:
        """Run the steps in this process."""
        env = connect_env(
            cast("Any", SimpleNamespace(**self.sandbox)), Path(self.var_dir), project=self.project
        )
        env.keys[self.org_slug] = self.key
        own = dict(self.settings)
        if "configs_dir" in own:
            own["configs_dir"] = Path(own["configs_dir"])
        org = OrgEnv(env, self.org_slug).served_by(**own)
        days = [date.fromisoformat(day) for day in self.days]
        return run_steps(
            org, self.path, days, run_id=self.run_id, attempt=self.attempt, only=self.only
        )


if __name__ == "__main__":
    found = Job(**json.loads(sys.argv[1])).run()
    sys.stdout.write(json.dumps({name: result.to_dict() for name, result in found.items()}))
