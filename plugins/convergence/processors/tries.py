"""Distinguish an automatic retry of a task from a task that a person cleared.

Airflow's try number rises in both cases. Airflow changes `max_tries` only when a person clears a
task: to the number of tries so far plus the task's retries
(`airflow.models.taskinstance.clear_task_instances`). So a step record that has ended, under another
`max_tries` or in the last allowed try, belongs to a task that was cleared since. A record that
never ended belongs to a worker that was killed, and the retry continues its work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from convergence.state.org_steps import OrgStep, StepStatus

if TYPE_CHECKING:
    from convergence.processors.steplog import StepLog


def was_cleared(previous: OrgStep | None, *, max_tries: int) -> bool:
    """Return whether a person has cleared the task since this record was written.

    Args:
        previous: the newest attempt at the step; None when there was none.
        max_tries: current `max_tries` of the task.
    """
    if previous is None or previous.status is StepStatus.RUNNING:
        return False
    return _is_before_clear(previous, max_tries=max_tries)


def set_work_start(record: OrgStep, previous: OrgStep | None, *, cleared: bool) -> OrgStep:
    """Return the record with the start time of its work; a retry keeps the earlier start time."""
    if previous is None or cleared:
        return replace(record, began_at=record.started_at, cleared=cleared)
    began_at = previous.began_at or previous.started_at
    return replace(record, began_at=began_at, cleared=previous.cleared)


def keep_succeeded_orgs(
    steps: StepLog, *, step: str, run_ids: Sequence[str], max_tries: int
) -> None:
    """Keep the orgs that succeeded where the cleared task had not succeeded as a whole.

    Orgs that started after the task was cleared have a record with this `max_tries`. If all others
    had succeeded, the whole task was cleared and every org works again. Otherwise those that had
    succeeded are kept. This decision is recorded at once, so that a try that starts after a crash
    makes the same decision.

    Args:
        steps: the records of steps.
        step: name of the step.
        run_ids: the org runs of the task's batch.
        max_tries: current `max_tries` of the task.
    """
    found = steps.list_attempts(step, run_ids=run_ids)
    before = {
        run_id: found.get(run_id)
        for run_id in run_ids
        if run_id not in found or _is_before_clear(found[run_id], max_tries=max_tries)
    }
    done = [run_id for run_id, record in before.items() if record is not None and _is_done(record)]
    if done and len(done) < len(before):
        steps.keep_results(step, run_ids=done, max_tries=max_tries)


def _is_before_clear(record: OrgStep, *, max_tries: int) -> bool:
    """Return whether the task was cleared after this attempt started."""
    known = record.max_tries
    return known is None or known != max_tries or record.attempt > known


def _is_done(record: OrgStep) -> bool:
    if record.status is StepStatus.SKIPPED:
        return record.error is None
    return record.status is StepStatus.SUCCESS
