from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from convergence.metering import Resource, Use
from convergence.pipelines.running.closing import NEVER_BEGAN, close_orgs
from convergence.processors.context import PipelineInfo
from convergence.runs.records import NEVER_ENDED
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
FACTS = PipelineInfo(
    pipeline_id="p",
    dag_id="a.p",
    tables=("usage",),
    upstream={"extract_usage": (), "transform_cost": ("extract_usage",)},
)


def active_run(org_slug: str, **changes: Any) -> OrgRun:
    base = OrgRun(
        run_id=f"run_{org_slug}",
        org_slug=org_slug,
        pipeline_id="p",
        dag_id="a.p",
        dag_run_id="r1",
        trigger="schedule",
        requested_by="scheduler",
        created_at=NOW,
        status=RunStatus.RUNNING,
        days=(date(2026, 11, 20),),
    )
    return replace(base, **changes)


def step(org_slug: str, name: str, status: StepStatus, **changes: Any) -> OrgStep:
    base = OrgStep(
        run_id=f"run_{org_slug}",
        step=name,
        org_slug=org_slug,
        processor="sample.fetch",
        attempt=1,
        started_at=NOW,
        status=status,
        rows_processed=5,
    )
    return replace(base, **changes)


@dataclass
class FakeRuns:
    runs: dict[str, OrgRun]
    records: list[OrgStep] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)

    def of_dag_run(self, dag_id: str, dag_run_id: str) -> Sequence[OrgRun]:
        return [one for one in self.runs.values() if (one.dag_id, one.dag_run_id) == ("a.p", "r1")]

    def list_steps(self, run_id: str) -> Mapping[str, OrgStep]:
        return {one.step: one for one in self.records if one.run_id == run_id}

    def begin_run(self, run_id: str, *, now: datetime) -> bool:
        self.reopened.append(run_id)
        return True

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        self.runs[run_id] = replace(self.runs[run_id], status=status, error=error)
        return True

    def finish_step(
        self, step: OrgStep, *, status: StepStatus, now: datetime, error: RunError | None = None
    ) -> bool:
        at = self.records.index(step)
        self.records[at] = replace(step, status=status, error=error)
        return True


def fake(*runs: OrgRun, steps: Sequence[OrgStep] = ()) -> FakeRuns:
    return FakeRuns({one.run_id: one for one in runs}, list(steps))


def close(runs: FakeRuns, *, selected: bool = True) -> dict[str, Any]:
    summary = close_orgs(FACTS, runs=runs, dag_run_id="r1", selected=selected, now=NOW)
    assert (summary.build_error() is not None) == bool(summary.failed)
    return {name: told for name, told in summary.to_result().items() if name != "cost"}


DONE = StepStatus.SUCCESS


def test_an_org_succeeds_when_every_step_did() -> None:
    runs = fake(
        active_run("acme"),
        steps=[step("acme", name, DONE) for name in ("extract_usage", "transform_cost")],
    )
    assert close(runs) == {
        "status": "SUCCESS",
        "orgs_succeeded": 1,
        "orgs_failed": 0,
        "orgs_cancelled": 0,
        "rows_processed": 10,
        "failed": {},
    }
    assert runs.runs["run_acme"].status is RunStatus.SUCCESS


def test_a_step_that_had_nothing_to_do_is_no_failure() -> None:
    skipped = step("acme", "transform_cost", StepStatus.SKIPPED)
    runs = fake(active_run("acme"), steps=[step("acme", "extract_usage", DONE), skipped])
    assert close(runs)["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        (
            [
                step(
                    "acme",
                    "extract_usage",
                    StepStatus.FAILED,
                    error=RunError("provider_unavailable", "answers 503"),
                )
            ],
            "provider_unavailable: extract_usage: answers 503",
        ),
        (
            [
                step(
                    "acme", "extract_usage", StepStatus.FAILED, error=RunError("failed", "no rows")
                ),
                step(
                    "acme",
                    "transform_cost",
                    StepStatus.SKIPPED,
                    error=RunError("upstream_failed", "extract_usage did not succeed"),
                ),
            ],
            "failed: extract_usage: no rows",
        ),
        ([], f"interrupted: extract_usage {NEVER_BEGAN}"),
        ([step("acme", "extract_usage", DONE)], f"interrupted: transform_cost {NEVER_BEGAN}"),
        (
            [
                step("acme", "extract_usage", DONE),
                step("acme", "transform_cost", StepStatus.RUNNING),
            ],
            f"interrupted: transform_cost {NEVER_ENDED}",
        ),
    ],
)
def test_an_org_fails_with_the_reason_of_its_first_undone_step(
    steps: list[OrgStep], told: str
) -> None:
    other = [step("beta", name, DONE) for name in ("extract_usage", "transform_cost")]
    runs = fake(active_run("acme"), active_run("beta"), steps=[*steps, *other])
    answer = close(runs)
    assert answer["failed"] == {"acme": told}
    assert (answer["orgs_succeeded"], answer["orgs_failed"]) == (1, 1)
    assert runs.runs["run_acme"].status is RunStatus.FAILED
    assert runs.runs["run_beta"].status is RunStatus.SUCCESS


