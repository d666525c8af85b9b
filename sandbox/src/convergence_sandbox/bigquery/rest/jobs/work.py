"""The work of a job, read from its configuration; an unsupported field is rejected by name.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobConfiguration
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from convergence_sandbox.bigquery.errors import invalid, not_implemented
from convergence_sandbox.bigquery.resources.fields import Schema
from convergence_sandbox.bigquery.resources.model import (
    TableMeta,
    TableRef,
    checked_dataset_id,
    checked_table_id,
)
from convergence_sandbox.bigquery.rest.jobs.fields import (
    COPY_FIELDS,
    IDLE_JOB_FIELDS,
    JOB_FIELDS,
    LAYOUT_FIELDS,
    LOAD_FIELDS,
    QUERY_FIELDS,
    SCHEMA_UPDATES,
)
from convergence_sandbox.bigquery.rest.jobs.job import Kind
from convergence_sandbox.bigquery.rest.wire import Json, as_count, as_object, reject_unknown
from convergence_sandbox.bigquery.rows.writes import WriteOptions

WriteDisposition = Literal["WRITE_TRUNCATE", "WRITE_APPEND", "WRITE_EMPTY"]
CreateDisposition = Literal["CREATE_IF_NEEDED", "CREATE_NEVER"]
ParameterMode = Literal["NAMED", "POSITIONAL"]

Choice = TypeVar("Choice", bound=str)


def kind_of(configuration: Json) -> Kind:
    """Return which of the kinds of job this is.

    Raises:
        BigQueryError: 400 unless it is exactly one, 501 for extract jobs and unknown fields.
    """
    reject_unknown(configuration, JOB_FIELDS | IDLE_JOB_FIELDS, where="configuration")
    present = [kind for kind in ("query", "load", "copy", "extract") if kind in configuration]
    if present == ["query"]:
        return "query"
    if present == ["load"]:
        return "load"
    if present == ["copy"]:
        return "copy"
    if present == ["extract"]:
        raise not_implemented("extract jobs")
    raise invalid("Job configuration must contain exactly one job-specific configuration object.")


def read_work(configuration: Json, *, project: str) -> Work:
    """Return the work of a job's configuration.

    Raises:
        BigQueryError: 400 or 501, naming what is wrong or not done here.
    """
    kind = kind_of(configuration)
    body = as_object(configuration[kind], name=kind)
    if kind == "query":
        return QueryWork.of(body, project=project)
    if kind == "load":
        return LoadWork.of(body, project=project)
    return CopyWork.of(body, project=project)


@dataclass(frozen=True)
class Target:
    """Where rows go, `table$20251125` for one partition, and on what terms."""

    table: TableRef
    options: WriteOptions

    @classmethod
    def of(cls, body: Json, *, project: str, write: WriteDisposition) -> Target | None:
        """Return the destination a job names, or None; `write` is the default of its kind."""
        reference = body.get("destinationTable")
        if not reference:
            return None
        table = table_ref(reference, project=project)
        return cls(table=table, options=_write_options(body, table, default=write))


@dataclass(frozen=True)
class QueryWork:
    """A query as the engine runs it."""

    sql: str
    parameters: tuple[Json, ...]
    mode: ParameterMode
    default_dataset: tuple[str, str] | None
    target: Target | None
    max_bytes: int | None

    @classmethod
    def of(cls, query: Json, *, project: str) -> QueryWork:
        """Read a JobConfigurationQuery.

        Raises:
            BigQueryError: 400 or 501, naming what is wrong or not done here.
        """
        reject_unknown(_meant(query), QUERY_FIELDS, where="configuration.query")
        sql = query.get("query")
        if not isinstance(sql, str) or not sql.strip():
            raise invalid("Required parameter is missing: query", location="query")
        if query.get("useLegacySql", True):
            raise not_implemented("legacy SQL (useLegacySql, which REST takes for granted)")
        for name in ("createSession", "connectionProperties"):
            if query.get(name):
                raise not_implemented(f"configuration.query.{name}")
        parameters = _parameters(query.get("queryParameters"))
        named = bool(parameters) and "name" in parameters[0]
        default: ParameterMode = "NAMED" if named or not parameters else "POSITIONAL"
        return cls(
            sql=sql,
            parameters=parameters,
            mode=choice(query, "parameterMode", get_args(ParameterMode), default=default),
            default_dataset=dataset_ref(query.get("defaultDataset"), project=project),
            target=Target.of(query, project=project, write="WRITE_EMPTY"),
            max_bytes=as_count(query.get("maximumBytesBilled"), name="maximumBytesBilled"),
        )


@dataclass(frozen=True)
class LoadWork:
    """A load of one uploaded file."""

    target: Target
    load: Json
    schema: Schema | None
    max_bad: int
    ignore_unknown: bool

    @classmethod
    def of(cls, load: Json, *, project: str) -> LoadWork:
        """Read a JobConfigurationLoad.

        Raises:
            BigQueryError: 400 or 501, naming what is wrong or not done here.
        """
        reject_unknown(_meant(load), LOAD_FIELDS, where="configuration.load")
        _reject_undone(load)
        target = Target.of(load, project=project, write="WRITE_APPEND")
        if target is None:
            raise invalid("Required parameter is missing: destinationTable")
        return cls(
            target=target,
            load=load,
            schema=Schema.from_rest(load["schema"]) if load.get("schema") else None,
            max_bad=as_count(load.get("maxBadRecords"), name="maxBadRecords") or 0,
            ignore_unknown=bool(load.get("ignoreUnknownValues")),
        )


@dataclass(frozen=True)
class CopyWork:
    """A copy of tables, or single partitions of them, into one."""

    sources: tuple[TableRef, ...]
    target: Target

    @classmethod
    def of(cls, copy: Json, *, project: str) -> CopyWork:
        """Read a JobConfigurationTableCopy.

        Raises:
            BigQueryError: 400 or 501, naming what is wrong or not done here.
        """
        reject_unknown(_meant(copy), COPY_FIELDS, where="configuration.copy")
        operation = copy.get("operationType", "COPY")
        if operation not in {"COPY", "OPERATION_TYPE_UNSPECIFIED"}:
            raise not_implemented(f"copy jobs of operationType {operation}")
        references = copy.get("sourceTables") or [copy.get("sourceTable")]
        if not all(references):
            raise invalid("Required parameter is missing: sourceTable")
        target = Target.of(copy, project=project, write="WRITE_EMPTY")
        if target is None:
            raise invalid("Required parameter is missing: destinationTable")
        return cls(tuple(table_ref(one, project=project) for one in references), target)


Work = QueryWork | LoadWork | CopyWork


def table_ref(reference: object, *, project: str) -> TableRef:
    """Return a TableReference; the table's id may carry a partition decorator."""
    names = as_object(reference, name="tableReference")
    dataset, table = str(names.get("datasetId") or ""), str(names.get("tableId") or "")
    checked_table_id(table.partition("$")[0])
    return TableRef(str(names.get("projectId") or project), checked_dataset_id(dataset), table)


