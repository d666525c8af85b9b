"""What every step does around a processor's work: order, records, retries, isolation."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import FatalError, ProviderUnavailableError
from convergence.processors.batch import MAX_PARALLEL_ORGS, Batch, OrgOutcome, OrgSlice, StepRun
from convergence.processors.context import OrgContext, PipelineInfo, StepResult, TaskServices
from convergence.processors.steplog import StepLog
from convergence.security.redaction import register_secret
from convergence.settings import Settings
from convergence.state.org_runs import OrgRun, RunError, RunStatus
from convergence.state.org_steps import OrgStep
from unit.processors.step_log_in_memory import FakeStepLog

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
DAYS = (date(2026, 11, 20), date(2026, 11, 19))
FACTS = PipelineInfo(
    pipeline_id="p",
    dag_id="a.p",
    provider="openai",
    upstream={"extract_usage": (), "transform_cost": ("extract_usage",)},
)


@pytest.fixture
def log() -> FakeStepLog:
    return FakeStepLog()


@pytest.fixture
def services(log: FakeStepLog, tmp_path: Path) -> TaskServices:
    nothing = cast("Any", None)
    return TaskServices(
        settings=Settings(var_dir=tmp_path),
        warehouse=nothing,
        store=nothing,
        ledger=nothing,
        publisher=nothing,
        steps=cast("StepLog", log),
        open_credential=lambda org, provider: f"secret of {org} at {provider}",
        now=lambda: NOW,
    )


def batch(*orgs: str) -> Batch:
    return Batch("some", tuple(OrgSlice(org, f"run_{org}", DAYS) for org in orgs))


def step_run(
    services: TaskServices,
    work: Callable[[OrgContext], StepResult],
    *,
    step: str = "extract_usage",
    attempt: int = 1,
    max_tries: int = 3,
    stop: threading.Event | None = None,
) -> StepRun:
    return StepRun(
        step=step,
        processor="sample.fetch",
        pipeline=FACTS,
        services=services,
        attempt=attempt,
        max_tries=max_tries,
        run_org=work,
        stop=stop or threading.Event(),
        log=logging.getLogger("tests.steps"),
    )


def done(_: OrgContext) -> StepResult:
    return StepResult(rows_processed=7, destination_table="acme_dev.usage", details={"pages": 2})


def statuses(outcomes: list[OrgOutcome]) -> dict[str, str]:
    return {outcome.org_slug: outcome.result.status for outcome in outcomes}


def test_a_step_is_handed_its_org_and_recorded(services: TaskServices, log: FakeStepLog) -> None:
    seen: list[OrgContext] = []
    log.runs["run_acme"] = an_org_run(params={"model": "x"})

    def work(org: OrgContext) -> StepResult:
        seen.append(org)
        return done(org)

    (outcome,) = step_run(services, work).run_batch(batch("acme"))
    (org,) = seen
    assert (org.org_slug, org.run_id, org.days, org.attempt) == ("acme", "run_acme", DAYS, 1)
    assert org.params == {"model": "x"}
    assert org.dataset == "acme_dev"
    assert org.credential() == "secret of acme at openai"
    assert org.credential("gcp") == "secret of acme at gcp"
    assert outcome.result.to_dict() == {
        "status": "SUCCESS",
        "rows_processed": 7,
        "destination_table": "acme_dev.usage",
        "pages": 2,
    }
    recorded = log.recorded["run_acme", "extract_usage"]
    assert (recorded.status, recorded.attempt, recorded.rows_processed) == ("SUCCESS", 1, 7)
    assert recorded.result == outcome.result.to_dict()


def an_org_run(**changes: Any) -> OrgRun:
    base = OrgRun(
        run_id="run_acme",
        org_slug="acme",
        pipeline_id="p",
        dag_id="a.p",
        dag_run_id="r",
        trigger="api",
        requested_by="key",
        created_at=NOW,
        status=RunStatus.RUNNING,
    )
    return replace(base, **changes)


def test_what_is_recorded_as_done_is_not_done_again(services: TaskServices) -> None:
    first = step_run(services, done).run_batch(batch("acme"))

    def never(_: OrgContext) -> StepResult:
        raise AssertionError("it was done")

    again = step_run(services, never, attempt=2).run_batch(batch("acme"))
    assert [one.result.to_dict() for one in again] == [one.result.to_dict() for one in first]


def test_one_orgs_failure_is_its_own(services: TaskServices, log: FakeStepLog) -> None:
    def work(org: OrgContext) -> StepResult:
        if org.org_slug == "beta":
            raise ProviderUnavailableError("answers 503")
        if org.org_slug == "gamma":
            raise FatalError("refused")
        if org.org_slug == "delta":
            raise KeyError("a bug")
        return done(org)

    outcomes = step_run(services, work).run_batch(batch("acme", "beta", "gamma", "delta"))
    assert statuses(outcomes) == {
        "acme": "SUCCESS",
        "beta": "FAILED",
        "gamma": "FAILED",
        "delta": "FAILED",
    }
    assert {one.org_slug: one.retryable for one in outcomes if one.failed} == {
        "beta": True,
        "gamma": False,
        "delta": True,
    }
    errors = {key[0]: step.error for key, step in log.recorded.items() if step.error}
    assert errors == {
        "run_beta": RunError("provider_unavailable", "answers 503"),
        "run_gamma": RunError("failed", "refused"),
        "run_delta": RunError("internal", "KeyError: 'a bug'"),
    }


def test_a_retry_does_only_the_orgs_that_are_not_done(services: TaskServices) -> None:
    calls: list[str] = []

    def work(org: OrgContext) -> StepResult:
        calls.append(org.org_slug)
        if org.org_slug == "beta" and org.attempt == 1:
            raise ProviderUnavailableError("answers 503")
        return done(org)

    step_run(services, work).run_batch(batch("acme", "beta", "gamma"))
    calls.clear()
    outcomes = step_run(services, work, attempt=2).run_batch(batch("acme", "beta", "gamma"))
    assert calls == ["beta"]
    assert set(statuses(outcomes).values()) == {"SUCCESS"}


def test_a_later_step_leaves_out_orgs_whose_earlier_step_failed(
    services: TaskServices, log: FakeStepLog
) -> None:
    def work(org: OrgContext) -> StepResult:
        if org.org_slug == "beta":
            raise FatalError("refused")
        return done(org)

    step_run(services, work).run_batch(batch("acme", "beta"))
    outcomes = step_run(services, done, step="transform_cost").run_batch(
        batch("acme", "beta", "new")
    )
    assert statuses(outcomes) == {"acme": "SUCCESS", "beta": "SKIPPED", "new": "SKIPPED"}
    assert log.recorded["run_beta", "transform_cost"].error == RunError(
        "upstream_failed", "extract_usage did not succeed"
    )


def test_an_org_that_was_left_out_stays_out_of_every_step_after(services: TaskServices) -> None:
    longer = replace(FACTS, upstream={**FACTS.upstream, "validate_cost": ("transform_cost",)})

    def refused(_: OrgContext) -> StepResult:
        raise FatalError("refused")

    step_run(services, refused).run_batch(batch("acme"))
    step_run(services, done, step="transform_cost").run_batch(batch("acme"))
    last = replace(step_run(services, done, step="validate_cost"), pipeline=longer)
    assert statuses(last.run_batch(batch("acme"))) == {"acme": "SKIPPED"}


def test_a_step_with_nothing_to_do_does_not_hold_up_the_next(services: TaskServices) -> None:
    step_run(services, lambda _: StepResult(status="SKIPPED")).run_batch(batch("acme"))
    outcomes = step_run(services, done, step="transform_cost").run_batch(batch("acme"))
    assert statuses(outcomes) == {"acme": "SUCCESS"}


def test_a_cancelled_run_does_no_further_step(services: TaskServices, log: FakeStepLog) -> None:
    log.runs["run_acme"] = an_org_run(status=RunStatus.CANCELLED)
    assert statuses(step_run(services, done).run_batch(batch("acme"))) == {"acme": "SKIPPED"}
    assert log.recorded["run_acme", "extract_usage"].error == RunError(
        "cancelled", "the run was cancelled"
    )


def test_an_older_try_that_comes_back_late_changes_nothing(
    services: TaskServices, log: FakeStepLog
) -> None:
    newer = OrgStep("run_acme", "extract_usage", "acme", "sample.fetch", 2, NOW)
    log.recorded["run_acme", "extract_usage"] = newer
    (outcome,) = step_run(services, done, attempt=1).run_batch(batch("acme"))
    assert outcome.failed
    assert log.recorded["run_acme", "extract_usage"] is newer


def test_a_task_that_is_being_killed_begins_no_org(services: TaskServices) -> None:
    stop = threading.Event()
    stop.set()
    outcomes = step_run(services, done, stop=stop).run_batch(batch("acme", "beta"))
    assert statuses(outcomes) == {"acme": "FAILED", "beta": "FAILED"}
    assert all(outcome.retryable for outcome in outcomes)


def test_secrets_do_not_leave_in_an_error(
    services: TaskServices, log: FakeStepLog, caplog: pytest.LogCaptureFixture
) -> None:
    register_secret("hunter2-hunter2-hunter2")

    def work(_: OrgContext) -> StepResult:
        raise ValueError("the key hunter2-hunter2-hunter2 is wrong")

    with caplog.at_level(logging.INFO):
        (outcome,) = step_run(services, work).run_batch(batch("acme"))
    assert outcome.error is not None
    assert "hunter2" not in outcome.error.message
    assert "hunter2" not in caplog.text
    assert "Traceback" in caplog.text
    assert "[acme]" in caplog.text


def test_pages_are_kept_for_the_next_try_and_removed_after_success(services: TaskServices) -> None:
    places: list[Path] = []

    def work(org: OrgContext) -> StepResult:
        places.append(org.spool_dir)
        org.spool_dir.mkdir(parents=True, exist_ok=True)
        (org.spool_dir / f"page_{org.attempt}").touch()
        if org.attempt == 1:
            raise ProviderUnavailableError("answers 503")
        assert (org.spool_dir / "page_1").exists()
        return done(org)

    step_run(services, work).run_batch(batch("acme"))
    step_run(services, work, attempt=2).run_batch(batch("acme"))
    assert places[0] == places[1]
    assert not places[0].exists()


def test_orgs_run_side_by_side_within_a_bound(services: TaskServices) -> None:
    lock, running, most = threading.Lock(), 0, 0

    def work(org: OrgContext) -> StepResult:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1
        return done(org)

    orgs = [f"org_{number}" for number in range(4 * MAX_PARALLEL_ORGS)]
    outcomes = step_run(services, work).run_batch(batch(*orgs))
    assert [outcome.org_slug for outcome in outcomes] == orgs
    assert 2 <= most <= MAX_PARALLEL_ORGS


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["ok", "passing", "fatal", "bug"]), min_size=2, max_size=12),
    st.integers(1, 4),
)
def test_whatever_fails_whenever_each_org_is_done_at_most_once(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], tries: int
) -> None:
    log, successes = FakeStepLog(), dict.fromkeys(range(len(kinds)), 0)
    nothing = cast("Any", None)
    services = TaskServices(
        settings=Settings(var_dir=tmp_path_factory.mktemp("var")),
        warehouse=nothing,
        store=nothing,
        ledger=nothing,
        publisher=nothing,
        steps=cast("StepLog", log),
        open_credential=lambda _org, _provider: "",
        now=lambda: NOW,
    )

    def work(org: OrgContext) -> StepResult:
        number = int(org.org_slug.rpartition("_")[2])
        kind = kinds[number]
        if kind == "fatal":
            raise FatalError("refused")
        if kind != "ok" and org.attempt < 3:
            raise ProviderUnavailableError("503") if kind == "passing" else RuntimeError("bug")
        successes[number] += 1
        return done(org)

    orgs = batch(*(f"org_{number}" for number in range(len(kinds))))
    outcomes: list[OrgOutcome] = []
    for attempt in range(1, tries + 1):
        outcomes = step_run(services, work, attempt=attempt).run_batch(orgs)
    for number, kind in enumerate(kinds):
        expected = kind == "ok" or (kind in {"passing", "bug"} and tries >= 3)
        assert successes[number] == int(expected)
        assert outcomes[number].failed is not expected
