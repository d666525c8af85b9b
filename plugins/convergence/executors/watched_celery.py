"""Airflow's CeleryExecutor with slots that come back when a worker dies.

Named in `[core] executor` as `convergence.executors.watched_celery.WatchedCeleryExecutor`. It runs
in the scheduler; workers and API servers only import it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.models.log import Log
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancekey import TaskInstanceKey
from airflow.providers.celery.executors.celery_executor import CeleryExecutor
from airflow.providers.celery.executors.celery_executor_utils import ExceptionWithTraceback
from airflow.sdk.exceptions import AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from kombu import Connection
from kombu.exceptions import OperationalError
from sqlalchemy import select, update

from convergence.executors.slot_watch import SlotWatch, TaskRow

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.tokens import JWTGenerator
    from sqlalchemy.orm import Session

CHECK_SECONDS = 5.0
WORKER_RESPONSE_SECONDS = 1.5
BROKER_SECONDS = 5.0
TOKEN_SECONDS = 900.0
"""Validity of a queued task's token. Airflow ties it to `task_queued_timeout`: a worker that
takes a message at the moment of the time-out would be rejected, and the task would fail."""

LOST = "message lost"
WORKER_DIED = "its worker died: no heartbeat, and no live worker runs it"


class WatchedCeleryExecutor(CeleryExecutor):  # type: ignore[misc]  # Celery is production's alone
    """Gives back the slots of tasks that ended, whose worker died, or whose message was lost."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watch: SlotWatch[TaskInstanceKey] = SlotWatch(self._find_messages)
        self._next_check = 0.0

    @cached_property
    def jwt_generator(self) -> _LongLivedTokens:
        """Makes the tokens of queued tasks; they outlive the time-out of the queue."""
        return _LongLivedTokens(super().jwt_generator)

    def sync(self) -> None:
        """Ask Celery for results, then compare the slots with the tasks."""
        super().sync()
        if time.monotonic() < self._next_check:
            return
        try:
            self._give_back()
        except Exception:
            # The database or the broker is away: the scheduler's own code decides what follows.
            self.log.exception("The slots could not be compared with the tasks")
        self._next_check = time.monotonic() + CHECK_SECONDS

    def _send_workloads_to_celery(self, workload_tuples_to_send: Sequence[Any]) -> list[Any]:
        sent = super()._send_workloads_to_celery(workload_tuples_to_send)
        return [(key, args, _mark_retryable(result)) for key, args, result in sent]

    def _give_back(self) -> None:
        keys = [key for key in self.running if isinstance(key, TaskInstanceKey)]
        if not keys:
            return
        with create_session() as session:
            tasks = _load_tasks(session, keys)
            rows = {key: _build_task_row(task) for key, task in tasks.items()}
            tries = {key: key.try_number for key in keys}
            findings = self._watch.check(tries, rows, now=datetime.now(UTC))
            for key in findings.ended:
                self.log.warning("Slot given back: %s ended and Celery does not know it", key)
                self.running.discard(key)
                self.workloads.pop(key, None)
            for key in findings.lost:
                self._send_again(session, key, tasks[key])
        for key in findings.dead:
            self.log.warning("Slot given back: %s: %s", key, WORKER_DIED)
            self.fail(key, WORKER_DIED)

    def _send_again(self, session: Session, key: TaskInstanceKey, task: TaskInstance) -> None:
        """Put a task whose message was lost back to `scheduled`, unless it began meanwhile."""
        still = (
            (TaskInstance.id == task.id)
            & (TaskInstance.state == TaskInstanceState.QUEUED)
            & (TaskInstance.external_executor_id == task.external_executor_id)
        )
        values = {
            "state": TaskInstanceState.SCHEDULED,
            "queued_dttm": None,
            "queued_by_job_id": None,
            "external_executor_id": None,
            "scheduled_dttm": datetime.now(UTC),
        }
        statement = update(TaskInstance).where(still).values(**values)
        done = session.execute(statement.execution_options(synchronize_session=False))
        if done.rowcount != 1:  # type: ignore[attr-defined]  # a CursorResult
            return
        self.log.warning("Slot given back: the message of %s was lost; it is sent again", key)
        reason = "Neither the broker nor a live worker has the task's message; it is sent again."
        session.add(Log(event=LOST, task_instance=key, extra=reason))
        self.revoke_task(ti=task)
        self.event_buffer.pop(key, None)

    def _find_messages(self, message_ids: Collection[str]) -> set[str] | None:
        # A scheduler that waits for the broker schedules nothing meanwhile.
        options = {"max_retries": 1, "interval_start": 0}
        try:
            with (
                timeout(seconds=BROKER_SECONDS),  # type: ignore[no-untyped-call]
                self.celery_app.connection_for_read(transport_options=options) as connection,
            ):
                return self._look_for(message_ids, connection)
        except (AirflowTaskTimeout, Exception) as error:  # noqa: BLE001 - whatever it is, it is unknown
            self.log.warning("The broker does not respond; no message counts as lost: %r", error)
            return None

    def _look_for(self, message_ids: Collection[str], connection: Connection) -> set[str] | None:
        """Look in Redis first: a message that a worker takes meanwhile is found in one or both."""
        if connection.transport.driver_type != "redis":
            return None
        queue = self.conf.get_mandatory_value("operators", "default_queue")
        texts = connection.default_channel.client.lrange(queue, 0, -1)
        waiting = {str(json.loads(text)["headers"]["id"]) for text in texts}
        missing = [each for each in message_ids if each not in waiting]
        if not missing:
            return waiting
        inspect = self.celery_app.control.inspect(
            timeout=WORKER_RESPONSE_SECONDS, connection=connection
        )
        responses = inspect.query_task(*missing) or {}
        return waiting.union(*(responses.values()))


class _LongLivedTokens:
    """Airflow's generator of tokens, with a longest wait in the queue of our own."""

    def __init__(self, generator: JWTGenerator) -> None:
        self._generator = generator

    def generate(
        self,
        extras: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        valid_for: float | None = None,
    ) -> str:
        """Return a signed token that is valid for at least `TOKEN_SECONDS`."""
        seconds = max(valid_for or 0.0, TOKEN_SECONDS)
        return self._generator.generate(extras, headers, valid_for=seconds)


def _mark_retryable(result: object) -> object:
    """Let a message that the broker did not accept be sent again, as after a timeout."""
    error = getattr(result, "exception", None)
    if isinstance(error, OperationalError | ConnectionError):
        return ExceptionWithTraceback(AirflowTaskTimeout(f"no broker: {error}"), str(error))
    return result


def _load_tasks(
    session: Session, keys: Sequence[TaskInstanceKey]
) -> dict[TaskInstanceKey, TaskInstance]:
    by_primary = {key.primary: key for key in keys}
    chosen = TaskInstance.filter_for_tis(keys)
    assert chosen is not None  # noqa: S101 - there are keys
    found = session.scalars(select(TaskInstance).where(chosen))
    return {by_primary[task.key.primary]: task for task in found}


def _build_task_row(task: TaskInstance) -> TaskRow:
    return TaskRow(
        try_number=task.try_number,
        state=str(task.state) if task.state else None,
        message_id=task.external_executor_id,
        queued_at=task.queued_dttm,
        heartbeat_at=task.last_heartbeat_at,
    )
