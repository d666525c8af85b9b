"""Bucket pages: every bucket of the window once and in order, or an error."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError
from convergence.extract.buckets import BucketPages, rfc3339_seconds
from convergence.extract.paginate import Page, PageResponse
from convergence.extract.strict_json import parse_json

DAY = 86_400
START = 1_794_873_600
DATA = Path(__file__).parents[2] / "data" / "openai"


def paginator(days: int) -> BucketPages:
    params = (("start_time", str(START)), ("end_time", str(START + days * DAY)))
    return BucketPages("organization/usage/x", START, START + days * DAY, params)


def make_pages(days: int, size: int) -> list[dict[str, Any]]:
    buckets = [
        {
            "object": "bucket",
            "start_time": START + day * DAY,
            "end_time": START + (day + 1) * DAY,
            "results": [{"n": day * 10 + row} for row in range(day % 3)],
        }
        for day in range(days)
    ]
    parts = [buckets[at : at + size] for at in range(0, days, size)]
    last = len(parts) - 1
    return [
        {
            "object": "page",
            "data": part,
            "has_more": index < last,
            "next_page": f"page_{index + 1}" if index < last else None,
        }
        for index, part in enumerate(parts)
    ]


def read_all(pages: list[dict[str, Any]], days: int) -> list[Any]:
    buckets, token, rows = paginator(days), None, []
    for body in pages:
        page: Page = buckets.read_page(PageResponse(body), token=token)
        rows.extend(page.rows)
        token = page.next_token
        if token is None:
            return rows
        assert buckets.request(token).params[-1] == ("page", body["next_page"])
    raise ProviderProtocolError("the pages ran out")


@given(days=st.integers(1, 40), size=st.integers(1, 31))
def test_sound_pages_give_every_result_with_its_window(days: int, size: int) -> None:
    rows = read_all(make_pages(days, size), days)
    assert rows == [
        {"start_time": START + day * DAY, "end_time": START + (day + 1) * DAY, "n": day * 10 + row}
        for day in range(days)
        for row in range(day % 3)
    ]


@given(days=st.integers(2, 12), size=st.integers(1, 5), data=st.data())
def test_any_bucket_lost_repeated_moved_or_foreign_is_an_error(
    days: int, size: int, data: st.DataObject
) -> None:
    pages = deepcopy(make_pages(days, size))
    page = data.draw(st.sampled_from(pages))
    buckets = page["data"]
    at = data.draw(st.integers(0, len(buckets) - 1))
    change = data.draw(st.sampled_from(["lose", "repeat", "shift", "widen", "before", "after"]))
    if change == "lose":
        del buckets[at]
    elif change == "repeat":
        buckets.insert(at, buckets[at])
    elif change == "shift":
        buckets[at]["start_time"] += DAY
        buckets[at]["end_time"] += DAY
    elif change == "widen":
        buckets[at]["end_time"] += DAY
    else:
        start = START - DAY if change == "before" else START + days * DAY
        extra = {"start_time": start, "end_time": start + DAY, "results": []}
        (pages[0] if change == "before" else pages[-1])["data"].insert(
            0 if change == "before" else len(pages[-1]["data"]), extra
        )
    with pytest.raises(ProviderProtocolError):
        read_all(pages, days)


@given(days=st.integers(2, 12), size=st.integers(1, 5))
def test_an_early_end_is_an_error(days: int, size: int) -> None:
    pages = make_pages(days, size)
    pages[0] |= {"has_more": False, "next_page": None}
    if len(pages) > 1:
        with pytest.raises(ProviderProtocolError, match="ends before"):
            read_all(pages, days)


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"data": []},
        {"data": {}},
        {"data": [None]},
        {"data": [{"start_time": START, "end_time": START + DAY, "results": None}]},
        {"data": [{"start_time": START, "end_time": START + DAY, "results": [1]}]},
        {"data": [{"start_time": None, "end_time": START + DAY, "results": []}]},
        {"data": [{"end_time": START + DAY, "results": []}]},
        {"has_more": None},
        {"has_more": "false"},
        {"next_page": None},
        {"next_page": ""},
        {"next_page": 7},
    ],
    ids=str,
)
def test_a_page_of_another_shape_is_an_error(change: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        paginator(3).read_page(PageResponse(make_pages(3, 1)[0] | change), token=None)


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_that_is_no_object_is_an_error(body: Any) -> None:
    with pytest.raises(ProviderProtocolError):
        paginator(3).read_page(PageResponse(body), token=None)


def test_recorded_pages_are_read_to_their_end() -> None:
    pages = [
        parse_json((DATA / f"usage_completions_page{number}.json").read_bytes())
        for number in (1, 2)
    ]
    rows = read_all(pages, 3)
    assert [row["model"] for row in rows] == [
        "gpt-4o-2024-08-06",
        "gpt-5-2025-08-07",
        "gpt-6-astra",
        "gpt-4o-audio-preview-2024-12-17",
    ]
    assert [row["start_time"] for row in rows] == [START, START, START, START + 2 * DAY]


def test_times_in_rfc_3339_can_be_buckets_too() -> None:
    start, end = "2026-11-17T00:00:00Z", "2026-11-18T00:00:00Z"
    pages = BucketPages(
        "usage_report/messages",
        START,
        START + DAY,
        (("starting_at", start),),
        start_field="starting_at",
        end_field="ending_at",
        moment=rfc3339_seconds,
    )
    body = {"data": [{"starting_at": start, "ending_at": end, "results": [{}]}], "has_more": False}
    assert pages.read_page(PageResponse(body), token=None).rows == [
        {"starting_at": START, "ending_at": START + DAY}
    ]
    body = json.loads(json.dumps(body).replace("Z", ""))
    with pytest.raises(ProviderProtocolError, match="time can't be read"):
        pages.read_page(PageResponse(body), token=None)
