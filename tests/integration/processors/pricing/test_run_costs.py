"""The use of BigQuery and of a provider is recorded for the org of the step."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import httpx
import pytest

from convergence.metering import Resource, Used
from convergence.processors.anthropic.config import UsageConfig
from convergence.processors.anthropic.extraction import extract_usage
from convergence.processors.batch import Batch, OrgSlice, StepRun
from convergence.processors.context import OrgContext, PipelineInfo, StepResult
from convergence.processors.steplog import StepLog
from convergence.runs.ledger import LedgerRow
from convergence.runs.records import RunRecords
from convergence.state.org_runs import OrgRun
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from convergence.tenants.shipping import ship_outbox
from convergence.warehouse.names import label_value
from support.processor_env import NOW, OrgEnv, ProcessorEnv
from support.run_records import admit_run
from support.sandbox_process import SandboxProcess

FACTS = PipelineInfo(
    pipeline_id="anthropic-usage-cost", dag_id="anthropic.usage_cost", provider="anthropic"
)
DAYS = tuple(date(2026, 11, day) for day in (18, 17, 16))
STEP = "extract_usage"


class Fleet:
    """Two orgs of one environment, with run records of their own, and a step over both."""

    def __init__(self, env: ProcessorEnv, folder: Path) -> None:
        self.store = StateStore.connect(f"sqlite:///{folder}/records.db")
        self.records = RunRecords(self.store)
        self.log = StepLog(self.store, self.records)
        self.orgs = {"acme": env.new_org(), "globex": env.new_org()}
        self.env = env
        for name, org in self.orgs.items():
            env.keys[org.slug] = f"sk-ant-admin-sandbox-{name}"
            admit_run(self.store, self._run(org), limits=RunLimits(10, 10, 10), now=NOW)

    def _run(self, org: OrgEnv) -> OrgRun:
        return OrgRun(
            run_id=f"run_{org.slug}",
            org_slug=org.slug,
            pipeline_id=FACTS.pipeline_id,
            dag_id=FACTS.dag_id,
            dag_run_id="scheduled__1",
            trigger="schedule",
            requested_by="scheduler",
            created_at=NOW,
        )

    def extract(self, *, attempt: int = 1) -> list[str]:
        """The step's outcome for each org."""
        days = {"acme": DAYS, "globex": DAYS[:1]}
        slices = [
            OrgSlice(org.slug, f"run_{org.slug}", days[name]) for name, org in self.orgs.items()
        ]
        found = StepRun(
            step=STEP,
            processor="anthropic.usage",
            pipeline=FACTS,
            services=replace(self.env.services, steps=self.log),
            attempt=attempt,
            max_tries=3,
            run_org=_extract,
            stop=threading.Event(),
            log=logging.getLogger("test"),
        ).run_batch(Batch("both", tuple(slices)))
        return [outcome.result.status for outcome in found]

    def used(self, name: str) -> Used:
        return self.log.list_steps(f"run_{self.orgs[name].slug}")[STEP].used

    def jobs(self, name: str) -> Counter[str]:
        """BigQuery's own list of the jobs that carry the run's label."""
        run = label_value(f"run_{self.orgs[name].slug}")
        jobs = self.env.warehouse.client.list_jobs(max_results=2_000)
        return Counter(job.job_type for job in jobs if job.labels.get("run") == run)


def _extract(org: OrgContext) -> StepResult:
    return extract_usage(org, UsageConfig())


@pytest.fixture
def fleet(env: ProcessorEnv, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(env, tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def faults(sandbox: SandboxProcess) -> Iterator[str]:
    url = f"{sandbox.providers}/_sandbox/faults"
    yield url
    httpx.delete(url, trust_env=False)


def test_orgs_side_by_side_are_each_told_the_jobs_that_carry_their_label(fleet: Fleet) -> None:
    assert fleet.extract() == ["SUCCESS", "SUCCESS"]
    for name, days in (("acme", 3), ("globex", 1)):
        used = fleet.used(name)
        assert used[Resource.LOAD].calls == days
        assert used[Resource.QUERY].bytes_billed > 0
        assert {
            "load": used[Resource.LOAD].calls, "query": used[Resource.QUERY].calls
        } == fleet.jobs(name)  # fmt: skip
        assert used[Resource.PROVIDER].pages == used[Resource.PROVIDER].calls > 0
        assert used[Resource.PROVIDER].bytes_received > 100
        assert used[Resource.STREAM].rows_written == days  # lines of the ledger
    ours = sum(one.row_count for one in _ledger(fleet, "acme"))
    assert fleet.used("acme")[Resource.LOAD].rows_written == ours


def test_what_was_used_reaches_the_central_table_once(fleet: Fleet) -> None:
    fleet.extract()
    ship_outbox(fleet.store, fleet.env.warehouse)
    for name, org in fleet.orgs.items():
        rows = fleet.env.ask(
            "SELECT resource, step, calls, pages, bytes_received, bytes_billed, slot_ms,"
            " rows_written, estimated_currency"
            f" FROM `{fleet.env.warehouse.project}.organizations.org_cost_tracking`"
            f" WHERE org_slug = '{org.slug}' AND recorded_at >= '2026-01-01'"
        )
        assert {row["resource"]: row["calls"] for row in rows} == {
            resource.value: use.calls for resource, use in fleet.used(name).items()
        }
        assert len(rows) == len(fleet.used(name))
        assert {(row["step"], row["estimated_currency"]) for row in rows} == {(STEP, "USD")}


def test_a_failing_attempt_costs_too(fleet: Fleet, faults: str) -> None:
    fault = {"kind": "unauthorized", "path": "analytics/usage", "key": "sandbox-acme"}
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    assert sorted(fleet.extract()) == ["FAILED", "SUCCESS"]
    first = fleet.used("acme")[Resource.PROVIDER]
    assert (first.calls, first.pages) == (1, 0)
    assert fleet.extract(attempt=2) == ["SUCCESS", "SUCCESS"]
    assert fleet.used("acme")[Resource.PROVIDER].calls > first.calls


def test_a_request_that_had_to_be_sent_again_is_counted_twice(fleet: Fleet, faults: str) -> None:
    fault = {
        "kind": "rate_limited", "path": "analytics/usage", "key": "sandbox-acme",
        "options": {"retry_after": "0"},
    }  # fmt: skip
    httpx.post(faults, json=fault, trust_env=False).raise_for_status()
    assert fleet.extract() == ["SUCCESS", "SUCCESS"]
    asked = fleet.used("acme")[Resource.PROVIDER]
    assert (asked.retries, asked.calls - asked.pages) == (1, 1)
    assert fleet.used("globex")[Resource.PROVIDER].retries == 0


def _ledger(fleet: Fleet, name: str) -> list[LedgerRow]:
    org = fleet.orgs[name]
    rows = fleet.env.services.ledger.read_latest(
        orgs=[org.slug], pipeline_id=FACTS.pipeline_id, since=min(DAYS)
    )
    return list(rows.values())
