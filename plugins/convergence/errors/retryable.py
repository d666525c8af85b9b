"""Errors after which the same call may succeed later."""

from __future__ import annotations

from convergence.errors.base import RetryableError


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
