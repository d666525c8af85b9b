"""Requests and responses about pipelines and their runs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from convergence.api.http.days import Day
from convergence.api.http.models import ResponseModel
from convergence.run_error_codes import RunErrorCode

RunState = Literal["PENDING", "QUEUED", "RUNNING", "SUCCESS", "FAILED", "CANCELLED"]
ErrorCode = Annotated[
    str, WithJsonSchema({"type": "string", "enum": sorted(code.value for code in RunErrorCode)})
]
"""A code of `RunErrorCode`, or one that another release has stored."""


class StepInfo(ResponseModel):
    """A step of a pipeline."""

    step: str
    processor: str


class PipelineSummary(ResponseModel):
    """A pipeline that can be run."""

    pipeline_id: str
    path: str = Field(examples=["openai/cost/usage_cost"])
    aliases: list[str]
    description: str
    provider: str | None = None
    schedule: str | None = None
    params: dict[str, Any] = Field(description="JSON Schema of the params of a run.")
    steps: list[StepInfo]
    tables: list[str]


class PipelineList(ResponseModel):
    """All pipelines that can be run."""

    pipelines: list[PipelineSummary]


class RunRequest(BaseModel):
    """Requested days and further params of the pipeline; empty for the days that are due."""

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


class RunAccepted(ResponseModel):
    """A run that was accepted."""

    run_id: str
    pipeline_id: str = Field(examples=["acme_corp-openai-usage-cost"])
    pipeline: str = Field(examples=["openai/cost/usage_cost"])
    status: RunState
    status_url: str
    days: list[date]
    message: str | None = None


class RunErrorInfo(ResponseModel):
    """The reason why a run or a step did not succeed."""

    code: ErrorCode
    message: str


class JobCounts(ResponseModel):
    """Numbers of BigQuery load jobs, query jobs and streaming requests."""

    load: int
    query: int
    stream: int


class ProviderCalls(ResponseModel):
    """Requests to the provider and its responses."""

    requests: int
    retries: int = Field(description="Repeated requests.")
    pages: int
    bytes: int = Field(description="Uncompressed size of the responses.")


class RunCost(ResponseModel):
    """The resources that the run used, summed over all tries of its steps."""

    bytes_billed: int = Field(description="Bytes that BigQuery bills.")
    slot_ms: int = Field(description="BigQuery slot time in milliseconds.")
    jobs: JobCounts
    provider: ProviderCalls
    estimated_cost: str = Field(
        description="At the list prices of our cloud.", examples=["0.000059605"]
    )
    currency: str = Field(examples=["USD"])


class StepDetail(ResponseModel):
    """A step of a run."""

    step: str
    processor: str
    status: Literal["RUNNING", "SUCCESS", "FAILED", "SKIPPED"]
    attempt: int
    started_at: datetime
    ended_at: datetime | None = None
    rows_processed: int | None = None
    destination_table: str | None = None
    error: RunErrorInfo | None = None
    report: dict[str, Any] = Field(
        default_factory=dict,
        description="Further results of the step: days, totals, unpriced usage, restatements.",
    )


class QualityFinding(ResponseModel):
    """An expectation that a published day violates."""

    expectation: str
    severity: Literal["stop", "warn"]
    table: str
    day: date
    observed: str
    expected: str
    message: str = Field(description="The finding in one sentence.")


class QualityResult(ResponseModel):
    """The result of a suite of expectations on the run's published days."""

    suite: str
    expectations: int = Field(description="Number of expectations, each checked for every day.")
    days: int
    not_met: int
    findings: list[QualityFinding] = Field(description="Violated expectations, at most fifty.")
    message: str = Field(examples=["7 expectations of openai_cost_suite on 3 days: all met"])


class NotificationResult(ResponseModel):
    """A message about the run and its delivery."""

    channel: str = Field(examples=["email"])
    event: str = Field(examples=["failed"], description="The reported event.")
    status: Literal["CLAIMED", "SENT", "FAILED"]
    attempts: int
    recipients: int = Field(description="Number of recipients that received it.")
    at: datetime
    message: str = Field(examples=["email about a failed run: sent to 1 recipient"])


class RunSummary(ResponseModel):
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
    error: RunErrorInfo | None = None
    status_url: str


class RunDetail(RunSummary):
    """A run with its steps."""

    org_slug: str
    params: dict[str, Any]
    request_id: str | None = None
    rows_processed: int
    tables: list[str]
    steps: list[StepDetail]
    cost: RunCost
    quality: list[QualityResult] = Field(default_factory=list)
    notifications: list[NotificationResult] = Field(default_factory=list)
    links: dict[str, str]
    airflow_url: str | None = Field(default=None, description="In development only.")


class RunPage(ResponseModel):
    """Runs, newest first."""

    runs: list[RunSummary]
    next_cursor: str | None = Field(
        default=None, description="Send it as `cursor` for the next page; absent on the last page."
    )
