from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from convergence.errors import ProviderProtocolError
from convergence.processors.lib.daily.fields import BUCKET_COLUMNS, day_of
from convergence.processors.openai.shape import BUCKET_FIELDS, UsageShape
from convergence.settings import PROJECT_ROOT

DATA = PROJECT_ROOT / "tests" / "data" / "openai"
SCHEMA = PROJECT_ROOT / "include/configs/openai/cost/schemas/openai_usage_daily_raw.json"
FIELDS = json.loads(SCHEMA.read_text())["fields"]
COLUMNS = {field["name"]: field["type"] for field in FIELDS}
OWN_COLUMNS = (*BUCKET_COLUMNS, "endpoint", "shape_version", "extra")
PAGES = sorted(DATA.glob("usage_*.json"))


def page(name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((DATA / name).read_text(), parse_float=Decimal)
    return answer


def endpoint_of(path: Path) -> str:
    name = path.stem.removeprefix("usage_")
    return "completions" if name.startswith("completions") else name


def results_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"start_time": bucket["start_time"], "end_time": bucket["end_time"], **result}
        for bucket in answer["data"]
        for result in bucket["results"]
    ]


def row_of(**result: Any) -> dict[str, Any]:
    whole = {"start_time": 1794873600, "end_time": 1794960000} | result
    return UsageShape("completions", columns=COLUMNS).build_row(whole)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_field_of_every_endpoint_has_a_column_and_keeps_its_value(path: Path) -> None:
    results = results_of(page(path.name))
    shape = UsageShape(endpoint_of(path), columns=COLUMNS)

    assert results
    for result in results:
        row = shape.build_row(result)
        fields = {name: value for name, value in result.items() if name not in BUCKET_FIELDS}
        assert {name: row[name] for name in fields} == fields
        assert set(row) == set(COLUMNS)
        assert row["extra"] is None
        missing = set(COLUMNS) - set(fields) - set(OWN_COLUMNS)
        assert all(row[name] is None for name in missing)


def test_a_row_belongs_to_the_utc_day_of_its_bucket() -> None:
    row = row_of(input_tokens=1)
    assert day_of(row).isoformat() == "2026-11-17"
    assert row["bucket_start"] == "2026-11-17T00:00:00+00:00"
    assert row["bucket_end"] == "2026-11-18T00:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "version"),
    [("usage_completions_page1.json", 2), ("usage_completions_legacy_shape.json", 1)],
)
def test_the_two_shapes_of_completions_are_told_apart(name: str, version: int) -> None:
    shape = UsageShape("completions", columns=COLUMNS)
    found = {shape.build_row(result)["shape_version"] for result in results_of(page(name))}
    assert found == {version}


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
    assert caught.value.details == {"source": "completions", "field": field}


@pytest.mark.parametrize(
    "times",
    [
        {"start_time": 1794873601, "end_time": 1794960001},
        {"start_time": 1794873600, "end_time": 1794877200},
        {"start_time": None},
        {"start_time": "1794873600"},
        {"start_time": 10**18, "end_time": 10**18 + 86400},
    ],
)
def test_a_bucket_that_is_not_a_whole_utc_day_is_refused(times: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        row_of(**times)
