"""Translate the errors of BigQuery and of the connection to it into our own errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import Any, Final

import requests.exceptions
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors
from google.resumable_media import DataCorruption, InvalidResponse

from convergence.errors import (
    ConvergenceError,
    NotBootstrappedError,
    WarehouseError,
    WarehouseUnavailableError,
)
from convergence.warehouse.names import CENTRAL

# cloud.google.com/bigquery/docs/error-messages: after each of these reasons the same call may
# succeed later. `stopped` is a cancelled job.
PASSING_REASONS: Final = frozenset(
    {
        "backendError",
        "badGateway",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "quotaExceeded",
        "rateLimitExceeded",
        "resourceInUse",
        "serviceUnavailable",
        "stopped",
        "tableUnavailable",
        "timeout",
    }
)
# These two keep failing within the timeouts of one process: only a later run can help.
SLOW_REASONS: Final = frozenset({"quotaExceeded", "stopped"})
# DML that met other DML on the same table; the reason alone reads as a wrong query.
_DML_CONTENTION = re.compile(r"could not serialize access|too many dml statements", re.IGNORECASE)
_CENTRAL_MISSING = re.compile(rf"not found: (?:dataset|table) \S*[:.]{CENTRAL}\b", re.IGNORECASE)

_TRANSPORT = (
    ConnectionError,
    FutureTimeoutError,
    TimeoutError,
    requests.exceptions.RequestException,
    auth_errors.TransportError,
    google_errors.RetryError,
    DataCorruption,
)
EDGE_ERRORS: Final = (
    google_errors.GoogleAPICallError,
    auth_errors.GoogleAuthError,
    InvalidResponse,
    *_TRANSPORT,
)
_MAX_MESSAGE_CHARS = 800


def reason_of(error: BaseException) -> str | None:
    """Return BigQuery's reason, such as `rateLimitExceeded`, or None if the error has none."""
    errors: Any = getattr(error, "errors", None)
    if errors and isinstance(errors[0], dict):
        return errors[0].get("reason")
    return None


def is_passing(error: BaseException) -> bool:
    """Return whether the same call may succeed when it is repeated."""
    if isinstance(error, requests.exceptions.SSLError):
        return False
    if isinstance(error, _TRANSPORT):
        return True
    if isinstance(error, google_errors.GoogleAPICallError):
        if (reason := reason_of(error)) is not None:
            return is_passing_reason(reason, str(error))
        return isinstance(error, google_errors.TooManyRequests | google_errors.ServerError)
    return False


def is_passing_reason(reason: str, message: str) -> bool:
    """Return whether a job that failed for this reason may succeed when it is repeated."""
    return reason in PASSING_REASONS or bool(_DML_CONTENTION.search(message))


def is_worth_a_call(error: BaseException) -> bool:
    """Return whether one HTTP call should be repeated at once, within its timeout."""
    return is_passing(error) and reason_of(error) not in SLOW_REASONS


def translate_error(error: BaseException, *, doing: str, **details: object) -> ConvergenceError:
    """Return our error for an error of the client; its class says whether a retry helps."""
    message = " ".join(str(getattr(error, "message", None) or error).split())
    return _build_error(
        message or type(error).__name__,
        reason=reason_of(error),
        passing=is_passing(error),
        doing=doing,
        **details,
    )


def translate_job_error(
    result: Mapping[str, str], *, doing: str, **details: object
) -> ConvergenceError:
    """Return our error for the `errorResult` of a failed job."""
    reason, message = result.get("reason", ""), result.get("message", "")
    passing = is_passing_reason(reason, message)
    return _build_error(message, reason=reason, passing=passing, doing=doing, **details)


def _build_error(
    message: str, *, reason: str | None, passing: bool, **details: object
) -> ConvergenceError:
    known = {name: value for name, value in details.items() if value is not None}
    known["response"] = message[:_MAX_MESSAGE_CHARS]
    if reason:
        known["reason"] = reason
    if _CENTRAL_MISSING.search(message):
        return NotBootstrappedError(
            "The central dataset or one of its tables is missing: run bootstrap first", **known
        )
    if passing:
        return WarehouseUnavailableError("BigQuery is temporarily unavailable", **known)
    return WarehouseError("BigQuery rejected the request", **known)


@contextmanager
def translated_errors(doing: str, **details: object) -> Iterator[None]:
    """Raise the client's errors inside the block as `WarehouseError` or a related class."""
    try:
        yield
    except EDGE_ERRORS as error:
        raise translate_error(error, doing=doing, **details) from error
