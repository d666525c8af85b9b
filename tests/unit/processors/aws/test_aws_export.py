from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import RequestError
from convergence.processors.aws.export import Export, File, Period, sort_out
from convergence.processors.aws.plan import plan_periods

WHEN = datetime(2026, 11, 20, tzinfo=UTC)
EXPORT = Export("bucket", "some/prefix", "daily.cur", "us-east-1", "cur2")
DATA = "some/prefix/daily.cur/data/"
TODAY = date(2026, 11, 21)
MONTHS = [date(2026, month, 1) for month in (8, 9, 10, 11)]


def file(key: str, *, etag: str = "1", age: int = 0) -> File:
    return File(key, etag, 10, WHEN - timedelta(hours=age))


def test_the_exports_files_are_told_from_others_by_period() -> None:
    own = [
        f"{DATA}BILLING_PERIOD=2026-10/daily.cur-00001.csv.gz",
        f"{DATA}BILLING_PERIOD=2026-11/daily.cur-00001.snappy.parquet",
        f"{DATA}BILLING_PERIOD=2026-11/20261120T-x/daily.cur-00002.parquet",
    ]
    foreign = [
        f"{DATA}BILLING_PERIOD=2026-11/daily_cur-00001.csv.gz",
        f"{DATA}BILLING_PERIOD=2026-11/daily.cur-00001.csv",
        f"{DATA}BILLING_PERIOD=2026-11/a/b/daily.cur-00001.csv.gz",
        f"{DATA}BILLING_PERIOD=2026-00/daily.cur-00001.csv.gz",
        f"{DATA}daily.cur-00001.csv.gz",
    ]
    found = sort_out(EXPORT, [file(key) for key in (*foreign, *own, f"{DATA}folder/")])
    assert {key: len(one.files) for key, one in found.periods.items()} == {
        date(2026, 10, 1): 1,
        date(2026, 11, 1): 2,
    }
    assert found.foreign == tuple(sorted(foreign))


@pytest.mark.parametrize(
    ("params", "missing"),
    [
        ({}, ["bucket", "export_name"]),
        ({"bucket": "b"}, ["export_name"]),
        ({"bucket": "", "export_name": "e"}, ["bucket"]),
    ],
)
def test_where_the_export_is_must_be_said(params: dict[str, Any], missing: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        Export.of(params)
    assert caught.value.details["missing"] == missing


@pytest.mark.parametrize("prefix", ["a/b", "/a/b/", None, ""])
def test_slashes_around_a_prefix_mean_nothing(prefix: str | None) -> None:
    export = Export.of({"bucket": "b", "export_name": "e", "prefix": prefix})
    start = "a/b/" if prefix else ""
    assert export.data_prefix == f"{start}e/data/"
    assert export.manifest_key(MONTHS[0]).startswith(f"{start}e/metadata/BILLING_PERIOD=2026-08/")


def test_without_a_manifest_the_delivery_that_was_written_last_counts() -> None:
    old = [file("p/a/x-1.csv.gz", age=3), file("p/a/x-2.csv.gz", age=3)]
    new = [file("p/b/x-1.csv.gz", age=1)]
    period = Period(MONTHS[0], (*old, *new))
    assert period.delivered(None) == tuple(new)
    assert period.delivered([one.key for one in old]) == tuple(old)
    with pytest.raises(KeyError):
        period.delivered(["p/a/x-3.csv.gz"])


def test_another_content_time_size_or_revision_is_another_period() -> None:
    def rows(one: File, *, revision: int = 1) -> list[dict[str, Any]]:
        return Period(MONTHS[0], (one,)).rows("cur2", revision=revision)

    told = rows(file("k"))
    assert rows(file("k")) == told
    assert rows(file("k", etag="2")) != told
    assert rows(file("k", age=1)) != told
    assert rows(File("k", "1", 11, WHEN)) != told
    assert rows(file("k"), revision=2) != told


@given(
    found=st.sets(st.sampled_from(MONTHS)),
    loaded=st.dictionaries(st.sampled_from(MONTHS), st.booleans()),
    due=st.sets(st.dates(MONTHS[0], TODAY - timedelta(days=1)), max_size=40),
    max_periods=st.integers(1, 5),
)
def test_every_due_day_is_loaded_kept_or_told_to_have_no_export(
    found: set[date], loaded: dict[date, bool], due: set[date], max_periods: int
) -> None:
    """`loaded` says of a month whether its files are as they were."""
    plan = plan_periods(
        {month: Period(month, (file("k"),)) for month in found},
        dict.fromkeys(found, "now"),
        {month: "now" if same else "before" for month, same in loaded.items()},
        due=due,
        today=TODAY,
        max_periods=max_periods,
    )
    to_load = {*plan.load, *plan.later}
    assert list(plan.load) == sorted(to_load, reverse=True)[:max_periods]
    for month in found:
        rewritten = month in loaded and not loaded[month]
        new = month not in loaded and any(day.replace(day=1) == month for day in due)
        assert (month in to_load) == (rewritten or new)
    assert set(plan.vanished) == set(loaded) - found
    of_loaded = {day for day in due if day.replace(day=1) in to_load}
    assert not of_loaded & {*plan.keep, *plan.without_export}
    assert of_loaded | {*plan.keep} | {*plan.without_export} == due
    assert not {*plan.keep} & {*plan.without_export}
