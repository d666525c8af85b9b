"""What the API takes and answers about the queue and an organization's own schedules."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from convergence.api.http.days import Day
from convergence.api.http.models import Answer, Body, Line, Whole
from convergence.pipelines.files.schedule import Schedule


class QueueRequest(Body):
    """A run that may wait for a free slot of the plan."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"pipeline": "openai/cost/usage_cost", "date": "2025-11-25"}}
    )

    pipeline: Line = Field(description="Path or alias of the pipeline.")
    day: Day | None = Field(default=None, alias="date", description="One UTC day.")
    start_date: Day | None = Field(default=None, description="First UTC day.")
    end_date: Day | None = Field(default=None, description="Last UTC day, included.")
    params: dict[str, Any] = Field(default_factory=dict, description="The pipeline's own params.")
    priority: Whole = Field(default=0, ge=-10, le=10, description="Higher goes first.")


class QueueEntry(Answer):
    """One entry of the queue."""

    queue_id: str
    pipeline_id: str
    status: Literal["QUEUED", "STARTED", "FAILED", "CANCELLED"]
    priority: int
    days: list[date] = Field(description="Empty for what is due when it starts.")
    params: dict[str, Any]
    requested_by: str
    reason: str | None = Field(default=None, description="Why it waits, or will not run.")
    run_id: str | None = None
    debited: bool = Field(description="Whether its run counts against the plan's limits.")
    follows: str | None = Field(default=None, description="Entry whose run must succeed first.")
    enqueued_at: datetime
    ended_at: datetime | None = Field(default=None, description="When it left the queue.")


class QueueList(Answer):
    """The organization's entries, newest first."""

    entries: list[QueueEntry]


class QueueProcessed(Answer):
    """What a pass over the organization's entries did."""

    started: int
    waiting: int
    failed: int
    entries: list[QueueEntry] = Field(description="Those that wait still.")


class PipelineConfigRequest(Body):
    """The organization's own word on a pipeline; what is not given is as the pipeline has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"enabled": True, "schedule": "30 4 * * *", "timezone": "Europe/Berlin"}
        }
    )

    enabled: bool = Field(default=True, strict=True, description="Whether it runs at all.")
    schedule: Schedule | None = Field(
        default=None, description="Five cron fields or a preset; null follows the pipeline's."
    )
    timezone: Line | None = Field(default=None, description="IANA name; null is UTC.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Values that its runs use unless they are given others."
    )


class PipelineConfigAnswer(Answer):
    """How a pipeline is configured for the organization."""

    org_slug: str
    pipeline_id: str
    enabled: bool
    schedule: str | None = None
    timezone: str | None = None
    params: dict[str, Any]
    common_schedule: str | None = Field(
        default=None, description="The pipeline's schedule, which its own replaces."
    )
    next_due_at: datetime | None = Field(default=None, description="By its own schedule, UTC.")
    updated_at: datetime | None = None
    updated_by: str | None = None
