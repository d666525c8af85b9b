"""A task that a person cleared asks the provider again; an automatic retry goes on where it was."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import FatalError, ProviderUnavailableError
from convergence.extract import pages
from convergence.metering import Resource
from convergence.processors.batch import Batch, OrgOutcome, OrgSlice, StepRun
from convergence.processors.context import OrgContext, StepResult
from convergence.processors.openai.config import GROUPABLE, UsageConfig
from convergence.processors.openai.extraction import extract_usage
from convergence.processors.steplog import StepLog
from convergence.runs.ledger import Action
from convergence.runs.records import RunRecords
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from support.processor_env import NOW, USAGE_COST, OrgEnv, ProcessorEnv
from support.run_records import admit_run

DAYS = tuple(date(2026, 11, day) for day in (18, 17, 16))
CONFIG = UsageConfig.from_values(
    {
        "endpoints": [{"endpoint": "completions", "group_by": list(GROUPABLE["completions"])}],
        "buckets_per_page": 1,
    }
)
PAGES = len(DAYS)
"""Requests that one extraction of all days takes."""
RETRIES = 3


class KilledError(BaseException):
    """The worker was killed here; nothing records it."""


@dataclass
class Task:
    """One task over some orgs, as Airflow tries it again and again.

    Attributes:
        failing: what happens to each org when it saves its second page.
        try_number: of the newest try.
        max_tries: as Airflow has it.
    """

    orgs: list[OrgEnv]
    store: StateStore
    failing: dict[str, BaseException] = field(default_factory=dict)
    try_number: int = 0
    max_tries: int = RETRIES

    @property
    def records(self) -> RunRecords:
        return RunRecords(self.store)

    @property
    def log(self) -> StepLog:
        return StepLog(self.store, self.records)

    def attempt(self) -> list[OrgOutcome]:
        """Try the task: each try begins a minute after the one before."""
        self.try_number += 1
        now = NOW + timedelta(minutes=self.try_number)
        services = replace(self.orgs[0].env.services, steps=self.log, now=lambda: now)
        slices = [OrgSlice(org.slug, f"run_{org.slug}", DAYS) for org in self.orgs]
        return StepRun(
            step="extract_usage",
            processor="openai.usage",
            pipeline=USAGE_COST,
            services=services,
            attempt=self.try_number,
            max_tries=self.max_tries,
            run_org=_extract,
            stop=threading.Event(),
            log=logging.getLogger("test"),
        ).run_batch(Batch("some", tuple(slices)))

    def succeeds(self) -> None:
        """Try the task; every org succeeds."""
        assert {one.result.status for one in self.attempt()} == {"SUCCESS"}

    def clear(self) -> None:
        """Do what Airflow does when a person clears a task that has ended."""
        self.max_tries = self.try_number + RETRIES

    def wait_for_others(self) -> None:
        """Wait until every org that is to succeed has."""
        others = {f"run_{org.slug}" for org in self.orgs if org.slug not in self.failing}
        until = time.monotonic() + 60
        while time.monotonic() < until:
            steps = self.log.list_attempts("extract_usage", run_ids=others)
            ended = [one for one in steps.values() if one.ended_at is not None]
            if [one.attempt for one in ended] == [self.try_number] * len(others):
                return
            time.sleep(0.05)
        raise TimeoutError("the other orgs did not succeed")

    def requests(self) -> list[int]:
        """Requests to the provider of all tries that ended, by org."""
        steps = [self.log.list_steps(f"run_{org.slug}")["extract_usage"] for org in self.orgs]
        return [step.used[Resource.PROVIDER].calls for step in steps]

    def published(self) -> list[int]:
        """Jobs that published a day, by org, and nothing is left unpublished."""
        return [len(self._actions(org, Action.PUBLISHED)) for org in self.orgs]

    def _actions(self, org: OrgEnv, action: Action) -> list[dict[str, Any]]:
        return org.env.ask(
            f"SELECT * FROM `{org.env.warehouse.project}.organizations.org_meta_slices`"
            f" WHERE org_slug = '{org.slug}' AND checked_at >= '2026-01-01'"
            f" AND action = '{action}'"
        )


def _extract(org: OrgContext) -> StepResult:
    # The second account may have used less: here that is meant.
    accepted = {
        "start_date": min(DAYS).isoformat(),
        "end_date": max(DAYS).isoformat(),
        "reason": "another account",
    }
    return extract_usage(replace(org, params={"accept_shrink": accepted}), CONFIG)


@pytest.fixture(params=[1, 3], ids=["one org", "a batch"])
def task(
    request: pytest.FixtureRequest,
    env: ProcessorEnv,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Task]:
    store = StateStore.connect(f"sqlite:///{tmp_path}/records.db")
    made = Task([env.new_org() for _ in range(request.param)], store)
    for org in made.orgs:
        env.keys[org.slug] = f"sk-admin-sandbox-{org.slug}"
        admit_run(made.store, _get_run(org), limits=RunLimits(10, 10, 10), now=NOW)
        made.records.begin_run(f"run_{org.slug}", now=NOW, days=DAYS)
    save = pages.save_page

    def save_or_fail(disk: Any, work: Path, *, page: int, **more: Any) -> Any:
        error = next((made.failing[one] for one in made.failing if one in work.parts), None)
        if error is not None and page == 2:
            if isinstance(error, KilledError):
                made.wait_for_others()  # whose threads the kill of a process would end too
            raise error
        return save(disk, work, page=page, **more)

    monkeypatch.setattr(pages, "save_page", save_or_fail)
    yield made
    store.close()


def _get_run(org: OrgEnv) -> OrgRun:
    return OrgRun(
        run_id=f"run_{org.slug}",
        org_slug=org.slug,
        pipeline_id=USAGE_COST.pipeline_id,
        dag_id=USAGE_COST.dag_id,
        dag_run_id="manual__1",
        trigger="api",
        requested_by="key",
        created_at=NOW,
    )


def test_a_task_cleared_after_success_asks_again_for_every_org(task: Task) -> None:
    task.succeeds()
    assert task.requests() == [PAGES] * len(task.orgs)
    for org in task.orgs:
        task.records.finish_run(f"run_{org.slug}", RunStatus.SUCCESS, now=NOW)
        # Another key of the sandbox is another account: the provider has changed every figure.
        org.env.keys[org.slug] = f"sk-admin-sandbox-changed-{org.slug}"
    task.clear()
    task.succeeds()
    assert task.requests() == [2 * PAGES] * len(task.orgs)
    assert task.published() == [2 * len(DAYS)] * len(task.orgs)
    for org in task.orgs:
        run = task.log.get_run(f"run_{org.slug}")
        assert run is not None
        assert run.status is RunStatus.RUNNING, "the run is open again until it is closed again"


def test_a_task_cleared_after_failure_asks_again_for_orgs_that_had_not_succeeded(
    task: Task,
) -> None:
    first, others = task.orgs[0], len(task.orgs) - 1
    task.failing = {first.slug: FatalError("the provider's answer is nonsense")}
    assert [one.failed for one in task.attempt()] == [True, *[False] * others]
    task.failing.clear()
    task.clear()
    task.succeeds()
    # The first page is of the answer before: it is asked for again.
    assert task.requests() == [2 + PAGES, *[PAGES] * others]
    assert task.published() == [len(DAYS)] * len(task.orgs)


def test_an_automatic_retry_goes_on_after_the_last_page(task: Task) -> None:
    first, others = task.orgs[0], len(task.orgs) - 1
    task.failing = {first.slug: ProviderUnavailableError("answers 503")}
    assert [one.failed for one in task.attempt()] == [True, *[False] * others]
    task.failing.clear()
    task.succeeds()
    assert task.requests() == [2 + PAGES - 1, *[PAGES] * others]
    assert task.published() == [len(DAYS)] * len(task.orgs)


def test_a_retry_after_the_worker_was_killed_goes_on_after_the_last_page(task: Task) -> None:
    first, others = task.orgs[0], len(task.orgs) - 1
    task.failing = {first.slug: KilledError()}
    with pytest.raises(KilledError):
        task.attempt()
    task.failing.clear()
    task.succeeds()
    # What the killed try used was never recorded.
    assert task.requests() == [PAGES - 1, *[PAGES] * others]
    assert task.published() == [len(DAYS)] * len(task.orgs)


def test_a_retry_of_a_cleared_task_goes_on_and_does_each_org_once_more(task: Task) -> None:
    first, others = task.orgs[0], len(task.orgs) - 1
    task.succeeds()
    task.clear()
    task.failing = {first.slug: ProviderUnavailableError("answers 503")}
    assert [one.failed for one in task.attempt()] == [True, *[False] * others]
    task.failing.clear()
    task.succeeds()
    assert task.requests() == [PAGES + 2 + PAGES - 1, *[2 * PAGES] * others]


def test_a_killed_try_of_a_cleared_task_leaves_no_org_out(task: Task) -> None:
    task.succeeds()
    task.clear()
    task.failing = {task.orgs[-1].slug: KilledError()}
    with pytest.raises(KilledError):
        task.attempt()
    task.failing.clear()
    task.succeeds()
    assert task.requests()[:-1] == [2 * PAGES] * (len(task.orgs) - 1)
    assert task.requests()[-1] == PAGES + PAGES - 1
