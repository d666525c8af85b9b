"""Files of load jobs, decoded in batches: newline-delimited JSON, CSV and Parquet, gzip or not.

Decoding only: which values a column takes is the engine's to say.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import pyarrow as pa

from convergence_sandbox.bigquery.errors import invalid, not_implemented
from convergence_sandbox.bigquery.rest.wire import Json, as_count

BATCH_ROWS = 10_000
_DECODER = json.JSONDecoder(parse_float=Decimal)
PARQUET_BATCH_ROWS = 65_536

Batch: TypeAlias = "list[dict[str, Any]] | pa.Table"


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written; the defaults are BigQuery's."""

    delimiter: str = ","
    quote: str = '"'
    skip: int = 0
    nulls: tuple[str, ...] = ()
    jagged: bool = False
    newlines: bool = False

    @classmethod
    def of(cls, load: Json) -> CsvFormat:
        """From a JobConfigurationLoad."""
        marker = load.get("nullMarker")
        markers = tuple(load.get("nullMarkers", ())) or (() if marker is None else (marker,))
        delimiter = load.get("fieldDelimiter") or ","
        return cls(
            delimiter={"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter),
            quote=load.get("quote", '"'),
            skip=as_count(load.get("skipLeadingRows"), name="skipLeadingRows") or 0,
            nulls=markers,
            jagged=bool(load.get("allowJaggedRows")),
            newlines=bool(load.get("allowQuotedNewlines")),
        )


@dataclass
class Rejects:
    """Rows that could not be read, up to the job's `maxBadRecords`."""

    limit: int = 0
    errors: list[Json] = field(default_factory=list)

    def add(self, message: str) -> None:
        """Count one bad row.

        Raises:
            BigQueryError: 400 `invalid` when the job takes no more of them.
        """
        self.errors.append({"reason": "invalid", "message": message})
        if len(self.errors) > self.limit:
            raise invalid(f"Error while reading data, error message: {message}")


def read_batches(
    path: Path, load: Json, *, columns: Sequence[tuple[str, str]], rejects: Rejects
) -> Iterator[Batch]:
    """Yield the rows of a file as the engine takes them.

    Args:
        path: the uploaded media.
        load: the JobConfigurationLoad that came with it.
        columns: name and type of the table's columns in order, which CSV needs.
        rejects: takes the rows that can't be read.

    Raises:
        BigQueryError: 400 for a broken file, 501 for a format that is not read here.
    """
    source = load.get("sourceFormat", "CSV")
    if source == "NEWLINE_DELIMITED_JSON":
        return _read_json(path, rejects)
    if source == "CSV":
        return _read_csv(path, CsvFormat.of(load), columns, rejects)
    if source == "PARQUET":
        return _read_parquet(path)
    raise not_implemented(f"load jobs from {source}")


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The file's plain bytes; gzip is known by its first two."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield cast("BinaryIO", unzipped)


def _read_json(path: Path, rejects: Rejects) -> Iterator[Batch]:
    batch: list[dict[str, Any]] = []
    position = 0
    with _open(path) as lines:
        for line in _lines(lines):
            row = _json_row(line, position, rejects)
            position += len(line)
            if row is not None:
                batch.append(row)
            if len(batch) >= BATCH_ROWS:
                yield batch
                batch = []
    if batch:
        yield batch


def _lines(file: BinaryIO) -> Iterator[bytes]:
    try:
        yield from file
    except (gzip.BadGzipFile, EOFError, OSError) as exc:
        raise invalid(f"Error while reading data, error message: broken gzip file: {exc}") from exc


def _json_row(line: bytes, position: int, rejects: Rejects) -> dict[str, Any] | None:
    if not line.strip():
        return None
    try:
        row = _DECODER.decode(line.decode())
    except (ValueError, RecursionError) as exc:
        rejects.add(f"JSON parsing error in row starting at position {position}: {exc}")
        return None
    if not isinstance(row, dict):
        rejects.add(f"JSON parsing error in row starting at position {position}: not an object")
        return None
    return row


def _read_csv(
    path: Path, form: CsvFormat, columns: Sequence[tuple[str, str]], rejects: Rejects
) -> Iterator[Batch]:
    batch: list[dict[str, Any]] = []
    with _open(path) as raw:
        for number, cells in _csv_rows(raw, form):
            row = _csv_row(cells, number, form, columns, rejects)
            if row is not None:
                batch.append(row)
            if len(batch) >= BATCH_ROWS:
                yield batch
                batch = []
    if batch:
        yield batch


def _csv_rows(raw: BinaryIO, form: CsvFormat) -> Iterator[tuple[int, list[str]]]:
    text = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    if form.quote:
        reader = csv.reader(text, delimiter=form.delimiter, quotechar=form.quote, strict=True)
    else:
        reader = csv.reader(text, delimiter=form.delimiter, quoting=csv.QUOTE_NONE, strict=True)
    try:
        for number, cells in enumerate(reader, start=1):
            if number > form.skip and cells:
                yield number, cells
    except (csv.Error, UnicodeDecodeError, gzip.BadGzipFile, EOFError) as exc:
        message = f"CSV processing stopped at line {reader.line_num}: {exc}"
        raise invalid(f"Error while reading data, error message: {message}") from exc
    finally:
        text.detach()


def _csv_row(
    cells: list[str],
    number: int,
    form: CsvFormat,
    columns: Sequence[tuple[str, str]],
    rejects: Rejects,
) -> dict[str, Any] | None:
    if len(cells) > len(columns):
        rejects.add(f"Too many values in row {number}: {len(cells)} for {len(columns)} columns.")
        return None
    if len(cells) < len(columns) and not form.jagged:
        rejects.add(f"CSV table references column position {len(cells)}, but line {number} ends.")
        return None
    if not form.newlines and any("\n" in cell for cell in cells):
        rejects.add(f"Row {number} has a quoted newline; set allowQuotedNewlines to read it.")
        return None
    pairs = zip(columns, cells, strict=False)
    return {name: _csv_value(cell, kind, form) for (name, kind), cell in pairs}


def _csv_value(cell: str, kind: str, form: CsvFormat) -> str | None:
    if cell in form.nulls:
        return None
    # An empty field is an empty string in a STRING column and NULL in any other.
    return cell if cell or kind in {"STRING", "BYTES"} else None


def _read_parquet(path: Path) -> Iterator[Batch]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_BATCH_ROWS):
                yield pa.Table.from_batches([batch])
    except (pa.ArrowInvalid, OSError) as exc:
        raise invalid(f"Error while reading data, error message: {exc}") from exc
