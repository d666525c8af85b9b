"""Configuration of a REST API and of a table by SQL, and the messages for mistakes."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from convergence.extract.ratelimit import RequestRate
from convergence.processors.generic.config import ApiExtractorConfig
from convergence.processors.lib.daily.day_ranges import DayRange
from convergence.processors.lib.rest.rest_days import WORDS, day_words, filled
from convergence.processors.lib.rest.rest_options import RateOptions
from support import custom_configs
from support.sample_pipelines import list_errors, loaded

PATH = "seats_vendor/seats.yml"
EXTRACT: dict[str, Any] = {
    "url": f"{custom_configs.BASE}/users",
    "auth": {"type": "header", "provider": custom_configs.VENDOR},
    "pagination": {"type": "cursor", "param": "after", "response_path": "meta.next", "limit": 100},
    "fields": {"is_active": "active"},
    "destination": {"table": "seats_users_raw", "unique_by": ["id"]},
}
SQL = "SELECT @day AS usage_date FROM `{{ dataset }}.{{ users }}` WHERE seen_on = @day -- @no"
TRANSFORM: dict[str, Any] = {
    "sql_file": "seats_vendor/sql/seats.sql",
    "destination": {"table": "seats_daily", "schema_file": "seats_vendor/schemas/seats_daily.json"},
    "reads": {"users": "seats_users_raw"},
}
FILES: dict[str, object] = {
    "seats_vendor/sql/seats.sql": SQL,
    "seats_vendor/schemas/seats_daily.json": {
        "table": "seats_daily",
        "description": "Seats per day",
        "partition": {"field": "usage_date", "type": "DAY"},
        "fields": [{"name": "usage_date", "type": "DATE", "description": "UTC day"}],
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return custom_configs.make(tmp_path / "configs", FILES)


def pipeline(extract: dict[str, Any], transform: dict[str, Any] = TRANSFORM) -> str:
    steps = [
        {"step": "extract_users", "processor": "generic.api_extractor", "config": extract},
        {
            "step": "transform_seats",
            "processor": "generic.local_bq_transformer",
            "config": transform,
        },
    ]
    return yaml.safe_dump(
        {
            "pipeline_id": "seats",
            "description": "Seats",
            "provider": custom_configs.VENDOR,
            "steps": steps,
        },
        sort_keys=False,
    )


def test_a_sound_file_has_no_fault_and_both_tables_have_days(folder: Path) -> None:
    spec = loaded(folder, pipeline(EXTRACT), PATH)
    assert spec.tables == ("seats_users_raw", "seats_daily")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"url": "http://api.seats.example/v1/users"}, "config.url: "),
        ({"url": "https://api.seats.example/v2/users"}, "config.url: lies outside of"),
        ({"url": "https://api.seats.example.evil/v1/users"}, "config.url: lies outside of"),
        ({"url": f"{custom_configs.BASE}/{{frist_day}}"}, "did you mean {first_day}"),
        ({"auth": {"type": "query", "header_name": "X-Key"}}, "header_name is for type header"),
        ({"auth": {"type": "header", "provider": "SEAT"}}, "no provider is named 'SEAT'"),
        ({"auth": {"type": "oauth"}}, "config.auth.type: "),
        (
            {"secret_key": "a", "auth": {"type": "bearer", "secret_key": "b"}},
            "different credentials",
        ),
        ({"pagination": {"type": "cursor", "param": "after"}}, "response_path"),
        ({"pagination": {"type": "pages"}}, "config.pagination"),
        ({"params": {"from": "{first_day}"}}, "day_path must name"),
        ({"body": {"a": 1}}, "a GET has no body"),
        ({"method": "POST"}, "a POST needs a body"),
        ({"headers": {"Authorization": "Bearer x"}}, "use auth for a credential"),
        ({"destination": {"table": "nowhere"}}, "0 files match the schema of nowhere"),
        ({"destination": {"table": "seats_users_raw", "unique_by": ["ids"]}}, "has no column ids"),
        ({"destination": {"table": "seats_daily"}}, "has no column extra of type JSON"),
        ({"fields": {"plan": "plan.name"}}, "has no column plan"),
        ({"money": {"amount": "cost", "currency": "USD"}}, "has no column cost"),
        ({"rate_limit": {"requests_per_second": 0}}, "requests_per_second: must be more than 0"),
        ({"source_view": "seats_vendor/views/none.sql"}, "there is no file"),
    ],
)
def test_what_is_wrong_with_an_api_is_told_at_its_place(
    folder: Path, change: dict[str, Any], fault: str
) -> None:
    faults = list_errors(folder, pipeline({**EXTRACT, **change}), PATH)
    assert any(fault in one and one.startswith(f"{PATH}:") for one in faults), faults


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"sql_file": "seats_vendor/sql/none.sql"}, "there is no file"),
        ({"params": {"price": "1"}}, "config.params.price: seats_vendor/sql/seats.sql has no @pri"),
        ({"params": {"day": "2026-11-20"}}, "day is a reserved name of every query"),
        ({"reads": {"dataset": "x"}}, "dataset is a reserved name of every query"),
        ({"reads": {"users": "seats_daily"}}, "a table can't be an input of itself"),
        ({"partition": "none"}, "has partitions; set partition: day"),
        ({"params": {"p": {"type": "NUMERIC", "value": "1.0000000001"}}}, "a NUMERIC would change"),
        ({"params": {"p": {"type": "NUMERIC", "value": "NaN"}}}, "'NaN' is not a NUMERIC"),
        ({"params": {"p": {"type": "DATE", "value": "yesterday"}}}, "'yesterday' is not a DATE"),
        ({"params": {"p": 1.5}}, "config.params.p"),
        ({"max_bytes_billed": 0}, "max_bytes_billed: must be at least 1"),
        (
            {
                "destination": {
                    "table": "seats_users_raw",
                    "schema_file": "seats_vendor/schemas/seats_users_raw.json",
                },
                "reads": {},
            },
            "a query can't fill REQUIRED columns: seen_on, id, seats",
        ),
    ],
)
def test_what_is_wrong_with_a_query_is_told_at_its_place(
    folder: Path, change: dict[str, Any], fault: str
) -> None:
    faults = list_errors(folder, pipeline(EXTRACT, {**TRANSFORM, **change}), PATH)
    assert any(fault in one and one.startswith(f"{PATH}:") for one in faults), faults


def test_a_value_that_nobody_gives_is_told(folder: Path) -> None:
    (folder / "seats_vendor/sql/seats.sql").write_text(SQL.replace("@day AS", "@price +"))
    assert "@price is not among params" in list_errors(folder, pipeline(EXTRACT), PATH)[0]


def test_the_keys_of_earlier_configurations_are_taken_as_they_are() -> None:
    config = ApiExtractorConfig.from_values(
        yaml.safe_load(
            """
            url: https://api.vendor.com/v1/users
            method: GET
            auth: {type: bearer, provider: VENDOR_API}
            pagination: {type: cursor, param: after, response_path: meta.next_cursor, limit: 100}
            data_path: data
            destination: {table: vendor_users_raw, batch_size: 1000}
            rate_limit: {requests_per_second: 10, retry_on_429: true}
            """
        )
    )
    assert config.rate_limit.rate() == RequestRate(10, 1)
    assert config.daily_tables() == ("vendor_users_raw",)


@pytest.mark.parametrize(
    ("told_rate", "rate"),
    [
        (10, RequestRate(10, 1)),
        (0.5, RequestRate(1, 2)),
        (2.5, RequestRate(5, 2)),
        (0.0001, RequestRate(1, 3600)),
    ],
)
def test_a_rate_is_whole_requests_in_whole_seconds(told_rate: float, rate: RequestRate) -> None:
    assert RateOptions(requests_per_second=told_rate).rate() == rate


def test_words_become_days_and_other_braces_stay() -> None:
    words = day_words(DayRange(date(2026, 11, 19), date(2026, 11, 20)))
    assert set(words) == set(WORDS)
    body = {"query": '{ usage(from: "{first_day}") { id } }', "to": ["{day_after}", 7]}
    assert filled(body, words) == {
        "query": '{ usage(from: "2026-11-19") { id } }',
        "to": ["2026-11-21", 7],
    }
    assert int(words["end_unix"]) - int(words["first_unix"]) == 2 * 86_400
