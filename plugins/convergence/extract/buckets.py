"""Paging of time buckets, as used by the usage and cost reports of OpenAI and Anthropic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from convergence.errors import ProviderProtocolError, ShapeChangedError
from convergence.extract.origin import Params
from convergence.extract.paginate import Page, PageRequest, PageResponse, Row, find_at_path
from convergence.extract.strict_json import Json


@dataclass(frozen=True, slots=True)
class BucketPages:
    """Pages of buckets with their results; a bucket may have no results.

    Every bucket of the window must arrive once and in order. The list is complete only when the
    last bucket has arrived, so a shifted, repeated or early ending page is an error and never a
    smaller sum. Each result becomes a row with the start and end of its bucket (Unix seconds).

    Attributes:
        path: below the origin's prefix.
        start: of the first bucket, Unix seconds, inclusive.
        end: of the last bucket, exclusive.
        width: of a bucket, in seconds.
        params: sent with every page, the window included.
        moment: parses the time of a bucket; Unix seconds by default.
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
            raise ProviderProtocolError("The page has no list of buckets")
        expected: int = self.start if token is None else json.loads(token)[1]
        rows: list[Row] = []
        for bucket in buckets:
            rows.extend(self._read_bucket(bucket, expected))
            expected += self.width
        return Page(
            rows, self._build_token(body, more=more, bucket_count=len(buckets), expected=expected)
        )

    def _read_bucket(self, bucket: Json, expected: int) -> list[Row]:
        """Return the results of the next expected bucket."""
        results = bucket.get("results") if isinstance(bucket, dict) else None
        if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
            raise ProviderProtocolError("A bucket has no list of results")
        start, end = (
            self._read_time(bucket, self.start_field),
            self._read_time(bucket, self.end_field),
        )
        if (start, end) != (expected, expected + self.width) or start >= self.end:
            raise ProviderProtocolError(
                "A bucket is out of order, repeated or missing",
                expected_start=expected,
                start=start,
                end=end,
            )
        for row in results:
            self._check_times(row, start=start, end=end)
        return [{**row, self.start_field: start, self.end_field: end} for row in results]

    def _check_times(self, row: Row, *, start: int, end: int) -> None:
        """Check that a result's own times, if it has any, are those of its bucket."""
        for name, expected in ((self.start_field, start), (self.end_field, end)):
            if row.get(name) is not None and self._read_time(row, name) != expected:
                raise ShapeChangedError("A result's time contradicts its bucket", field=name)

    def _read_time(self, bucket: Row, name: str) -> int:
        try:
            return self.moment(bucket[name])
        except (KeyError, ValueError, TypeError):
            raise ProviderProtocolError("A bucket's time can't be read", field=name) from None

    def _build_token(
        self, body: dict[str, Any], *, more: bool, bucket_count: int, expected: int
    ) -> str | None:
        if not more:
            if expected != self.end:
                raise ProviderProtocolError(
                    "The provider's list ends before the requested window",
                    reached=expected,
                    end=self.end,
                )
            return None
        token = body.get("next_page")
        if not isinstance(token, str) or not token or bucket_count == 0:
            raise ProviderProtocolError("The page announces a next page without a valid token")
        return json.dumps([token, expected])


def rfc3339_seconds(value: Json) -> int:
    """Return the Unix seconds of an RFC 3339 time with zone; raise ValueError or TypeError."""
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("no zone")
    return int(moment.timestamp())
