"""A provider that states less on a second read: what stays, what is published, how the run ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from convergence.errors import WouldShrinkError
from convergence.pipelines.files.loader import load_pipeline
from convergence.pipelines.files.spec import PipelineSpec
from convergence.pipelines.running.closing import close_orgs
from convergence.processors.base import OrgProcessor
from convergence.processors.batch import Batch, OrgOutcome, OrgSlice, StepRun
from convergence.processors.context import PipelineInfo
from convergence.processors.lib.pricing.price_seed import seed_prices
from convergence.processors.openai.config import BilledConfig, SeedCsvConfig
from convergence.processors.openai.extraction import extract_billed
from convergence.processors.registry import find_operator
from convergence.processors.steplog import StepLog
from convergence.runs.ledger import Action
from convergence.runs.records import RunRecords
from convergence.runs.slices import Finality
from convergence.state.org_runs import OrgRun, RunStatus
from convergence.state.slots import RunLimits
from convergence.state.store import StateStore
from support.processor_env import NOW, OrgEnv
from support.run_records import admit_run
from support.sandbox_process import SandboxProcess

FINAL_DAY, SETTLING_DAY, LAST_DAY = (date(2026, 11, day) for day in (17, 18, 19))
DAYS = (FINAL_DAY, SETTLING_DAY, LAST_DAY)
KEY = "sk-admin-sandbox-shrinking"
NEW_DAY = date(2026, 11, 16)
BILL = PipelineInfo(
    pipeline_id="openai-cost-extract", dag_id="openai.cost.cost_extract", provider="openai"
)
BILLED = BilledConfig(source_view="openai/cost/views/openai_billed_source.sql")
Break = Callable[..., None]


@pytest.fixture
def connected(org: OrgEnv) -> OrgEnv:
    # The sandbox derives its figures from the key.
    org.env.keys[org.slug] = KEY
    return org


@pytest.fixture
def break_provider(sandbox: SandboxProcess) -> Iterator[Break]:
    """Make the provider state less to this org from now on; without a kind it is whole again."""
    url = f"{sandbox.providers}/_sandbox/faults"

    def change(kind: str | None = None, path: str = "organization/costs", **options: Any) -> None:
        httpx.delete(url, trust_env=False).raise_for_status()
        if kind is not None:
            fault = {"kind": kind, "path": path, "key": KEY, "count": None}
            httpx.post(url, json=fault | {"options": options}, trust_env=False).raise_for_status()

    yield change
    change()


def extract_bill(
    org: OrgEnv, days: Sequence[date], *, run: str, at: datetime, **params: Any
) -> Any:
    context = org.at(at).context(days, run_id=run, pipeline=BILL)
    return extract_billed(replace(context, params=params), BILLED).details


def billed(org: OrgEnv) -> dict[date, Decimal]:
    found = org.rows("openai_billed_daily")
    return {
        day: sum((row["billed_cost"] for row in found if row["usage_date"] == day), Decimal(0))
        for day in DAYS
    }


def ends(org: OrgEnv, actions: set[Action]) -> Mapping[date, Any]:
    found = org.env.services.ledger.read_ends(
        actions, orgs=[org.slug], pipeline_id=BILL.pipeline_id, since=FINAL_DAY
    )
    return {key.day: end for key, end in found.items()}


def test_a_lower_read_of_an_open_day_waits_until_a_later_one_agrees(
    connected: OrgEnv, break_provider: Break
) -> None:
    day = [LAST_DAY]
    extract_bill(connected, day, run="run_1", at=NOW)
    whole = billed(connected)[LAST_DAY]
    break_provider("fewer_rows", keep=0.5)
    second = extract_bill(connected, day, run="run_2", at=NOW + timedelta(hours=1))
    assert second["days_lower_pending"] == ["2026-11-19"]
    assert billed(connected)[LAST_DAY] == whole
    third = extract_bill(connected, day, run="run_3", at=NOW + timedelta(hours=12))
    assert third["days_lower_pending"] == ["2026-11-19"]
    fourth = extract_bill(connected, day, run="run_4", at=NOW + timedelta(hours=13))
    assert (fourth["days_published"], "days_lower_pending" in fourth) == (1, False)
    assert Decimal(0) < billed(connected)[LAST_DAY] < whole


def test_a_provider_that_is_whole_again_ends_the_wait(
    connected: OrgEnv, break_provider: Break
) -> None:
    extract_bill(connected, [LAST_DAY], run="run_1", at=NOW)
    whole = billed(connected)
    break_provider("fewer_rows", keep=0.5)
    extract_bill(connected, [LAST_DAY], run="run_2", at=NOW + timedelta(hours=1))
    break_provider()
    details = extract_bill(connected, [LAST_DAY], run="run_3", at=NOW + timedelta(hours=20))
    assert details["days_unchanged"] == 1
    assert "days_lower_pending" not in details
    assert billed(connected) == whole


def test_less_of_a_final_day_is_refused_after_the_other_days_are_published(
    connected: OrgEnv, break_provider: Break
) -> None:
    extract_bill(connected, [FINAL_DAY], run="run_1", at=NOW)
    whole = billed(connected)[FINAL_DAY]
    break_provider("fewer_rows", keep=0.5)
    with pytest.raises(WouldShrinkError) as caught:
        extract_bill(connected, DAYS, run="run_2", at=NOW + timedelta(hours=1))
    assert "openai_billed_daily 2026-11-17: amount in USD" in str(caught.value)
    assert caught.value.report["days_published"] == 2
    (refused,) = caught.value.report["refused"]
    assert Decimal(refused["published"]["gross"]["USD"]) == whole
    assert Decimal(0) < Decimal(refused["read"]["gross"]["USD"]) < whole
    kept = billed(connected)
    assert kept[FINAL_DAY] == whole
    assert kept[SETTLING_DAY] > 0
    end = ends(connected, {Action.REFUSED})[FINAL_DAY]
    assert (end.run_id, end.finality) == ("run_2", Finality.FINAL)


def test_an_empty_bill_is_refused_until_a_person_accepts_it(
    connected: OrgEnv, break_provider: Break
) -> None:
    extract_bill(connected, DAYS, run="run_1", at=NOW)
    whole = billed(connected)
    break_provider("no_rows")
    for number in (2, 3):
        with pytest.raises(WouldShrinkError):
            extract_bill(connected, DAYS, run=f"run_{number}", at=NOW + timedelta(days=number))
    assert billed(connected) == whole
    refused = ends(connected, {Action.REFUSED})
    assert {end.lower_pending.refused_by for end in refused.values()} == {"run_2"}
    accepted = {"start_date": "2026-11-17", "end_date": "2026-11-18", "reason": "all credited"}
    with pytest.raises(WouldShrinkError) as caught:
        extract_bill(
            connected, DAYS, run="run_4", at=NOW + timedelta(days=5), accept_shrink=accepted
        )
    assert [one["day"] for one in caught.value.report["refused"]] == ["2026-11-19"]
    assert billed(connected) == {FINAL_DAY: 0, SETTLING_DAY: 0, LAST_DAY: whole[LAST_DAY]}


@dataclass
class Pipeline:
    """The usage pipeline of one org, run step by step as its tasks run it."""

    org: OrgEnv
    store: StateStore
    spec: PipelineSpec

    def run(self, run_id: str, days: Sequence[date], *, at: datetime) -> dict[str, OrgOutcome]:
        """Run every step that is no check; return the outcomes."""
        records = RunRecords(self.store)
        steps = StepLog(self.store, records)
        run = OrgRun(
            run_id=run_id,
            org_slug=self.org.slug,
            pipeline_id=self.spec.pipeline_id,
            dag_id=self.spec.dag_id,
            dag_run_id=run_id,
            trigger="schedule",
            requested_by="scheduler",
            created_at=at,
        )
        admit_run(self.store, run, limits=RunLimits(99, 99, 99), now=at)
        records.begin_run(run_id, now=at, days=days)
        outcomes = {
            step.step: self._run_step(step, run_id, days, steps, at) for step in self.spec.steps
        }
        self._close(run_id, records, steps, at)
        return outcomes

    def _run_step(
        self, step: Any, run_id: str, days: Sequence[date], steps: StepLog, at: datetime
    ) -> OrgOutcome:
        info = self.spec.build_info()
        kind = cast("type[OrgProcessor[Any]]", find_operator(step.ps_type))
        operator = kind(task_id=step.step, config=step.config, pipeline=info, batch={})
        config = operator.parse_config()
        (outcome,) = StepRun(
            step=step.step,
            processor=step.ps_type,
            pipeline=info,
            services=replace(self.org.env.services, steps=steps, store=self.store, now=lambda: at),
            attempt=1,
            max_tries=3,
            run_org=lambda org: operator.run_step(org, config),
            stop=threading.Event(),
            log=logging.getLogger("test"),
            derived=kind.derived,
        ).run_batch(Batch("one", (OrgSlice(self.org.slug, run_id, tuple(days)),)))
        return outcome

    def _close(self, run_id: str, records: RunRecords, steps: StepLog, at: datetime) -> None:
        closing = _Closing(self.store, records, steps)
        close_orgs(
            self.spec.build_info(),
            runs=cast("Any", closing),
            dag_run_id=run_id,
            selected=True,
            now=at,
        )

    def get_run(self, run_id: str) -> OrgRun:
        run = StepLog(self.store, RunRecords(self.store)).get_run(run_id)
        assert run is not None
        return run


@dataclass
class _Closing:
    store: StateStore
    records: RunRecords
    steps: StepLog

    def of_dag_run(self, _dag_id: str, dag_run_id: str) -> list[OrgRun]:
        run = self.steps.get_run(dag_run_id)
        return [run] if run else []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.steps if name == "list_steps" else self.records, name)


@pytest.fixture
def pipeline(connected: OrgEnv, tmp_path: Path) -> Iterator[Pipeline]:
    configs = connected.env.settings.configs_dir
    spec = load_pipeline(configs / "openai/cost/usage_cost.yml", configs)
    assert isinstance(spec, PipelineSpec)
    seed_prices(connected.context([]), SeedCsvConfig())
    store = StateStore.connect(f"sqlite:///{tmp_path}/records.db")
    yield Pipeline(connected, store, spec)
    store.close()


def test_a_refused_day_fails_the_run_and_the_other_days_are_priced(
    pipeline: Pipeline, break_provider: Break
) -> None:
    org = pipeline.org
    pipeline.run("run_1", DAYS, at=NOW)
    assert pipeline.get_run("run_1").status is RunStatus.SUCCESS
    before = priced_rows(org)
    break_provider("fewer_rows", path="organization/usage/completions", keep=0.3)
    outcomes = pipeline.run("run_2", (*DAYS, NEW_DAY), at=NOW + timedelta(hours=1))
    extracted, priced = outcomes["extract_usage"], outcomes["transform_cost"]
    assert extracted.error is not None
    assert (extracted.error.code, extracted.retryable) == ("would_shrink", False)
    assert extracted.result.details["days_lower_pending"] == ["2026-11-18", "2026-11-19"]
    assert [one["day"] for one in extracted.result.details["refused"]] == ["2026-11-17"]
    assert priced.error is None
    after = priced_rows(org)
    assert {day: after[day] for day in DAYS} == before
    assert after[NEW_DAY] > 0
    run = pipeline.get_run("run_2")
    assert (run.status, run.error and run.error.code) == (RunStatus.FAILED, "would_shrink")
    assert run.error is not None
    assert "2026-11-17: quantity in" in run.error.message


def priced_rows(org: OrgEnv) -> dict[date, int]:
    rows = org.rows("openai_cost_daily")
    days = {row["usage_date"] for row in rows}
    return {day: sum(row["usage_date"] == day for row in rows) for day in days}
