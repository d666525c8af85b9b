"""The quick way accepts nothing that the row reader rejects, and gives the same values."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convergence_sandbox.bigquery.resources.fields import Field, Schema
from convergence_sandbox.bigquery.rows.columns import plain_table
from convergence_sandbox.bigquery.rows.validate import RowError, RowReader

TYPES = ["STRING", "INTEGER", "BOOLEAN", "FLOAT", "NUMERIC", "DATE", "TIMESTAMP", "JSON", "TIME"]
TEXTS = [
    "x", "", "\0", "1", "-1.5", "1e3", " 1", "+1", "0.0000000001", "9" * 30, "true", "\u0661",
    "2025-11-25", "2025-02-30", "0001-01-01", "0000-01-01", "2025-1-5", "2025-11-25T01:02:03Z",
    "2025-11-25 01:02:03.123456+00:00", "2025-11-25T01:02:03.1234567Z", "2025-11-25T25:00:00Z",
    "2025-11-25T01:02:60Z", "2025-11-25T24:00:00Z", "2025-11-25\n", "1\n", "2025-11-25T01:02:03",
]  # fmt: skip
VALUES = st.one_of(
    st.none(),
    st.sampled_from(TEXTS),
    st.text(max_size=4),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.decimals(allow_nan=False, allow_infinity=False, places=10),
    st.decimals(-100, 100, places=9),
    st.sampled_from([Decimal("1E+40"), Decimal("1E-12"), [1], {"a": 1}]),
    st.dates().map(str),
    st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
)


@settings(max_examples=300)
@given(
    kind=st.sampled_from(TYPES),
    mode=st.sampled_from(["NULLABLE", "REQUIRED"]),
    values=st.lists(VALUES, min_size=1, max_size=3),
)
@example(kind="TIMESTAMP", mode="NULLABLE", values=[Decimal("1E+40")])
@example(kind="TIMESTAMP", mode="NULLABLE", values=[2**63])
@example(kind="FLOAT", mode="NULLABLE", values=[10**400])
def test_both_ways_agree(kind: str, mode: str, values: list[Any]) -> None:
    schema = Schema((Field("v", kind, mode),))
    reader = RowReader(schema)
    rows = [{"v": value} for value in values]
    try:
        expected = reader.table([reader.read(row) for row in rows])
    except RowError:
        expected = None
    made = plain_table(rows, schema)
    assert (made is None) == (expected is None)
    if made is not None and expected is not None:
        assert made.equals(expected)


@pytest.mark.parametrize(
    "rows", [[], [{"other": 1}], [{"N": 1}], [{"n": 1}, [1]], [{"n": 1, "other": None}]]
)
def test_rows_that_are_not_plain_are_left_to_the_row_reader(rows: list[Any]) -> None:
    assert plain_table(rows, Schema((Field("n", "INTEGER"),))) is None


def test_columns_that_are_left_out_are_null() -> None:
    made = plain_table([{}, {"n": 1}], Schema((Field("n", "INTEGER"), Field("s", "STRING"))))
    assert made is not None
    assert made.to_pylist() == [{"n": None, "s": None}, {"n": 1, "s": None}]
