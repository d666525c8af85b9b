"""Which slots come back: of ended tasks, of dead workers, of lost messages; and which stay."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from convergence.executors.slot_watch import (
    ENDED_GRACE,
    SILENT_AFTER,
    Findings,
    SlotWatch,
    TaskRow,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LONG = SILENT_AFTER + timedelta(seconds=1)


@dataclass
class Cluster:
    """The messages that the broker and the live workers have; None when they do not respond."""

    messages: set[str] | None = field(default_factory=set)
    calls: list[list[str]] = field(default_factory=list)

    def find(self, ids: Collection[str]) -> set[str] | None:
        self.calls.append(list(ids))
        return self.messages


def queued(*, ago: timedelta = LONG, try_number: int = 1) -> TaskRow:
    return TaskRow(try_number, "queued", "m1", queued_at=NOW - ago)


def running(*, silent: timedelta = LONG) -> TaskRow:
    return TaskRow(1, "running", "m1", queued_at=NOW - LONG * 9, heartbeat_at=NOW - silent)


def check(
    row: TaskRow | None, cluster: Cluster, *, after: timedelta = timedelta(0)
) -> Findings[str]:
    watch: SlotWatch[str] = SlotWatch(cluster.find)
    rows = {"task": row} if row else {}
    watch.check({"task": 1}, rows, now=NOW - after)
    return watch.check({"task": 1}, rows, now=NOW)


@pytest.mark.parametrize(
    "state", ["success", "failed", "up_for_retry", "scheduled", "skipped", None]
)
def test_a_task_that_is_over_gives_its_slot_back(state: str | None) -> None:
    found = check(TaskRow(1, state), Cluster(), after=ENDED_GRACE)
    assert (found.ended, found.lost, found.dead) == (["task"], [], [])


def test_a_worker_has_a_moment_to_report_an_end_itself() -> None:
    assert check(TaskRow(1, "success"), Cluster(), after=ENDED_GRACE / 2).ended == []


def test_the_moment_begins_anew_when_the_task_is_live_again() -> None:
    watch: SlotWatch[str] = SlotWatch(Cluster({"m1"}).find)
    for seconds, state in ((0, "scheduled"), (5, "queued"), (12, "scheduled")):
        rows = {"task": TaskRow(1, state, "m1", queued_at=NOW)}
        found = watch.check({"task": 1}, rows, now=NOW + timedelta(seconds=seconds))
        assert found.ended == []


def test_the_slot_of_an_older_try_and_of_a_deleted_task_comes_back() -> None:
    assert check(queued(try_number=2), Cluster({"m1"}), after=ENDED_GRACE).ended == ["task"]
    assert check(None, Cluster(), after=ENDED_GRACE).ended == ["task"]


def test_a_queued_task_whose_message_nobody_has_is_lost() -> None:
    found = check(queued(), Cluster({"other"}))
    assert (found.ended, found.lost, found.dead) == ([], ["task"], [])


def test_a_running_task_without_heartbeat_that_no_worker_runs_is_dead() -> None:
    found = check(running(), Cluster({"other"}))
    assert (found.ended, found.lost, found.dead) == ([], [], ["task"])


@pytest.mark.parametrize("row", [queued(), running()])
def test_what_the_broker_or_a_live_worker_has_stays(row: TaskRow) -> None:
    found = check(row, Cluster({"m1"}))
    assert (found.ended, found.lost, found.dead) == ([], [], [])


@pytest.mark.parametrize("row", [queued(), running()])
def test_nothing_is_concluded_while_the_broker_does_not_respond(row: TaskRow) -> None:
    found = check(row, Cluster(None))
    assert (found.ended, found.lost, found.dead) == ([], [], [])


@pytest.mark.parametrize(
    "row", [queued(ago=SILENT_AFTER / 2), running(silent=SILENT_AFTER / 2), TaskRow(1, "queued")]
)
def test_a_task_that_reports_or_has_just_been_sent_costs_no_question(row: TaskRow) -> None:
    cluster = Cluster()
    found = check(row, cluster)
    assert (found.ended, found.lost, found.dead) == ([], [], [])
    assert cluster.calls == []


def test_a_restarting_task_keeps_its_slot() -> None:
    row = TaskRow(1, "restarting", "m1", heartbeat_at=NOW)
    assert check(row, Cluster(), after=ENDED_GRACE).ended == []
