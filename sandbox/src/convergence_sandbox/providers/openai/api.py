"""Routes, authentication and errors of the OpenAI stand-in, mounted at `/openai/v1`.

`sk-admin-sandbox-<seed>` is the admin key of the organization `<seed>`; `sk-proj-…` is an ordinary
key, which may list models only; anything else is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.providers.derive import number
from convergence_sandbox.providers.openai import costs, prices
from convergence_sandbox.providers.openai.endpoints import ENDPOINTS
from convergence_sandbox.providers.openai.query import BucketQuery, InvalidQueryError, parse
from convergence_sandbox.providers.provider import PageDialect, Provider, json_response

_ADMIN_KEY = re.compile(r"sk-admin-sandbox-([A-Za-z0-9][A-Za-z0-9_-]{0,79})")
_MISSING_SCOPE = (
    "You have insufficient permissions for this operation. Missing scopes: api.usage.read."
)
Results = Callable[[str, int, BucketQuery], list[dict[str, object]]]


class InvalidKeyError(Exception):
    """Raised when a key does not open an endpoint."""

    def __init__(self, message: str, *, status: int, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def serve_usage(request: Request) -> Response:
    """`GET /organization/usage/{endpoint}`."""
    endpoint = ENDPOINTS.get(request.path_params["endpoint"])
    if endpoint is None:
        return await respond_not_found(request)
    return _page(request, endpoint.results, lambda: _query(request, endpoint.name))


async def organization_costs(request: Request) -> Response:
    """`GET /organization/costs`."""

    def list_results(seed: str, start: int, query: BucketQuery) -> list[dict[str, object]]:
        day = costs.find_day(start)
        # The check of a key groups by nothing: it is no read of the bill.
        bills = request.app.state.bills.read_bill(
            "openai", seed, [day], counts=bool(query.group_by)
        )
        return costs.list_results(seed, start, query, lines=bills[day])

    return _page(request, list_results, lambda: _query(request, None))


async def models(request: Request) -> Response:
    """`GET /models`, for any known kind of key."""
    try:
        _require_key(request)
    except InvalidKeyError as rejection:
        return _error(str(rejection), status=rejection.status, code=rejection.code)
    names = {variant.model for variant in prices.COMPLETIONS} | set(prices.EMBEDDINGS)
    rows = [
        {
            "id": name,
            "object": "model",
            "created": number(name, "created", low=1_715_367_049, high=1_788_393_600),
            "owned_by": "system",
            "shutdown_date": None,
        }
        for name in sorted(names)
    ]
    return json_response({"object": "list", "data": rows})


async def respond_not_found(request: Request) -> Response:
    """Return what OpenAI returns for a path it does not have."""
    path = request.url.path.removeprefix("/openai")
    return _error(f"Invalid URL ({request.method} {path})", status=404, code=None)


PROVIDER = Provider(
    name="openai",
    prefix="/openai/v1",
    routes=(
        Route("/organization/usage/{endpoint}", serve_usage),
        Route("/organization/costs", organization_costs),
        Route("/models", models),
        Route("/{path:path}", respond_not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ),
    dialect=PageDialect(rows="results"),
)


def _page(request: Request, results: Results, query: Callable[[], BucketQuery]) -> Response:
    try:
        seed = _require_admin(request)
        parsed = query()
    except InvalidKeyError as rejection:
        return _error(str(rejection), status=rejection.status, code=rejection.code)
    except InvalidQueryError as fault:
        return _error(str(fault), status=400, code=fault.code, param=fault.param)
    starts, next_page = parsed.buckets()
    buckets = [
        {
            "object": "bucket",
            "start_time": start,
            "end_time": start + parsed.width,
            "results": results(seed, start, parsed),
        }
        for start in starts
    ]
    more = next_page is not None
    return json_response(
        {"object": "page", "data": buckets, "has_more": more, "next_page": next_page}
    )


def _query(request: Request, endpoint: str | None) -> BucketQuery:
    pairs = request.query_params.multi_items()
    now = datetime.now(UTC)
    if endpoint is not None:
        return parse(pairs, dimensions=ENDPOINTS[endpoint].dimensions, now=now)
    query = parse(pairs, dimensions=costs.DIMENSIONS, daily_only=True, now=now)
    if {"user_id", "project_id"} <= set(query.group_by):
        raise InvalidQueryError(
            "'user_id' can't be combined with 'project_id' in 'group_by'.",
            param="group_by",
            code="invalid_value",
        )
    return query


def _require_admin(request: Request) -> str:
    """Return the seed of an admin key; raises RefusedKeyError."""
    key = _require_key(request)
    admin = _ADMIN_KEY.fullmatch(key)
    if admin is None:
        raise InvalidKeyError(_MISSING_SCOPE, status=403, code=None)
    return admin[1]


def _require_key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise InvalidKeyError(
            "You didn't provide an API key. You need to provide your API key in an Authorization"
            " header using Bearer auth.",
            status=401,
            code=None,
        )
    if not (_ADMIN_KEY.fullmatch(key) or key.startswith("sk-proj-")):
        raise InvalidKeyError(
            f"Incorrect API key provided: {key[:3]}***{key[-4:]}. You can find your API key at"
            " https://platform.openai.com/account/api-keys.",
            status=401,
            code="invalid_api_key",
        )
    return key


def _error(message: str, *, status: int, code: str | None, param: str | None = None) -> Response:
    payload = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json_response({"error": payload}, status=status)
