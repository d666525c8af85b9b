"""The official client on a sandbox, and the types that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

# The client's methods return more than their annotations declare.
Client: TypeAlias = Any
Job: TypeAlias = Any
Ask: TypeAlias = Callable[..., list[tuple[Any, ...]]]
Make: TypeAlias = Callable[..., Any]


def schema_fields(columns: Sequence[tuple[str, ...]]) -> list[bigquery.SchemaField]:
    """A schema from `(name, type[, mode])`."""
    return [
        bigquery.SchemaField(one[0], one[1], one[2] if len(one) > 2 else "NULLABLE")
        for one in columns
    ]


def connect(url: str, *, project: str = "conformance-project") -> Client:
    """The official client on a sandbox."""
    return bigquery.Client(
        project=project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": url},
        location="US",
    )