def test_a_run_whose_worker_died_says_so() -> None:
    runs = fake(active_run("acme"), steps=[step("acme", "extract_usage", StepStatus.RUNNING)])
    close(runs)
    error = runs.runs["run_acme"].error
    assert error is not None
    assert error.code == "interrupted"
    assert "extract_usage began and did not end: its worker died" in error.message


def test_the_error_names_the_failed_orgs_and_why() -> None:
    runs = fake(active_run("acme"))
    summary = close_orgs(FACTS, runs=runs, dag_run_id="r1", selected=True, now=NOW)
    assert "1 of 1 orgs failed" in str(summary.build_error())
    told = str(summary.build_error())
    assert "'acme': 'interrupted: extract_usage did not start: no worker took it" in told


def test_a_step_that_was_lost_is_ended() -> None:
    runs = fake(active_run("acme"), steps=[step("acme", "extract_usage", StepStatus.RUNNING)])
    close(runs)
    (ended,) = runs.records
    assert ended.status is StepStatus.FAILED


def test_a_run_that_was_cancelled_stays_so_and_is_no_failure() -> None:
    runs = fake(active_run("acme", status=RunStatus.CANCELLED))
    assert close(runs) | {"rows_processed": 0} == {
        "status": "SUCCESS",
        "orgs_succeeded": 0,
        "orgs_failed": 0,
        "orgs_cancelled": 1,
        "rows_processed": 0,
        "failed": {},
    }
    assert runs.runs["run_acme"].status is RunStatus.CANCELLED


def test_nothing_due_is_success() -> None:
    assert close(fake(active_run("acme", days=())))["status"] == "SUCCESS"


def test_a_run_whose_first_task_failed_fails_with_its_own_reason() -> None:
    reason = RunError("subscription_inactive", "SUSPENDED")
    runs = fake(active_run("acme", status=RunStatus.FAILED, error=reason), active_run("beta"))
    assert close(runs, selected=False)["failed"] == {
        "acme": "subscription_inactive: SUSPENDED",
        "beta": "select_failed: the run's first task did not succeed",
    }


def test_a_failed_run_that_was_mended_by_clearing_its_tasks_succeeds() -> None:
    steps = [step("acme", name, DONE) for name in ("extract_usage", "transform_cost")]
    runs = fake(active_run("acme", status=RunStatus.FAILED), steps=steps)
    assert close(runs)["status"] == "SUCCESS"
    assert runs.reopened == ["run_acme"]
    assert runs.runs["run_acme"].status is RunStatus.SUCCESS


def test_the_summary_adds_up_what_every_org_used_the_cancelled_ones_too() -> None:
    query = {Resource.QUERY: Use(calls=2, bytes_billed=10 * 2**20, slot_ms=5)}
    asked = {Resource.PROVIDER: Use(calls=4, retries=1, pages=3, bytes_received=900)}
    runs = fake(
        active_run("acme"),
        active_run("globex", status=RunStatus.CANCELLED),
        steps=[
            replace(step("acme", "extract_usage", DONE), used=query | asked),
            replace(step("globex", "extract_usage", DONE), used=query),
        ],
    )
    summary = close_orgs(FACTS, runs=runs, dag_run_id="r1", selected=True, now=NOW)
    assert summary.to_result()["cost"] == {
        "bytes_billed": 20 * 2**20,
        "slot_ms": 10,
        "jobs": {"load": 0, "query": 4, "stream": 0},
        "provider": {"requests": 4, "retries": 1, "pages": 3, "bytes": 900},
        "estimated_cost": "0.000119209",  # 20 MiB at 6.25 USD per TiB
        "currency": "USD",
    }
