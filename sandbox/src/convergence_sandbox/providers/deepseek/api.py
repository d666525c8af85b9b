"""Routes, authentication and errors of the DeepSeek stand-in, mounted at `/deepseek`.

`sk-deepseek-sandbox-<seed>` is the key of the account `<seed>`; anything else is unknown.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.providers.deepseek.account import balances
from convergence_sandbox.providers.provider import PageDialect, Provider, json_response

_KEY = re.compile(r"Bearer sk-deepseek-sandbox-([A-Za-z0-9][A-Za-z0-9_-]{0,79})")
_MODELS = ("deepseek-chat", "deepseek-reasoner")


async def balance(request: Request) -> Response:
    """`GET /user/balance`: amounts are text with two decimals."""
    key = _KEY.fullmatch(request.headers.get("authorization", ""))
    if key is None:
        return _unauthorized()
    found = list(balances(key[1], request.app.state.clock.now()))
    return json_response(
        {
            "is_available": any(one.total > 0 for one in found),
            "balance_infos": [
                {
                    "currency": one.currency,
                    "total_balance": _format_amount(one.total),
                    "granted_balance": _format_amount(one.granted),
                    "topped_up_balance": _format_amount(one.topped_up),
                }
                for one in found
            ],
        }
    )


async def models(request: Request) -> Response:
    """`GET /models`: OpenAI's shape."""
    if _KEY.fullmatch(request.headers.get("authorization", "")) is None:
        return _unauthorized()
    rows = [{"id": name, "object": "model", "owned_by": "deepseek"} for name in _MODELS]
    return json_response({"object": "list", "data": rows})


async def respond_not_found(_request: Request) -> Response:
    """Return what DeepSeek returns for a path it does not have."""
    return _error_response("Not Found", status=404, kind="invalid_request_error")


PROVIDER = Provider(
    name="deepseek",
    prefix="/deepseek",
    routes=(
        Route("/user/balance", balance),
        Route("/models", models),
        Route("/{path:path}", respond_not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ),
    dialect=PageDialect(items="balance_infos", more=None),
)


def _format_amount(hundredths: int) -> str:
    sign, whole = "-" if hundredths < 0 else "", abs(hundredths)
    return f"{sign}{whole // 100}.{whole % 100:02}"


def _unauthorized() -> Response:
    return _error_response(
        "Authentication Fails, Your api key is invalid", status=401, kind="authentication_error"
    )


def _error_response(message: str, *, status: int, kind: str) -> Response:
    payload = {"message": message, "type": kind, "param": None, "code": "invalid_request_error"}
    return json_response({"error": payload}, status=status)
