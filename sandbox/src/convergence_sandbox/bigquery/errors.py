"""The one exception of the BigQuery stand-in and the ways it is raised.

Every rejection carries what BigQuery's REST error body carries (status, reason, message, location),
so that the official client turns it into the same Python exception as in the cloud.
Reasons and statuses: https://cloud.google.com/bigquery/docs/error-messages
"""

from __future__ import annotations


class BigQueryError(Exception):
    """Raised for every rejection, with the HTTP status and `reason` that BigQuery would return.

    Attributes:
        status: HTTP status, never 500 (clients retry a 500 for minutes).
        reason: BigQuery's machine-readable reason, such as `invalidQuery`.
        message: one sentence for a person, worded as BigQuery words it where that is known.
        location: what the error is about (`query`, a field, a table), or None.
    """

    def __init__(
        self, message: str, *, status: int, reason: str, location: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.location = location

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.message, self.status, self.reason, self.location)

    def to_rest(self) -> dict[str, str]:
        """Return one entry of `errors` in BigQuery's error body, or a job's `errorResult`."""
        entry = {"reason": self.reason, "message": self.message}
        if self.location is not None:
            entry["location"] = self.location
        return entry


def _rebuild(message: str, status: int, reason: str, location: str | None) -> BigQueryError:
    return BigQueryError(message, status=status, reason=reason, location=location)


def invalid(message: str, *, location: str | None = None) -> BigQueryError:
    """400 `invalid`: a request, schema or row that BigQuery rejects."""
    return BigQueryError(message, status=400, reason="invalid", location=location)


def invalid_query(message: str, *, location: str | None = "query") -> BigQueryError:
    """400 `invalidQuery`: SQL that does not parse, bind or run."""
    return BigQueryError(message, status=400, reason="invalidQuery", location=location)


def not_found(kind: str, name: str) -> BigQueryError:
    """404 `notFound`, worded `Not found: Table project:dataset.table`."""
    return BigQueryError(f"Not found: {kind} {name}", status=404, reason="notFound", location=name)


def duplicate(kind: str, name: str) -> BigQueryError:
    """409 `duplicate`, worded `Already Exists: Table project:dataset.table`."""
    return BigQueryError(f"Already Exists: {kind} {name}", status=409, reason="duplicate")


def in_use(message: str) -> BigQueryError:
    """400 `resourceInUse`: deleting a dataset that still has tables."""
    return BigQueryError(message, status=400, reason="resourceInUse")


def not_implemented(construct: str) -> BigQueryError:
    """501 `notImplemented`: BigQuery has it, this stand-in has not; names the construct."""
    return BigQueryError(
        f"The local BigQuery stand-in does not implement {construct}",
        status=501,
        reason="notImplemented",
        location=construct,
    )
