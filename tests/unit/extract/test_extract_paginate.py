"""Paginators as state machines: a sound list is read exactly, an unsound one never silently."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ProviderProtocolError
from convergence.extract.origin import Origin
from convergence.extract.paginate import (
    CursorPages,
    LinkPages,
    ListSource,
    NumberedPages,
    OffsetPages,
    PageRequest,
    PageResponse,
    Paginator,
)

ORIGIN = Origin.from_url("https://api.vendor.test/v1")
Server = Callable[[PageRequest], PageResponse]
Rows = list[dict[str, int]]


def read_all(paginator: Paginator, server: Server, *, most: int = 200) -> Rows:
    rows: list[Any] = []
    token: str | None = None
    for _ in range(most):
        request = paginator.request(token)
        page = paginator.read_page(server(request), token=token)
        rows.extend(page.rows)
        token = page.next_token
        if token is None:
            return rows
    raise AssertionError("endless")


def served(data: Rows, *, size: int, style: str) -> Server:
    """A sound server of one style; positions are asked for by the parameter `at`."""

    def serve(request: PageRequest) -> PageResponse:
        told = dict(request.params)
        at = int(told.get("at", 0))
        start = (at - 1) * size if style == "page" else at
        rows, end = data[start : start + size], start + size
        body: dict[str, Any] = {"data": rows, "total": len(data), "more": end < len(data)}
        url = ORIGIN.url(request.path, request.params)
        link = ORIGIN.url(request.path, [("at", str(end)), ("keep", "é&=")])
        headers = {}
        if end < len(data):
            body["next"] = str(end)
            body["links"] = {"next": link}
            headers = {"link": f'<{ORIGIN.url("x")}>; rel="prev", <{link}>; rel="next"'}
        return PageResponse(body, headers, url)

    return serve


STYLES: dict[str, tuple[str, Callable[[int], Paginator]]] = {
    "cursor": ("offset", lambda _: CursorPages(ListSource("users"), "at", "next")),
    "cursor with total": (
        "offset",
        lambda _: CursorPages(ListSource("users", total_path="total"), "at", "next"),
    ),
    "offset": ("offset", lambda size: OffsetPages(ListSource("users"), size, "at")),
    "offset with total": (
        "offset",
        lambda size: OffsetPages(ListSource("users", total_path="total"), size, "at"),
    ),
    "offset with more": (
        "offset",
        lambda size: OffsetPages(ListSource("users", more_path="more"), size, "at"),
    ),
    "page": ("page", lambda size: NumberedPages(ListSource("users"), size, "at")),
    "page with more": (
        "page",
        lambda size: NumberedPages(ListSource("users", more_path="more"), size, "at"),
    ),
    "link header": ("offset", lambda _: LinkPages(ListSource("users"), ORIGIN)),
    "link body": ("offset", lambda _: LinkPages(ListSource("users"), ORIGIN, "links.next")),
}


@pytest.mark.parametrize("name", STYLES)
@given(count=st.integers(0, 40), size=st.integers(1, 12))
def test_a_sound_list_is_read_exactly(name: str, count: int, size: int) -> None:
    style, make = STYLES[name]
    data = [{"id": index} for index in range(count)]
    assert read_all(make(size), served(data, size=size, style=style)) == data


@pytest.mark.parametrize("name", [name for name in STYLES if "total" in name or "more" in name])
@given(count=st.integers(5, 40), size=st.integers(1, 4), at=st.integers(0, 9))
def test_an_empty_page_before_the_end_is_an_error(
    name: str, count: int, size: int, at: int
) -> None:
    style, make = STYLES[name]
    data = [{"id": index} for index in range(count)]
    sound = served(data, size=size, style=style)
    pages = -(-count // size)
    struck = at % pages
    seen = -1

    def serve(request: PageRequest) -> PageResponse:
        nonlocal seen
        seen += 1
        answer = sound(request)
        return PageResponse({**answer.body, "data": []}) if seen == struck else answer

    if struck == pages - 1 and "more" in name:
        return  # only a total could show the loss
    with pytest.raises(ProviderProtocolError):
        read_all(make(size), serve)


@pytest.mark.parametrize("name", STYLES)
@pytest.mark.parametrize("body", [None, [], {}, {"data": None}, {"data": {}}, {"data": [1]}, "x"])
def test_a_page_without_its_list_is_an_error(name: str, body: Any) -> None:
    paginator = STYLES[name][1](5)
    with pytest.raises(ProviderProtocolError):
        paginator.read_page(PageResponse(body, {}, ORIGIN.url("users")), token=None)


def test_a_body_that_is_the_list_itself_can_be_read() -> None:
    pages = LinkPages(ListSource("users", data_path=""), ORIGIN)
    page = pages.read_page(PageResponse([{"id": 1}], {}, ORIGIN.url("users")), token=None)
    assert page.rows == [{"id": 1}]
    assert page.next_token is None


@pytest.mark.parametrize("cursor", [True, 1.5, {}, []])
def test_a_cursor_of_an_odd_type_is_an_error(cursor: Any) -> None:
    pages = CursorPages(ListSource("users"), "at", "next")
    with pytest.raises(ProviderProtocolError, match="cursor"):
        pages.read_page(PageResponse({"data": [{"id": 1}], "next": cursor}), token=None)


def test_more_without_a_cursor_is_an_error() -> None:
    pages = CursorPages(ListSource("users", more_path="more"), "at", "next")
    with pytest.raises(ProviderProtocolError, match="without its cursor"):
        pages.read_page(PageResponse({"data": [{"id": 1}], "more": True}), token=None)


def test_no_more_ends_even_when_a_cursor_is_there() -> None:
    pages = CursorPages(ListSource("users", more_path="more"), "at", "next")
    answer = PageResponse({"data": [{"id": 1}], "more": False, "next": "x"})
    assert pages.read_page(answer, token=None).next_token is None


@pytest.mark.parametrize("total", [0, 1, 3, -1, "2", None, True])
def test_rows_that_do_not_add_up_to_the_total_are_an_error(total: Any) -> None:
    pages = CursorPages(ListSource("users", total_path="total"), "at", "next")
    body = {"data": [{"id": 1}, {"id": 2}], "total": total}
    with pytest.raises(ProviderProtocolError):
        pages.read_page(PageResponse(body), token=None)


def test_own_parameters_are_replaced_by_those_of_the_page() -> None:
    source = ListSource("users", (("at", "old"), ("limit", "5")))
    assert CursorPages(source, "at", "next").request(json.dumps(["new", 1])).params == (
        ("limit", "5"),
        ("at", "new"),
    )


FOREIGN = [
    "http://api.vendor.test/v1/users",
    "https://api.vendor.test.evil.test/v1/users",
    "https://evil.test/v1/users",
    "https://api.vendor.test:8443/v1/users",
    "https://api.vendor.test@evil.test/v1/users",
    "https://user@api.vendor.test/v1/users",
    "//evil.test/v1/users",
    "/v2/users",
    "/v1",
    "/v1x/users",
    "../v2/users",
    "https://api.vendor.test/v1/../v2/users",
    "https://api.vendor.test/v1/%2e%2e/v2/users",
    "https://api.vendor.test/v1/..%2fv2/users",
    "https://api.vendor.test/v1/\\evil.test/",
    "file:///v1/users",
    "https://[::1/v1/users",
    "https://api.vendor.test:99999/v1/users",
]


@pytest.mark.parametrize("link", FOREIGN)
def test_a_link_that_leaves_its_origin_is_an_error(link: str) -> None:
    pages = LinkPages(ListSource("users"), ORIGIN, "next")
    answer = PageResponse({"data": [{"id": 1}], "next": link}, {}, ORIGIN.url("users"))
    with pytest.raises(ProviderProtocolError):
        pages.read_page(answer, token=None)


@pytest.mark.parametrize(
    "link", ["?at=2", "users?at=2", "/v1/users?at=2", "https://API.vendor.test:443/v1/users?at=2"]
)
def test_a_link_within_its_origin_is_followed(link: str) -> None:
    pages = LinkPages(ListSource("users"), ORIGIN, "next")
    answer = PageResponse({"data": [{"id": 1}], "next": link}, {}, ORIGIN.url("users"))
    request = pages.request(pages.read_page(answer, token=None).next_token)
    assert ORIGIN.url(request.path, request.params) == "https://api.vendor.test/v1/users?at=2"
