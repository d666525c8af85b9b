"""A derived step's cleared task looks at every org again; other steps keep what orgs have done."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from convergence.errors import FatalError
from convergence.processors.batch import Batch, OrgSlice, StepRun
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.registry import find_operator
from convergence.processors.steplog import StepLog
from convergence.runs.records import RunRecords
from convergence.state.org_runs import OrgRun
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from support.processor_env import NOW, USAGE_COST, ProcessorEnv
from support.run_records import admit_run


@dataclass
class Work:
    """Counts what is done for each org, and fails for some."""

    failing: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)

    def __call__(self, org: OrgContext) -> StepResult:
        self.done[org.org_slug] += 1
        if org.org_slug in self.failing:
            raise FatalError("The step failed")
        return StepResult()


def _get_run(name: str) -> OrgRun:
    return OrgRun(
        run_id=f"run_{name}",
        org_slug=name,
        pipeline_id=USAGE_COST.pipeline_id,
        dag_id=USAGE_COST.dag_id,
        dag_run_id="manual__1",
        trigger="api",
        requested_by="key",
        created_at=NOW,
    )


@pytest.mark.parametrize("derived", [True, False])
def test_a_derived_step_that_was_cleared_after_a_failure_looks_at_every_org_again(
    env: ProcessorEnv, tmp_path: Path, derived: bool
) -> None:
    store = StateStore.connect(f"sqlite:///{tmp_path}/records.db")
    records = RunRecords(store)
    steps = StepLog(store, records)
    for name in ("one", "two"):
        admit_run(store, _get_run(name), limits=RunLimits(10, 10, 10), now=NOW)
        records.begin_run(f"run_{name}", now=NOW)
    work = Work(failing={"two"})
    batch = Batch("some", tuple(OrgSlice(name, f"run_{name}", ()) for name in ("one", "two")))

    def attempt(number: int, *, max_tries: int) -> None:
        StepRun(
            step="transform_cost",
            processor="openai.cost",
            pipeline=USAGE_COST,
            services=replace(env.services, steps=steps, store=store, now=lambda: NOW),
            attempt=number,
            max_tries=max_tries,
            run_org=work,
            stop=threading.Event(),
            log=logging.getLogger("test"),
            derived=derived,
        ).run_batch(batch)

    attempt(1, max_tries=3)
    attempt(2, max_tries=3)  # an automatic retry does only the one that failed
    assert work.done == {"one": 1, "two": 2}
    attempt(3, max_tries=5)  # a person has cleared the task
    assert work.done == {"one": 2 if derived else 1, "two": 3}
    store.close()


@pytest.mark.parametrize(
    ("ps_type", "derived"),
    [
        ("openai.cost", True),
        ("openai.subscriptions", True),
        ("anthropic.cost", True),
        ("gcp.billing_cost", True),
        ("generic.local_bq_transformer", True),
        ("openai.usage", False),
    ],
)
def test_steps_that_compute_from_other_tables_say_so(ps_type: str, derived: bool) -> None:
    assert getattr(find_operator(ps_type), "derived") is derived  # noqa: B009  # not of every processor
