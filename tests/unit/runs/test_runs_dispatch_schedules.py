"""Own schedules: a due time starts one run, in the schedule's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from convergence.runs.dispatch import Dispatcher, DispatchResult, compute_next_time
from convergence.state import org_runs, outbox, pipeline_configs
from convergence.state.store import StateStore
from unit.runs.dispatching import ACME, NOW, add, configure


def test_a_due_schedule_runs_once_however_often_it_was_missed(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    configure(store, due_at=NOW - timedelta(days=3))
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(due=1, started=1)
    assert dispatcher.dispatch_runs(now=NOW + timedelta(minutes=1)) == DispatchResult()
    with store.read() as conn:
        [run] = org_runs.list_for_org(conn, ACME, limit=9)
        config = pipeline_configs.get_config(conn, ACME, "openai-usage-cost")
        logged = outbox.list_waiting_rows(conn, "org_scheduled_pipeline_runs")
    assert (run.trigger, run.requested_by, run.params) == ("schedule", "scheduler", {"x": 2})
    assert run.days == ()
    assert config is not None
    assert config.next_due_at == datetime(2026, 11, 22, 4, 30, tzinfo=UTC)
    assert [row["status"] for row in logged] == ["QUEUED", "STARTED"]
    assert {row["due_at"][:10] for row in logged} == {"2026-11-18"}
    assert {row["schedule"] for row in logged} == {"30 4 * * *"}
    assert logged[1]["run_id"] == run.run_id


def test_what_is_not_due_or_switched_off_does_not_run(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    configure(store, due_at=NOW + timedelta(seconds=1))
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult()
    configure(store, due_at=NOW, enabled=False)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult()


def test_a_due_time_is_skipped_while_a_run_of_the_pipeline_waits(
    store: StateStore, dispatcher: Dispatcher
) -> None:
    for minute in range(3):
        add(store, minute=minute)
    configure(store, due_at=NOW)
    assert dispatcher.dispatch_runs(now=NOW) == DispatchResult(started=2, waiting=1)
    with store.read() as conn:
        logged = outbox.list_waiting_rows(conn, "org_scheduled_pipeline_runs")
    assert [row["status"] for row in logged] == ["SKIPPED"]


@pytest.mark.parametrize(
    ("schedule", "zone", "expected"),
    [
        ("30 4 * * *", None, "2026-11-22T04:30:00+00:00"),
        ("30 4 * * *", "Europe/Berlin", "2026-11-22T03:30:00+00:00"),
        ("@quarterly", None, "2027-01-01T00:00:00+00:00"),
        ("@hourly", "Asia/Kolkata", "2026-11-21T12:30:00+00:00"),
    ],
)
def test_a_schedule_is_read_in_its_own_zone(schedule: str, zone: str | None, expected: str) -> None:
    assert compute_next_time(schedule, zone, after=NOW).isoformat() == expected
