"""Paging of time buckets, as OpenAI's and Anthropic's usage and cost reports do it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from convergence.errors import ProviderProtocolError
from convergence.extract.origin import Params
from convergence.extract.paginate import Page, PageRequest, PageResponse, Row, find_at_path
from convergence.extract.strict_json import Json


@dataclass(frozen=True, slots=True)
class BucketPages:
    """Pages of buckets, each with its results; a bucket without results is an ordinary one.

    Every bucket of the window must come once and in order: the end is proved when the last one
    has come, so a shifted, repeated or early-ending page is an error and never a smaller sum.
    Each result becomes a row with the bucket's start and end (Unix seconds) beside its own fields.

    Attributes:
        path: below the origin's prefix.
        start: of the first bucket, Unix seconds, inclusive.
        end: of the last bucket, exclusive.
        width: of a bucket, in seconds.
        params: sent with every page; the window itself must be among them.
        moment: reads a bucket's time; Unix seconds by default.
    """

    path: str
    start: int
    end: int
    params: Params
    width: int = 86_400
    page_param: str = "page"
    start_field: str = "start_time"
    end_field: str = "end_time"
    moment: Callable[[Json], int] = int

    def request(self, token: str | None) -> PageRequest:
        """See `Paginator`."""
        if token is None:
            return PageRequest(self.path, tuple(self.params))
        return PageRequest(self.path, (*self.params, (self.page_param, json.loads(token)[0])))

    def read_page(self, response: PageResponse, *, token: str | None) -> Page:
        """See `Paginator`."""
        body = response.body
        buckets, more = find_at_path(body, "data"), find_at_path(body, "has_more")
        if not isinstance(buckets, list) or not isinstance(more, bool):
            raise ProviderProtocolError("The page is no page of buckets")
        expected: int = self.start if token is None else json.loads(token)[1]
        rows: list[Row] = []
        for bucket in buckets:
            rows.extend(self._rows(bucket, expected))
            expected += self.width
        return Page(rows, self._next(body, more=more, held=len(buckets), expected=expected))

    def _rows(self, bucket: Json, expected: int) -> list[Row]:
        """The results of the bucket that must come now."""
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
            raise ProviderProtocolError("A bucket has no list of results")
        start, end = self._time(bucket, self.start_field), self._time(bucket, self.end_field)
        if (start, end) != (expected, expected + self.width) or start >= self.end:
            raise ProviderProtocolError(
                "A bucket is out of order, repeated or missing",
                expected_start=expected,
                start=start,
                end=end,
            )
        return [{self.start_field: start, self.end_field: end, **row} for row in results]

    def _time(self, bucket: dict[str, Any], name: str) -> int:
        try:
            return self.moment(bucket[name])
        except (KeyError, ValueError, TypeError):
            raise ProviderProtocolError("A bucket's time can't be read", field=name) from None

    def _next(self, body: dict[str, Any], *, more: bool, held: int, expected: int) -> str | None:
        if not more:
            if expected != self.end:
                raise ProviderProtocolError(
                    "The provider ended before the window did", reached=expected, end=self.end
                )
            return None
        token = body.get("next_page")
        if not isinstance(token, str) or not token or held == 0:
            raise ProviderProtocolError("Another page is announced, but this one leads nowhere")
        return json.dumps([token, expected])


def rfc3339_seconds(value: Json) -> int:
    """Unix seconds of an RFC 3339 time with zone; raises ValueError or TypeError."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return int(moment.timestamp())
