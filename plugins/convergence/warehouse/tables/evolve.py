"""Create missing tables and views, and widen those that are older than their files.

Nothing here drops a table with data: a recreated table rejects streamed rows for minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from convergence.errors import SchemaError
from convergence.warehouse.bigquery_errors import translated_errors
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import TableName
from convergence.warehouse.query import Identifiers, render
from convergence.warehouse.schemas import FieldSpec, TableSchema, canonical_type
from convergence.warehouse.tables.datasets import EnsureOutcome, merge_labels


def ensure_table(w: Warehouse, name: TableName, schema: TableSchema) -> EnsureOutcome:
    """Create the table, or add the columns that only its file has; extra columns stay.

    Raises:
        SchemaError: the table can't be changed as the file requires; `errors` in the details
            lists every reason.
    """
    with translated_errors("creating a table", table=str(name)):
        try:
            table = w.client.get_table(w.reference(name), **w.call)
        except google_errors.NotFound:
            try:
                w.client.create_table(_new_table(w, name, schema), **w.call)
            except google_errors.Conflict:  # another process was faster
                table = w.client.get_table(w.reference(name), **w.call)
            else:
                return EnsureOutcome.CREATED
        return _update_table(w, name, table, schema)


def _new_table(w: Warehouse, name: TableName, schema: TableSchema) -> bigquery.Table:
    table = bigquery.Table(w.reference(name), schema=schema.to_bigquery())
    table.description = schema.description
    table.labels = dict(schema.labels)
    if schema.partition:
        table.time_partitioning = schema.partition.to_bigquery()
        table.require_partition_filter = schema.partition.require_filter
    if schema.clustering:
        table.clustering_fields = list(schema.clustering)
    return table


def _update_table(
    w: Warehouse, name: TableName, table: bigquery.Table, schema: TableSchema
) -> EnsureOutcome:
    violations = _find_partition_violations(table, schema)
    try:
        fields = merge_fields(table.schema, schema.fields)
    except SchemaError as error:
        violations.extend(str(violation) for violation in _list_violations(error))
    if violations:
        raise SchemaError(
            "The table can't be changed to match its schema file",
            table=str(name),
            errors=violations,
        )
    changed = []
    if [field.to_api_repr() for field in fields] != [f.to_api_repr() for f in table.schema]:
        table.schema = fields
        changed.append("schema")
    if (table.description or "") != schema.description:
        table.description = schema.description
        changed.append("description")
    if merged := merge_labels(table.labels, schema.labels):
        table.labels = merged
        changed.append("labels")
    if list(table.clustering_fields or []) != list(schema.clustering):
        table.clustering_fields = list(schema.clustering) or None
        changed.append("clustering_fields")
    required = bool(schema.partition and schema.partition.require_filter)
    if bool(table.require_partition_filter) != required:
        table.require_partition_filter = required
        changed.append("require_partition_filter")
    if not changed:
        return EnsureOutcome.UNCHANGED
    w.client.update_table(table, changed, **w.call)
    return EnsureOutcome.WIDENED


def merge_fields(
    present: Sequence[bigquery.SchemaField], expected: Sequence[FieldSpec], *, within: str = ""
) -> list[bigquery.SchemaField]:
    """Return the table's columns in their order, updated from the file, then the new columns.

    A column may become NULLABLE from REQUIRED, take a new description, and be added when it is
    NULLABLE or REPEATED (cloud.google.com/bigquery/docs/managing-table-schemas).

    Raises:
        SchemaError: `errors` in the details lists every change that BigQuery does not allow.
    """
    specs = {spec.name.lower(): spec for spec in expected}
    known = {field.name.lower() for field in present}
    violations: list[str] = []
    merged: list[bigquery.SchemaField] = []
    for field in present:
        spec = specs.get(field.name.lower())
        if spec is None:
            merged.append(field)
            continue
        try:
            merged.append(_merge_field(field, spec, path=f"{within}{field.name}"))
        except SchemaError as error:
            violations.extend(_list_violations(error))
    for spec in expected:
        if spec.name.lower() in known:
            continue
        if spec.mode == "REQUIRED":
            violations.append(f"{within}{spec.name}: a new column can't be REQUIRED")
        merged.append(spec.to_bigquery())
    if violations:
        raise SchemaError("BigQuery does not allow these changes of columns", errors=violations)
    return merged


def _merge_field(
    field: bigquery.SchemaField, spec: FieldSpec, *, path: str
) -> bigquery.SchemaField:
    violations = []
    if canonical_type(field.field_type) != spec.type:
        violations.append(
            f"{path}: is {canonical_type(field.field_type)}, can't become {spec.type}"
        )
    if field.mode != spec.mode and (field.mode, spec.mode) != ("REQUIRED", "NULLABLE"):
        violations.append(f"{path}: is {field.mode}, can't become {spec.mode}")
    if (field.precision, field.scale or 0) != (spec.precision, spec.scale or 0):
        violations.append(f"{path}: has another precision or scale")
    if violations:
        raise SchemaError("BigQuery does not allow these changes of columns", errors=violations)
    inner = merge_fields(field.fields, spec.fields, within=f"{path}.")
    resource = field.to_api_repr() | {"mode": spec.mode, "description": spec.description}
    if inner:
        resource["fields"] = [part.to_api_repr() for part in inner]
    return bigquery.SchemaField.from_api_repr(resource)


def _find_partition_violations(table: bigquery.Table, schema: TableSchema) -> list[str]:
    present = table.time_partitioning
    present_partition = (present.type_, present.field) if present else None
    required = (schema.partition.type, schema.partition.field) if schema.partition else None
    if present_partition == required:
        return []
    return [f"is partitioned by {present_partition}, can't become {required}"]


def ensure_view(
    w: Warehouse,
    name: TableName,
    sql_path: Path,
    *,
    identifiers: Identifiers | None = None,
    description: str = "",
    labels: Mapping[str, str] | None = None,
) -> EnsureOutcome:
    """Create the view, or update its SQL from the file.

    Raises:
        SchemaError: a table has the name of the view.
    """
    sql = render(w, sql_path, {"dataset": name.dataset, **(identifiers or {})}).strip()
    expected = bigquery.Table(w.reference(name))
    expected.view_query = sql
    expected.view_use_legacy_sql = False
    expected.description = description
    expected.labels = dict(labels or {})
    with translated_errors("creating a view", view=str(name)):
        try:
            view = w.client.get_table(w.reference(name), **w.call)
        except google_errors.NotFound:
            try:
                w.client.create_table(expected, **w.call)
            except google_errors.Conflict:  # another process was faster
                view = w.client.get_table(w.reference(name), **w.call)
            else:
                return EnsureOutcome.CREATED
        if view.table_type != "VIEW":
            raise SchemaError("A table has the name of the view", view=str(name))
        return _update_view(w, view, expected)


def read_view_query(w: Warehouse, name: TableName) -> str | None:
    """Return the SQL of a view; None if there is no such view."""
    with translated_errors("reading a view", view=str(name)):
        try:
            query = w.client.get_table(w.reference(name), **w.call).view_query
        except google_errors.NotFound:
            return None
    return str(query) if query else None


def _update_view(w: Warehouse, view: bigquery.Table, expected: bigquery.Table) -> EnsureOutcome:
    changed = []
    if (view.view_query or "").strip() != expected.view_query:
        view.view_query = expected.view_query
        view.view_use_legacy_sql = False
        changed += ["view_query", "view_use_legacy_sql"]
    if (view.description or "") != (expected.description or ""):
        view.description = expected.description
        changed.append("description")
    if merged := merge_labels(view.labels, expected.labels):
        view.labels = merged
        changed.append("labels")
    if not changed:
        return EnsureOutcome.UNCHANGED
    w.client.update_table(view, changed, **w.call)
    return EnsureOutcome.WIDENED


def _list_violations(error: SchemaError) -> list[str]:
    violations = error.details["errors"]
    return list(violations) if isinstance(violations, list) else [str(error)]
