from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import (
    ConvergenceError,
    LimitError,
    NotFoundError,
    PipelineDisabledError,
    RequestError,
    SubscriptionInactiveError,
    WarehouseUnavailableError,
)
from convergence.pipelines.running.selection import Selector, split_into_batches
from convergence.processors.batch import Batch, OrgSlice
from convergence.processors.context import PipelineInfo
from convergence.runs.eligibility import Eligibility, OrgSelection
from convergence.runs.ledger import Action, LedgerRow, SliceEnd
from convergence.runs.slice_states import CHECKED
from convergence.runs.slices import Finality, SliceKey
from convergence.state.org_runs import OrgRun, RunError, RunStatus, org_run_id
from convergence.state.pipeline_configs import PipelineConfig
from convergence.state.slots import RunLimits, SlotTaken

NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)
TODAY = NOW.date()
LIMITS = RunLimits(runs_per_day=6, runs_per_month=100, concurrent_runs=3)
FACTS = PipelineInfo(
    pipeline_id="sample-usage-cost",
    dag_id="sample.cost.usage_cost",
    provider="openai",
    history_days=4,
    max_days=31,
    settle_days=2,
    tables=("usage", "cost"),
    params={
        "type": "object",
        "properties": {
            "start_date": {"type": "string", "format": "date"},
            "end_date": {"type": "string", "format": "date"},
            "grain": {"type": "string", "enum": ["day", "hour"], "default": "day"},
        },
        "additionalProperties": False,
    },
)


def standing(org_slug: str) -> Eligibility:
    return Eligibility(org_slug=org_slug, org_status="ACTIVE", connected_on=TODAY, limits=LIMITS)


@dataclass
class FakeGate:
    eligible: list[str]
    refused: dict[str, RunError] = field(default_factory=dict)
    down: bool = False
    asked: list[str | None] = field(default_factory=list)

    def select_orgs(
        self, *, provider: str | None, now: datetime, org_slugs: Sequence[str] | None = None
    ) -> OrgSelection:
        assert now == NOW
        self.asked.append(provider)
        if self.down:
            raise WarehouseUnavailableError("the warehouse does not answer")

        def named(org: str) -> bool:
            return org_slugs is None or org in org_slugs

        return OrgSelection(
            tuple(standing(org) for org in self.eligible if named(org)),
            tuple((org, reason) for org, reason in self.refused.items() if named(org)),
        )


@dataclass
class FakeLedger:
    done: set[tuple[str, str, date]] = field(default_factory=set)
    questions: int = 0

    def read_latest_of_pipelines(
        self, pipeline_ids: Collection[str], *, orgs: Sequence[str], since: date | None = None
    ) -> Mapping[SliceKey, LedgerRow]:
        return {}

    def read_ends(
        self, actions: Collection[Action], *, orgs: Sequence[str], pipeline_id: str, since: date
    ) -> Mapping[SliceKey, SliceEnd]:
        assert actions == CHECKED
        self.questions += 1
        keys = [
            SliceKey(org, pipeline_id, table, day)
            for org, table, day in self.done
            if org in orgs and day >= since
        ]
        return {key: row(key) for key in keys}


def row(key: SliceKey) -> SliceEnd:
    return SliceEnd(
        key=key,
        action=Action.PUBLISHED,
        attempt=1,
        run_id="run_x",
        finality=Finality.FINAL,
        checked_at=NOW - timedelta(days=1),
    )


@dataclass
class FakeRuns:
    known: dict[str, OrgRun] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)
    configured: dict[str, PipelineConfig] = field(default_factory=dict)

    def list_configs(self, _pipeline_id: str) -> dict[str, PipelineConfig]:
        return self.configured

    def get(self, run_id: str) -> OrgRun | None:
        return self.known.get(run_id)

    def of_dag_run(self, dag_id: str, dag_run_id: str) -> Sequence[OrgRun]:
        return list(self.known.values())

    def admit_run(self, run: OrgRun, *, eligibility: Eligibility, now: datetime) -> SlotTaken:
        if run.org_slug in self.full:
            raise LimitError("The plan allows 6 runs per UTC day; 6 are used.")
        again = run.run_id in self.known
        self.known.setdefault(run.run_id, run)
        return SlotTaken(run.run_id, taken_before=again)

    def begin_run(self, run_id: str, *, now: datetime, days: Sequence[date] | None = None) -> bool:
        run = self.known[run_id]
        self.known[run_id] = replace(run, status=RunStatus.RUNNING, days=tuple(days or ()))
        return True

    def finish_run(
        self, run_id: str, status: RunStatus, *, now: datetime, error: RunError | None = None
    ) -> bool:
        self.known[run_id] = replace(self.known[run_id], status=status, error=error)
        return True


