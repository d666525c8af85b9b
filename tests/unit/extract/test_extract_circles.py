"""A provider that goes in circles is noticed at the first page it names twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from convergence.errors import ProviderProtocolError
from convergence.extract.guard import PageGuard, StreamLimits
from convergence.extract.http import OriginClient, ProviderResponse
from convergence.extract.origin import Origin
from convergence.extract.paginate import CursorPages, LinkPages, ListSource, Paginator
from convergence.extract.spool import Spool
from convergence.extract.stream import Query, extract_pages

ORIGIN = "https://api.vendor.test"


class Circling:
    """Names its pages a, b, c, b, c, … and never sends a row twice, as a report with times does."""

    secrets: tuple[str, ...] = ()

    def __init__(self, body: Callable[[int, str], dict[str, Any]], *, dies_at: int = 0) -> None:
        self.requests = 0
        self._body = body
        self._dies_at = dies_at

    def get(self, path: str, params: Any = (), **_options: Any) -> ProviderResponse:
        self.requests += 1
        if self.requests == self._dies_at:
            raise KeyboardInterrupt
        named = "abc"[self.requests - 1] if self.requests <= 3 else "bc"[self.requests % 2]
        body = json.dumps(self._body(self.requests, named)).encode()
        return ProviderResponse(200, {}, body, f"{ORIGIN}/{path}?{urlencode(params)}")


def by_cursor(request: int, named: str) -> dict[str, Any]:
    return {"data": [{"n": request}], "next": named}


def by_link(request: int, named: str) -> dict[str, Any]:
    return {"data": [{"n": request}], "next": f"{ORIGIN}/list?page={named}"}


WAYS: dict[str, tuple[Paginator, Callable[[int, str], dict[str, Any]]]] = {
    "cursor": (CursorPages(ListSource("list"), param="page", cursor_path="next"), by_cursor),
    "link": (
        LinkPages(ListSource("list"), origin=Origin.from_url(ORIGIN), link_path="next"),
        by_link,
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_page_named_twice_ends_the_extraction_at_once(tmp_path: Path, way: str) -> None:
    pages, body = WAYS[way]
    provider = Circling(body)
    spool = Spool.open(tmp_path, fingerprint="f")
    client = cast("OriginClient", provider)
    with pytest.raises(ProviderProtocolError, match="repeats a page token"):
        extract_pages(client, [Query("list", pages)], spool, limits=StreamLimits(pages=50))
    assert provider.requests == 4
    assert Spool.open(tmp_path, fingerprint="f").resume_point is None


@pytest.mark.parametrize("way", WAYS)
def test_a_page_named_twice_is_noticed_by_a_later_attempt_too(tmp_path: Path, way: str) -> None:
    pages, body = WAYS[way]
    provider = Circling(body, dies_at=4)
    client = cast("OriginClient", provider)
    with pytest.raises(KeyboardInterrupt):
        extract_pages(client, [Query("list", pages)], Spool.open(tmp_path, fingerprint="f"))
    again = Spool.open(tmp_path, fingerprint="f")
    assert len(again.records) == 3
    with pytest.raises(ProviderProtocolError, match="repeats a page token"):
        extract_pages(client, [Query("list", pages)], again, limits=StreamLimits(pages=50))
    assert provider.requests == 5


def test_two_lists_may_name_their_pages_alike() -> None:
    guard = PageGuard(StreamLimits())
    for query in (0, 1):
        guard.add_page(query=query, rows=[f"{query}".encode()], raw_bytes=1, next_page="second")
    with pytest.raises(ProviderProtocolError, match="repeats a page token"):
        guard.add_page(query=1, rows=[b"other"], raw_bytes=1, next_page="second")


def test_a_page_that_comes_again_under_another_name_is_noticed() -> None:
    guard = PageGuard(StreamLimits())
    guard.add_page(query=0, rows=[b"same"], raw_bytes=1, next_page="a")
    with pytest.raises(ProviderProtocolError, match="repeats a page"):
        guard.add_page(query=0, rows=[b"same"], raw_bytes=1, next_page="b")


@pytest.mark.parametrize(("limit", "value"), [("pages", 1), ("rows", 3), ("raw_bytes", 10)])
def test_every_limit_ends_an_extraction_that_does_not_end_itself(limit: str, value: int) -> None:
    guard = PageGuard(StreamLimits(**{limit: value}))
    guard.add_page(query=0, rows=[b"1", b"2"], raw_bytes=6, next_page="a")
    with pytest.raises(ProviderProtocolError, match="more than the limit") as caught:
        guard.add_page(query=0, rows=[b"3", b"4"], raw_bytes=6, next_page="b")
    assert f"{limit}={value}" in str(caught.value.details)
