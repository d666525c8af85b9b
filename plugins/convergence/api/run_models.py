"""Pipelines and their runs, as the API takes and answers them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from convergence.api.days import Day
from convergence.api.models import Answer

RunState = Literal["PENDING", "QUEUED", "RUNNING", "SUCCESS", "FAILED", "CANCELLED"]


class StepInfo(Answer):
    """A step of a pipeline."""

    step: str
    processor: str


class PipelineInfo(Answer):
    """A pipeline that can be run."""

    pipeline_id: str
    path: str = Field(examples=["openai/cost/usage_cost"])
    aliases: list[str]
    description: str
    provider: str | None
    schedule: str | None
    params: dict[str, Any] = Field(description="JSON Schema of the params a run takes.")
    steps: list[StepInfo]
    tables: list[str]


class PipelineList(Answer):
    """Every pipeline that can be run."""

    pipelines: list[PipelineInfo]


class RunRequest(BaseModel):
    """Days to do, and the pipeline's own params beside them; empty for what is due."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"date": "2025-11-25"},
                {"start_date": "2025-11-23", "end_date": "2025-11-25"},
                {},
            ]
        },
    )

    day: Day | None = Field(default=None, alias="date", description="One UTC day.")
    start_date: Day | None = Field(default=None, description="First UTC day.")
    end_date: Day | None = Field(default=None, description="Last UTC day, included.")


class RunAccepted(Answer):
    """A run that was accepted."""

    run_id: str
    pipeline_id: str = Field(examples=["acme_corp-openai-usage-cost"])
    pipeline: str = Field(examples=["openai/cost/usage_cost"])
    status: RunState
    status_url: str
    days: list[date]
    message: str | None = None


class RunFault(Answer):
    """Why a run or a step did not succeed."""

    code: str
    message: str


class StepStatus(Answer):
    """A step of a run."""

    step: str
    processor: str
    status: Literal["RUNNING", "SUCCESS", "FAILED", "SKIPPED"]
    attempt: int
    started_at: datetime
    ended_at: datetime | None = None
    rows_processed: int | None = None
    destination_table: str | None = None
    error: RunFault | None = None


class RunSummary(Answer):
    """A run in a list."""

    run_id: str
    pipeline_id: str
    pipeline: str
    status: RunState
    trigger: Literal["api", "ui", "schedule"]
    days: list[date]
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: RunFault | None = None
    status_url: str


class RunDetail(RunSummary):
    """A run with its steps."""

    org_slug: str
    params: dict[str, Any]
    request_id: str | None = None
    rows_processed: int
    tables: list[str]
    steps: list[StepStatus]
    links: dict[str, str]
    airflow_url: str | None = Field(default=None, description="In development only.")


class RunPage(Answer):
    """Runs, newest first."""

    runs: list[RunSummary]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` for the next page; absent on the last."
    )
