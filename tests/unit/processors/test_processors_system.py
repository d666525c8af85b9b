"""Starting and reading runs from inside a task, by the task's own token."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    DagResult,
    DagRunResult,
    ErrorResponse,
    GetDag,
    OKResponse,
)

from convergence.errors import OrchestratorUnavailableError, PipelineUnavailableError
from convergence.processors.system.airflow_runs import TaskOrchestrator

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Supervisor:
    """Answers every message alike, and keeps them."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.sent: list[Any] = []

    def send(self, message: Any) -> Any:
        self.sent.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def failed(kind: ErrorType, status: int | None = None) -> ErrorResponse:
    return ErrorResponse(error=kind, detail={"status_code": status} if status else None)


def supervised(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Supervisor:
    supervisor = Supervisor(answer)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    return supervisor


def trigger() -> None:
    TaskOrchestrator().trigger("a.dag", dag_run_id="queue__1", conf={"org_run_id": "run_1"})


@pytest.mark.parametrize("answer", [OKResponse(ok=True), failed(ErrorType.DAGRUN_ALREADY_EXISTS)])
def test_a_run_is_started_or_was(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    supervisor = supervised(monkeypatch, answer)
    trigger()
    [message] = supervisor.sent
    assert (message.dag_id, message.run_id) == ("a.dag", "queue__1")
    assert message.conf == {"org_run_id": "run_1"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, PipelineUnavailableError), (400, PipelineUnavailableError),
     (500, OrchestratorUnavailableError),
     (None, OrchestratorUnavailableError)],
)  # fmt: skip
def test_what_airflow_refuses_is_told_from_what_is_uncertain(
    monkeypatch: pytest.MonkeyPatch, status: int | None, kind: type[Exception]
) -> None:
    refusal = failed(ErrorType.API_SERVER_ERROR, status)
    for answer in (refusal, AirflowRuntimeError(refusal)):
        supervised(monkeypatch, answer)
        with pytest.raises(kind):
            trigger()


def dag_of(*, is_paused: bool) -> DagResult:
    return DagResult(
        dag_id="a.dag",
        is_paused=is_paused,
        bundle_name=None,
        bundle_version=None,
        relative_fileloc=None,
        owners=None,
        tags=[],
        next_dagrun=None,
    )


def test_whether_a_dag_can_run_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = TaskOrchestrator()
    supervisor = supervised(monkeypatch, dag_of(is_paused=False))
    assert airflow.check_readiness("a.dag") is None
    assert supervisor.sent == [GetDag(dag_id="a.dag")]
    supervised(monkeypatch, dag_of(is_paused=True))
    paused = airflow.check_readiness("a.dag")
    assert paused is not None
    assert paused.details["reason"] == "paused"
    supervised(monkeypatch, AirflowRuntimeError(failed(ErrorType.API_SERVER_ERROR, 404)))
    missing = airflow.check_readiness("a.dag")
    assert missing is not None
    assert missing.details["reason"] == "unknown"
    supervised(monkeypatch, failed(ErrorType.API_SERVER_ERROR, 500))
    with pytest.raises(OrchestratorUnavailableError):
        airflow.check_readiness("a.dag")


def test_the_state_of_a_run_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run = DagRunResult.model_validate(
        {
            "dag_id": "a.dag",
            "run_id": "queue__1",
            "run_after": NOW,
            "run_type": "manual",
            "state": "running",
            "start_date": NOW,
            "end_date": None,
            "logical_date": None,
            "data_interval_start": None,
            "data_interval_end": None,
            "partition_key": None,
            "consumed_asset_events": [],
        }
    )
    supervised(monkeypatch, run)
    assert TaskOrchestrator().state_of("a.dag", "queue__1") == "running"
    supervised(monkeypatch, AirflowRuntimeError(failed(ErrorType.API_SERVER_ERROR, 404)))
    assert TaskOrchestrator().state_of("a.dag", "queue__1") is None
    supervised(monkeypatch, AirflowRuntimeError(failed(ErrorType.API_SERVER_ERROR, 500)))
    with pytest.raises(OrchestratorUnavailableError):
        TaskOrchestrator().state_of("a.dag", "queue__1")