def selector(
    gate: FakeGate,
    *,
    runs: FakeRuns | None = None,
    ledger: FakeLedger | None = None,
    pipeline: PipelineInfo = FACTS,
    scheduled: bool = True,
) -> Selector:
    return Selector(
        pipeline=pipeline,
        provider="OPENAI",
        gate=gate,
        ledger=ledger or FakeLedger(),
        runs=runs if runs is not None else FakeRuns(),
        dag_run_id="scheduled__1",
        scheduled=scheduled,
        now=NOW,
    )


def orgs_of(batches: Sequence[Batch]) -> list[str]:
    return [run.org_slug for batch in batches for run in batch.runs]


def test_a_scheduled_run_does_each_eligible_orgs_due_days() -> None:
    runs, ledger = FakeRuns(), FakeLedger()
    ledger.done = {("acme", table, TODAY - timedelta(days=1)) for table in FACTS.tables}
    ledger.done |= {("acme", "usage", TODAY - timedelta(days=2))}
    gate = FakeGate(["beta", "acme"], {"gone": RunError("subscription_inactive", "SUSPENDED")})
    batches = selector(gate, runs=runs, ledger=ledger).select({})
    assert [batch.label for batch in batches] == ["acme", "beta"]
    days = {batch.label: [day.day for day in batch.runs[0].days] for batch in batches}
    assert days == {"acme": [19, 18, 17], "beta": [20, 19, 18, 17]}
    assert ledger.questions == 1
    assert gate.asked == ["OPENAI"]
    recorded = runs.known[org_run_id(FACTS.dag_id, "scheduled__1", "acme")]
    assert (recorded.trigger, recorded.requested_by) == ("schedule", "scheduler")
    assert (recorded.status, len(recorded.days)) == (RunStatus.RUNNING, 3)


def test_an_org_with_nothing_due_is_not_mapped_and_costs_no_quota() -> None:
    runs, ledger = FakeRuns(), FakeLedger()
    ledger.done = {
        ("acme", table, TODAY - timedelta(days=back)) for table in FACTS.tables for back in range(9)
    }
    assert selector(FakeGate(["acme"]), runs=runs, ledger=ledger).select({}) == []
    assert runs.known == {}


@pytest.mark.parametrize(
    ("changes", "by_schedule", "by_hand"),
    [
        ({"schedule": "0 4 * * *"}, ["beta"], ["acme", "beta"]),
        ({"enabled": False}, ["beta"], ["beta"]),
        ({"params": {"grain": "hour"}}, ["acme", "beta"], ["acme", "beta"]),
        # What the pipeline takes no longer would not be what the org asked for.
        ({"params": {"x": 1}}, ["beta"], ["beta"]),
        ({"params": {"grain": "year"}}, ["beta"], ["beta"]),
    ],
)
def test_the_common_schedule_leaves_out_who_has_its_own_or_switched_the_pipeline_off(
    changes: dict[str, Any], by_schedule: list[str], by_hand: list[str]
) -> None:
    config = PipelineConfig("acme", "usage", "openai.usage", None, NOW, "key_1", **changes)
    for scheduled, expected in ((True, by_schedule), (False, by_hand)):
        runs = FakeRuns(configured={"acme": config})
        batches = selector(FakeGate(["acme", "beta"]), runs=runs, scheduled=scheduled).select({})
        assert orgs_of(batches) == expected


