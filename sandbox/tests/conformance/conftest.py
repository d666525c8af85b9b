"""Run the conformance suite on a private sandbox, and on real BigQuery when configured.

With `CONFORMANCE_BIGQUERY_PROJECT` (and, if need be, `CONFORMANCE_BIGQUERY_CREDENTIALS`, the path
of a service account's key) the same checks run against that project, in a dataset that is dropped
at the end and whose tables expire within the hour. What only the sandbox has is skipped there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from google.cloud import bigquery

from conformance.client import Ask, Client, Make, connect, schema_fields
from support.sandbox_process import SandboxProcess

REAL_PROJECT = os.environ.get("CONFORMANCE_BIGQUERY_PROJECT")
HOUR_MS = 3_600_000


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """The sandbox that the suite runs against."""
    if REAL_PROJECT:
        pytest.skip("only the sandbox has this")
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture(scope="session")
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    """The official client, pointed at what is to be checked."""
    if REAL_PROJECT:
        made = _real_client(REAL_PROJECT)
    else:
        made = connect(request.getfixturevalue("sandbox").bigquery)
    yield made
    made.close()


def _real_client(project: str) -> Client:
    key = os.environ.get("CONFORMANCE_BIGQUERY_CREDENTIALS")
    if key:
        return bigquery.Client.from_service_account_json(key, project=project)
    return bigquery.Client(project=project, location="US")


@pytest.fixture(scope="session")
def dataset(client: Client) -> Iterator[str]:
    """`project.dataset`, for the session."""
    made = bigquery.Dataset(f"{client.project}.conformance_{uuid.uuid4().hex[:10]}")
    made.location = "US"
    made.default_table_expiration_ms = HOUR_MS
    client.create_dataset(made)
    name = f"{made.project}.{made.dataset_id}"
    yield name
    client.delete_dataset(name, delete_contents=True)


@pytest.fixture
def name(dataset: str) -> str:
    """A table's full name that no one has used."""
    return f"{dataset}.t_{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make(client: Client, dataset: str) -> Make:
    """Make a table from `(name, type[, mode])` columns, and fill it by one INSERT if rows come."""

    def make_table(
        columns: Sequence[tuple[str, ...]],
        rows: str | None = None,
        **properties: object,
    ) -> Any:  # a `bigquery.Table`
        full = f"{dataset}.t_{uuid.uuid4().hex[:12]}"
        table = bigquery.Table(full, schema=schema_fields(columns))
        for key, value in properties.items():
            setattr(table, key, value)
        made = client.create_table(table)
        if rows:
            client.query_and_wait(f"INSERT INTO `{full}` VALUES {rows}")
        return made

    return make_table


@pytest.fixture
def ask(client: Client) -> Ask:
    """Run a query and give its rows as tuples; keywords go into the job's configuration."""

    def run(sql: str, *parameters: object, **configuration: object) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(query_parameters=list(parameters), **configuration)
        return [tuple(row.values()) for row in client.query_and_wait(sql, job_config=config)]

    return run


@pytest.fixture
def job_id() -> str:
    """A job id that no one has used."""
    return f"conformance_{uuid.uuid4().hex}"
