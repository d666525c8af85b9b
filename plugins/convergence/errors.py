"""Every public exception, sorted by what its reader should do about it.

Four branches under `ConvergenceError`: fix the configuration, fix the request, try again, give
up. Each error keeps its facts as attributes, renders them in `__str__`, and survives pickling,
since Airflow moves exceptions between processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ConvergenceError(Exception):
    """Root of every error that Convergence raises on purpose.

    Attributes:
        message: one sentence for a person.
        facts: what the sentence is about (org, file, field, accepted values, …); never a secret.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts

    def __str__(self) -> str:
        if not self.facts:
            return self.message
        told = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return f"{self.message} ({told})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.message, self.facts)


def _rebuild(
    kind: type[ConvergenceError], message: str, facts: dict[str, object]
) -> ConvergenceError:
    return kind(message, **facts)


# --- fix the configuration -------------------------------------------------------------------


class ConfigurationError(ConvergenceError):
    """Raised when a file or setting under our own control is wrong."""

    code = "configuration_invalid"
    http_status = 409


class SettingsError(ConfigurationError):
    """Raised when the environment is wrong; `faults` lists every fault at once."""

    code = "settings_invalid"


class SchemaError(ConfigurationError):
    """Raised when a table schema file is wrong or a table can't evolve to it."""

    code = "schema_invalid"


class ForeignTableError(ConfigurationError):
    """Raised when a SQL file names a table that comes from no placeholder of its own org."""

    code = "foreign_table"


class PriceBookError(ConfigurationError):
    """Raised when a price book is wrong; `faults` lists each as `file:line: field: …`."""

    code = "price_book_invalid"


class StateStoreVersionError(ConfigurationError):
    """Raised when the state store's tables are not ones that this version can migrate."""

    code = "state_store_version"


# --- fix the request -------------------------------------------------------------------------


class RequestError(ConvergenceError):
    """Raised when the caller can mend the request and send it again."""

    code = "request_invalid"
    http_status = 422


class NotAuthenticatedError(RequestError):
    """Raised when a key is missing, malformed, unknown, expired or revoked."""

    code = "not_authenticated"
    http_status = 401


class ForbiddenError(RequestError):
    """Raised when a good key lacks the scope that a route asks for."""

    code = "forbidden"
    http_status = 403


class NotFoundError(RequestError):
    """Raised when an object does not exist or is another org's; the two are told apart nowhere."""

    code = "not_found"
    http_status = 404


class ConflictError(RequestError):
    """Raised when the request contradicts the present state."""

    code = "conflict"
    http_status = 409


class NotBootstrappedError(ConflictError):
    """Raised when a central table is missing because bootstrap has not run."""

    code = "not_bootstrapped"


class PipelineUnavailableError(ConflictError):
    """Raised when a pipeline can't start; `reason`: paused, stale, unknown, conflict, settings."""

    code = "pipeline_unavailable"


class PipelineDisabledError(ConflictError):
    """Raised when an org asks for a pipeline that it has switched off itself."""

    code = "pipeline_disabled"


class RequestInFlightError(ConflictError):
    """Raised when the same request is being answered at this moment."""

    code = "request_in_flight"


class IdempotencyKeyReusedError(RequestError):
    """Raised when an `Idempotency-Key` comes back with another request."""

    code = "idempotency_key_reused"


class SubscriptionInactiveError(ForbiddenError):
    """Raised when the org's subscription is neither ACTIVE nor an unexpired TRIAL."""

    code = "subscription_inactive"


class IntegrationInvalidError(ConflictError):
    """Raised when the provider that a pipeline needs is not connected or not valid."""

    code = "integration_invalid"


class CredentialRefusedError(RequestError):
    """Raised when a provider refuses a credential, or a credential has an unaccepted form."""

    code = "credential_refused"


class LimitError(RequestError):
    """Raised when a rate or quota limit is reached; facts name limit, use and `retry_after` s."""

    code = "limit_reached"
    http_status = 429


# --- try again -------------------------------------------------------------------------------


