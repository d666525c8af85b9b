"""Error codes of runs and steps: the reasons why a run or step did not succeed.

A failure of a step has the code of its exception (`errors.py`); the other codes arise here only.
Run records may hold codes of other releases, so a reader accepts any text.
"""

from __future__ import annotations

from enum import StrEnum


class RunErrorCode(StrEnum):
    """Codes of `RunError`. The values are stored and part of the API: never change one."""

    # --- the run did not start ---------------------------------------------------------------
    ORG_INACTIVE = "org_inactive"
    """The organization is suspended or deleted."""
    QUOTA_MISSING = "quota_missing"
    """The organization has no quota; onboard it again."""
    SUBSCRIPTION_INACTIVE = "subscription_inactive"
    """The subscription is neither ACTIVE nor an unexpired TRIAL."""
    INTEGRATION_INVALID = "integration_invalid"
    """The pipeline's provider is not connected, or its credential is not valid."""
    LIMIT_REACHED = "limit_reached"
    """A limit of the plan is reached; the run can start after the limit's reset."""
    PIPELINE_DISABLED = "pipeline_disabled"
    """The organization has disabled the pipeline."""
    PIPELINE_UNAVAILABLE = "pipeline_unavailable"
    """The pipeline's DAG is paused, stale or unknown, or the org's settings do not fit it."""
    SELECT_FAILED = "select_failed"
    """The first task of the run, which selects organizations and days, failed."""

    # --- the run ended early -----------------------------------------------------------------
    CANCELLED = "cancelled"
    """The organization cancelled the run."""
    ORGANIZATION_REMOVED = "organization_removed"
    """The organization was removed."""
    INTERRUPTED = "interrupted"
    """A task or request was stopped before it ended; run the pipeline again."""
    UPSTREAM_FAILED = "upstream_failed"
    """An earlier step of the run did not succeed."""
    RUN_LOST = "run_lost"
    """Airflow has no record of the run."""
    STEP_LOST = "step_lost"
    """A step began and never reported its end."""
    RUN_INCOMPLETE = "run_incomplete"
    """The run ended before all its steps had run."""
    INTERNAL = "internal"
    """An unexpected exception; Airflow's log has the traceback."""

    # --- codes of exceptions -----------------------------------------------------------------
    ERROR = "error"
    CONFIGURATION_INVALID = "configuration_invalid"
    SETTINGS_INVALID = "settings_invalid"
    SCHEMA_INVALID = "schema_invalid"
    FOREIGN_TABLE = "foreign_table"
    PRICE_BOOK_INVALID = "price_book_invalid"
    STATE_STORE_VERSION = "state_store_version"
    REQUEST_INVALID = "request_invalid"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    NOT_BOOTSTRAPPED = "not_bootstrapped"
    REQUEST_IN_FLIGHT = "request_in_flight"
    CREDENTIAL_REFUSED = "credential_refused"
    UNAVAILABLE = "unavailable"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    SPOOL_UNAVAILABLE = "spool_unavailable"
    WAREHOUSE_UNAVAILABLE = "warehouse_unavailable"
    STATE_UNAVAILABLE = "state_unavailable"
    KEY_SERVICE_UNAVAILABLE = "key_service_unavailable"
    ORCHESTRATOR_UNAVAILABLE = "orchestrator_unavailable"
    NOTIFICATION_UNAVAILABLE = "notification_unavailable"
    SUPERSEDED = "superseded"
    INPUT_CHANGED = "input_changed"
    INPUT_NOT_AS_RECORDED = "input_not_as_recorded"
    FAILED = "failed"
    PROVIDER_PROTOCOL = "provider_protocol"
    PROVIDER_MALFORMED = "provider_malformed"
    PROVIDER_SHAPE_CHANGED = "provider_shape_changed"
    PROVIDER_REFUSED = "provider_refused"
    NOTIFICATION_REFUSED = "notification_refused"
    DECRYPTION_FAILED = "decryption_failed"
    WAREHOUSE_REFUSED = "warehouse_refused"
    WOULD_SHRINK = "would_shrink"
    PIPELINE_FAILED = "pipeline_failed"
    EXPECTATIONS_NOT_MET = "expectations_not_met"
