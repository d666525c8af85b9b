"""Tell an automatic retry of a task from one that a person cleared, and who is to work again.

Airflow's try number rises in both cases. It changes `max_tries` when a person clears a task, to the
tries so far and the task's retries, and at no other time
(`airflow.models.taskinstance.clear_task_instances`). So a step record that has ended, under another
`max_tries` or by the last try there was, is of a task that was cleared since. A record that never
ended is of a worker that was killed, and the retry continues its work.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convergence.state.org_steps import OrgStep, StepStatus

if TYPE_CHECKING:
    from convergence.processors.batch import Batch
    from convergence.processors.steplog import StepLog


def was_cleared(previous: OrgStep | None, *, max_tries: int) -> bool:
    """Whether a person has cleared the task since this record of it.

    Args:
        previous: the newest attempt at the step; None when none began.
        max_tries: of the task, as Airflow has it now.
    """
    if previous is None or previous.status is StepStatus.RUNNING:
        return False
    return _is_older(previous, max_tries=max_tries)


def begun(record: OrgStep, previous: OrgStep | None, *, cleared: bool) -> OrgStep:
    """The record with the begin of its work: its own, or that of the work it continues."""
    if previous is None or cleared:
        return replace(record, began_at=record.started_at, cleared=cleared)
    began_at = previous.began_at or previous.started_at
    return replace(record, began_at=began_at, cleared=previous.cleared)


def keep_done(steps: StepLog, batch: Batch, *, step: str, max_tries: int) -> None:
    """Where a cleared task had not succeeded as a whole, keep what its orgs have done.

    Orgs that began since the task was cleared have a record of this `max_tries`. If all others had
    succeeded, the task was cleared as a whole and each of them works again. If not, those that had
    succeeded are done, which is recorded at once: a try that dies after this decides the same.
    """
    run_ids = [run.run_id for run in batch.runs]
    found = steps.of_step(step, run_ids=run_ids)
    before = {
        run_id: found.get(run_id)
        for run_id in run_ids
        if run_id not in found or _is_older(found[run_id], max_tries=max_tries)
    }
    done = [run_id for run_id, record in before.items() if record is not None and _is_done(record)]
    if done and len(done) < len(before):
        steps.keep(step, run_ids=done, max_tries=max_tries)


def _is_older(record: OrgStep, *, max_tries: int) -> bool:
    """Whether the task was cleared after the record's attempt began."""
    known = record.max_tries
    return known is None or known != max_tries or record.attempt > known


def _is_done(record: OrgStep) -> bool:
    if record.status is StepStatus.SKIPPED:
        return record.error is None
    return record.status is StepStatus.SUCCESS
