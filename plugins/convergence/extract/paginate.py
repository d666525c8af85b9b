"""Paginators as pure state machines: from a response to its rows and the token of the next page.

The paging of an API is declared, never guessed. A token is a string with the whole state of a
paginator, so a spool can keep it and a later attempt can continue from it. A list ends only if the
provider proves its end; everything else is an error, since a missing page would be a smaller sum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from convergence.errors import ProviderProtocolError
from convergence.extract.origin import Origin, Params
from convergence.extract.strict_json import Json

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request: a path below the origin's prefix and its query; with a body it is a POST."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PageResponse:
    """The response of a page. Header names are lowercase; `url` is the requested URL."""

    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and the token of the next one; None after the last page.

    Attributes:
        rows: the rows of the page.
        next_token: the state of the paginator, such as the number of rows so far.
        next_position: the provider's name of the next page, if the token has more than that; a
            repeated name means that the provider repeats pages.
    """

    rows: list[Row]
    next_token: str | None
    next_position: str | None = None


class Paginator(Protocol):
    """The requests and responses of one list, page by page."""

    def request(self, token: str | None) -> PageRequest:
        """Return the request of the page of a token; None is the first page."""

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """Return the page in the response to `request(token)`; raise ProviderProtocolError."""


@dataclass(frozen=True, slots=True)
class ListSource:
    """The list of a generic paginator.

    Attributes:
        path: below the origin's prefix.
        params: sent with every page.
        data_path: dotted keys of the list of rows; empty if the body is the list.
        more_path: dotted keys of a boolean that says whether a page follows.
        total_path: dotted keys of the total number of rows.
        body: the JSON body of a POST; None for a GET.
        pages_in_body: whether the body of a POST names the page, and not its query.
    """

    path: str
    params: Params = ()
    data_path: str = "data"
    more_path: str | None = None
    total_path: str | None = None
    body: Mapping[str, Any] | None = None
    pages_in_body: bool = False

    def request(self, *more: tuple[str, str | int]) -> PageRequest:
        """Return a request with further parameters, which replace those of the same name."""
        if self.body is not None and self.pages_in_body:
            return PageRequest(self.path, tuple(self.params), {**self.body, **dict(more)})
        names = {name for name, _ in more}
        kept = [pair for pair in self.params if pair[0] not in names]
        added = [(name, str(value)) for name, value in more]
        return PageRequest(self.path, (*kept, *added), self.body)

    def read_rows(self, body: Json) -> list[Row]:
        """Return the rows of a body."""
        found = find_at_path(body, self.data_path)
        if not isinstance(found, list):
            raise ProviderProtocolError("The page has no list of rows", data_path=self.data_path)
        if not all(isinstance(row, dict) for row in found):
            raise ProviderProtocolError("A row is not an object", data_path=self.data_path)
        return found

    def read_more(self, body: Json) -> bool | None:
        """Return whether a page follows; None if the API does not say so."""
        if self.more_path is None:
            return None
        more = find_at_path(body, self.more_path)
        if not isinstance(more, bool):
            raise ProviderProtocolError("The page does not say whether another follows")
        return more

    def read_total(self, body: Json) -> int | None:
        """Return the total number of rows; None if the API does not have it."""
        if self.total_path is None:
            return None
        total = find_at_path(body, self.total_path)
        if not isinstance(total, int) or isinstance(total, bool) or total < 0:
            raise ProviderProtocolError("The page does not say how many rows there are")
        return total

    def close_page(
        self,
        body: Json,
        *,
        rows: list[Row],
        seen: int,
        following: str | None,
        position: str | None = None,
    ) -> Page:
        """Return a page that has a next page or proves that it is the last one."""
        more, total = self.read_more(body), self.read_total(body)
        if more is True and following is None:
            raise ProviderProtocolError(
                "The page announces another page without its cursor or link"
            )
        if more is False:
            following = None
        if following is not None and not rows:
            raise ProviderProtocolError("An empty page says that another follows", rows_so_far=seen)
        if total is not None and (seen > total or (following is None and seen != total)):
            raise ProviderProtocolError(
                "The rows do not add up to the provider's total", rows=seen, total=total
            )
        position = following if following is None else position
        return Page(rows, following, position)


