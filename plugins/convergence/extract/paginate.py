"""Paging as pure state machines: from an answer to its rows and the token of the next page.

How an API pages is declared, never guessed. A token is a string that holds everything a paginator
must remember, so a spool can keep it and a later attempt go on from it. None of these ends on a
doubt: an end that the provider does not prove is an error.
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
    """What to ask: a path below the origin's prefix and its query; with a body it is a POST."""

    path: str
    params: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PageResponse:
    """What came back. Header names are lowercase; `url` is where it came from."""

    body: Json
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of one page, and the token of the next one: None when this was the last.

    Attributes:
        rows: of the page.
        next_token: all that the paginator must remember, such as the rows counted so far.
        next_position: the provider's own name of the next page, where the token has more in it;
            a provider that names a page twice goes in circles.
    """

    rows: list[Row]
    next_token: str | None
    next_position: str | None = None


class Paginator(Protocol):
    """How one list is asked for, page by page."""

    def request(self, token: str | None) -> PageRequest:
        """The request of the page that a token names; None names the first."""

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """The page that `request(token)` was answered with; raises ProviderProtocolError."""


@dataclass(frozen=True, slots=True)
class ListSource:
    """What the generic paginators share.

    Attributes:
        path: below the origin's prefix.
        params: sent with every page.
        data_path: dotted keys of the list of rows; empty when the body is the list.
        more_path: dotted keys of a boolean that says whether a page follows.
        total_path: dotted keys of the number of all rows.
        body: of a POST, as JSON; None for a GET.
        pages_in_body: whether a POST's page is asked for in its body and not in its query.
    """

    path: str
    params: Params = ()
    data_path: str = "data"
    more_path: str | None = None
    total_path: str | None = None
    body: Mapping[str, Any] | None = None
    pages_in_body: bool = False

    def request(self, *more: tuple[str, str | int]) -> PageRequest:
        """A request with further parameters, which replace those of the same name."""
        if self.body is not None and self.pages_in_body:
            return PageRequest(self.path, tuple(self.params), {**self.body, **dict(more)})
        names = {name for name, _ in more}
        kept = [pair for pair in self.params if pair[0] not in names]
        told = [(name, str(value)) for name, value in more]
        return PageRequest(self.path, (*kept, *told), self.body)

    def rows(self, body: Json) -> list[Row]:
        """The rows of a body."""
        found = find_at_path(body, self.data_path)
        if not isinstance(found, list):
            raise ProviderProtocolError("The page has no list of rows", data_path=self.data_path)
        if not all(isinstance(row, dict) for row in found):
            raise ProviderProtocolError("A row is not an object", data_path=self.data_path)
        return found

    def more(self, body: Json) -> bool | None:
        """What the provider says about a next page; None when it does not say."""
        if self.more_path is None:
            return None
        told = find_at_path(body, self.more_path)
        if not isinstance(told, bool):
            raise ProviderProtocolError("The page does not say whether another follows")
        return told

    def total(self, body: Json) -> int | None:
        """How many rows there are in all; None when that is not told."""
        if self.total_path is None:
            return None
        told = find_at_path(body, self.total_path)
        if not isinstance(told, int) or isinstance(told, bool) or told < 0:
            raise ProviderProtocolError("The page does not say how many rows there are")
        return told

    def close_page(
        self,
        body: Json,
        *,
        rows: list[Row],
        seen: int,
        following: str | None,
        position: str | None = None,
    ) -> Page:
        """A page that is followed by another or proves that nothing does."""
        more, total = self.more(body), self.total(body)
        if more is True and following is None:
            raise ProviderProtocolError("Another page is announced, but not where it is")
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
    """A parameter that takes the cursor found in the page before; no cursor means the end."""

    source: ListSource
    param: str
    cursor_path: str

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        if token is None:
            return self.source.request()
        return self.source.request((self.param, _unpacked(token)[0]))

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        rows = self.source.rows(response.body)
        seen = len(rows) + (_unpacked(token)[1] if token else 0)
        cursor = find_at_path(response.body, self.cursor_path)
        if isinstance(cursor, bool) or not isinstance(cursor, str | int | None):
            raise ProviderProtocolError("The cursor is neither text nor number")
        position = None if cursor in {None, ""} else str(cursor)
        following = None if position is None else _packed(position, seen)
        return self.source.close_page(
            response.body, rows=rows, seen=seen, following=following, position=position
        )


@dataclass(frozen=True, slots=True)
class OffsetPages:
    """`offset` and `limit`. Without a total or a has-more, only an empty page proves the end.

    A page shorter than its limit proves nothing: providers lower limits without a word.
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
        rows = self.source.rows(response.body)
        seen = int(token or 0) + len(rows)
        following = str(seen) if _goes_on(self.source, response.body, rows, seen) else None
        return self.source.close_page(response.body, rows=rows, seen=seen, following=following)


