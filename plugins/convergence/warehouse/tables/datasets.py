"""Create, describe, list and drop datasets."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from google.api_core import exceptions as google_errors
from google.cloud import bigquery

from convergence.errors import SchemaError
from convergence.warehouse.bigquery_errors import translated_errors
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import check_identifier


class EnsureOutcome(StrEnum):
    """The outcome of an `ensure_…` call. `WIDENED`: columns, texts, labels or SQL were updated."""

    CREATED = "created"
    WIDENED = "widened"
    UNCHANGED = "unchanged"


def ensure_dataset(
    w: Warehouse, name: str, *, description: str = "", labels: Mapping[str, str] | None = None
) -> EnsureOutcome:
    """Create the dataset in our location, or update its description and labels.

    Raises:
        SchemaError: it exists in another location, which can't be changed.
        WarehouseError, WarehouseUnavailableError: as every call here.
    """
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("creating a dataset", dataset=name):
        try:
            dataset = w.client.get_dataset(reference, **w.call)
        except google_errors.NotFound:
            new = bigquery.Dataset(reference)
            new.location = w.location
            new.description = description
            new.labels = dict(labels or {})
            try:
                w.client.create_dataset(new, **w.call)
            except google_errors.Conflict:  # another process was faster
                dataset = w.client.get_dataset(reference, **w.call)
            else:
                return EnsureOutcome.CREATED
        return _update_dataset(w, dataset, description=description, labels=labels or {})


def _update_dataset(
    w: Warehouse, dataset: bigquery.Dataset, *, description: str, labels: Mapping[str, str]
) -> EnsureOutcome:
    if (dataset.location or "").upper() != w.location.upper():
        raise SchemaError(
            "The dataset is in another location; set BIGQUERY_LOCATION to the dataset's location",
            dataset=dataset.dataset_id,
            location=dataset.location,
            expected=w.location,
        )
    changed = []
    if description and (dataset.description or "") != description:
        dataset.description = description
        changed.append("description")
    if merged := merge_labels(dataset.labels, labels):
        dataset.labels = merged
        changed.append("labels")
    if not changed:
        return EnsureOutcome.UNCHANGED
    w.client.update_dataset(dataset, changed, **w.call)
    return EnsureOutcome.WIDENED


def drop_dataset(w: Warehouse, name: str) -> bool:
    """Delete a dataset with all its tables; return False if it did not exist."""
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("deleting a dataset", dataset=name):
        try:
            w.client.delete_dataset(reference, delete_contents=True, **w.call)
        except google_errors.NotFound:
            return False
    return True


def dataset_exists(w: Warehouse, name: str) -> bool:
    """Return whether the dataset exists."""
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("looking for a dataset", dataset=name):
        try:
            w.client.get_dataset(reference, **w.call)
        except google_errors.NotFound:
            return False
    return True


def dataset_labels(w: Warehouse, name: str) -> dict[str, str] | None:
    """Return the labels of the dataset, or None if it does not exist."""
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("looking for a dataset", dataset=name):
        try:
            return dict(w.client.get_dataset(reference, **w.call).labels)
        except google_errors.NotFound:
            return None


def list_tables(w: Warehouse, dataset: str) -> set[str]:
    """Return the names of the dataset's tables and views; empty if it does not exist."""
    reference = bigquery.DatasetReference(w.project, check_identifier(dataset))
    with translated_errors("listing tables", dataset=dataset):
        try:
            return {item.table_id for item in w.client.list_tables(reference, **w.call)}
        except google_errors.NotFound:
            return set()


def merge_labels(present: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str] | None:
    """Merge our labels into the present ones and keep the rest; None if nothing changes."""
    merged = {**present, **ours}
    return merged if merged != dict(present) else None
