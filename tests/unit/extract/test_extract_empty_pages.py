"""A page without rows is a page: what comes after it is asked for from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from convergence.extract.http import OriginClient, ProviderResponse
from convergence.extract.paginate import Page, PageRequest, PageResponse
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
