from __future__ import annotations

import csv
import gzip
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence_sandbox.bigquery.errors import BigQueryError
from convergence_sandbox.bigquery.rest.jobs import media
from convergence_sandbox.bigquery.rest.jobs.media import Rejects, read_batches

COLUMNS = [("s", "STRING"), ("n", "INTEGER")]


def read_rows(path: Path, load: dict[str, Any], *, bad: int = 0) -> list[dict[str, Any]]:
    batches = read_batches(path, load, columns=COLUMNS, rejects=Rejects(limit=bad))
    return [row for batch in batches for row in batch]


VALUES = st.one_of(st.none(), st.text(), st.integers(), st.booleans())


@settings(max_examples=50)
@given(
    rows=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=8), packed=st.booleans()
)
def test_json_lines_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, *, rows: list[dict[str, Any]], packed: bool
) -> None:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    path = tmp_path_factory.mktemp("media") / "file"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_rows(path, {"sourceFormat": "NEWLINE_DELIMITED_JSON"}) == rows


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=5)


@settings(max_examples=50)
@given(rows=st.lists(st.tuples(CELLS, st.integers()), max_size=8))
def test_csv_comes_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]]
) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path = tmp_path_factory.mktemp("media") / "file"
    path.write_bytes(text.getvalue().encode())
    assert read_rows(path, {}) == [{"s": s, "n": str(n)} for s, n in rows]


def test_numbers_with_a_point_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"n": 0.1}')
    assert read_rows(path, {"sourceFormat": "NEWLINE_DELIMITED_JSON"}) == [{"n": Decimal("0.1")}]


def test_large_files_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "BATCH_ROWS", 2)
    path = tmp_path / "file"
    path.write_bytes(b'{"n":1}\n' * 5)
    load = {"sourceFormat": "NEWLINE_DELIMITED_JSON"}
    batches = list(read_batches(path, load, columns=[], rejects=Rejects()))
    assert [len(batch) for batch in batches] == [2, 2, 1]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"1",
        b'{"a":1}{"b":2}',
        b"\xff\xfe",
        b"[" * 200_000,
        gzip.compress(b'{"a":1}' * 999)[:-9],
    ],
    ids=["cut", "list", "number", "two", "binary", "deep", "cut gzip"],
)
def test_a_broken_json_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(BigQueryError) as caught:
        read_rows(path, {"sourceFormat": "NEWLINE_DELIMITED_JSON"})
    assert (caught.value.status, caught.value.reason) == (400, "invalid")


def test_bad_lines_are_counted_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"n":1}\n{\n{"n":2}\n{\n')
    load = {"sourceFormat": "NEWLINE_DELIMITED_JSON"}
    assert read_rows(path, load, bad=2) == [{"n": 1}, {"n": 2}]
    with pytest.raises(BigQueryError):
        read_rows(path, load, bad=1)


@pytest.mark.parametrize(
    "content", [b'"a', b'a,1\n"b,2', b"\xff,1\n", b"a,1,2\n", b"a\n", b'"x\ny",1\n']
)
def test_a_broken_csv_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(BigQueryError) as caught:
        read_rows(path, {})
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize(
    ("load", "content", "rows"),
    [
        ({}, b",\n", [{"s": "", "n": None}]),
        ({"nullMarker": "-"}, b"-,-\n", [{"s": None, "n": None}]),
        ({"nullMarker": ""}, b",1\n", [{"s": None, "n": "1"}]),
        ({"fieldDelimiter": "\\t"}, b"a\t1\n", [{"s": "a", "n": "1"}]),
        ({"quote": ""}, b'"a,1\n', [{"s": '"a', "n": "1"}]),
        ({"skipLeadingRows": "1"}, b"s,n\na,1\n", [{"s": "a", "n": "1"}]),
        ({"allowJaggedRows": True}, b"a\n", [{"s": "a"}]),
        ({"allowQuotedNewlines": True}, b'"a\nb",1\n', [{"s": "a\nb", "n": "1"}]),
        ({}, b"\n", []),
    ],
)
def test_csv_options(
    tmp_path: Path, load: dict[str, Any], content: bytes, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read_rows(path, load) == rows


def test_another_format_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(BigQueryError, match="AVRO") as caught:
        read_rows(tmp_path / "file", {"sourceFormat": "AVRO"})
    assert caught.value.status == 501
