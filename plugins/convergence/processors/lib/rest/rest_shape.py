"""Rows of any REST API → rows of a table, by the table's schema: nothing lost, nothing guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from convergence.errors import ProviderProtocolError, SchemaError, ShapeChangedError
from convergence.extract.paginate import Row, find_at_path
from convergence.processors.lib.daily.fields import READABLE, day, reader_of
from convergence.warehouse.schemas import FieldSpec, TableSchema

EXTRA = "extra"
"""The column of what has no other."""
_WRONG = (TypeError, ValueError, OverflowError, OSError)
"""Errors of the readers of fields."""


class _Column(NamedTuple):
    name: str
    path: str
    nested: bool
    read: Callable[[Any], Any]
    required: bool


class RestShape:
    """Turns an API's rows into rows of one table.

    Args:
        schema: the table's; its partition column takes the day, `extra` what has no column.
        fields: column → dotted keys of its field; a column's own name when it is not there.
        source: whose rows these are; a fact of every error.
        day_path: dotted keys of the field that says which day a row belongs to.

    Attributes:
        unknown: how often each field without a column was seen.
    """

    def __init__(
        self,
        schema: TableSchema,
        *,
        fields: Mapping[str, str],
        source: str,
        day_path: str | None = None,
    ) -> None:
        if mismatches := list(find_mismatches(schema, fields)):
            raise SchemaError("The schema does not fit the extractor", errors=mismatches)
        self.day_column = day_column(schema)
        self.unknown: Counter[str] = Counter()
        self._source = source
        self._lists = [spec.name for spec in schema.fields if spec.mode == "REPEATED"]
        self._day_path = day_path
        self._columns = [
            _column(spec, fields.get(spec.name, spec.name))
            for spec in schema.fields
            if spec.name not in {self.day_column, EXTRA}
        ]
        used = [one.path for one in self._columns] + ([day_path] if day_path else [])
        self._plain = frozenset(path for path in used if "." not in path)
        self._nested = [path for path in used if "." in path]

    def day(self, source: Row) -> date:
        """Return the UTC day of a row.

        Raises:
            ProviderProtocolError: the field is missing, or is not a day.
        """
        path = self._day_path or ""
        try:
            found = find_at_path(source, path)
            if found is not None:
                return date.fromisoformat(day(found))
        except _WRONG as error:
            raise self._changed(path, error) from None
        raise ProviderProtocolError("A row has no day", source=self._source, field=path)

    def row(self, source: Row, *, day: date) -> dict[str, Any]:
        """Build a row of the table.

        Raises:
            ShapeChangedError: a field has another type than its column.
            ProviderProtocolError: a required field is missing.
        """
        row: dict[str, Any] = {self.day_column: day.isoformat()}
        path = ""
        try:
            for name, path, nested, read, required in self._columns:
                value = find_at_path(source, path) if nested else source.get(path)
                row[name] = None if value is None else read(value)
                if value is None and required:
                    raise ProviderProtocolError(
                        "A required field is missing", source=self._source, field=path
                    )
        except _WRONG as error:
            raise self._changed(path, error) from None
        for name in self._lists:
            if row[name] is None:
                row[name] = []
        row[EXTRA] = self._extra(source)
        return row

    def _changed(self, path: str, error: Exception) -> ShapeChangedError:
        return ShapeChangedError(
            f"{path} has another type than the table's: {error}", source=self._source, field=path
        )

    def _extra(self, source: Row) -> dict[str, Any] | None:
        extra = {name: source[name] for name in source.keys() - self._plain}
        for path in self._nested:
            _take(extra, path.split("."))
        if extra:
            self.unknown.update(_leaves(extra))
        return extra or None


def find_mismatches(schema: TableSchema, fields: Mapping[str, str]) -> Iterator[str]:
    """Yield each reason why a table can't store the rows of an API."""
    columns = {spec.name: spec for spec in schema.fields}
    if schema.partition is None or schema.partition.type != "DAY":
        yield f"{schema.table} is not partitioned by day"
    elif columns[schema.partition.field].type != "DATE":
        yield f"{schema.partition.field}, which partitions {schema.table}, is not a DATE"
    if EXTRA not in columns or columns[EXTRA].type != "JSON":
        yield f"{schema.table} has no column {EXTRA} of type JSON, for fields without a column"
    for name, spec in columns.items():
        if spec.type not in READABLE:
            yield f"{schema.table}.{name} is {spec.type}; accepted: {', '.join(READABLE)}"
    for name in sorted(set(fields) - set(columns)):
        yield f"{schema.table} has no column {name}"


def day_column(schema: TableSchema) -> str:
    """Return the column that partitions the table."""
    return schema.partition.field if schema.partition is not None else ""


def _column(spec: FieldSpec, path: str) -> _Column:
    read = reader_of(spec.type)
    if spec.mode == "REPEATED":
        read = _each(read)
    return _Column(spec.name, path, "." in path, read, spec.mode == "REQUIRED")


def _each(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def values(value: object) -> list[Any]:
        if not isinstance(value, list):
            raise TypeError(f"a list was expected, not {type(value).__name__}")
        return [read(one) for one in value]

    return values


def _take(extra: dict[str, Any], keys: list[str]) -> None:
    """Remove what dotted keys lead to, on a copy of every object on the way."""
    key, *more = keys
    if key not in extra:
        return
    if not more:
        del extra[key]
        return
    if isinstance(extra[key], dict):
        inner = dict(extra[key])
        _take(inner, more)
        if inner:
            extra[key] = inner
        else:
            del extra[key]


def _leaves(value: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, f"{before}{key}.")
        else:
            yield f"{before}{key}"