class RetryableError(ConvergenceError):
    """Raised when the same call may succeed later; `retry_after` (s) when the other side said."""

    code = "unavailable"
    http_status = 503


class ProviderUnavailableError(RetryableError):
    """Raised when a provider times out, resets, throttles or answers 5xx after every retry."""

    code = "provider_unavailable"


class SpoolError(RetryableError):
    """Raised when the local disk refuses or loses a page or a sealed day (full, read-only)."""

    code = "spool_unavailable"


class WarehouseUnavailableError(RetryableError):
    """Raised when BigQuery does not answer or its job ended for a passing reason."""

    code = "warehouse_unavailable"


class StateUnavailableError(RetryableError):
    """Raised when the state store's database does not answer or stays locked."""

    code = "state_unavailable"


class KeyServiceUnavailableError(RetryableError):
    """Raised when Cloud KMS does not answer, or a message to or from it was damaged."""

    code = "key_service_unavailable"


class OrchestratorUnavailableError(RetryableError):
    """Raised when Airflow's API does not answer."""

    code = "orchestrator_unavailable"


class NoTaskBeganError(OrchestratorUnavailableError):
    """Raised when tasks wait and Airflow has begun none for a while."""

    code = "no_task_began"


class NotificationUnavailableError(RetryableError):
    """Raised when a mail server or webhook does not take a message now, but may later."""

    code = "notification_unavailable"


class SupersededError(RetryableError):
    """Raised when a newer attempt at the same slice overtook this one while it published."""

    code = "superseded"


class InputChangedError(RetryableError):
    """Raised when a table changed while a query computed a slice from it: compute it again."""

    code = "input_changed"


class InputNotAsRecordedError(RetryableError):
    """Raised when an input's partition is not what the ledger says; its pipeline must extract it.

    The ledger's rows of these days are invalidated: they are due, and the pipeline's next run
    extracts them whatever the provider says.
    """

    code = "input_not_as_recorded"


# --- give up ---------------------------------------------------------------------------------


class FatalError(ConvergenceError):
    """Raised when trying again can't help and nothing in the request is at fault."""

    code = "failed"


class ProviderProtocolError(FatalError):
    """Raised when a provider's answer breaks its documented shape (paging loop, bad JSON, …)."""

    code = "provider_protocol"


class MalformedAnswerError(ProviderProtocolError):
    """Raised when an answer can't be read at all (cut, no JSON, no UTF-8) however often asked."""

    code = "provider_malformed"


class ShapeChangedError(ProviderProtocolError):
    """Raised when a field comes with another type; facts name it, and where the page is kept."""

    code = "provider_shape_changed"


class ProviderRefusedError(FatalError):
    """Raised when a provider refuses a request for good (4xx other than 429)."""

    code = "provider_refused"


class NotificationRefusedError(FatalError):
    """Raised when a mail server or webhook refuses a message or its recipients for good."""

    code = "notification_refused"


class DecryptionError(FatalError):
    """Raised when a ciphertext does not decrypt: wrong owner, damaged, or key destroyed."""

    code = "decryption_failed"


class WarehouseError(FatalError):
    """Raised when BigQuery refuses a statement or load for good; facts hold reason and job id."""

    code = "warehouse_refused"


class PipelineFailedError(FatalError):
    """Raised by a run's closing task; facts name the orgs that failed and why."""

    code = "pipeline_failed"


class OperationFailedError(FatalError):
    """Raised when a platform operation (bootstrap, onboarding, …) ended without success."""

    code = "operation_failed"


class ReportedError(FatalError):
    """Raised by a step that failed for good and has more to tell; `report` becomes the step's.

    Attributes:
        report: JSON values, without secrets; not part of the message.
    """

    def __init__(self, message: str, *, report: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.report = dict(report)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_reported, (type(self), self.message, self.report)


def _rebuild_reported(
    kind: type[ReportedError], message: str, report: dict[str, Any]
) -> ReportedError:
    return kind(message, report=report)


class ExpectationsNotMetError(ReportedError):
    """Raised when published days break an expectation whose severity is stop."""

    code = "expectations_not_met"