def dataset_ref(reference: object, *, project: str) -> tuple[str, str] | None:
    """Project and dataset of a DatasetReference."""
    names = as_object(reference, name="defaultDataset")
    if not names:
        return None
    dataset = checked_dataset_id(str(names.get("datasetId") or ""))
    return str(names.get("projectId") or project), dataset


def choice(
    body: Mapping[str, Any], name: str, options: Sequence[Choice], *, default: Choice
) -> Choice:
    """Return one of BigQuery's named options.

    Raises:
        BigQueryError: 400 for a value that is none of them, 501 for one that is newer than we.
    """
    value = body.get(name) or default
    for option in options:
        if value == option:
            return option
    if name == "writeDisposition" and value == "WRITE_TRUNCATE_DATA":
        raise not_implemented("writeDisposition WRITE_TRUNCATE_DATA")
    raise invalid(f"Invalid value for {name}: {value} is not a valid value", location=name)


def _parameters(value: object) -> tuple[Json, ...]:
    if value is not None and not isinstance(value, list):
        raise invalid("Invalid value at queryParameters: not a list.", location="queryParameters")
    return tuple(as_object(one, name="queryParameters") for one in value or ())


def _meant(body: Mapping[str, Any]) -> Json:
    """Return the fields that carry something; the client also sends empty ones."""
    return {key: value for key, value in body.items() if value not in (None, "", [], {}, False)}


def _reject_undone(load: Json) -> None:
    if load.get("sourceUris"):
        raise not_implemented("load jobs from sourceUris; upload the file")
    if load.get("createSession"):
        raise not_implemented("configuration.load.createSession")
    if load.get("autodetect") and load.get("sourceFormat") != "PARQUET" and not load.get("schema"):
        raise not_implemented("configuration.load.autodetect; give a schema")
    if str(load.get("encoding") or "UTF-8").upper() not in {"UTF-8", "UTF8"}:
        raise not_implemented(f"configuration.load.encoding {load['encoding']}")
    options = _meant(load.get("parquetOptions") or {})
    reject_unknown(options, {"enableListInference"}, where="configuration.load.parquetOptions")


def _write_options(body: Json, table: TableRef, *, default: WriteDisposition) -> WriteOptions:
    """Dispositions, and the layout of the table that would be made were it missing."""
    updates = frozenset(body.get("schemaUpdateOptions") or ())
    if updates - SCHEMA_UPDATES:
        raise invalid(f"Invalid value for schemaUpdateOptions: {sorted(updates)}")
    properties = _meant(body.get("destinationTableProperties") or {})
    reject_unknown(
        properties, ("description", "labels"), where="configuration.load.destinationTableProperties"
    )
    layout = {name: body[name] for name in LAYOUT_FIELDS if body.get(name)}
    bare = TableRef(table.project, table.dataset, table.table.partition("$")[0])
    meta = TableMeta.from_rest({**layout, **properties}, ref=bare)
    return WriteOptions(
        write=choice(body, "writeDisposition", get_args(WriteDisposition), default=default),
        create=choice(
            body, "createDisposition", get_args(CreateDisposition), default="CREATE_IF_NEEDED"
        ),
        schema_updates=updates,
        time_partitioning=meta.time_partitioning,
        range_partitioning=meta.range_partitioning,
        clustering=meta.clustering,
        description=meta.description,
        labels=dict(meta.labels),
    )
