"""What BigQuery and the way to it can answer, told in our own errors."""

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

# cloud.google.com/bigquery/docs/error-messages: each of these says that the same call, sent
# again later, may succeed. `stopped` is a cancelled job.
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
_LONGEST_MESSAGE = 800


def reason_of(error: BaseException) -> str | None:
    """BigQuery's own reason, such as `rateLimitExceeded`, when the error carries one."""
    told: Any = getattr(error, "errors", None)
    if told and isinstance(told[0], dict):
        return told[0].get("reason")
    return None


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed when it is sent again."""
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
    """Whether a job that ended for this reason may succeed when it is run again."""
    return reason in PASSING_REASONS or bool(_DML_CONTENTION.search(message))


def is_worth_a_call(error: BaseException) -> bool:
    """Whether one HTTP call should be sent again now, within its own few seconds."""
    return is_passing(error) and reason_of(error) not in SLOW_REASONS


def translate_error(error: BaseException, *, doing: str, **facts: object) -> ConvergenceError:
    """The error of ours that says what the reader should do about one from the client."""
    message = " ".join(str(getattr(error, "message", None) or error).split())
    return _told(
        message or type(error).__name__,
        reason=reason_of(error),
        passing=is_passing(error),
        doing=doing,
        **facts,
    )


def translate_job_error(
    result: Mapping[str, str], *, doing: str, **facts: object
) -> ConvergenceError:
    """The same for the `errorResult` of a job that failed."""
    reason, message = result.get("reason", ""), result.get("message", "")
    passing = is_passing_reason(reason, message)
    return _told(message, reason=reason, passing=passing, doing=doing, **facts)


def _told(message: str, *, reason: str | None, passing: bool, **facts: object) -> ConvergenceError:
    known = {name: value for name, value in facts.items() if value is not None}
    known["answer"] = message[:_LONGEST_MESSAGE]
    if reason:
        known["reason"] = reason
    if _CENTRAL_MISSING.search(message):
        return NotBootstrappedError(
            "The central dataset or one of its tables is missing: run bootstrap first", **known
        )
    if passing:
        return WarehouseUnavailableError("BigQuery can't do it at present", **known)
    return WarehouseError("BigQuery refuses it", **known)


@contextmanager
def translated_errors(doing: str, **facts: object) -> Iterator[None]:
    """Raise what the client raises inside as `WarehouseError` or one of its kin."""
    try:
        yield
    except EDGE_ERRORS as error:
        raise translate_error(error, doing=doing, **facts) from error