@dataclass(frozen=True, slots=True)
class CursorPages:
    """A parameter with the cursor of the previous page; a page without a cursor is the last."""

    source: ListSource
    param: str
    cursor_path: str

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        if token is None:
            return self.source.request()
        return self.source.request((self.param, _unpack_token(token)[0]))

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        rows = self.source.read_rows(response.body)
        seen = len(rows) + (_unpack_token(token)[1] if token else 0)
        cursor = find_at_path(response.body, self.cursor_path)
        if isinstance(cursor, bool) or not isinstance(cursor, str | int | None):
            raise ProviderProtocolError("The cursor is neither text nor number")
        position = None if cursor in {None, ""} else str(cursor)
        following = None if position is None else _pack_token(position, seen)
        return self.source.close_page(
            response.body, rows=rows, seen=seen, following=following, position=position
        )


@dataclass(frozen=True, slots=True)
class OffsetPages:
    """`offset` and `limit`. Without a total or a has-more, only an empty page proves the end.

    A page shorter than the limit proves nothing, since providers lower limits without notice.
    """

    source: ListSource
    limit: int = 100
    offset_param: str = "offset"
    limit_param: str = "limit"

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        offset = (self.offset_param, int(token or 0))
        return self.source.request(offset, (self.limit_param, self.limit))

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        rows = self.source.read_rows(response.body)
        seen = int(token or 0) + len(rows)
        following = str(seen) if _has_next_page(self.source, response.body, rows, seen) else None
        return self.source.close_page(response.body, rows=rows, seen=seen, following=following)


@dataclass(frozen=True, slots=True)
class NumberedPages:
    """Page numbers. The end is proved as for offsets."""

    source: ListSource
    limit: int | None = None
    page_param: str = "page"
    limit_param: str = "limit"
    first: int = 1

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        number = self.first if token is None else int(_unpack_token(token)[0])
        limit = () if self.limit is None else ((self.limit_param, self.limit),)
        return self.source.request((self.page_param, number), *limit)

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        number, before = (str(self.first), 0) if token is None else _unpack_token(token)
        rows = self.source.read_rows(response.body)
        seen = before + len(rows)
        goes_on = _has_next_page(self.source, response.body, rows, seen)
        following = _pack_token(str(int(number) + 1), seen) if goes_on else None
        return self.source.close_page(response.body, rows=rows, seen=seen, following=following)


@dataclass(frozen=True, slots=True)
class LinkPages:
    """A URL of the next page, in the `Link` header (RFC 8288) or in the body at `link_path`.

    The link must keep scheme, host, port and prefix of the origin, since the credential is sent
    to it.

    Attributes:
        hidden_params: names of the parameters with the credential. Vendors repeat them in their
            links; they are removed, so that the spool has no credential and no request has it
            twice.
    """

    source: ListSource
    origin: Origin
    link_path: str | None = None
    hidden_params: frozenset[str] = frozenset()

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        if token is None:
            return self.source.request()
        link = _unpack_token(token)[0]
        return PageRequest(*self.origin.follow(link, current=link), self.source.body)

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        rows = self.source.read_rows(response.body)
        seen = len(rows) + (_unpack_token(token)[1] if token else 0)
        link = self._find_link(response)
        following = position = None
        if link is not None:
            path, params = self.origin.follow(link, current=response.url)
            shown = [pair for pair in params if pair[0] not in self.hidden_params]
            position = self.origin.url(path, shown)
            following = _pack_token(position, seen)
        return self.source.close_page(
            response.body, rows=rows, seen=seen, following=following, position=position
        )

    def _find_link(self, response: PageResponse) -> str | None:
        if self.link_path is None:
            links = httpx.Response(200, headers={"link": response.headers.get("link", "")}).links
            return links.get("next", {}).get("url")
        link = find_at_path(response.body, self.link_path)
        if not isinstance(link, str | None):
            raise ProviderProtocolError("The next link is not text")
        return link or None


def find_at_path(body: Json, path: str) -> Json:
    """Return the value at dotted keys of a body, or None; an empty path is the body."""
    for key in path.split(".") if path else ():
        if not isinstance(body, dict):
            return None
        body = body.get(key)
    return body


def _has_next_page(source: ListSource, body: Json, rows: list[Row], seen: int) -> bool:
    more, total = source.read_more(body), source.read_total(body)
    if more is not None:
        return more
    if total is not None:
        return seen < total
    return bool(rows)


def _pack_token(position: str, seen: int) -> str:
    return json.dumps([position, seen])


def _unpack_token(token: str) -> tuple[str, int]:
    position, seen = json.loads(token)
    return str(position), int(seen)
