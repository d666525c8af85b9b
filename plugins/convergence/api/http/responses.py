"""Responses: a result as an HTTP response, and the result of a platform operation as a document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from convergence.api.airflow.operations import OperationState
from convergence.api.http.idempotency import REPLAYED_HEADER, ApiResult

WAITING = "The operation is still running; its state is at `status_url`."

UrlBuilder = Callable[[str], str]
"""Returns the address of a path of this API as the caller reaches it."""


def respond(result: ApiResult) -> JSONResponse:
    """Return the result as a response; a replay has a header that says so."""
    headers = {REPLAYED_HEADER: "true"} if result.replayed else None
    return JSONResponse(dict(result.body), status_code=result.status, headers=headers)


def build_result(
    model: BaseModel,
    *,
    status: int = 200,
    exclude_none: bool = True,
    secrets: frozenset[str] = frozenset(),
) -> ApiResult:
    """Build the result of a request from its response model."""
    body = model.model_dump(mode="json", exclude_none=exclude_none)
    return ApiResult(status, body, secrets=secrets)


def build_operation_body(state: OperationState, build_url: UrlBuilder) -> dict[str, Any]:
    """Build the document of an operation: its state and, once it succeeded, its result."""
    fields = {
        "operation_id": state.operation_id,
        "status": state.status,
        "status_url": build_url(f"/admin/operations/{state.operation_id}"),
    }
    if state.failed_steps:
        steps = ", ".join(state.failed_steps)
        fields["message"] = f"Failed at {steps}; the reason is in Airflow's log."
    elif not state.ended:
        fields["message"] = WAITING
    return {**state.result, **fields}


def build_operation_result(
    state: OperationState, build_url: UrlBuilder, **fields: object
) -> ApiResult:
    """Build the result of a call that is an operation: 202 while the operation is running."""
    body = {**fields, **build_operation_body(state, build_url)}
    return ApiResult(200 if state.ended else 202, body)
