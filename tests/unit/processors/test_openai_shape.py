from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import ProviderProtocolError
from convergence.processors.openai.shape import OWN_COLUMNS, UsageShape, usage_day
from convergence.settings import PROJECT_ROOT

DATA = PROJECT_ROOT / "tests" / "data" / "openai"
SCHEMA = PROJECT_ROOT / "include/configs/openai/cost/schemas/openai_usage_daily_raw.json"
FIELDS = json.loads(SCHEMA.read_text())["fields"]
COLUMNS = {field["name"]: field["type"] for field in FIELDS}
PAGES = sorted(DATA.glob("usage_*.json"))


def page(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((DATA / name).read_text(), parse_float=Decimal)
    return answer


def endpoint_of(path: Path) -> str:
    name = path.stem.removeprefix("usage_")
    return "completions" if name.startswith("completions") else name


def bucket(**result: Any) -> dict[str, Any]:
    return {"data": [{"start_time": 1794873600, "end_time": 1794960000, "results": [result]}]}


def row_of(**result: Any) -> dict[str, Any]:
    (row,) = UsageShape("completions", columns=COLUMNS).rows(bucket(**result))
    return row


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_field_of_every_endpoint_has_a_column_and_keeps_its_value(path: Path) -> None:
    answer = page(path.name)
    rows = list(UsageShape(endpoint_of(path), columns=COLUMNS).rows(answer))
    results = [result for day in answer["data"] for result in day["results"]]

    assert len(rows) == len(results) > 0
    for row, result in zip(rows, results, strict=True):
        assert {name: row[name] for name in result} == result
        assert set(row) == set(COLUMNS)
        assert row["extra"] is None
        missing = set(COLUMNS) - set(result) - set(OWN_COLUMNS)
        assert all(row[name] is None for name in missing)


def test_a_row_belongs_to_the_utc_day_of_its_bucket() -> None:
    rows = list(
        UsageShape("completions", columns=COLUMNS).rows(page("usage_completions_page1.json"))
    )
    assert {usage_day(row).isoformat() for row in rows} == {"2026-11-17"}
    assert rows[0]["bucket_start"] == "2026-11-17T00:00:00+00:00"
    assert rows[0]["bucket_end"] == "2026-11-18T00:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "version"),
    [("usage_completions_page1.json", 2), ("usage_completions_legacy_shape.json", 1)],
)
def test_the_two_shapes_of_completions_are_told_apart(name: str, version: int) -> None:
    rows = UsageShape("completions", columns=COLUMNS).rows(page(name))
    assert {row["shape_version"] for row in rows} == {version}


def test_a_field_without_a_column_is_kept_as_received() -> None:
    row = row_of(input_tokens=1, z_new={"a": [1, "b"]}, a_new=Decimal("1.5"))
    assert row["extra"] == {"a_new": Decimal("1.5"), "z_new": {"a": [1, "b"]}}


def test_a_result_can_not_set_the_columns_that_are_ours() -> None:
    row = row_of(input_tokens=1, usage_date="1999-01-01", endpoint="x", extra={"y": 1})
    assert row["usage_date"] == "2026-11-17"
    assert row["endpoint"] == "completions"
    assert row["extra"] == {"endpoint": "x", "extra": {"y": 1}, "usage_date": "1999-01-01"}


def test_a_whole_count_may_be_written_with_a_decimal_point() -> None:
    row = row_of(input_tokens=Decimal("1200000.0"))
    assert row["input_tokens"] == 1_200_000
    assert isinstance(row["input_tokens"], int)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_tokens", "12"),
        ("input_tokens", Decimal("1.5")),
        ("input_tokens", True),
        ("model", 5),
        ("batch", "false"),
        ("batch", 0),
    ],
)
def test_a_changed_type_is_named_and_never_cast(field: str, value: object) -> None:
    with pytest.raises(ProviderProtocolError) as caught:
        row_of(**{field: value})
    assert caught.value.facts == {"endpoint": "completions", "field": field}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"data": None},
        {"data": ["bucket"]},
        {"data": [{"start_time": 1794873600, "end_time": 1794960000}]},
        {"data": [{"start_time": 1794873600, "end_time": 1794960000, "results": None}]},
        {"data": [{"start_time": 1794873601, "end_time": 1794960001, "results": []}]},
        {"data": [{"start_time": 1794873600, "end_time": 1794877200, "results": []}]},
        {"data": [{"start_time": None, "end_time": 1794960000, "results": []}]},
        {"data": [{"start_time": 10**18, "end_time": 10**18 + 86400, "results": []}]},
    ],
)
def test_a_page_that_is_not_whole_utc_days_of_results_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        list(UsageShape("completions", columns=COLUMNS).rows(broken))
