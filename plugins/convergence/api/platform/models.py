"""Requests and responses about the platform: health and bootstrap."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from convergence.api.http.models import Line, OperationResponse, RequestModel, ResponseModel


class Liveness(ResponseModel):
    """The process is running."""

    status: Literal["ok"] = "ok"
    version: str
    provider_registry: str = Field(
        description="Edition of `system/providers.yml`; tasks log theirs when `select_orgs` begins."
    )


class ReadinessCheck(ResponseModel):
    """The check of one service that the API depends on."""

    status: Literal["ok", "failed"]
    milliseconds: float
    code: str | None = Field(default=None, description="Error code of a failed check.")


class ReadinessResponse(ResponseModel):
    """Whether all services that the API depends on respond."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, ReadinessCheck]


class BootstrapRequest(RequestModel):
    """Options of the bootstrap of the central dataset."""

    force_recreate_dataset: bool = Field(
        default=False,
        strict=True,
        description="Drop and recreate the central dataset; not allowed in production.",
    )
    confirmation: Annotated[Line, StringConstraints(max_length=100)] | None = Field(
        default=None, description="The name of the dataset, as a confirmation of its recreation."
    )


class BootstrapResponse(OperationResponse):
    """The result of a bootstrap."""

    tables_created: list[str] | None = None
