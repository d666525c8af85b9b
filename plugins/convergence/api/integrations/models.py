"""Requests and responses about an organization's integrations with providers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field

from convergence.api.http.models import Line, RequestModel, ResponseModel


class IntegrationRequest(RequestModel):
    """A provider's credential."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"credential": "sk-admin-…", "credential_name": "Finance, read only"}
        },
        hide_input_in_errors=True,
    )

    credential: str | dict[str, Any] = Field(
        validation_alias=AliasChoices("credential", "api_key"),
        description="The key; for Google the service account's JSON, as text or object.",
        repr=False,
    )
    credential_name: Line | None = None
    import_history: bool = Field(
        default=True,
        strict=True,
        description="Whether defaults and history are imported at once; when false, the "
        "pipelines' schedules import them.",
    )


class ImportRun(ResponseModel):
    """A run that was queued because a provider was connected."""

    queue_id: str
    pipeline: str = Field(description="Path of the pipeline.")
    pipeline_id: str
    debited: bool = Field(description="Whether it counts against the plan's limits.")
    follows: str | None = Field(default=None, description="Entry whose run must succeed first.")


class IntegrationResponse(ResponseModel):
    """A connected provider without its credential."""

    org_slug: str
    provider: str
    validation_status: Literal["VALID", "INVALID", "PENDING"]
    credential_id: str | None = None
    credential_name: str | None = None
    fingerprint: str | None = None
    last_validated_at: datetime | None = None
    error: str | None = None
    connected_on: date | None = None
    status: Literal["ACTIVE", "DELETED"] = "ACTIVE"
    import_runs: list[ImportRun] | None = Field(
        default=None,
        description="Runs that were queued because of the connection, in their order: defaults, "
        "then history. `GET scheduler/queue` returns their state.",
    )


class IntegrationList(ResponseModel):
    """All connected providers."""

    org_slug: str
    integrations: list[IntegrationResponse]
