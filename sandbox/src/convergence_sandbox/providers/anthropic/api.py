"""Routes, authentication and errors of the Anthropic stand-in, mounted at `/anthropic`.

`sk-ant-admin-sandbox-<seed>` is the admin key of the organization `<seed>`; `sk-ant-api-…` is an
ordinary key, which may list models only; anything else is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.providers.anthropic import analytics, legacy, prices
from convergence_sandbox.providers.anthropic.query import InvalidQueryError, QueryParams
from convergence_sandbox.providers.anthropic.usage import organization_id
from convergence_sandbox.providers.bills.book import BillReader
from convergence_sandbox.providers.derive import keyword
from convergence_sandbox.providers.provider import PageDialect, Provider, json_response

VERSION = "2023-06-01"
_ADMIN_KEY = re.compile(r"sk-ant-admin-sandbox-([A-Za-z0-9][A-Za-z0-9_-]{0,79})")
_ORDINARY = "sk-ant-api"
Pairs = Sequence[tuple[str, str]]


class AnthropicError(Exception):
    """Raised when a request is rejected; `kind` is Anthropic's error type."""

    def __init__(self, message: str, *, status: int, kind: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


async def me(request: Request) -> Response:
    """`GET /v1/organizations/me`."""
    return _response(
        request,
        lambda seed, _pairs: {
            "id": organization_id(seed),
            "name": f"Sandbox {seed}",
            "type": "organization",
        },
    )


async def usage_report(request: Request) -> Response:
    """`GET /v1/organizations/usage_report/messages`."""
    betas, now = _betas(request), datetime.now(UTC)
    return _response(
        request, lambda seed, pairs: legacy.usage_report(seed, pairs, betas=betas, now=now)
    )


async def cost_report(request: Request) -> Response:
    """`GET /v1/organizations/cost_report`."""
    now = datetime.now(UTC)
    return _response(
        request,
        lambda seed, pairs: legacy.cost_report(
            seed, pairs, now=now, read_bill=_make_reader(request, seed)
        ),
    )


async def analytics_usage(request: Request) -> Response:
    """`GET /v1/organizations/analytics/usage`."""
    return _analytics(request, analytics.usage_rows)


async def analytics_cost(request: Request) -> Response:
    """`GET /v1/organizations/analytics/cost`."""

    def rows(seed: str, pairs: Pairs, *, now: datetime) -> dict[str, object]:
        reader = _make_reader(request, seed)
        return analytics.cost_rows(seed, pairs, now=now, read_bill=reader)

    return _analytics(request, rows)


async def models(request: Request) -> Response:
    """`GET /v1/models`, for any known kind of key; newest first, `after_id` and `limit`."""
    return _response(request, lambda _seed, pairs: _models(pairs), ordinary=True)


async def respond_not_found(request: Request) -> Response:
    """Return what Anthropic returns for a path it does not have."""
    return _error_response(AnthropicError("Not found", status=404, kind="not_found_error"), request)


def _models(pairs: Pairs) -> dict[str, object]:
    params = QueryParams.read(pairs, accepted={"limit", "after_id", "before_id"})
    named = {one.model: one for one in prices.VARIANTS}
    ids = sorted(named, key=lambda name: name[-8:], reverse=True)
    after = params.text("after_id")
    if after is not None:
        if after not in ids:
            raise InvalidQueryError("after_id: unknown model")
        ids = ids[ids.index(after) + 1 :]
    limit = params.integer("limit", default=20, high=1_000)
    page = ids[:limit]
    rows = [
        {
            "type": "model",
            "id": name,
            "display_name": named[name].display_name,
            "created_at": f"{name[-8:-4]}-{name[-4:-2]}-{name[-2:]}T00:00:00Z",
            "lifecycle": "active",
            "deprecated_at": None,
            "retires_at": None,
            "line": name.split("-")[1],
            "max_input_tokens": 200_000,
            "max_tokens": 64_000,
            "capabilities": None,
        }
        for name in page
    ]
    edges = {"first_id": page[0] if page else None, "last_id": page[-1] if page else None}
    return {"data": rows, "has_more": limit < len(ids), **edges}


def _analytics(request: Request, rows: Callable[..., dict[str, object]]) -> Response:
    now = datetime.now(UTC)

    def requested(seed: str, pairs: Pairs) -> dict[str, object]:
        if analytics.BETA not in _betas(request):
            raise InvalidQueryError(f"anthropic-beta: {analytics.BETA} is required")
        return rows(seed, pairs, now=now)

    return _response(request, requested)


def _make_reader(request: Request, seed: str) -> BillReader:
    reader: BillReader = partial(request.app.state.bills.read_bill, "anthropic", seed)
    return reader


def _response(
    request: Request,
    call: Callable[[str, Pairs], dict[str, object]],
    *,
    ordinary: bool = False,
) -> Response:
    try:
        seed = _seed(request, ordinary=ordinary)
        _require_version(request)
        return json_response(call(seed, request.query_params.multi_items()))
    except AnthropicError as rejection:
        return _error_response(rejection, request)
    except InvalidQueryError as fault:
        return _error_response(
            AnthropicError(str(fault), status=400, kind="invalid_request_error"), request
        )


def _require_version(request: Request) -> None:
    if request.headers.get("anthropic-version") != VERSION:
        raise InvalidQueryError("anthropic-version: header is required")


def _seed(request: Request, *, ordinary: bool) -> str:
    key = request.headers.get("x-api-key")
    if not key:
        raise AnthropicError(
            "x-api-key header is required", status=401, kind="authentication_error"
        )
    admin = _ADMIN_KEY.fullmatch(key)
    if admin is not None:
        return admin[1]
    if not key.startswith(_ORDINARY):
        raise AnthropicError("invalid x-api-key", status=401, kind="authentication_error")
    if not ordinary:
        raise AnthropicError(
            "This endpoint needs an Admin API key or a key with read:analytics",
            status=403,
            kind="permission_error",
        )
    return "ordinary"


def _betas(request: Request) -> set[str]:
    params = ",".join(request.headers.getlist("anthropic-beta"))
    return {name.strip() for name in params.split(",")}


def _error_response(rejection: AnthropicError, request: Request) -> Response:
    params = {
        "type": "error",
        "error": {"type": rejection.kind, "message": str(rejection)},
        "request_id": f"req_{keyword(request.url.path, str(rejection), length=24)}",
    }
    return json_response(params, status=rejection.status)


_EVERY = ["GET", "POST", "PUT", "PATCH", "DELETE"]
# The analytics come first: the fault layer takes the first prefix that fits.
PROVIDERS = (
    Provider(
        name="anthropic-analytics",
        prefix="/anthropic/v1/organizations/analytics",
        routes=(
            Route("/usage", analytics_usage),
            Route("/cost", analytics_cost),
            Route("/{path:path}", respond_not_found, methods=_EVERY),
        ),
        dialect=PageDialect(),
    ),
    Provider(
        name="anthropic",
        prefix="/anthropic",
        routes=(
            Route("/v1/organizations/me", me),
            Route("/v1/organizations/usage_report/messages", usage_report),
            Route("/v1/organizations/cost_report", cost_report),
            Route("/v1/models", models),
            Route("/{path:path}", respond_not_found, methods=_EVERY),
        ),
        dialect=PageDialect(rows="results"),
    ),
)
