"""Query parameters of the usage and costs endpoints, checked as OpenAI checks them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

MINUTE, HOUR, DAY = 60, 3_600, 86_400
_WIDTHS = {"1m": (MINUTE, 60, 1_440), "1h": (HOUR, 24, 168), "1d": (DAY, 7, 31)}
_PAGE_PREFIX = "page_"


class InvalidQueryError(Exception):
    """Raised when a parameter is missing, unknown or wrong; rendered as OpenAI's 400."""

    def __init__(self, message: str, *, param: str, code: str) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True)
class Dimensions:
    """What an endpoint can be grouped and filtered by.

    Attributes:
        group_by: accepted values of `group_by`.
        filters: plural filter parameter → the grouping key it filters.
    """

    group_by: tuple[str, ...]
    filters: Mapping[str, str]


@dataclass(frozen=True)
class BucketQuery:
    """A checked request: which buckets, how grouped and filtered. Times are Unix seconds."""

    first: int
    end: int
    width: int
    limit: int
    group_by: tuple[str, ...]
    filters: Mapping[str, tuple[str, ...]]
    digest: str

    def buckets(self) -> tuple[list[int], str | None]:
        """Start times on this page, and the token of the next one if there is one."""
        after = self.first + self.limit * self.width
        starts = list(range(self.first, min(after, self.end), self.width))
        return starts, _token(after, self.digest) if after < self.end else None


def parse(
    pairs: Sequence[tuple[str, str]],
    *,
    dimensions: Dimensions,
    daily_only: bool = False,
    now: datetime,
) -> BucketQuery:
    """Check the parameters of one request; raises InvalidQueryError."""
    params: dict[str, list[str]] = {}
    for name, value in pairs:
        params.setdefault(name.removesuffix("[]"), []).append(value)
    scalars = {"start_time", "end_time", "bucket_width", "limit", "page"}
    for name, values in params.items():
        if name not in scalars and name != "group_by" and name not in dimensions.filters:
            raise InvalidQueryError(
                f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"
            )
        if name in scalars and len(values) > 1:
            raise _invalid(name, values)
    if "start_time" not in params:
        raise InvalidQueryError(
            "Missing required parameter: 'start_time'.",
            param="start_time",
            code="missing_required_parameter",
        )
    width, limit = _width_and_limit(params, daily_only=daily_only)
    start = _read_integer(params, "start_time", low=0, high=4_102_444_800)
    end = _read_integer(params, "end_time", low=0, high=4_102_444_800, default=int(now.timestamp()))
    if end <= start:
        raise InvalidQueryError(
            "'end_time' must be after 'start_time'.", param="end_time", code="invalid_value"
        )
    return BucketQuery(
        first=_first(params, start - start % width),
        end=end,
        width=width,
        limit=limit,
        group_by=_choices(params, "group_by", dimensions.group_by),
        filters={
            key: tuple(params[name]) for name, key in dimensions.filters.items() if name in params
        },
        digest=_digest(params),
    )


def _width_and_limit(params: Mapping[str, list[str]], *, daily_only: bool) -> tuple[int, int]:
    name = params.get("bucket_width", ["1d"])[0]
    if name not in _WIDTHS or (daily_only and name != "1d"):
        raise _invalid("bucket_width", name)
    width, default, maximum = _WIDTHS[name]
    if daily_only:
        maximum = 180
    return width, _read_integer(params, "limit", low=1, high=maximum, default=default)


def _read_integer(
    params: Mapping[str, list[str]], name: str, *, low: int, high: int, default: int | None = None
) -> int:
    if name not in params and default is not None:
        return default
    text = params[name][0]
    if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
        raise _invalid(name, text)
    return int(text)


def _choices(
    params: Mapping[str, list[str]], name: str, accepted: tuple[str, ...]
) -> tuple[str, ...]:
    for value in params.get(name, []):
        if value not in accepted:
            raise _invalid(name, value)
    return tuple(dict.fromkeys(params.get(name, [])))


def _first(params: Mapping[str, list[str]], start: int) -> int:
    if "page" not in params:
        return start
    text = params["page"][0]
    try:
        first, digest = json.loads(base64.urlsafe_b64decode(text.removeprefix(_PAGE_PREFIX)))
    except (binascii.Error, ValueError, TypeError):
        raise _invalid("page", text) from None
    if not text.startswith(_PAGE_PREFIX) or digest != _digest(params):
        raise _invalid("page", text)
    return int(first)


def _token(first: int, digest: str) -> str:
    return _PAGE_PREFIX + base64.urlsafe_b64encode(json.dumps([first, digest]).encode()).decode()


def _digest(params: Mapping[str, list[str]]) -> str:
    """Return what a page token is bound to: every parameter but the token itself."""
    rest = {name: sorted(values) for name, values in params.items() if name != "page"}
    return sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:12]


def _invalid(name: str, value: object) -> InvalidQueryError:
    return InvalidQueryError(
        f"Invalid value: {value!r} for '{name}'.", param=name, code="invalid_value"
    )
