"""Every refusal and failure as RFC 9457 `application/problem+json`, with a code and request id."""

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
NOT_FOUND_DETAIL = "There is no such object, or it is not yours."
_UNEXPECTED = "Something went wrong on our side. Quote the request id when you report it."
_CODES = {
    400: "bad_request",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
# An allow-list: what an error knows is for our logs unless it is named here.
_TOLD_FACTS = (
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


class FieldFault(BaseModel):
    """One fault of a request."""

    field: str = Field(description="Where it is, such as `body.start_date`.")
    message: str
    accepted: list[str] | None = Field(default=None, description="What would be accepted there.")
    did_you_mean: str | None = None


class Problem(BaseModel):
    """An error answer (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:convergence:problem:request_invalid"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str
    code: str = Field(description="Stable, for programs.", examples=["request_invalid"])
    request_id: str = Field(description="The `X-Request-ID` of this answer.")
    errors: list[FieldFault] | None = Field(
        default=None, description="Every fault of the request at once."
    )


class InvalidFieldsError(RequestError):
    """Raised when fields of a request are wrong; `faults` lists them all."""

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        super().__init__("The request has faults; each is listed under `errors`.")
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[object, ...]:
        return InvalidFieldsError, (self.faults,)


def fault(
    field: str, message: str, *, given: str | None = None, accepted: Sequence[str] = ()
) -> FieldFault:
    """A fault; with a suggestion where `given` comes close to something accepted."""
    close = get_close_matches(given, accepted, n=1) if given and accepted else []
    return FieldFault(
        field=field,
        message=message,
        accepted=list(accepted) or None,
        did_you_mean=close[0] if close else None,
    )


def problem(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    facts: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Build one problem answer; `facts` become extension members."""
    body = {
        "type": f"urn:convergence:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": redact(detail),
        "code": code,
        "request_id": context_of(request.scope).request_id,
        **{name: _plain(value) for name, value in (facts or {}).items()},
    }
    return JSONResponse(body, status_code=status, headers=headers, media_type=MEDIA_TYPE)


def unexpected(request: Request) -> JSONResponse:
    """The answer to an exception that nobody foresaw: nothing of it is told."""
    return problem(request, status=500, code="internal_error", detail=_UNEXPECTED)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""
    app.add_exception_handler(ConvergenceError, _on_own_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)


async def _on_own_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ConvergenceError)  # noqa: S101 - narrows what Starlette promises
    if isinstance(error, NotFoundError):
        return not_found(request)
    facts: dict[str, object] = {}
    detail = error.message
    if isinstance(error, InvalidFieldsError):
        facts["errors"] = [item.model_dump(exclude_none=True) for item in error.faults]
    elif error.http_status < 500:
        facts |= {name: error.details[name] for name in _TOLD_FACTS if name in error.details}
    if error.http_status >= 500:
        passing = isinstance(error, RetryableError)
        log.error("%s: %s", error.code, redact(str(error)), exc_info=None if passing else error)
        tellable = passing or isinstance(error, OperationFailedError)
        detail = error.message if tellable else _UNEXPECTED
    return problem(
        request,
        status=error.http_status,
        code=error.code,
        detail=detail,
        facts=facts,
        headers=_headers(error),
    )


def not_found(request: Request) -> JSONResponse:
    """The one answer to a missing object, a foreign one, and a path that leads nowhere."""
    return problem(request, status=404, code="not_found", detail=NOT_FOUND_DETAIL)


def _headers(error: ConvergenceError) -> dict[str, str]:
    if isinstance(error, NotAuthenticatedError):
        return {"WWW-Authenticate": "ApiKey"}
    if isinstance(error, LimitError | RetryableError):
        seconds = error.details.get("retry_after")
        wait = seconds if isinstance(seconds, int | float) else 5
        return {"Retry-After": str(max(1, round(wait)))}
    return {}


def _plain(value: object) -> object:
    """As JSON, with no secret in any text: a caller may have put one where a name belongs."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return redact(str(value))


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - narrows what Starlette promises
    if error.status_code == 404:
        return not_found(request)
    details = {405: "This address does not answer that method."}
    return problem(
        request,
        status=error.status_code,
        code=_CODES.get(error.status_code, "error"),
        detail=details.get(error.status_code, str(error.detail)),
        headers={"Allow": _allowed(request)} if error.status_code == 405 else error.headers,
    )


def _allowed(request: Request) -> str:
    """The methods of this address; each is a route of its own, and the error knows but one."""
    matched = request.scope["route"]
    same = (route for route in request.app.routes if route.path == matched.path)
    return ", ".join(sorted({method for route in same for method in route.methods}))


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    accepted = _accepted_fields(request)
    faults = [_field_fault(item, accepted=accepted) for item in error.errors()]
    return await _on_own_error(request, InvalidFieldsError(faults))


def _field_fault(item: Mapping[str, Any], *, accepted: Sequence[str]) -> FieldFault:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        top = len(item["loc"]) == 2
        return fault(where, "is not a known field", given=name, accepted=accepted if top else ())
    message = str(item["msg"])
    return fault(where, message[:1].lower() + message[1:])


def _accepted_fields(request: Request) -> list[str]:
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
