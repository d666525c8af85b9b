"""Many structs as one JSON text are the rows that single literals give."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convergence_sandbox.bigquery.database.storage import SETTINGS
from convergence_sandbox.bigquery.sql.literals import (
    MIN_JSON_ROWS,
    is_json_table,
    json_table_sql,
    literal_sql,
)
from convergence_sandbox.bigquery.sql.types import SqlType, array, named, struct

LIMIT = 10**29 - 1
LARGEST = Decimal("99999999999999999999999999999.999999999")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "INT64": st.integers(min_value=-(2**63), max_value=2**63 - 1),
    "NUMERIC": st.decimals(min_value=-LIMIT, max_value=LIMIT, places=9, allow_nan=False),
    "BOOL": st.booleans(),
    "STRING": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    "DATE": st.dates(),
}


def kind_of(name: str) -> SqlType:
    found = named(name)
    assert found is not None
    return found


# A name in quotes, one without letters, and two that differ by case only.
NAMES = ('a"b', "it's", "Amount", "amount", "")
ELEMENT = struct([(name or None, kind_of(k)) for name, k in zip(NAMES, VALUES, strict=True)])
structs = st.tuples(*(st.none() | one for one in VALUES.values())).map(list)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:", config=SETTINGS) as made:
        yield made


@settings(max_examples=40)
@given(rows=st.lists(structs, max_size=3))
@example(rows=[[None] * len(VALUES)])
@example(rows=[[2**63 - 1, LARGEST, True, "'\\\"\n", dt.date.min]])
def test_the_rows_are_those_of_single_literals(
    connection: duckdb.DuckDBPyConnection, rows: list[list[Any]]
) -> None:
    assert len(rows) < MIN_JSON_ROWS
    duck = array(ELEMENT).duck
    one = connection.execute(f"SELECT {literal_sql(rows, array(ELEMENT))}").fetchall()
    many = connection.execute(f"SELECT CAST({json_table_sql(rows, ELEMENT)} AS {duck})").fetchall()
    assert many == one


def test_other_types_and_nul_stay_single_literals() -> None:
    row = [1, Decimal(1), True, "a", dt.date(2026, 1, 1)]
    assert is_json_table([row, None], ELEMENT)
    assert not is_json_table([[*row[:3], "a\0", row[4]]], ELEMENT)
    assert not is_json_table([[1.5]], struct([("x", kind_of("FLOAT64"))]))
    assert not is_json_table([[["a"]]], struct([("x", array(kind_of("STRING")))]))
    assert not is_json_table(["a"], kind_of("STRING"))
