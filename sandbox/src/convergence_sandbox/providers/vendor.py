"""A vendor of no name, for the generic extractor: the same users behind every kind of paging.

`/vendor/v1/{cursor,offset,page,link-header,link-body}/users`, `limit` at most 100; the key is
`vendor-sandbox-<seed>` as bearer, `X-API-Key`, `api_key` parameter or basic password.

`GET /vendor/v1/usage?from=…&to=…`, both days included, is what the vendor bills by, with a cursor;
`POST /vendor/v1/usage/search` the same with `{"from", "to", "after", "limit"}` as JSON.
`/vendor/v1/account` takes any good key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import date, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.providers.derive import chance, keyword, number
from convergence_sandbox.providers.provider import PageDialect, Provider, json_response

KEY_PREFIX = "vendor-sandbox-"
MAX = 100
MAX_DAYS = 31
Row = dict[str, object]


class VendorRequestError(Exception):
    """Raised when a request is rejected with a status and a message."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


def users(seed: str) -> list[Row]:
    """230 to 270 users, by id."""
    first = date(2026, 1, 1)
    return [
        {
            "id": index + 1,
            "name": f"user {keyword(seed, index)}",
            "email": f"{keyword(seed, index)}@example.com",
            "seats": number(seed, index, "seats", low=1, high=50),
            "active": chance(seed, index, percent=80),
            "created_on": (first + timedelta(days=index)).isoformat(),
        }
        for index in range(number(seed, "users", low=230, high=270))
    ]


async def by_cursor(request: Request) -> Response:
    """`after` takes the opaque `meta.next_cursor`, which is null on the last page."""
    rows, limit = _requested(request)
    start = _opened(request.query_params.get("after"))
    cursor = _encode_cursor(start + limit) if start + limit < len(rows) else None
    return json_response({"data": rows[start : start + limit], "meta": {"next_cursor": cursor}})


async def by_offset(request: Request) -> Response:
    """`offset` and `limit`; `total` says how many there are."""
    rows, limit = _requested(request)
    start = _read_integer(request, "offset", default=0)
    return json_response({"data": rows[start : start + limit], "total": len(rows)})


async def by_page(request: Request) -> Response:
    """`page` from 1; `has_more` says whether another follows."""
    rows, limit = _requested(request)
    start = (_read_integer(request, "page", default=1) - 1) * limit
    more = start + limit < len(rows)
    return json_response({"data": rows[start : start + limit], "has_more": more})


async def by_link_header(request: Request) -> Response:
    """A `Link` header with `rel="next"` on all but the last page; the body is the bare list."""
    rows, limit = _requested(request)
    start = _read_integer(request, "start", default=0)
    link = _link(request, start + limit) if start + limit < len(rows) else None
    headers = {} if link is None else {"link": f'<{link}>; rel="next"'}
    return json_response({"data": rows[start : start + limit]}, headers=headers)


async def by_link_body(request: Request) -> Response:
    """`links.next` is a URL, null on the last page."""
    rows, limit = _requested(request)
    start = _read_integer(request, "start", default=0)
    link = _link(request, start + limit) if start + limit < len(rows) else None
    return json_response({"data": rows[start : start + limit], "links": {"next": link}})


METERS = {"search": "requests", "storage": "gigabytes", "compute": "seconds", "beta": "requests"}
PLANS = ("team", "business")


def build_usage(seed: str, day: date) -> list[Row]:
    """What was used on a day: a row for each meter of each of 4 to 9 workspaces, most days."""
    return [
        {
            "id": f"use_{keyword(seed, day, workspace, meter, length=12)}",
            "day": day.isoformat(),
            "meter": meter,
            "unit": unit,
            # Text, as amounts in JSON should be: a number would lose digits on its way.
            "quantity": f"{number(seed, day, workspace, meter, low=1, high=900_000) / 1000:.3f}",
            "workspace": {"id": f"ws_{keyword(seed, workspace)}", "plan": PLANS[workspace % 2]},
        }
        for workspace in range(number(seed, "workspaces", low=4, high=9))
        for meter, unit in METERS.items()
        if chance(seed, day, workspace, meter, percent=85)
    ]


async def account(request: Request) -> Response:
    """Who the key belongs to."""
    return json_response({"account": _seed(request)})


