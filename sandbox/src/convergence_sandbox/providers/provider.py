"""What one provider module gives the app: its routes, and where its pages keep their parts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from starlette.responses import Response
from starlette.routing import BaseRoute

_DECIMAL = re.compile(r'"\\u0000d([^"\\]*)"')


@dataclass(frozen=True)
class PageDialect:
    """How a provider's pages are read by the fault layer.

    Attributes:
        items: key of the list of rows or buckets.
        rows: key of the rows inside an item, where items are buckets.
        token: key path of the token or link of the next page.
        more: key that says whether there is a next page, where one exists.
        page_param: query parameter that carries the token.
        link_header: the next page is named by a `Link` header instead.
    """

    items: str = "data"
    rows: str | None = None
    token: tuple[str, ...] = ("next_page",)
    more: str | None = "has_more"
    page_param: str = "page"
    link_header: bool = False


@dataclass(frozen=True)
class Provider:
    """One API under its own prefix, such as `/openai/v1`."""

    name: str
    prefix: str
    routes: Sequence[BaseRoute]
    dialect: PageDialect


def to_json(value: object) -> bytes:
    """JSON whose decimals are numbers with every digit, which floats would lose."""
    text = json.dumps(value, default=_mark, separators=(",", ":"))
    return _DECIMAL.sub(r"\1", text).encode()


def from_json(body: bytes) -> Any:  # noqa: ANN401 - JSON is anything
    """JSON with decimals kept exact."""
    return json.loads(body, parse_float=Decimal)


def json_response(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return an `application/json` response."""
    return Response(to_json(value), status, headers, media_type="application/json")


def _mark(value: object) -> str:
    if isinstance(value, Decimal):
        return f"\x00d{value:f}"
    raise TypeError(f"{type(value).__name__} is not JSON")
