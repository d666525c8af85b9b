"""Check suites of expectations: their form, and the tables and columns that they name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath

from pydantic import ValidationError

from convergence.errors import ConfigurationError, SchemaError
from convergence.pipelines.files.document import Document, Path, read_document, read_source
from convergence.pipelines.files.messages import report_validation_errors
from convergence.pipelines.files.violations import (
    Violation,
    ViolationReport,
    closest_match,
    format_key,
    quote_value,
)
from convergence.processors.quality.measure import day_column
from convergence.processors.quality.suite import (
    AcceptedValues,
    Expectation,
    NotNull,
    Range,
    RowCount,
    Side,
    Suite,
    SumsTie,
    Unique,
    load_schema,
)
from convergence.warehouse.schemas import FieldSpec, TableSchema

FOLDER = "data_quality/expectations"
_NUMBERS = frozenset({"INT64", "NUMERIC", "BIGNUMERIC"})
_TEXTS = frozenset({"STRING"})
_PLAIN = frozenset({"STRING", "INT64", "BOOL", "DATE"})
_COMPARABLE = _NUMBERS | _PLAIN | {"TIMESTAMP", "DATETIME", "TIME", "BYTES"}


def find_suites(root: FilePath) -> list[FilePath]:
    """Return every suite under the folder of configurations, sorted."""
    return sorted((root / FOLDER).glob("*.json"))


def check_suite(path: FilePath, root: FilePath) -> tuple[Violation, ...]:
    """Return every violation of a suite's file."""
    name = path.relative_to(root).as_posix()
    report = ViolationReport(name)
    text = read_source(path, report)
    if text is None:
        return report.list_violations()
    report = ViolationReport(name, text)
    document = read_document(text, report)
    if document is None or not _check_json(text, report):
        return report.list_violations()
    try:
        suite = Suite.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        report_validation_errors(error, model=Suite, document=document, report=report)
    else:
        _NameChecks(suite, document, report, root).check_names()
    return report.list_violations()


def _check_json(text: str, report: ViolationReport) -> bool:
    """Return whether the file is JSON, a subset of the YAML that was read; report why not."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        report.add((error.lineno, error.colno), f"not JSON: {error.msg}")
        return False
    return True


class _NameChecks:
    """Check that the tables and columns of a suite exist and have the right type."""

    def __init__(
        self, suite: Suite, document: Document, report: ViolationReport, root: FilePath
    ) -> None:
        self._suite = suite
        self._document = document
        self._report = report
        self._schemas = dict(self._read_schemas(root))

    def check_names(self) -> None:
        first: dict[str, int] = {}
        for index, expectation in enumerate(self._suite.expectations):
            here: Path = ("expectations", index)
            if expectation.id in first:
                line = first[expectation.id]
                self._add_violation(
                    (*here, "id"), f"{expectation.id} is also the id in line {line}"
                )
            first.setdefault(expectation.id, self._find_line((*here, "id")))
            for place, side in _list_sides(here, expectation):
                self._check_side(place, side, expected=_EXPECTED_TYPES[type(expectation)])

    def _read_schemas(self, root: FilePath) -> Iterator[tuple[str, TableSchema]]:
        for table, file in self._suite.tables.items():
            here: Path = ("tables", table)
            try:
                schema = load_schema(root, table, file)
                day_column(schema)
            except (SchemaError, ConfigurationError) as error:
                self._add_violation(here, f"{error.message}: {file}")
                continue
            if schema.table != table:
                self._add_violation(here, f"{file} is the schema of {schema.table}")
            yield table, schema

    def _check_side(self, place: Path, side: Side, *, expected: frozenset[str] | None) -> None:
        if side.table not in self._suite.tables:
            self._add_unknown((*place, "table"), "table", side.table, tuple(self._suite.tables))
            return
        if (schema := self._schemas.get(side.table)) is None:
            return
        columns = {field.name: field for field in schema.fields}
        for key, names, types in (
            ("columns", side.columns, expected),
            ("by", side.by, _PLAIN),
            ("where", tuple(side.where), _PLAIN),
        ):
            for index, name in enumerate(names):
                at = (*place, key, name if key == "where" else index)
                self._check_column(at, name, columns, types=types, table=side.table)

    def _check_column(
        self,
        place: Path,
        name: str,
        columns: Mapping[str, FieldSpec],
        *,
        types: frozenset[str] | None,
        table: str,
    ) -> None:
        if (column := columns.get(name)) is None:
            self._add_unknown(place, f"column of {table}", name, tuple(columns))
        elif types is not None and (column.type not in types or column.mode == "REPEATED"):
            kind = f"{column.mode} {column.type}" if column.mode == "REPEATED" else column.type
            self._add_violation(place, f"{name} is {kind}", accepted=sorted(types))

    def _add_unknown(self, place: Path, kind: str, name: str, known: Sequence[str]) -> None:
        self._add_violation(
            place,
            f"unknown {kind} {quote_value(name)}",
            suggestion=closest_match(name, known),
            accepted=sorted(known),
        )

    def _find_line(self, place: Path) -> int:
        node = self._document.node
        for part in place:
            node = node.parts[part]
        return node.place[0]

    def _add_violation(
        self,
        path: Path,
        message: str,
        *,
        suggestion: str | None = None,
        accepted: Sequence[str] = (),
    ) -> None:
        node = self._document.node
        for part in path:
            node = node.parts[part]
        self._report.add(
            node.place, message, key=format_key(path), suggestion=suggestion, accepted=accepted
        )


def _list_sides(here: Path, expectation: Expectation) -> Iterator[tuple[Path, Side]]:
    """Yield each side that an expectation reads, with its place in the file."""
    if isinstance(expectation, SumsTie):
        yield (*here, "left"), expectation.left
        yield (*here, "right"), expectation.right
        return
    columns = () if isinstance(expectation, RowCount) else expectation.columns
    yield (
        here,
        Side.model_construct(
            table=expectation.table, columns=columns, by=(), where=expectation.where
        ),
    )


_EXPECTED_TYPES: Mapping[Callable[..., Expectation], frozenset[str] | None] = {
    NotNull: None,
    Unique: _COMPARABLE,
    Range: _NUMBERS,
    AcceptedValues: _TEXTS,
    RowCount: None,
    SumsTie: _NUMBERS | {"FLOAT64"},
}
