from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from convergence.errors import ConfigurationError
from convergence.warehouse.params import query_parameters, typed


def _wire(value: object) -> dict[str, Any]:
    (parameter,) = query_parameters({"p": value})
    return dict(parameter.to_api_repr())


@pytest.mark.parametrize(
    ("value", "sql_type", "text"),
    [
        ("a", "STRING", "a"),
        (7, "INT64", "7"),
        (True, "BOOL", "true"),
        (Decimal("0.1"), "NUMERIC", "0.1"),
        (date(2025, 11, 25), "DATE", "2025-11-25"),
        (b"\x00\xff", "BYTES", "AP8="),
        (typed(None, "DATE"), "DATE", None),
        (typed({"a": [1]}, "JSON"), "JSON", '{"a": [1]}'),
    ],
)
def test_types_follow_from_pythons(value: object, sql_type: str, text: str | None) -> None:
    wire = _wire(value)
    assert wire["parameterType"] == {"type": sql_type}
    assert wire["parameterValue"]["value"] == text


def test_times_are_sent_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    wire = _wire(datetime(2025, 11, 25, 1, 0, tzinfo=berlin))
    assert wire == _wire(datetime(2025, 11, 25, 0, 0, tzinfo=UTC))
    assert wire["parameterType"] == {"type": "TIMESTAMP"}


def test_lists_and_structs() -> None:
    assert _wire(["a", "b"])["parameterType"] == {"type": "ARRAY", "arrayType": {"type": "STRING"}}
    assert _wire(typed([], "DATE"))["parameterType"]["arrayType"] == {"type": "DATE"}
    rows = _wire([{"id": "a", "n": 1}, {"id": "b", "n": 2}])
    assert rows["parameterType"]["arrayType"]["type"] == "STRUCT"
    assert len(rows["parameterValue"]["arrayValues"]) == 2


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        None,
        [],
        ["a", 1],
        [True, 1],
        [None],
        datetime(2025, 11, 25),  # noqa: DTZ001 - a naive one is what is tested
        Decimal("NaN"),
        Decimal("1e-10"),
        Decimal("1e29"),
        object(),
    ],
)
def test_what_would_not_arrive_unchanged_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError):
        query_parameters({"p": value})


def test_more_decimals_than_numeric_go_as_bignumeric() -> None:
    assert _wire(typed(Decimal("1.25e-8"), "BIGNUMERIC"))["parameterType"]["type"] == "BIGNUMERIC"
