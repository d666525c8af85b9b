"""What BigQuery calls resources: tables, datasets, partitioning, and their REST JSON.

The classes keep what BigQuery keeps and give back what was put in (types under their REST names,
modes, precision, descriptions, labels, partitioning, clustering). A property that is not kept is
rejected by name instead of being dropped.
https://cloud.google.com/bigquery/docs/reference/rest/v2/tables
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convergence_sandbox.bigquery.errors import invalid, not_implemented
from convergence_sandbox.bigquery.resources.fields import (
    Field,
    Json,
    Schema,
    integer,
    reject_unkept,
)
from convergence_sandbox.bigquery.resources.partitioning import RangePartitioning, TimePartitioning

__all__ = [
    "TEMPORARY_DATASET",
    "DatasetMeta",
    "Field",
    "Json",
    "Schema",
    "TableMeta",
    "TableRef",
    "checked_dataset_id",
    "checked_labels",
    "checked_table_id",
]

# The dataset name under which a script keeps its temporary tables.
TEMPORARY_DATASET = "_SCRIPT"
_TABLE_ID = re.compile(r"^[\w -]{1,1024}$")
_DATASET_ID = re.compile(r"^\w{1,1024}$", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class TableRef:
    """A table's full name; `str()` gives BigQuery's `project:dataset.table`."""

    project: str
    dataset: str
    table: str

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}.{self.table}"

    @classmethod
    def from_rest(cls, data: Mapping[str, Any]) -> TableRef:
        """Read a `TableReference`."""
        return cls(data["projectId"], data["datasetId"], data["tableId"])

    def to_rest(self) -> Json:
        """Return the same, as REST JSON."""
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}


_TABLE_KEYS = frozenset(
    {
        "tableReference",
        "schema",
        "description",
        "friendlyName",
        "labels",
        "timePartitioning",
        "rangePartitioning",
        "clustering",
        "view",
        "requirePartitionFilter",
        "expirationTime",
    }
)
_OUTPUT_TABLE_KEYS = frozenset(
    {
        "kind",
        "etag",
        "id",
        "selfLink",
        "type",
        "creationTime",
        "lastModifiedTime",
        "numRows",
        "numBytes",
        "numLongTermBytes",
        "location",
        "numTotalLogicalBytes",
        "streamingBuffer",
        "numActiveLogicalBytes",
        "numLongTermLogicalBytes",
    }
)


@dataclass(frozen=True, slots=True)
class TableMeta:
    """A table or view. Times are milliseconds since the epoch; `view_query` makes it a view."""

    ref: TableRef
    schema: Schema = field(default_factory=Schema)
    description: str | None = None
    friendly_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    time_partitioning: TimePartitioning | None = None
    range_partitioning: RangePartitioning | None = None
    clustering: tuple[str, ...] = ()
    require_partition_filter: bool = False
    expiration_ms: int | None = None
    view_query: str | None = None
    created_ms: int = 0
    modified_ms: int = 0
    physical: str = ""

    @property
    def is_view(self) -> bool:
        """Return whether this is a logical view."""
        return self.view_query is not None

    @property
    def is_temporary(self) -> bool:
        """Return whether this is a script's temporary table."""
        return self.ref.dataset == TEMPORARY_DATASET

    @property
    def type(self) -> str:
        """`TABLE` or `VIEW`."""
        return "VIEW" if self.is_view else "TABLE"

    @property
    def partition_field(self) -> str | None:
        """Return the column the table is partitioned by; None also for ingestion time."""
        if self.time_partitioning is not None:
            return self.time_partitioning.field
        return self.range_partitioning.field if self.range_partitioning else None

    @property
    def by_ingestion(self) -> bool:
        """Return whether the table is partitioned by the time its rows arrived."""
        return self.time_partitioning is not None and self.time_partitioning.field is None

    @property
    def is_partitioned(self) -> bool:
        """Return whether the table has partitions at all."""
        return self.time_partitioning is not None or self.range_partitioning is not None

    @classmethod
    def from_rest(cls, data: Mapping[str, Any], *, ref: TableRef) -> TableMeta:
        """Read a `Table` resource as sent to `tables.insert` or `tables.update`."""
        reject_unkept(
            data, kept=_TABLE_KEYS | _OUTPUT_TABLE_KEYS, unkept=frozenset(), where=f"table {ref}"
        )
        partition_filter = bool(data.get("requirePartitionFilter"))
        time = data.get("timePartitioning")
        if time is not None:
            partition_filter = partition_filter or bool(time.get("requirePartitionFilter"))
        return cls(
            ref=ref,
            schema=Schema.from_rest(data.get("schema")),
            description=data.get("description"),
            friendly_name=data.get("friendlyName"),
            labels=checked_labels(data.get("labels")),
            time_partitioning=None if time is None else TimePartitioning.from_rest(time),
            range_partitioning=(
                RangePartitioning.from_rest(data["rangePartitioning"])
                if data.get("rangePartitioning")
                else None
            ),
            clustering=tuple((data.get("clustering") or {}).get("fields") or ()),
            require_partition_filter=partition_filter,
            expiration_ms=integer(data.get("expirationTime")),
            view_query=_view_query(data.get("view")),
        )

    def to_rest(self, *, rows: int = 0, size: int = 0, location: str = "US") -> Json:
        """The full `Table` resource; `rows` and `size` (bytes) are measured by the caller."""
        out = self.to_list_item()
        out |= {
            "schema": self.schema.to_rest(),
            "lastModifiedTime": str(self.modified_ms),
            "location": location,
            "etag": f"{self.modified_ms:x}",
            "numRows": str(rows),
            "numBytes": str(size),
            "numLongTermBytes": "0",
        }
        if self.description is not None:
            out["description"] = self.description
        return out

    def to_list_item(self) -> Json:
        """Return the entry of `tables.list`."""
        ref = self.ref
        out: Json = {
            "kind": "bigquery#table",
            "id": str(ref),
            "tableReference": ref.to_rest(),
            "type": self.type,
            "creationTime": str(self.created_ms),
        }
        if self.friendly_name is not None:
            out["friendlyName"] = self.friendly_name
        if self.labels:
            out["labels"] = dict(self.labels)
        if self.time_partitioning is not None:
            out["timePartitioning"] = self.time_partitioning.to_rest()
        if self.range_partitioning is not None:
            out["rangePartitioning"] = self.range_partitioning.to_rest()
        if self.clustering:
            out["clustering"] = {"fields": list(self.clustering)}
        if self.require_partition_filter:
            out["requirePartitionFilter"] = True
        if self.expiration_ms is not None:
            out["expirationTime"] = str(self.expiration_ms)
        if self.view_query is not None:
            out["view"] = {"query": self.view_query, "useLegacySql": False}
        return out

    def touched(self, now_ms: int) -> TableMeta:
        """Return the same, modified now; time never goes back, so that the etag changes."""
        return replace(self, modified_ms=max(now_ms, self.modified_ms + 1))


