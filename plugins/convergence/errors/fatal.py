"""Errors after which another try can't help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convergence.errors.base import FatalError


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


class WouldShrinkError(ReportedError):
    """Raised when a source states less of a day than what is published, and the read is refused.

    The published content stays. The details have the published figures and the ones that were
    read.

    Remedy: find out why the source states less. If it is right, run the pipeline for these days
    with `accept_shrink`: first day, last day and reason.
    """

    code = "would_shrink"

    def __init__(
        self, message: str, *, report: Mapping[str, Any] | None = None, **details: object
    ) -> None:
        super().__init__(message, report=report or {})
        self.details = details

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_shrink_error, (self.message, self.report, self.details)


def _rebuild_shrink_error(
    message: str, report: dict[str, Any], details: dict[str, object]
) -> WouldShrinkError:
    return WouldShrinkError(message, report=report, **details)
