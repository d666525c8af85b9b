"""Routes, authentication and errors of the Google stand-in, mounted at `/google`.

    POST /google/token                             a signed grant for an access token
    GET  /google/v1/billingAccounts                pages by `pageSize` and `pageToken`
    GET  /google/v1/projects/{project}/billingInfo

The accounts are those of `accounts.service_account`; a seed that ends in `-empty` has no billing
account, for which Google returns `{}`.
"""

from __future__ import annotations

import base64
import binascii
import time
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from convergence_sandbox.providers.derive import keyword
from convergence_sandbox.providers.google.accounts import (
    TOKEN_SECONDS,
    Bearer,
    InvalidGrantError,
    make_token,
    project_that_signed,
    read_token,
    service_account,
)
from convergence_sandbox.providers.provider import PageDialect, Provider, json_response

MAX = 100
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}


class GoogleRequestError(Exception):
    """Raised when a request is rejected with a status and a message."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


async def token(request: Request) -> Response:
    """`POST /token`, as https://developers.google.com/identity/protocols/oauth2 has it."""
    form = parse_qs((await request.body()).decode("latin-1"))
    if form.get("grant_type") != [_GRANT]:
        return _no_token("unsupported_grant_type", "Invalid grant_type")
    try:
        project = project_that_signed(form.get("assertion", [""])[0])
    except InvalidGrantError as rejection:
        return _no_token("invalid_grant", str(rejection))
    payload = make_token(project, now=time.time())
    return json_response(
        {"access_token": payload, "expires_in": TOKEN_SECONDS - 1, "token_type": "Bearer"}
    )


async def billing_accounts(request: Request) -> Response:
    """`GET /v1/billingAccounts`."""
    try:
        bearer = _bearer(request)
        rows = accounts_of(bearer.project)
        size, start = _read_page_params(request)
    except GoogleRequestError as rejection:
        return _error_response(str(rejection), status=rejection.status)
    page: dict[str, object] = {}
    if shown := rows[start : start + size]:
        page["billingAccounts"] = shown
    if start + size < len(rows):
        page["nextPageToken"] = base64.urlsafe_b64encode(f"at:{start + size}".encode()).decode()
    return json_response(page)


async def billing_info(request: Request) -> Response:
    """`GET /v1/projects/{project}/billingInfo`."""
    project = request.path_params["project"]
    try:
        _bearer(request, project=project)
    except GoogleRequestError as rejection:
        return _error_response(str(rejection), status=rejection.status)
    account = billing_account_id(project)
    return json_response(
        {
            "name": f"projects/{project}/billingInfo",
            "projectId": project,
            "billingAccountName": f"billingAccounts/{account}",
            "billingEnabled": True,
        }
    )


async def show_account(request: Request) -> Response:
    """Return the JSON key of a seed's service account."""
    return json_response(service_account(request.path_params["seed"]))


async def respond_not_found(_request: Request) -> Response:
    """Return what Google returns for a path it does not have."""
    return _error_response("Method not found.", status=404)


def billing_account_id(project: str, index: int = 0) -> str:
    """Return an id of Google's form, `01A2B3-C4D5E6-F7A8B9`."""
    digits = keyword(project, "billing account", index, length=18).upper()
    return f"{digits[:6]}-{digits[6:12]}-{digits[12:]}"


def accounts_of(project: str) -> list[dict[str, object]]:
    """Return a customer's billing accounts: one in use, one closed, one below the first."""
    if project.endswith("-empty"):
        return []
    main = f"billingAccounts/{billing_account_id(project)}"
    payload = (("Main", True, "", "USD"), ("Closed", False, "", "USD"), ("Sub", True, main, "EUR"))
    return [
        {
            "name": f"billingAccounts/{billing_account_id(project, index)}",
            "open": is_open,
            "displayName": f"{project} {name}",
            "masterBillingAccount": master,
            "parent": f"organizations/{int(keyword(project, 'org', length=9), 16)}",
            "currencyCode": currency,
        }
        for index, (name, is_open, master, currency) in enumerate(payload)
    ]


def _bearer(request: Request, *, project: str | None = None) -> Bearer:
    """Return the caller, with rights in the project; by default in the account's project."""
    payload = request.headers.get("authorization", "").removeprefix("Bearer ")
    bearer = read_token(payload, now=time.time())
    if bearer is None or bearer.expired:
        raise GoogleRequestError(
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            status=401,
        )
    if not bearer.may_use(project or bearer.project):
        raise GoogleRequestError("The caller does not have permission", status=403)
    return bearer


def _read_page_params(request: Request) -> tuple[int, int]:
    size = request.query_params.get("pageSize", str(MAX))
    if not (size.isascii() and size.isdigit()):
        raise GoogleRequestError("pageSize is no number", status=400)
    return min(int(size) or MAX, MAX), _start(request.query_params.get("pageToken"))


def _start(page_token: str | None) -> int:
    if page_token is None:
        return 0
    try:
        mark, _, start = base64.urlsafe_b64decode(page_token).decode().partition(":")
        if mark == "at":
            return int(start)
    except (binascii.Error, ValueError):
        pass
    raise GoogleRequestError("Request contains an invalid argument.", status=400)


def _no_token(kind: str, message: str) -> Response:
    return json_response({"error": kind, "error_description": message}, status=400)


def _error_response(message: str, *, status: int) -> Response:
    payload = {"code": status, "message": message, "status": _STATUS.get(status, "NOT_FOUND")}
    return json_response({"error": payload}, status=status)


PROVIDER = Provider(
    name="google",
    prefix="/google",
    routes=(
        Route("/token", token, methods=["POST"]),
        Route("/v1/billingAccounts", billing_accounts),
        Route("/v1/projects/{project}/billingInfo", billing_info),
        Route("/{path:path}", respond_not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
    ),
    dialect=PageDialect(
        items="billingAccounts", token=("nextPageToken",), more=None, page_param="pageToken"
    ),
)
