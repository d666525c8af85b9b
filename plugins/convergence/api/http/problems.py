"""Error responses: RFC 9457 problem documents with an error code and the request id."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from convergence.api.http.context import context_of
from convergence.errors import (
    ConvergenceError,
    LimitError,
    NotAuthenticatedError,
    NotFoundError,
    OperationFailedError,
    RequestError,
    RetryableError,
)
from convergence.security.redaction import redact

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
NOT_FOUND_DETAIL = "There is no such object, or it belongs to another organization."
_UNEXPECTED = "Something went wrong on our side. Quote the request id when you report it."
HTTP_ERROR_CODES = {
    400: "bad_request",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
# An allow-list: the details of an error go to our logs only, unless they are named here.
_PUBLIC_DETAILS = (
    "accepted",
    "credential_id",
    "did_you_mean",
    "error",
    "field",
    "fingerprint",
    "last_validated_at",
    "limit",
    "maximum",
    "plan",
    "provider",
    "reason",
    "resets_at",
    "retry_after",
    "used",
    "validation_status",
)


class FieldError(BaseModel):
    """An invalid field of a request."""

    field: str = Field(description="The field, such as `body.start_date`.")
    message: str
    accepted: list[str] | None = Field(default=None, description="Accepted values.")
    did_you_mean: str | None = None


class Problem(BaseModel):
    """An error response (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:convergence:problem:request_invalid"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str
    code: str = Field(description="Stable error code for programs.", examples=["request_invalid"])
    request_id: str = Field(description="The `X-Request-ID` of this response.")
    errors: list[FieldError] | None = Field(
        default=None, description="All invalid fields of the request."
    )


class InvalidFieldsError(RequestError):
    """Raised when fields of a request are invalid; `errors` lists all of them."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("The request is invalid; see `errors` for each field.")
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[object, ...]:
        return InvalidFieldsError, (self.errors,)


def build_field_error(
    field: str, message: str, *, value: str | None = None, accepted: Sequence[str] = ()
) -> FieldError:
    """Build a field error, with a suggestion where `value` is close to an accepted one."""
    close = get_close_matches(value, accepted, n=1) if value and accepted else []
    return FieldError(
        field=field,
        message=message,
        accepted=list(accepted) or None,
        did_you_mean=close[0] if close else None,
    )


def build_problem(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    extensions: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build a problem response; `extensions` are further members of the document."""
    body = {
        "type": f"urn:convergence:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": redact(detail),
        "code": code,
        "request_id": context_of(request.scope).request_id,
        **{name: _to_public_json(value) for name, value in (extensions or {}).items()},
    }
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def build_unexpected_problem(request: Request) -> JSONResponse:
    """Build the response to an unexpected exception; it has no detail of the exception."""
    return build_problem(request, status=500, code="internal_error", detail=_UNEXPECTED)


def install_error_handlers(app: FastAPI) -> None:
    """Turn every error of `app` into a problem document."""
    app.add_exception_handler(ConvergenceError, _on_convergence_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_convergence_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ConvergenceError)  # noqa: S101 - narrows what Starlette promises
    if isinstance(error, NotFoundError):
        return build_not_found_problem(request)
    details: dict[str, object] = {}
    detail = error.message
    if isinstance(error, InvalidFieldsError):
        details["errors"] = [item.model_dump(exclude_none=True) for item in error.errors]
    elif error.http_status < 500:
        details |= {name: error.details[name] for name in _PUBLIC_DETAILS if name in error.details}
    if error.http_status >= 500:
        retryable = isinstance(error, RetryableError)
        log.error("%s: %s", error.code, redact(str(error)), exc_info=None if retryable else error)
        public = retryable or isinstance(error, OperationFailedError)
        detail = error.message if public else _UNEXPECTED
    return build_problem(
        request,
        status=error.http_status,
        code=error.code,
        detail=detail,
        extensions=details,
        headers=_build_headers(error),
    )


def build_not_found_problem(request: Request) -> JSONResponse:
    """Build the one response to a missing object, another org's object and an unknown path."""
    return build_problem(request, status=404, code="not_found", detail=NOT_FOUND_DETAIL)


def _build_headers(error: ConvergenceError) -> dict[str, str]:
    if isinstance(error, NotAuthenticatedError):
        return {"WWW-Authenticate": "ApiKey"}
    if isinstance(error, LimitError | RetryableError):
        seconds = error.details.get("retry_after")
        wait = seconds if isinstance(seconds, int | float) else 5
        return {"Retry-After": str(max(1, round(wait)))}
    return {}


def _to_public_json(value: object) -> object:
    """Return the value as JSON, redacted: a caller may have sent a secret in place of a name."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _to_public_json(item) for name, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_to_public_json(item) for item in value]
    return redact(str(value))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows what Starlette promises
    if error.status_code == 404:
        return build_not_found_problem(request)
    details = {405: "This address does not support that method."}
    return build_problem(
        request,
        status=error.status_code,
        code=HTTP_ERROR_CODES.get(error.status_code, "error"),
        detail=details.get(error.status_code, str(error.detail)),
        headers={"Allow": _list_allowed_methods(request)}
        if error.status_code == 405
        else error.headers,
    )


def _list_allowed_methods(request: Request) -> str:
    """Return the methods of this address: each is a separate route, and the error names one."""
    matched = request.scope["route"]
    same = (route for route in request.app.routes if route.path == matched.path)
    return ", ".join(sorted({method for route in same for method in route.methods}))


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    accepted = _list_accepted_fields(request)
    errors = [_convert_validation_error(item, accepted=accepted) for item in error.errors()]
    return await _on_convergence_error(request, InvalidFieldsError(errors))


def _convert_validation_error(item: Mapping[str, Any], *, accepted: Sequence[str]) -> FieldError:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        top = len(item["loc"]) == 2
        return build_field_error(
            where, "is not a known field", value=name, accepted=accepted if top else ()
        )
    message = str(item["msg"])
    return build_field_error(where, message[:1].lower() + message[1:])


def _list_accepted_fields(request: Request) -> list[str]:
    route = request.scope.get("route")
    body = route.body_field if isinstance(route, APIRoute) else None
    model = body.field_info.annotation if body else None
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return []
    names = set(model.model_fields)
    for info in model.model_fields.values():
        choices = getattr(info.validation_alias, "choices", [])
        names |= {choice for choice in choices if isinstance(choice, str)}
    return sorted(names)
