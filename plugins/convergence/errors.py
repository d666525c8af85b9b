"""Every public exception, sorted by what its reader should do about it.

Four branches under `ConvergenceError`: fix the configuration, fix the request, try again, give
up. Each error keeps its details as attributes, renders them in `__str__`, and survives pickling,
since Airflow moves exceptions between processes.

Each docstring has two parts, from which the error reference is generated: the first paragraph
states the cause and begins "Raised when"; the paragraph that begins "Remedy:" says what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class ConvergenceError(Exception):
    """Raised when Convergence can't do what was requested; the root of all its errors.

    Remedy: read the message and the code of the error's own class.

    Attributes:
        message: one sentence for a person.
        details: the values behind the sentence (org, file, field, accepted values, …); never a
            secret.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        if not self.details:
            return self.message
        shown = ", ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"{self.message} ({shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_error, (type(self), self.message, self.details)


def _rebuild_error(
    kind: type[ConvergenceError], message: str, details: dict[str, object]
) -> ConvergenceError:
    return kind(message, **details)


# --- fix the configuration -------------------------------------------------------------------


class ConfigurationError(ConvergenceError):
    """Raised when a configuration file or a setting of this installation is wrong.

    Remedy: correct the file or setting that the message names; `errors` lists all that is wrong.
    """

    code = "configuration_invalid"
    http_status = 409


class SettingsError(ConfigurationError):
    """Raised when environment variables are missing or wrong; `errors` lists all of them.

    Remedy: set the named variables and start the process again.
    """

    code = "settings_invalid"


class SchemaError(ConfigurationError):
    """Raised when a table's schema file is wrong, or a table can't be changed to match it.

    Remedy: correct the schema file. A column's type can't be changed: add a column instead.
    """

    code = "schema_invalid"


class ForeignTableError(ConfigurationError):
    """Raised when a SQL file names a table directly instead of through a placeholder of its org.

    Remedy: replace the table's name in the SQL file by the placeholder of the org's dataset.
    """

    code = "foreign_table"


class PriceBookError(ConfigurationError):
    """Raised when a price book is wrong; `errors` lists each error as `file:line: field: …`.

    Remedy: correct the listed lines of the price book.
    """

    code = "price_book_invalid"


class StateStoreVersionError(ConfigurationError):
    """Raised when this version of Convergence can't migrate the state store's tables.

    Remedy: start the version that the message names, restore the store's backup, or give
    Convergence a database of its own.
    """

    code = "state_store_version"


# --- fix the request -------------------------------------------------------------------------


class RequestError(ConvergenceError):
    """Raised when a request is wrong, and a corrected request would succeed.

    Remedy: correct the field that the message names and send the request again.
    """

    code = "request_invalid"
    http_status = 422


class NotAuthenticatedError(RequestError):
    """Raised when an API key is missing, malformed, unknown, expired or revoked.

    Remedy: send a valid key in `X-API-Key`, or the root key in `X-CA-Root-Key`.
    """

    code = "not_authenticated"
    http_status = 401


class ForbiddenError(RequestError):
    """Raised when a valid key does not have the scope that a route requires.

    Remedy: use a key with this scope, or ask an administrator to issue one.
    """

    code = "forbidden"
    http_status = 403


class NotFoundError(RequestError):
    """Raised when an object does not exist or belongs to another org.

    Remedy: check the id and the org in the path. The response is the same in both cases, so that
    no org learns which objects another one has.
    """

    code = "not_found"
    http_status = 404


class ConflictError(RequestError):
    """Raised when a request contradicts the current state of an object.

    Remedy: read the object, and repeat the request if it still applies.
    """

    code = "conflict"
    http_status = 409


class NotBootstrappedError(ConflictError):
    """Raised when a central table is missing because the installation was not bootstrapped.

    Remedy: call `POST /admin/bootstrap` with the root key, then repeat the request.
    """

    code = "not_bootstrapped"


class PipelineUnavailableError(ConflictError):
    """Raised when a pipeline can't start now; `reason`: paused, stale, unknown, conflict, settings.

    Remedy: for `settings`, correct the org's own configuration of the pipeline. Otherwise ask the
    operator to unpause or repair the pipeline in Airflow, and repeat the request.
    """

    code = "pipeline_unavailable"


class PipelineDisabledError(ConflictError):
    """Raised when an org requests a pipeline that the org itself has switched off.

    Remedy: enable the pipeline in the org's configuration of it.
    """

    code = "pipeline_disabled"


class RequestInFlightError(ConflictError):
    """Raised when an equal request, or another change of the same object, is still in progress.

    Remedy: wait a few seconds and repeat the request.
    """

    code = "request_in_flight"


class IdempotencyKeyReusedError(RequestError):
    """Raised when an `Idempotency-Key` was used before for another request.

    Remedy: send a new key with each new request.
    """

    code = "idempotency_key_reused"


class SubscriptionInactiveError(ForbiddenError):
    """Raised when the org's subscription is neither ACTIVE nor an unexpired TRIAL.

    Remedy: activate the subscription; runs and changes are accepted again within seconds.
    """

    code = "subscription_inactive"


class IntegrationInvalidError(ConflictError):
    """Raised when the provider that a pipeline needs is not connected, or its credential invalid.

    Remedy: connect the provider, or validate its credential again.
    """

    code = "integration_invalid"


class CredentialRejectedError(RequestError):
    """Raised when a provider rejects a credential, or the credential's form is not accepted.

    Remedy: send a credential of an accepted form that has the rights the provider's page lists.
    """

    code = "credential_refused"


class LimitError(RequestError):
    """Raised when a rate or quota limit is reached; details: limit, use and `retry_after` (s).

    Remedy: wait for `retry_after` seconds, or move the org to a plan with a higher limit.
    """

    code = "limit_reached"
    http_status = 429


# --- try again -------------------------------------------------------------------------------


class RetryableError(ConvergenceError):
    """Raised when the same call may succeed later; `retry_after` (s) when the other side said it.

    Remedy: try again. A task tries again by itself.
    """

    code = "unavailable"
    http_status = 503


class ProviderUnavailableError(RetryableError):
    """Raised when a provider times out, resets, throttles or responds 5xx until retries end.

    Remedy: none in most cases: the task tries again. If it lasts, see the provider's status page.
    """

    code = "provider_unavailable"


class SpoolError(RetryableError):
    """Raised when the local disk can't store or read a page or a packed day (full, read-only).

    Remedy: free space below `CONVERGENCE_VAR_DIR`, or make it writable; the task tries again.
    """

    code = "spool_unavailable"


class WarehouseUnavailableError(RetryableError):
    """Raised when BigQuery does not respond, or a job ended for a transient reason.

    Remedy: none in most cases: the task tries again. If it lasts, see BigQuery's status page.
    """

    code = "warehouse_unavailable"


class StateUnavailableError(RetryableError):
    """Raised when the state store's database does not respond or stays locked.

    Remedy: check the database of `STATE_DATABASE_URL`; requests and tasks can then be repeated.
    """

    code = "state_unavailable"


class KeyServiceUnavailableError(RetryableError):
    """Raised when Cloud KMS does not respond, or a message to or from it was damaged.

    Remedy: try again. If it lasts, check the network path to Cloud KMS.
    """

    code = "key_service_unavailable"


class OrchestratorUnavailableError(RetryableError):
    """Raised when Airflow's REST API does not respond.

    Remedy: try again. If it lasts, check `AIRFLOW_API_URL` and Airflow's API server.
    """

    code = "orchestrator_unavailable"


class NoTaskStartedError(OrchestratorUnavailableError):
    """Raised when tasks wait and Airflow has started none for `PLATFORM_STALL_SECONDS`.

    Remedy: check that Airflow's scheduler and its workers are running.
    """

    code = "no_task_began"


class NotificationUnavailableError(RetryableError):
    """Raised when a mail server or webhook can't accept a message now, but may later.

    Remedy: none in most cases: the message is sent again.
    """

    code = "notification_unavailable"


class SupersededError(RetryableError):
    """Raised when a newer attempt at the same slice overtook this attempt while it published.

    Remedy: none: the newer attempt publishes the slice, or this task tries again.
    """

    code = "superseded"


class InputChangedError(RetryableError):
    """Raised when a table changed while a query computed a slice from it.

    Remedy: none: the task computes the slice again.
    """

    code = "input_changed"


class InputNotAsRecordedError(RetryableError):
    """Raised when the partition of an input differs from what the ledger recorded.

    The ledger's rows of these days are invalidated: they are due, and the next run of the input's
    pipeline extracts them again.

    Remedy: run the pipeline that writes the input, then this one. Find out what else writes to
    the org's dataset.
    """

    code = "input_not_as_recorded"


# --- give up ---------------------------------------------------------------------------------


class FatalError(ConvergenceError):
    """Raised when another try can't help, and the request itself is right.

    Remedy: read the message; report it to the operator if it does not say what to do.
    """

    code = "failed"


class ProviderProtocolError(FatalError):
    """Raised when a provider's response breaks its documented shape (paging loop, bad JSON, …).

    Remedy: compare the response with the provider's API page; the connector may need a change.
    """

    code = "provider_protocol"


class MalformedResponseError(ProviderProtocolError):
    """Raised when a response can't be parsed (truncated, no JSON, no UTF-8) after all retries.

    Remedy: run the pipeline again later. If it lasts, report the response to the provider.
    """

    code = "provider_malformed"


class ShapeChangedError(ProviderProtocolError):
    """Raised when a field has another type than documented; details: the field, the kept page.

    Remedy: compare the kept page with the provider's API page, and update the connector.
    """

    code = "provider_shape_changed"


class ProviderRejectedError(FatalError):
    """Raised when a provider rejects a request permanently (4xx other than 429).

    Remedy: check the credential's rights at the provider, and connect the provider again.
    """

    code = "provider_refused"


class NotificationRejectedError(FatalError):
    """Raised when a mail server or webhook rejects a message or its recipients permanently.

    Remedy: correct the recipients or the webhook's address.
    """

    code = "notification_refused"


class DecryptionError(FatalError):
    """Raised when a ciphertext does not decrypt: wrong owner, damaged, or its key is destroyed.

    Remedy: connect the provider again with its credential; for an org key, rotate it.
    """

    code = "decryption_failed"


class WarehouseError(FatalError):
    """Raised when BigQuery rejects a statement or load permanently; details: reason and job id.

    Remedy: look the job up in BigQuery, and correct the statement, the rights or the schema.
    """

    code = "warehouse_refused"


class PipelineFailedError(FatalError):
    """Raised when a run ends and orgs of it failed; details name these orgs and their reasons.

    Remedy: follow the reason of each org. Clear the failed task to run it again.
    """

    code = "pipeline_failed"


class OperationFailedError(FatalError):
    """Raised when a platform operation (bootstrap, onboarding, …) ended without success.

    Remedy: read the operation's run in Airflow, remove the cause and repeat the operation.
    """

    code = "operation_failed"


class ReportedError(FatalError):
    """Raised when a step failed permanently and has a report, which becomes the step's result.

    Remedy: read the report in the step's record.

    Attributes:
        report: JSON values, without secrets; not part of the message.
    """

    def __init__(self, message: str, *, report: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.report = dict(report)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_reported_error, (type(self), self.message, self.report)


def _rebuild_reported_error(
    kind: type[ReportedError], message: str, report: dict[str, Any]
) -> ReportedError:
    return kind(message, report=report)


class ExpectationsNotMetError(ReportedError):
    """Raised when published days do not meet an expectation whose severity is `stop`.

    Remedy: read the report; correct the data's source or the expectation, and run the step again.
    """

    code = "expectations_not_met"
