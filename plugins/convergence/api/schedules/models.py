"""Requests and responses about the queue and an organization's schedules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from convergence.api.http.days import Day
from convergence.api.http.models import Line, RequestModel, ResponseModel, Whole
from convergence.pipelines.files.schedule import Schedule


class QueueRequest(RequestModel):
    """A run that may wait for a free slot of the plan."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"pipeline": "openai/cost/usage_cost", "date": "2025-11-25"}}
    )

    pipeline: Line = Field(description="Path or alias of the pipeline.")
    day: Day | None = Field(default=None, alias="date", description="One UTC day.")
    start_date: Day | None = Field(default=None, description="First UTC day.")
    end_date: Day | None = Field(default=None, description="Last UTC day, included.")
    params: dict[str, Any] = Field(default_factory=dict, description="Params of the pipeline.")
    priority: Whole = Field(default=0, ge=-10, le=10, description="Higher priorities start first.")


class QueueEntry(ResponseModel):
    """An entry of the queue."""

    queue_id: str
    pipeline_id: str
    status: Literal["QUEUED", "STARTED", "FAILED", "CANCELLED"]
    priority: int
    days: list[date] = Field(description="Empty for the days that are due when it starts.")
    params: dict[str, Any]
    requested_by: str
    reason: str | None = Field(default=None, description="Why it is waiting or failed.")
    run_id: str | None = None
    debited: bool = Field(description="Whether its run counts against the plan's limits.")
    follows: str | None = Field(default=None, description="Entry whose run must succeed first.")
    enqueued_at: datetime
    ended_at: datetime | None = Field(default=None, description="When it left the queue.")


class QueueList(ResponseModel):
    """The organization's entries, newest first."""

    entries: list[QueueEntry]


class QueueProcessed(ResponseModel):
    """The result of processing the organization's entries."""

    started: int
    waiting: int
    failed: int
    entries: list[QueueEntry] = Field(description="Entries that are still waiting.")


class PipelineConfigRequest(RequestModel):
    """The organization's configuration of a pipeline; absent fields follow the pipeline."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"enabled": True, "schedule": "30 4 * * *", "timezone": "Europe/Berlin"}
        }
    )

    enabled: bool = Field(default=True, strict=True, description="Whether the pipeline may run.")
    schedule: Schedule | None = Field(
        default=None, description="Five cron fields or a preset; null follows the pipeline's."
    )
    timezone: Line | None = Field(default=None, description="IANA name; null is UTC.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Default values of the params of its runs."
    )


class PipelineConfigResponse(ResponseModel):
    """The configuration of a pipeline for the organization."""

    org_slug: str
    pipeline_id: str
    enabled: bool
    schedule: str | None = None
    timezone: str | None = None
    params: dict[str, Any]
    common_schedule: str | None = Field(
        default=None, description="The pipeline's schedule, which the organization's replaces."
    )
    next_due_at: datetime | None = Field(
        default=None, description="Next start by the organization's schedule, UTC."
    )
    updated_at: datetime | None = None
    updated_by: str | None = None
