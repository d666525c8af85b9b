"""The BigQuery Storage Read API over gRPC, for results of queries, in Arrow and one stream.

The official client reads a query's anonymous destination table so, with
`RowIterator.to_arrow_iterable(bqstorage_client=…)`. Other tables, Avro, row restrictions and
further streams are rejected by name.
https://cloud.google.com/bigquery/docs/reference/storage/rpc/google.cloud.bigquery.storage.v1
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

from convergence_sandbox.bigquery.rest.customers import may_use
from convergence_sandbox.bigquery.rest.jobs.job import JobKey, read_anonymous
from convergence_sandbox.bigquery.rest.jobs.results import Results

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"
ROWS = 5_000
"""Rows of one message."""


class ReadRequestError(Exception):
    """Raised when a call ends with a gRPC status other than OK."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status


class StorageRead(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Routes `/google.cloud.bigquery.storage.v1.BigQueryRead/<Method>`; None for other services."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Return the handler of a method."""
        if handler_call_details.method == f"/{SERVICE}/CreateReadSession":
            return grpc.unary_unary_rpc_method_handler(
                self._create,
                request_deserializer=types.CreateReadSessionRequest.deserialize,
                response_serializer=types.ReadSession.serialize,
            )
        if handler_call_details.method == f"/{SERVICE}/ReadRows":
            return grpc.unary_stream_rpc_method_handler(
                self._read,
                request_deserializer=types.ReadRowsRequest.deserialize,
                response_serializer=types.ReadRowsResponse.serialize,
            )
        return None

    def _create(
        self, request: types.CreateReadSessionRequest, context: grpc.ServicerContext
    ) -> types.ReadSession:
        try:
            _authorize(context, request.parent.removeprefix("projects/"))
            session = request.read_session
            rows = self._rows(session.table)
            if (
                session.data_format != types.DataFormat.ARROW
                or session.read_options.row_restriction
            ):
                _reject("anything but whole rows in Arrow")
        except ReadRequestError as rejection:
            context.abort(rejection.status, str(rejection))
        name = f"{request.parent}/locations/us/sessions/{session.table.replace('/', '~')}"
        return types.ReadSession(
            name=name,
            table=session.table,
            data_format=types.DataFormat.ARROW,
            arrow_schema=_schema(rows),
            streams=[types.ReadStream(name=f"{name}/streams/0")] if rows.num_rows else [],
            estimated_row_count=rows.num_rows,
        )

    def _read(
        self, request: types.ReadRowsRequest, context: grpc.ServicerContext
    ) -> Iterator[types.ReadRowsResponse]:
        project = request.read_stream.split("/")[1]
        try:
            _authorize(context, project)
            table = request.read_stream.split("/sessions/")[1].split("/")[0].replace("~", "/")
            rows = self._rows(table).slice(request.offset)
        except ReadRequestError as rejection:
            context.abort(rejection.status, str(rejection))
        for number, batch in enumerate(rows.to_batches(max_chunksize=ROWS)):
            yield types.ReadRowsResponse(
                # The first message of a stream says what is in it.
                arrow_schema=None if number else _schema(rows),
                arrow_record_batch=types.ArrowRecordBatch(
                    serialized_record_batch=batch.serialize().to_pybytes(),
                    row_count=batch.num_rows,
                ),
                row_count=batch.num_rows,
            )

    def _rows(self, table: str) -> pa.Table:
        key = _job_of(table)
        result = self._results.get(key) if key is not None else None
        if key is None:
            _reject(f"reading {table}, which is no query's result")
        if result is None:
            raise ReadRequestError(grpc.StatusCode.NOT_FOUND, f"Not found: Table {table}")
        return result.arrow()


def _schema(rows: pa.Table) -> types.ArrowSchema:
    return types.ArrowSchema(serialized_schema=rows.schema.serialize().to_pybytes())


def _job_of(table: str) -> JobKey | None:
    parts = table.split("/")
    if len(parts) != 6 or parts[0::2] != ["projects", "datasets", "tables"]:
        return None
    return read_anonymous(project=parts[1], dataset=parts[3], table=parts[5])


def _authorize(context: grpc.ServicerContext, project: str) -> None:
    metadata: dict[str, Any] = dict(context.invocation_metadata())
    token = str(metadata.get("authorization", "")).removeprefix("Bearer ")
    if not may_use(token, project, now=time.time()):
        raise ReadRequestError(
            grpc.StatusCode.PERMISSION_DENIED,
            f"Access Denied: Project {project}: bigquery.readsessions.create is missing.",
        )


def _reject(what: str) -> NoReturn:
    raise ReadRequestError(
        grpc.StatusCode.UNIMPLEMENTED, f"The local BigQuery stand-in does not implement {what}"
    )