_DATASET_KEYS = frozenset(
    {
        "datasetReference",
        "description",
        "friendlyName",
        "labels",
        "location",
        "defaultTableExpirationMs",
        "defaultPartitionExpirationMs",
        "access",
    }
)
_OUTPUT_DATASET_KEYS = frozenset(
    {"kind", "etag", "id", "selfLink", "creationTime", "lastModifiedTime", "type"}
)


@dataclass(frozen=True, slots=True)
class DatasetMeta:
    """A dataset; `access` is kept as sent and never enforced (there are no principals here)."""

    project: str
    dataset: str
    location: str = "US"
    description: str | None = None
    friendly_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    default_table_expiration_ms: int | None = None
    default_partition_expiration_ms: int | None = None
    access: tuple[Json, ...] = ()
    created_ms: int = 0
    modified_ms: int = 0

    def __str__(self) -> str:
        return f"{self.project}:{self.dataset}"

    @classmethod
    def from_rest(cls, data: Mapping[str, Any], *, project: str) -> DatasetMeta:
        """Read a `Dataset` resource as sent to `datasets.insert` or `datasets.update`."""
        dataset = str((data.get("datasetReference") or {}).get("datasetId") or "")
        reject_unkept(
            data,
            kept=_DATASET_KEYS | _OUTPUT_DATASET_KEYS,
            unkept=frozenset(),
            where=f"dataset {dataset}",
        )
        return cls(
            project=project,
            dataset=checked_dataset_id(dataset),
            location=str(data.get("location") or "US"),
            description=data.get("description"),
            friendly_name=data.get("friendlyName"),
            labels=checked_labels(data.get("labels")),
            default_table_expiration_ms=integer(data.get("defaultTableExpirationMs")),
            default_partition_expiration_ms=integer(data.get("defaultPartitionExpirationMs")),
            access=tuple(dict(entry) for entry in data.get("access") or ()),
        )

    def to_rest(self) -> Json:
        """Return the full `Dataset` resource."""
        out: Json = {
            "kind": "bigquery#dataset",
            "id": str(self),
            "etag": f"{self.modified_ms:x}",
            "datasetReference": {"projectId": self.project, "datasetId": self.dataset},
            "location": self.location,
            "access": [dict(entry) for entry in self.access],
            "creationTime": str(self.created_ms),
            "lastModifiedTime": str(self.modified_ms),
        }
        optional = {
            "description": self.description,
            "friendlyName": self.friendly_name,
            "labels": dict(self.labels) or None,
        }
        out |= {key: value for key, value in optional.items() if value is not None}
        spans = {
            "defaultTableExpirationMs": self.default_table_expiration_ms,
            "defaultPartitionExpirationMs": self.default_partition_expiration_ms,
        }
        return out | {key: str(value) for key, value in spans.items() if value is not None}

    def touched(self, now_ms: int) -> DatasetMeta:
        """Return the same, modified now."""
        return replace(self, modified_ms=max(now_ms, self.modified_ms + 1))


def checked_dataset_id(name: str) -> str:
    """Return the dataset id, rejected when BigQuery would (letters, digits, underscore)."""
    if not _DATASET_ID.match(name):
        raise invalid(
            f'Invalid dataset ID "{name}". Dataset IDs must be alphanumeric (plus '
            "underscores) and must be at most 1024 characters long."
        )
    return name


def checked_table_id(name: str) -> str:
    """Return the table id without a partition decorator, rejected when BigQuery would."""
    if not _TABLE_ID.match(name):
        raise invalid(f'Invalid table ID "{name}".')
    return name


def checked_labels(labels: Mapping[str, Any] | None) -> dict[str, str]:
    """Labels whose keys and values BigQuery accepts (lower case, at most 63 characters)."""
    kept = {str(key): str(value) for key, value in (labels or {}).items() if value is not None}
    for key, value in kept.items():
        if not re.fullmatch(r"[^\W\dA-Z_][\w-]{0,62}", key) or not re.fullmatch(
            r"[\w-]{0,63}", value
        ):
            raise invalid(f"Invalid label: {key}={value}")
        if (key + value) != (key + value).lower():
            raise invalid(f"Label keys and values must be lower case: {key}={value}")
    return kept


def _view_query(view: Mapping[str, Any] | None) -> str | None:
    if view is None:
        return None
    if view.get("useLegacySql"):
        raise not_implemented("legacy SQL views")
    return str(view["query"])
