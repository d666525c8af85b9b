"""Every public exception, sorted by what its reader should do about it.

Four branches under `ConvergenceError`: fix the configuration, fix the request, try again, give
up. Each error keeps its details as attributes, renders them in `__str__`, and survives pickling,
since Airflow moves exceptions between processes.

Each docstring has two parts, from which the error reference is generated: the first paragraph
states the cause and begins "Raised when"; the paragraph that begins "Remedy:" says what to do.
"""

from __future__ import annotations

from convergence.errors.base import (
    ConfigurationError,
    ConvergenceError,
    FatalError,
    RequestError,
    RetryableError,
)
from convergence.errors.configuration import (
    ForeignTableError,
    PriceBookError,
    SchemaError,
    SettingsError,
    StateStoreVersionError,
)
from convergence.errors.fatal import (
    DecryptionError,
    ExpectationsNotMetError,
    MalformedResponseError,
    NotificationRejectedError,
    OperationFailedError,
    PipelineFailedError,
    ProviderProtocolError,
    ProviderRejectedError,
    ReportedError,
    ShapeChangedError,
    WarehouseError,
    WouldShrinkError,
)
from convergence.errors.request import (
    ConflictError,
    CredentialRejectedError,
    ForbiddenError,
    IdempotencyKeyReusedError,
    IntegrationInvalidError,
    LimitError,
    NotAuthenticatedError,
    NotBootstrappedError,
    NotFoundError,
    PipelineDisabledError,
    PipelineUnavailableError,
    RequestInFlightError,
    SubscriptionInactiveError,
)
from convergence.errors.retryable import (
    InputChangedError,
    InputNotAsRecordedError,
    KeyServiceUnavailableError,
    NoTaskStartedError,
    NotificationUnavailableError,
    OrchestratorUnavailableError,
    ProviderUnavailableError,
    SpoolError,
    StateUnavailableError,
    SupersededError,
    WarehouseUnavailableError,
)

__all__ = [
    "ConfigurationError",
    "ConflictError",
    "ConvergenceError",
    "CredentialRejectedError",
    "DecryptionError",
    "ExpectationsNotMetError",
    "FatalError",
    "ForbiddenError",
    "ForeignTableError",
    "IdempotencyKeyReusedError",
    "InputChangedError",
    "InputNotAsRecordedError",
    "IntegrationInvalidError",
    "KeyServiceUnavailableError",
    "LimitError",
    "MalformedResponseError",
    "NoTaskStartedError",
    "NotAuthenticatedError",
    "NotBootstrappedError",
    "NotFoundError",
    "NotificationRejectedError",
    "NotificationUnavailableError",
    "OperationFailedError",
    "OrchestratorUnavailableError",
    "PipelineDisabledError",
    "PipelineFailedError",
    "PipelineUnavailableError",
    "PriceBookError",
    "ProviderProtocolError",
    "ProviderRejectedError",
    "ProviderUnavailableError",
    "ReportedError",
    "RequestError",
    "RequestInFlightError",
    "RetryableError",
    "SchemaError",
    "SettingsError",
    "ShapeChangedError",
    "SpoolError",
    "StateStoreVersionError",
    "StateUnavailableError",
    "SubscriptionInactiveError",
    "SupersededError",
    "WarehouseError",
    "WarehouseUnavailableError",
    "WouldShrinkError",
]

# Every error has this package's name: in tracebacks, in pickles and in the error reference.
for _name in __all__:
    globals()[_name].__module__ = __name__
