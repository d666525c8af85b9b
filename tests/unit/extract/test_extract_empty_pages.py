"""A page without rows is a page: what comes after it is asked for from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from convergence.errors import ProviderUnavailableError
from convergence.extract.http import OriginClient, ProviderResponse
from convergence.extract.paginate import CursorPages, ListSource, Page, PageRequest, PageResponse
from convergence.extract.spool import Spool
from convergence.extract.stream import Query, extract_pages


class TwoPages:
    """The first is empty and leads to the second."""

    def request(self, token: str | None) -> PageRequest:
        return PageRequest(token or "first")

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        del response
        return Page([], "second") if token is None else Page([{"n": 1}], None)


class Dying:
    """Answers the first request; the process dies at the second."""

    secrets: tuple[str, ...] = ()

    def get(self, path: str, *_args: Any, **_options: Any) -> ProviderResponse:
        if path == "second":
            raise KeyboardInterrupt
        return ProviderResponse(200, {}, b"{}", "http://provider/first")


def test_an_empty_page_is_durable_before_the_next_is_asked_for(tmp_path: Path) -> None:
    spool = Spool.open(tmp_path, fingerprint="one")
    with pytest.raises(KeyboardInterrupt):
        extract_pages(cast("OriginClient", Dying()), [Query("two", TwoPages())], spool)
    assert len(Spool.open(tmp_path, fingerprint="one").records) == 1


class Growing:
    """Returns one more row at each request of its only page, up to a number of rows."""

    secrets: tuple[str, ...] = ()

    def __init__(self, rows: int) -> None:
        self.requests = 0
        self._rows = rows

    def get(self, *_args: Any, **_options: Any) -> ProviderResponse:
        self.requests += 1
        rows = [{"n": number} for number in range(min(self.requests, self._rows))]
        return ProviderResponse(200, {}, json.dumps({"data": rows}).encode(), "http://provider/x")


def test_a_last_page_that_proves_no_end_is_requested_twice(tmp_path: Path) -> None:
    pages = CursorPages(ListSource("x"), "cursor", "next")
    query = Query("x", pages, repeat_last_page=True)
    growing, steady = Growing(2), Growing(1)
    with pytest.raises(ProviderUnavailableError, match="last page changed"):
        extract_pages(
            cast("OriginClient", growing), [query], Spool.open(tmp_path / "a", fingerprint="x")
        )
    report = extract_pages(
        cast("OriginClient", steady), [query], Spool.open(tmp_path / "b", fingerprint="x")
    )
    assert (report.rows, report.pages, steady.requests) == (1, 1, 2)