def test_each_org_runs_with_what_the_run_was_given_else_its_settings_else_the_defaults() -> None:
    config = PipelineConfig(
        "acme", "usage", "openai.usage", None, NOW, "key_1", params={"grain": "hour"}
    )
    for conf, expected in (({}, ["hour", "day"]), ({"grain": "day"}, ["day", "day"])):
        runs = FakeRuns(configured={"acme": config})
        selector(FakeGate(["acme", "beta"]), runs=runs).select(conf)
        recorded = sorted(runs.known.values(), key=lambda run: run.org_slug)
        assert [run.params["grain"] for run in recorded] == expected


def test_a_run_from_the_ui_for_an_org_that_switched_the_pipeline_off_is_refused() -> None:
    config = PipelineConfig("acme", "usage", "openai.usage", None, NOW, "key_1", enabled=False)
    runs = FakeRuns(configured={"acme": config})
    with pytest.raises(PipelineDisabledError):
        selector(FakeGate(["acme"]), runs=runs, scheduled=False).select({"org_slug": "acme"})
    assert runs.known == {}


def test_a_run_with_params_that_the_pipeline_takes_no_longer_ends_with_the_reason() -> None:
    runs = FakeRuns({"run_1": api_run(params={"gone": 1})})
    with pytest.raises(RequestError):
        selector(FakeGate(["acme"]), runs=runs).select({"org_run_id": "run_1"})
    assert runs.known["run_1"].status is RunStatus.FAILED


def test_a_pipeline_without_day_tables_runs_for_every_eligible_org() -> None:
    ledger = FakeLedger()
    pipeline = replace(FACTS, tables=())
    batches = selector(FakeGate(["acme"]), ledger=ledger, pipeline=pipeline).select({})
    assert [run.days for batch in batches for run in batch.runs] == [()]
    assert ledger.questions == 0


def test_an_org_whose_plan_is_used_up_is_left_out_and_the_others_run() -> None:
    runs = FakeRuns(full={"beta"})
    assert orgs_of(selector(FakeGate(["acme", "beta"]), runs=runs).select({})) == ["acme"]


def test_the_same_task_tried_again_maps_the_same_orgs_to_the_same_runs() -> None:
    runs = FakeRuns()
    first = selector(FakeGate(["beta", "acme"]), runs=runs).select({})
    second = selector(FakeGate(["acme", "beta"]), runs=runs).select({})
    assert first == second


def test_a_run_from_the_ui_may_name_one_org_and_days() -> None:
    runs = FakeRuns()
    batches = selector(FakeGate(["acme", "beta"]), runs=runs, scheduled=False).select(
        {"org_slug": "acme", "start_date": "2026-11-01", "end_date": "2026-11-03"}
    )
    assert orgs_of(batches) == ["acme"]
    assert [day.day for day in batches[0].runs[0].days] == [3, 2, 1]
    (run,) = runs.known.values()
    assert (run.trigger, run.requested_by) == ("ui", "admin")
    asked = {"start_date": "2026-11-01", "end_date": "2026-11-03"}
    assert run.params == {**asked, "grain": "day"}


@pytest.mark.parametrize(
    ("conf", "error", "message"),
    [
        ({"org_slug": "nobody"}, NotFoundError, "no organization 'nobody'"),
        ({"org_slug": "gone"}, SubscriptionInactiveError, "gone: SUSPENDED"),
        ({"org_slug": "full"}, LimitError, "full: The plan allows 6 runs per UTC day; 6 are used"),
        ({"orgslug": "acme"}, RequestError, "orgslug is not a param.*did_you_mean='org_slug'"),
        ({"start_date": "soon", "end_date": "later"}, RequestError, "end_date: 'later'"),
        ({"start_date": "2026-11-03"}, RequestError, "end_date is missing"),
        ({"org_run_id": "run_x"}, RequestError, "has no such org run"),
        (
            {"org_run_id": "run_x", "org_slug": "acme"},
            RequestError,
            "org_slug can't be combined with",
        ),
    ],
)
def test_what_a_run_can_not_be_asked_for_is_refused_by_name(
    conf: dict[str, Any], error: type[ConvergenceError], message: str
) -> None:
    gate = FakeGate(["acme", "full"], {"gone": RunError("subscription_inactive", "SUSPENDED")})
    runs = FakeRuns(full={"full"})
    with pytest.raises(error, match=message):
        selector(gate, runs=runs, scheduled=False).select(conf)


