"""How a table's schema may change: columns are added and relaxed, never lost or retyped.

https://cloud.google.com/bigquery/docs/managing-table-schemas
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from convergence_sandbox.bigquery.errors import BigQueryError, invalid
from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.resources.model import TableMeta

ADDITION = "ALLOW_FIELD_ADDITION"
RELAXATION = "ALLOW_FIELD_RELAXATION"
EVERYTHING = frozenset({ADDITION, RELAXATION})


def updated_schema(meta: TableMeta, requested: Schema) -> Schema:
    """Return the schema after `tables.update` or `tables.patch` with `requested`.

    Raises:
        BigQueryError: a column would be lost, retyped or made stricter.
    """
    fields = _merge(meta, meta.schema.fields, requested.fields, "", options=EVERYTHING, strict=True)
    return Schema(fields)


def widened_schema(meta: TableMeta, incoming: Schema, *, options: Collection[str]) -> Schema:
    """Return the schema after rows of `incoming` are written, as the job's options allow.

    Raises:
        BigQueryError: the rows do not fit and the options do not allow the change.
    """
    fields = _merge(meta, meta.schema.fields, incoming.fields, "", options=options, strict=False)
    return Schema(fields)


def _merge(
    meta: TableMeta,
    old: tuple[Field, ...],
    new: tuple[Field, ...],
    path: str,
    *,
    options: Collection[str],
    strict: bool,
) -> tuple[Field, ...]:
    requested_fields = {field.name.lower(): field for field in new}
    merged = []
    for field in old:
        requested = requested_fields.pop(field.name.lower(), None)
        where = f"{path}{field.name}"
        if requested is None:
            if strict:
                raise _mismatch(meta, f"Field {where} is missing in new schema")
            if field.mode == "REQUIRED":
                merged.append(_relaxed(meta, field, where, options=options))
                continue
            merged.append(field)
            continue
        merged.append(_merge_one(meta, field, requested, where, options=options, strict=strict))
    merged.extend(_added(meta, field, path, options=options) for field in requested_fields.values())
    return tuple(merged)


def _merge_one(
    meta: TableMeta, old: Field, new: Field, where: str, *, options: Collection[str], strict: bool
) -> Field:
    if old.type != new.type:
        raise _mismatch(meta, f"Field {where} has changed type from {old.type} to {new.type}")
    made = old
    if old.mode != new.mode:
        if "REPEATED" in (old.mode, new.mode) or (new.mode == "REQUIRED" and strict):
            raise _mismatch(meta, f"Field {where} has changed mode from {old.mode} to {new.mode}")
        if old.mode == "REQUIRED":
            made = _relaxed(meta, old, where, options=options)
    if old.type == "RECORD":
        fields = _merge(meta, old.fields, new.fields, f"{where}.", options=options, strict=strict)
        made = replace(made, fields=fields)
    if strict:
        made = _restated(meta, made, new, where)
    return made


def _restated(meta: TableMeta, old: Field, new: Field, where: str) -> Field:
    """Facts that an update may restate: the description, and wider limits."""
    for name in ("precision", "scale", "max_length"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after and (before is None or (after is not None and after < before)):
            raise _mismatch(meta, f"Field {where} has changed {name} from {before} to {after}")
    return replace(
        old,
        description=new.description,
        precision=new.precision,
        scale=new.scale,
        max_length=new.max_length,
    )


def _relaxed(meta: TableMeta, field: Field, where: str, *, options: Collection[str]) -> Field:
    if RELAXATION not in options:
        raise _mismatch(meta, f"Field {where} has changed mode from REQUIRED to NULLABLE")
    return replace(field, mode="NULLABLE")


def _added(meta: TableMeta, field: Field, path: str, *, options: Collection[str]) -> Field:
    where = f"{path}{field.name}"
    if ADDITION not in options:
        raise _mismatch(meta, f"Cannot add fields (field: {where})")
    if field.mode == "REQUIRED":
        raise _mismatch(meta, f"Cannot add required fields to an existing schema. (field: {where})")
    return field


def _mismatch(meta: TableMeta, message: str) -> BigQueryError:
    return invalid(f"Provided Schema does not match Table {meta.ref}. {message}")
