"""Datasets: created where missing, described, listed, and dropped when somebody says so."""

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
    """What had to be done. `WIDENED`: columns, descriptions, labels or SQL brought up to date."""

    CREATED = "created"
    WIDENED = "widened"
    UNCHANGED = "unchanged"


def ensure_dataset(
    w: Warehouse, name: str, *, description: str = "", labels: Mapping[str, str] | None = None
) -> EnsureOutcome:
    """Create the dataset in our location, or bring its description and labels up to date.

    Raises:
        SchemaError: it exists in another location, which nothing can change.
        WarehouseError, WarehouseUnavailableError: as every call here.
    """
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("creating a dataset", dataset=name):
        try:
            dataset = w.client.get_dataset(reference, **w.call)
        except google_errors.NotFound:
            wanted = bigquery.Dataset(reference)
            wanted.location = w.location
            wanted.description = description
            wanted.labels = dict(labels or {})
            try:
                w.client.create_dataset(wanted, **w.call)
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
            "The dataset is in another location; BIGQUERY_LOCATION must be its own",
            dataset=dataset.dataset_id,
            location=dataset.location,
            wanted=w.location,
        )
    changed = []
    if description and (dataset.description or "") != description:
        dataset.description = description
        changed.append("description")
    if merged := new_labels(dataset.labels, labels):
        dataset.labels = merged
        changed.append("labels")
    if not changed:
        return EnsureOutcome.UNCHANGED
    w.client.update_dataset(dataset, changed, **w.call)
    return EnsureOutcome.WIDENED


def drop_dataset(w: Warehouse, name: str) -> bool:
    """Delete a dataset and all it holds; False when there was none. Whoever calls this asked."""
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("deleting a dataset", dataset=name):
        try:
            w.client.delete_dataset(reference, delete_contents=True, **w.call)
        except google_errors.NotFound:
            return False
    return True


def dataset_exists(w: Warehouse, name: str) -> bool:
    """Whether the dataset is there."""
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("looking for a dataset", dataset=name):
        try:
            w.client.get_dataset(reference, **w.call)
        except google_errors.NotFound:
            return False
    return True


def dataset_labels(w: Warehouse, name: str) -> dict[str, str] | None:
    """The dataset's labels; None when there is no dataset."""
    reference = bigquery.DatasetReference(w.project, check_identifier(name))
    with translated_errors("looking for a dataset", dataset=name):
        try:
            return dict(w.client.get_dataset(reference, **w.call).labels)
        except google_errors.NotFound:
            return None


def list_tables(w: Warehouse, dataset: str) -> set[str]:
    """Names of the dataset's tables and views; empty when there is no dataset."""
    reference = bigquery.DatasetReference(w.project, check_identifier(dataset))
    with translated_errors("listing tables", dataset=dataset):
        try:
            return {item.table_id for item in w.client.list_tables(reference, **w.call)}
        except google_errors.NotFound:
            return set()


def new_labels(present: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str] | None:
    """Labels with ours set, or None when they already are. Labels that others put there stay."""
    merged = {**present, **wanted}
    return merged if merged != dict(present) else None