def api_run(**changes: Any) -> OrgRun:
    run = OrgRun(
        run_id="run_1",
        org_slug="acme",
        pipeline_id=FACTS.pipeline_id,
        dag_id=FACTS.dag_id,
        dag_run_id="scheduled__1",
        trigger="api",
        requested_by="key_1",
        created_at=NOW,
        days=(date(2026, 11, 20),),
    )
    return replace(run, **changes)


def test_a_run_from_the_api_does_what_its_record_says() -> None:
    runs = FakeRuns({"run_1": api_run()})
    batches = selector(FakeGate(["acme", "beta"]), runs=runs).select({"org_run_id": "run_1"})
    assert batches == [Batch("acme", (OrgSlice("acme", "run_1", (date(2026, 11, 20),)),))]
    assert runs.known["run_1"].status is RunStatus.RUNNING


@pytest.mark.parametrize("changes", [{"dag_id": "other"}, {"dag_run_id": "other"}])
def test_another_runs_record_can_not_be_borrowed(changes: dict[str, Any]) -> None:
    runs = FakeRuns({"run_1": api_run(**changes)})
    with pytest.raises(RequestError, match="has no such org run"):
        selector(FakeGate(["acme"]), runs=runs).select({"org_run_id": "run_1"})


def test_a_cancelled_run_does_nothing() -> None:
    runs = FakeRuns({"run_1": api_run(status=RunStatus.CANCELLED)})
    assert selector(FakeGate(["acme"]), runs=runs).select({"org_run_id": "run_1"}) == []


def test_an_org_suspended_since_the_trigger_is_refused_and_its_run_ends_with_the_reason() -> None:
    runs = FakeRuns({"run_1": api_run()})
    gate = FakeGate([], {"acme": RunError("subscription_inactive", "SUSPENDED")})
    with pytest.raises(SubscriptionInactiveError):
        selector(gate, runs=runs).select({"org_run_id": "run_1"})
    ended = runs.known["run_1"]
    assert ended.status is RunStatus.FAILED
    assert ended.error is not None
    assert ended.error.code == "subscription_inactive"


def test_a_warehouse_that_is_away_leaves_the_run_for_the_next_try() -> None:
    runs = FakeRuns({"run_1": api_run()})
    with pytest.raises(WarehouseUnavailableError):
        selector(FakeGate(["acme"], down=True), runs=runs).select({"org_run_id": "run_1"})
    assert runs.known["run_1"].status is RunStatus.QUEUED


@settings(max_examples=50)
@given(st.integers(0, 400), st.integers(1, 60))
def test_dealing_keeps_every_org_once_in_order_and_the_shares_even(count: int, most: int) -> None:
    orgs = [OrgSlice(f"org_{number:04}", f"run_{number}", ()) for number in range(count)]
    batches = split_into_batches(orgs, indexes=most)
    assert [run for batch in batches for run in batch.runs] == orgs
    assert len(batches) == min(count, most)
    sizes = {len(batch.runs) for batch in batches}
    assert not sizes or max(sizes) - min(sizes) <= 1
    labels = [batch.label for batch in batches]
    assert len(set(labels)) == len(labels)
    if count <= most:
        assert labels == [org.org_slug for org in orgs]


def test_a_batch_survives_its_way_through_xcom() -> None:
    batch = Batch("acme", (OrgSlice("acme", "run_1", (TODAY, date(2026, 1, 2))),))
    assert Batch.from_dict(batch.to_dict()) == batch


def test_a_cleared_run_does_the_days_that_it_did_before() -> None:
    runs, ledger = FakeRuns(), FakeLedger()
    before = selector(FakeGate(["acme"]), runs=runs, ledger=ledger).select({})
    ledger.done = {
        ("acme", table, TODAY - timedelta(days=back)) for table in FACTS.tables for back in range(9)
    }
    again = selector(FakeGate(["acme"]), runs=runs, ledger=ledger).select({})
    assert again == before
    assert again[0].runs[0].days
