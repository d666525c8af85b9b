"""Org runs, steps and slots: what moves where, on SQLite."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from convergence.state import org_runs, org_steps, slots
from convergence.state.org_runs import ENDED, OrgRun, RunError, RunPosition, RunStatus
from convergence.state.org_steps import OrgStep, StepStatus
from convergence.state.slots import LimitReached, RunLimits, SlotTaken
from convergence.state.store import StateStore

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WIDE = RunLimits(runs_per_day=1000, runs_per_month=1000, concurrent_runs=1000)


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore.connect(f"sqlite:///{tmp_path / 'state.db'}")


def make_run(number: int = 1, *, org: str = "acme_corp", at: datetime = NOW) -> OrgRun:
    return OrgRun(
        run_id=f"run_{org}_{number:03}",
        org_slug=org,
        pipeline_id="openai-usage-cost",
        dag_id="openai.cost.usage_cost",
        dag_run_id="manual__1",
        trigger="api",
        requested_by="key_1",
        created_at=at,
        days=(date(2026, 11, 20), date(2026, 11, 19)),
        params={"start_date": "2026-11-19"},
        request_id="req_1",
    )


def test_a_run_comes_back_as_it_was_stored(store: StateStore) -> None:
    with store.begin() as conn:
        assert org_runs.insert_run(conn, make_run())
    with store.read() as conn:
        assert org_runs.get_run(conn, make_run().run_id) == make_run()
        assert org_runs.get_run(conn, "run_other") is None


def test_the_same_run_is_stored_once(store: StateStore) -> None:
    with store.begin() as conn:
        assert org_runs.insert_run(conn, make_run())
        assert not org_runs.insert_run(conn, replace(make_run(), requested_by="someone_else"))
        assert org_runs.get_run(conn, make_run().run_id) == make_run()


@pytest.mark.parametrize("status", list(RunStatus))
def test_an_ended_run_never_moves_again(store: StateStore, status: RunStatus) -> None:
    for number, end in enumerate(ENDED):
        with store.begin() as conn:
            org_runs.insert_run(conn, replace(make_run(number), status=end, ended_at=NOW))
            assert not org_runs.transition_run(conn, make_run(number).run_id, status, now=NOW)
            unmoved = org_runs.get_run(conn, make_run(number).run_id)
            assert unmoved is not None
            assert unmoved.status is end


def test_a_run_succeeds_only_once_it_ran(store: StateStore) -> None:
    run_id = make_run().run_id
    with store.begin() as conn:
        org_runs.insert_run(conn, make_run())
        assert not org_runs.transition_run(conn, run_id, RunStatus.SUCCESS, now=NOW)
        assert not org_runs.transition_run(conn, run_id, RunStatus.PENDING, now=NOW)
        assert org_runs.transition_run(conn, run_id, RunStatus.RUNNING, now=NOW)
        assert org_runs.transition_run(
            conn, run_id, RunStatus.SUCCESS, now=NOW + timedelta(hours=1)
        )
        run = org_runs.get_run(conn, run_id)
    assert run is not None
    assert (run.started_at, run.ended_at) == (NOW, NOW + timedelta(hours=1))


@pytest.mark.parametrize("start", [RunStatus.PENDING, RunStatus.QUEUED, RunStatus.RUNNING])
@pytest.mark.parametrize("end", [RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_live_run_may_end_badly_from_anywhere(
    store: StateStore, start: RunStatus, end: RunStatus
) -> None:
    error = RunError("quota", "no slot")
    with store.begin() as conn:
        org_runs.insert_run(conn, replace(make_run(), status=start))
        assert org_runs.transition_run(conn, make_run().run_id, end, now=NOW, error=error)
        run = org_runs.get_run(conn, make_run().run_id)
    assert run is not None
    assert (run.status, run.error, run.is_live) == (end, error, False)


def test_a_failed_run_is_taken_up_again_only_on_purpose(store: StateStore) -> None:
    with store.begin() as conn:
        org_runs.insert_run(conn, make_run())
        assert not org_runs.reopen_run(conn, make_run().run_id)
        org_runs.transition_run(
            conn, make_run().run_id, RunStatus.FAILED, now=NOW, error=RunError("x", "y")
        )
        assert org_runs.reopen_run(conn, make_run().run_id)
        run = org_runs.get_run(conn, make_run().run_id)
    assert run is not None
    assert (run.status, run.error, run.ended_at) == (RunStatus.RUNNING, None, None)


def test_pages_of_an_orgs_runs_are_newest_first_and_complete(store: StateStore) -> None:
    # Two share each instant, so that the page's edge falls between equals.
    runs = [make_run(n, at=NOW + timedelta(minutes=n // 2)) for n in range(9)]
    with store.begin() as conn:
        for run in (*runs, make_run(1, org="globex")):
            org_runs.insert_run(conn, run)
        seen: list[OrgRun] = []
        before: RunPosition | None = None
        while page := org_runs.list_for_org(conn, "acme_corp", limit=2, before=before):
            seen += page
            before = RunPosition(page[-1].created_at, page[-1].run_id)
    assert seen == sorted(runs, key=lambda run: (run.created_at, run.run_id), reverse=True)


def test_a_list_can_be_narrowed(store: StateStore) -> None:
    with store.begin() as conn:
        org_runs.insert_run(conn, make_run(1))
        org_runs.insert_run(conn, replace(make_run(2), pipeline_id="other"))
        org_runs.insert_run(conn, replace(make_run(3), status=RunStatus.FAILED))
        failed = org_runs.list_for_org(conn, "acme_corp", limit=9, statuses=[RunStatus.FAILED])
        other = org_runs.list_for_org(conn, "acme_corp", limit=9, pipeline_id="other")
    assert [run.run_id for run in failed] == ["run_acme_corp_003"]
    assert [run.run_id for run in other] == ["run_acme_corp_002"]


def test_the_run_id_tells_orgs_dags_and_runs_apart() -> None:
    ids = {
        org_runs.org_run_id(dag, dag_run, org)
        for dag in ("a", "b")
        for dag_run in ("1", "2")
        for org in ("x", "y")
    }
    assert len(ids) == 8
    assert all(run_id.startswith("run_") and len(run_id) == 28 for run_id in ids)


# --- steps --------------------------------------------------------------------------------------


def make_step(attempt: int = 1) -> OrgStep:
    return OrgStep(
        run_id=make_run().run_id,
        step="extract_usage",
        org_slug="acme_corp",
        processor="openai.usage",
        attempt=attempt,
        started_at=NOW,
    )


def finish(conn: Connection, *, attempt: int) -> bool:
    return org_steps.finish_step(
        conn,
        make_run().run_id,
        "extract_usage",
        attempt=attempt,
        status=StepStatus.SUCCESS,
        now=NOW,
        rows_processed=7,
        destination_table="acme_corp_dev.openai_usage_daily_raw",
        result={"status": "SUCCESS"},
    )


def test_an_older_attempt_neither_restarts_nor_ends_a_newer_one(store: StateStore) -> None:
    with store.begin() as conn:
        assert org_steps.start_step(conn, make_step(2))
        assert not org_steps.start_step(conn, make_step(1))
        assert not finish(conn, attempt=1)
        assert finish(conn, attempt=2)
        assert not finish(conn, attempt=2)
        step = org_steps.get_step(conn, make_run().run_id, "extract_usage")
        assert step is not None
        assert (step.status, step.rows_processed, step.attempt) == (StepStatus.SUCCESS, 7, 2)
        assert org_steps.count_rows(conn, make_run().run_id) == 7


def test_a_new_attempt_forgets_how_the_old_one_ended(store: StateStore) -> None:
    with store.begin() as conn:
        org_steps.start_step(conn, make_step(1))
        finish(conn, attempt=1)
        org_steps.start_step(conn, make_step(2))
        assert org_steps.list_for_run(conn, make_run().run_id) == [make_step(2)]


# --- slots --------------------------------------------------------------------------------------


def admit(store: StateStore, run: OrgRun, limits: RunLimits, now: datetime = NOW) -> object:
    with store.begin() as conn:
        return slots.take_slot(conn, run, limits=limits, now=now)


def test_a_run_admitted_twice_counts_once(store: StateStore) -> None:
    limits = replace(WIDE, runs_per_day=1)
    assert admit(store, make_run(), limits) == SlotTaken(make_run().run_id)
    assert admit(store, make_run(), limits) == SlotTaken(make_run().run_id, taken_before=True)


def test_each_limit_refuses_by_name_with_use_and_reset(store: StateStore) -> None:
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    for number in range(3):
        admit(store, make_run(number, at=now), WIDE, now)
    tomorrow = datetime(2027, 1, 1, tzinfo=UTC)
    refused = [
        admit(store, make_run(9, at=now), limits, now)
        for limits in (
            replace(WIDE, runs_per_month=3),
            replace(WIDE, runs_per_day=2),
            replace(WIDE, concurrent_runs=3),
        )
    ]
    assert refused == [
        LimitReached("runs_per_month", 3, 3, tomorrow),
        LimitReached("runs_per_day", 2, 3, tomorrow),
        LimitReached("concurrent_runs", 3, 3, None),
    ]


def test_an_ended_run_frees_its_slot_but_stays_counted(store: StateStore) -> None:
    limits = RunLimits(runs_per_day=2, runs_per_month=9, concurrent_runs=1)
    admit(store, make_run(1), limits)
    assert isinstance(admit(store, make_run(2), limits), LimitReached)
    with store.begin() as conn:
        org_runs.transition_run(conn, make_run(1).run_id, RunStatus.FAILED, now=NOW)
    assert isinstance(admit(store, make_run(2), limits), SlotTaken)
    with store.begin() as conn:
        org_runs.transition_run(conn, make_run(2).run_id, RunStatus.CANCELLED, now=NOW)
    third = admit(store, make_run(3), limits)
    assert isinstance(third, LimitReached)
    assert third.limit == "runs_per_day"


def test_a_refunded_run_is_not_counted(store: StateStore) -> None:
    limits = replace(WIDE, runs_per_day=1)
    admit(store, make_run(1), limits)
    with store.begin() as conn:
        org_runs.refund_run(conn, make_run(1).run_id)
    assert isinstance(admit(store, make_run(2), limits), SlotTaken)


def test_a_lost_run_gives_its_slot_back_after_a_day(store: StateStore) -> None:
    limits = replace(WIDE, concurrent_runs=1)
    admit(store, make_run(1), limits)
    later = NOW + slots.SLOT_LIFETIME
    assert isinstance(admit(store, make_run(2), limits, later), LimitReached)
    later += timedelta(seconds=1)
    assert isinstance(admit(store, make_run(2, at=later), limits, later), SlotTaken)


def test_one_orgs_runs_take_nothing_from_another(store: StateStore) -> None:
    limits = RunLimits(1, 1, 1)
    assert isinstance(admit(store, make_run(1), limits), SlotTaken)
    assert isinstance(admit(store, make_run(1, org="globex"), limits), SlotTaken)


@settings(max_examples=25)
@given(
    limits=st.builds(
        RunLimits,
        runs_per_day=st.integers(1, 5),
        runs_per_month=st.integers(1, 8),
        concurrent_runs=st.integers(1, 4),
    ),
    hours=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    ends=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_no_sequence_of_runs_passes_a_limit(
    tmp_path_factory: pytest.TempPathFactory,
    limits: RunLimits,
    hours: list[int],
    ends: list[bool],
) -> None:
    path = tmp_path_factory.mktemp("slots") / "state.db"
    store = StateStore.connect(f"sqlite:///{path}")
    start = datetime(2026, 11, 29, 12, tzinfo=UTC)
    admitted: list[datetime] = []
    for number, hour in enumerate(sorted(hours)):
        at = start + timedelta(hours=hour)
        if isinstance(admit(store, make_run(number, at=at), limits, at), SlotTaken):
            admitted.append(at)
            if ends[number]:
                with store.begin() as conn:
                    org_runs.transition_run(conn, make_run(number).run_id, RunStatus.FAILED, now=at)
        with store.read() as conn:
            use = slots.count_usage(conn, "acme_corp", now=at)
        assert use.today == sum(when.date() == at.date() for when in admitted)
        assert use.this_month == sum(when.month == at.month for when in admitted)
        assert use.today <= limits.runs_per_day
        assert use.this_month <= limits.runs_per_month
        assert use.active <= limits.concurrent_runs
    store.close()
