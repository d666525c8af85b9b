"""Pipelines and their runs, as the API takes and answers them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from convergence.api.http.days import Day
from convergence.api.http.models import Answer

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
    provider: str | None = None
    schedule: str | None = None
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


class JobCounts(Answer):
    """BigQuery's work: load jobs, query jobs, streaming requests."""

    load: int
    query: int
    stream: int


class ProviderCalls(Answer):
    """What was asked of the provider."""

    requests: int
    retries: int = Field(description="Requests that were sent again.")
    pages: int
    bytes: int = Field(description="Of the answers, unpacked.")


class RunCost(Answer):
    """What the run took from us, all tries of its steps together."""

    bytes_billed: int = Field(description="Bytes that BigQuery bills.")
    slot_ms: int = Field(description="BigQuery slot time in milliseconds.")
    jobs: JobCounts
    provider: ProviderCalls
    estimated_cost: str = Field(description="At our cloud's list prices.", examples=["0.000059605"])
    currency: str = Field(examples=["USD"])


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
    report: dict[str, Any] = Field(
        default_factory=dict,
        description="What the step tells beside this: days, totals, unpriced usage, restatements.",
    )


class QualityFinding(Answer):
    """An expectation that a published day does not meet."""

    expectation: str
    severity: Literal["stop", "warn"]
    table: str
    day: date
    observed: str
    expected: str
    message: str = Field(description="All of it in a sentence.")


class QualityResult(Answer):
    """What a suite of expectations said to the run's published days."""

    suite: str
    expectations: int = Field(description="How many were checked, each for every day.")
    days: int
    not_met: int
    findings: list[QualityFinding] = Field(description="Those that were not met, at most fifty.")
    message: str = Field(examples=["7 expectations of openai_cost_suite on 3 days: all met"])


class NotificationResult(Answer):
    """A message about the run that was sent, or could not be."""

    channel: str = Field(examples=["email"])
    event: str = Field(examples=["failed"], description="What it told of.")
    status: Literal["CLAIMED", "SENT", "FAILED"]
    attempts: int
    recipients: int = Field(description="How many took it.")
    at: datetime
    message: str = Field(examples=["email about a failed run: sent to 1 recipient"])


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
    cost: RunCost
    quality: list[QualityResult] = Field(default_factory=list)
    notifications: list[NotificationResult] = Field(default_factory=list)
    links: dict[str, str]
    airflow_url: str | None = Field(default=None, description="In development only.")


class RunPage(Answer):
    """Runs, newest first."""

    runs: list[RunSummary]
    next_cursor: str | None = Field(
        default=None, description="Give it as `cursor` for the next page; absent on the last."
    )