async def list_usage(request: Request) -> Response:
    """Usage of whole days, requested in the query."""
    return _usage_page(request, dict(request.query_params))


async def search_usage(request: Request) -> Response:
    """Usage of whole days, requested in the body."""
    try:
        params = await request.json()
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise VendorRequestError("the body must be a JSON object", status=400)
    return _usage_page(request, {name: str(value) for name, value in params.items()})


def _usage_page(request: Request, params: dict[str, str]) -> Response:
    seed, start = _seed(request), _opened(params.get("after"))
    rows = [row for day in _days(params) for row in build_usage(seed, day)]
    limit = _limit(params.get("limit", "50"))
    cursor = _encode_cursor(start + limit) if start + limit < len(rows) else None
    meta = {"next_cursor": cursor, "total": len(rows)}
    return json_response({"data": rows[start : start + limit], "meta": meta})


def _days(params: dict[str, str]) -> list[date]:
    try:
        first, last = date.fromisoformat(params["from"]), date.fromisoformat(params["to"])
    except (KeyError, ValueError):
        raise VendorRequestError("from and to must be days", status=400) from None
    if not 0 <= (last - first).days < MAX_DAYS:
        raise VendorRequestError(f"from 1 to {MAX_DAYS} days may be asked for", status=400)
    return [first + timedelta(days=count) for count in range((last - first).days + 1)]


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX):
        raise VendorRequestError(f"limit must be from 1 to {MAX}", status=400)
    return int(text)


def _with_errors(
    call: Callable[[Request], Awaitable[Response]],
) -> Callable[..., Awaitable[Response]]:
    async def response(request: Request) -> Response:
        try:
            return await call(request)
        except VendorRequestError as error:
            return json_response({"error": str(error)}, status=error.status)

    return response


def _requested(request: Request) -> tuple[list[Row], int]:
    seed = _seed(request)
    return users(seed), _limit(request.query_params.get("limit", "50"))


def _seed(request: Request) -> str:
    scheme, _, params = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        params = _basic_password(params)
    key = params or request.headers.get("x-api-key") or request.query_params.get("api_key", "")
    if not key.startswith(KEY_PREFIX):
        raise VendorRequestError("unknown key", status=401)
    return key.removeprefix(KEY_PREFIX)


def _basic_password(text: str) -> str:
    try:
        return base64.b64decode(text).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _read_integer(request: Request, name: str, *, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise VendorRequestError(f"{name} must be a whole number", status=400)
    return int(text)


def _encode_cursor(start: int) -> str:
    return base64.urlsafe_b64encode(f"users:{start}".encode()).decode()


def _opened(cursor: str | None) -> int:
    if cursor is None:
        return 0
    try:
        kind, _, start = base64.urlsafe_b64decode(cursor).decode().partition(":")
        if kind == "users":
            return int(start)
    except (binascii.Error, ValueError):
        pass
    raise VendorRequestError("unknown cursor", status=400)


def _link(request: Request, start: int) -> str:
    return str(request.url.include_query_params(start=start))


def _provider(
    style: str, call: Callable[[Request], Awaitable[Response]], dialect: PageDialect
) -> Provider:
    routes = (Route("/users", _with_errors(call)),)
    return Provider(f"vendor-{style}", f"/vendor/v1/{style}", routes, dialect)


PROVIDERS = (
    _provider(
        "cursor",
        by_cursor,
        PageDialect(token=("meta", "next_cursor"), more=None, page_param="after"),
    ),
    _provider("offset", by_offset, PageDialect(more=None, page_param="offset")),
    _provider("page", by_page, PageDialect(page_param="page")),
    _provider(
        "link-header",
        by_link_header,
        PageDialect(more=None, page_param="start", link_header=True),
    ),
    _provider(
        "link-body",
        by_link_body,
        PageDialect(token=("links", "next"), more=None, page_param="start"),
    ),
    # Last: the others' prefixes begin with this one.
    Provider(
        "vendor",
        "/vendor/v1",
        (
            Route("/account", _with_errors(account)),
            Route("/usage", _with_errors(list_usage)),
            Route("/usage/search", _with_errors(search_usage), methods=["POST"]),
        ),
        PageDialect(token=("meta", "next_cursor"), more=None, page_param="after"),
    ),
)
