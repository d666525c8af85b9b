"""Errors to correct in the request."""

from __future__ import annotations

from convergence.errors.base import RequestError


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