@dataclass(frozen=True, slots=True)
class NumberedPages:
    """Page numbers. The end is proved as with offsets."""

    source: ListSource
    limit: int | None = None
    page_param: str = "page"
    limit_param: str = "limit"
    first: int = 1

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        number = self.first if token is None else int(_unpacked(token)[0])
        limit = () if self.limit is None else ((self.limit_param, self.limit),)
        return self.source.request((self.page_param, number), *limit)

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        number, before = (str(self.first), 0) if token is None else _unpacked(token)
        rows = self.source.rows(response.body)
        seen = before + len(rows)
        goes_on = _goes_on(self.source, response.body, rows, seen)
        following = _packed(str(int(number) + 1), seen) if goes_on else None
        return self.source.close_page(response.body, rows=rows, seen=seen, following=following)


@dataclass(frozen=True, slots=True)
class LinkPages:
    """A URL of the next page, in the `Link` header (RFC 8288) or in the body at `link_path`.

    The link must keep scheme, host, port and prefix of the origin.

    Attributes:
        hidden_params: names of the parameters that carry the credential. Vendors repeat them in
            their links; dropped from there, they reach neither the spool nor a request twice.
    """

    source: ListSource
    origin: Origin
    link_path: str | None = None
    hidden_params: frozenset[str] = frozenset()

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        if token is None:
            return self.source.request()
        link = _unpacked(token)[0]
        return PageRequest(*self.origin.follow(link, current=link), self.source.body)

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        rows = self.source.rows(response.body)
        seen = len(rows) + (_unpacked(token)[1] if token else 0)
        link = self._link(response)
        following = position = None
        if link is not None:
            path, params = self.origin.follow(link, current=response.url)
            shown = [pair for pair in params if pair[0] not in self.hidden_params]
            position = self.origin.url(path, shown)
            following = _packed(position, seen)
        return self.source.close_page(
            response.body, rows=rows, seen=seen, following=following, position=position
        )

    def _link(self, response: PageResponse) -> str | None:
        if self.link_path is None:
            links = httpx.Response(200, headers={"link": response.headers.get("link", "")}).links
            return links.get("next", {}).get("url")
        link = find_at_path(response.body, self.link_path)
        if not isinstance(link, str | None):
            raise ProviderProtocolError("The next link is not text")
        return link or None


def find_at_path(body: Json, path: str) -> Json:
    """What is at dotted keys of a body; None when nothing is. An empty path is the body."""
    for key in path.split(".") if path else ():
        if not isinstance(body, dict):
            return None
        body = body.get(key)
    return body


def _goes_on(source: ListSource, body: Json, rows: list[Row], seen: int) -> bool:
    more, total = source.more(body), source.total(body)
    if more is not None:
        return more
    if total is not None:
        return seen < total
    return bool(rows)


def _packed(position: str, seen: int) -> str:
    return json.dumps([position, seen])


def _unpacked(token: str) -> tuple[str, int]:
    position, seen = json.loads(token)
    return str(position), int(seen)
