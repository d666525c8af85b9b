"""Append rows to append-only tables by streaming inserts, at least once."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final

from google.api_core import exceptions as google_errors

from convergence.errors import ConfigurationError, WarehouseError, WarehouseUnavailableError
from convergence.metering import Resource, Use, record_usage
from convergence.warehouse.bigquery_errors import translated_errors
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import CENTRAL, TableName

BATCH_ROWS: Final = 500  # Google's advice (cloud.google.com/bigquery/quotas#streaming_inserts)
BATCH_BYTES: Final = 5 * 1024**2  # half of the limit of a request
ROW_BYTES: Final = (
    1024  # the least that a streamed row is billed as (cloud.google.com/bigquery/pricing)
)
_MAX_ERRORS_SHOWN: Final = 5


def append_rows(
    w: Warehouse, table: TableName, rows: Iterable[tuple[str, Mapping[str, Any]]]
) -> int:
    """Append rows, each with an id by which BigQuery drops repeated rows on a best-effort basis.

    A batch is inserted completely or not at all, but the batches before a failed one remain. So
    readers use the newest row of an object, or drop equal ids, and never count rows.

    Args:
        w: the warehouse.
        table: an append-only table, never one that is published by partition.
        rows: (id, values); str, int, bool, Decimal, date, aware datetime, bytes, None, and lists
            and mappings of these. A JSON column takes a JSON text.

    Returns:
        The number of rows sent.

    Raises:
        NotBootstrappedError: the table is a missing central one.
        WarehouseUnavailableError: no response, or the table was created or widened minutes ago and
            is not known everywhere yet.
        WarehouseError: a row does not fit the table; the details name the column.
    """
    sent = 0
    for batch in _split_into_batches(rows):
        _send_batch(w, table, batch)
        sent += len(batch)
    return sent


def _send_batch(
    w: Warehouse, table: TableName, batch: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    with translated_errors("appending rows", table=str(table)):
        try:
            errors = w.client.insert_rows_json(
                w.path_of(table),
                [values for _, values in batch],
                row_ids=[row_id for row_id, _ in batch],
                skip_invalid_rows=False,
                ignore_unknown_values=False,
                **w.call,
            )
        except google_errors.NotFound as error:
            if table.dataset == CENTRAL:
                raise  # translated into "run bootstrap first"
            raise WarehouseUnavailableError(
                "The table is missing, or too new to take rows", table=str(table)
            ) from error
    if errors:
        raise _build_insert_error(table, errors)
    billed = sum(max(ROW_BYTES, len(json.dumps(values))) for _, values in batch)
    record_usage(Resource.STREAM, Use(calls=1, bytes_billed=billed, rows_written=len(batch)))


def _build_insert_error(table: TableName, errors: Sequence[Any]) -> Exception:
    # If one row is invalid, BigQuery reports the valid ones as "stopped".
    reasons = [
        f"row {entry['index']}: {error.get('location') or ''}: {error.get('message') or ''}"
        for entry in errors
        for error in entry["errors"]
        if error.get("reason") != "stopped"
    ]
    shown = reasons[:_MAX_ERRORS_SHOWN]
    if reasons and all("no such field" in reason.lower() for reason in reasons):
        return WarehouseUnavailableError(
            "The table lacks a column, or was widened too recently", table=str(table), errors=shown
        )
    return WarehouseError("Rows do not fit the table", table=str(table), errors=shown)


def _split_into_batches(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    batch: list[tuple[str, dict[str, Any]]] = []
    size = 0
    for row_id, row in rows:
        values = {name: to_json_value(value) for name, value in row.items() if value is not None}
        weight = len(json.dumps(values))
        if batch and (len(batch) == BATCH_ROWS or size + weight > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((row_id, values))
        size += weight
    if batch:
        yield batch


def to_json_value(value: object) -> object:
    """Convert a value to BigQuery's JSON without loss: amounts and times become strings."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Mapping):
        return {name: to_json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(inner) for inner in value]
    return _format_value(value)


def _format_value(value: object) -> str:
    match value:
        case Decimal():
            return format(value, "f")
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case date() if not isinstance(value, datetime):
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case _:
            raise ConfigurationError(
                "No BigQuery form for this value (a float, or a datetime without time zone?)",
                python_type=type(value).__name__,
            )
