"""Find the tables of a customer's billing export, by Google's table names or by the org's params.

    gcp_billing_export_v1_01A2B3_C4D5E6_F7A8B9             standard
    gcp_billing_export_resource_v1_01A2B3_C4D5E6_F7A8B9    detailed

https://docs.cloud.google.com/billing/docs/how-to/export-data-bigquery-tables
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, Self

from google.cloud import bigquery

from convergence.errors import ConfigurationError, IntegrationInvalidError
from convergence.warehouse.bigquery_errors import translated_errors
from convergence.warehouse.client import Warehouse
from convergence.warehouse.names import check_identifier, check_project
from convergence.warehouse.params import Param

Kind = Literal["standard", "detailed"]
Place = tuple[str, str]
"""Dataset and table."""

PARAMS = ("export_project", "export_dataset", "export_table", "export_kind", "billing_account")
_NAME = re.compile(r"gcp_billing_export_(resource_)?v1_([0-9A-F]{6}_[0-9A-F]{6}_[0-9A-F]{6})")
_INGESTION = "_PARTITIONTIME"
_EVER = date(2010, 1, 1)
_MARGIN = timedelta(days=7)
"""Longest time from the export of a charge to its usage, when it is billed in advance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportLocation:
    """The location of an org's export, as far as the org has configured it; the rest is searched.

    Attributes:
        project: project of the export; by default the service account's project.
        dataset: dataset in that project.
        table: table in that dataset.
        kind: standard or detailed; by default detailed where an account has both.
        billing_account: such as 01A2B3-C4D5E6-F7A8B9.
    """

    project: str
    dataset: str | None = None
    table: str | None = None
    kind: Kind | None = None
    billing_account: str | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, Any], *, account_project: str | None) -> Self:
        """Read the location from a run's params.

        Raises:
            ConfigurationError: a name is invalid, or the project is unknown.
        """
        values = {name: str(params[name]) for name in PARAMS if params.get(name)}
        project = values.get("export_project") or account_project
        if project is None:
            raise ConfigurationError("export_project is missing; the account's key has no project")
        kind = values.get("export_kind")
        if kind not in {None, "standard", "detailed"}:
            raise ConfigurationError("export_kind must be standard or detailed", export_kind=kind)
        if "export_table" in values and "export_dataset" not in values:
            raise ConfigurationError("export_table needs export_dataset too")
        for name in ("export_dataset", "export_table"):
            if name in values:
                check_identifier(values[name])
        return cls(
            project=check_project(project),
            dataset=values.get("export_dataset"),
            table=values.get("export_table"),
            kind="standard" if kind == "standard" else "detailed" if kind else None,
            billing_account=values.get("billing_account"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportTable:
    """The export table of one billing account.

    Attributes:
        project, dataset, table: the table's name.
        location: location of its dataset; jobs that read it run there.
        columns: current columns of the table.
        partition_column: column of its partitions; None when it has none.
        created_at: when the table was made.
        is_preferred: whether its rows are taken for days that the copy does not have. Another
            export of the same account is read only for days that were copied from it.
    """

    project: str
    dataset: str
    table: str
    location: str
    columns: tuple[bigquery.SchemaField, ...]
    partition_column: str | None
    created_at: datetime | None = None
    is_preferred: bool = True

    @property
    def identifiers(self) -> dict[str, str | Sequence[str]]:
        """Identifiers for SQL files."""
        names = [field.name for field in self.columns]
        return {
            "export_project": self.project,
            "export_dataset": self.dataset,
            "export_table": self.table,
            "partition_column": self.partition_column or [],
            "columns": names,
            "cost_type_column": [name for name in names if name == "cost_type"],
            "adjustment_column": [name for name in names if name == "adjustment_info"],
        }

    def partitions_from(self, day: date, *, exported: bool) -> Param:
        """Return the oldest partition that can have the rows, for the partition filter.

        Args:
            day: of the oldest usage, or of the oldest export.
            exported: which of the two. What was used on a day is exported later, or a little ahead.
        """
        by_usage = self.partition_column in {"usage_start_time", "usage_end_time"}
        oldest = _EVER if by_usage and exported else day - _MARGIN
        kinds = {field.name: field.field_type for field in self.columns}
        if self.partition_column is not None and kinds.get(self.partition_column) == "DATE":
            return oldest
        return datetime.combine(oldest, time.min, UTC)


def find_exports(w: Warehouse, location: ExportLocation) -> list[ExportTable]:
    """Return the tables to read, one per billing account, by name.

    Args:
        w: the customer's BigQuery, without a location: names are listed everywhere.
        location: what the org says.

    Raises:
        IntegrationInvalidError: there is none.
        WarehouseError, WarehouseUnavailableError: as the customer's BigQuery says.
    """
    with translated_errors("looking for the billing export", project=location.project):
        names = [location.dataset] if location.dataset else _datasets(w, location.project)
        if location.dataset and location.table:
            return [_described(w, location.project, location.dataset, location.table)]
        places = [place for name in names for place in _places(w, location, name)]
        found = choose(places, location)
        if not found:
            raise IntegrationInvalidError(
                "No billing export was found; enable it in Google Cloud's billing settings, or "
                "set export_project and export_dataset",
                project=location.project,
                datasets=names[:20],
            )
        others = choose_alternatives(places, preferred=found)
        return [
            *(_described(w, location.project, *place) for place in found),
            *(_described(w, location.project, *place, is_preferred=False) for place in others),
        ]


def choose(places: Sequence[Place], location: ExportLocation) -> list[Place]:
    """Choose the exports at the location, one per billing account: two would count twice.

    Raises:
        IntegrationInvalidError: an account has two exports of the same kind.
    """
    by_account: dict[str, dict[Kind, Place]] = {}
    for place, account, kind in _exports(places):
        kinds = by_account.setdefault(account, {})
        if location.billing_account not in {None, account.replace("_", "-")}:
            continue
        if kind in kinds:
            raise IntegrationInvalidError(
                "A billing account has two exports; set export_dataset",
                datasets=[kinds[kind][0], place[0]],
            )
        kinds[kind] = place
    order: tuple[Kind, ...] = (location.kind,) if location.kind else ("detailed", "standard")
    kept = (next((kinds[k] for k in order if k in kinds), None) for kinds in by_account.values())
    return sorted(place for place in kept if place is not None)


def choose_alternatives(places: Sequence[Place], *, preferred: Sequence[Place]) -> list[Place]:
    """Choose the other exports of the same accounts; days may have been copied from them."""
    accounts = {account for place, account, _ in _exports(places) if place in preferred}
    return sorted(
        place
        for place, account, _ in _exports(places)
        if account in accounts and place not in preferred
    )


def _exports(places: Sequence[Place]) -> Iterator[tuple[Place, str, Kind]]:
    for place in places:
        if found := _NAME.fullmatch(place[1]):
            yield place, found[2], "detailed" if found[1] else "standard"


def _datasets(w: Warehouse, project: str) -> list[str]:
    return [item.dataset_id for item in w.client.list_datasets(project=project, **w.call)]


def _places(w: Warehouse, location: ExportLocation, dataset: str) -> list[Place]:
    reference = bigquery.DatasetReference(location.project, dataset)
    return [(dataset, item.table_id) for item in w.client.list_tables(reference, **w.call)]


def _described(
    w: Warehouse, project: str, dataset: str, name: str, *, is_preferred: bool = True
) -> ExportTable:
    reference = bigquery.DatasetReference(project, dataset)
    table = w.client.get_table(reference.table(name), **w.call)
    place = w.client.get_dataset(reference, **w.call)
    partitioned = table.time_partitioning
    return ExportTable(
        project=project,
        dataset=dataset,
        table=name,
        location=str(place.location),
        columns=tuple(table.schema),
        partition_column=(partitioned.field or _INGESTION) if partitioned else None,
        created_at=table.created,
        is_preferred=is_preferred,
    )
