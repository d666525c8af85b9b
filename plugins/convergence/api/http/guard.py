"""The guard of every route: it checks key, org, scope and rate before the body is read."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from convergence.api.http.client_address import build_failure_key
from convergence.api.http.context import Caller, CallerKind, context_of
from convergence.api.http.scopes import Scope, list_org_scopes
from convergence.api.http.services import ApiServices, services_of
from convergence.errors import ForbiddenError, NotAuthenticatedError, NotFoundError

if TYPE_CHECKING:
    from convergence.tenants.api_keys.authentication import Principal

ROOT_HEADERS = ("X-CA-Root-Key", "X-Admin-Key")
ORG_HEADER = "X-API-Key"
ROOT_CALLER = Caller(CallerKind.ROOT, key_id="admin")
_PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip")
_MAX_KEY_CHARS = 256


async def authorize_request(request: Request, scope: Scope) -> None:
    """Authenticate the caller, set it in the request's context, and check its access.

    Raises:
        HTTPException: 400 when more than one key was sent.
        NotAuthenticatedError: missing or invalid key.
        ForbiddenError: a valid key without the scope.
        NotFoundError: the path names another org than the key's.
        LimitError: too many requests, or too many invalid keys.
    """
    services, context = services_of(request), context_of(request.scope)
    context.auth_disabled = services.settings.disable_auth
    if scope is Scope.PUBLIC:
        return
    org = request.path_params.get("org")
    if context.auth_disabled and _from_loopback(request):
        context.caller = ROOT_CALLER if scope is Scope.ADMIN else _build_local_caller(org)
    else:
        context.caller = await _authenticate(request, services)
        _check_access(context.caller, scope, org)
    await services.limiter.count_request(context)


async def require_subscription(request: Request) -> None:
    """Reject an org whose subscription is not active; accept the root key.

    Raises:
        SubscriptionInactiveError: neither ACTIVE nor in an unexpired TRIAL.
    """
    org = context_of(request.scope).caller.org_slug
    if org is not None:
        gate = services_of(request).gate
        await run_in_threadpool(gate.require_subscription, org, now=datetime.now(UTC))


def _check_access(caller: Caller, scope: Scope, org: str | None) -> None:
    if scope is Scope.ADMIN:
        if caller.kind is not CallerKind.ROOT:
            raise ForbiddenError("This route needs the root key.")
        return
    if caller.kind is not CallerKind.ORG:
        raise ForbiddenError("This route needs an organization's key.")
    if org is not None and org != caller.org_slug:
        raise NotFoundError("another org's path", org=org)
    if scope.value not in caller.scopes:
        raise ForbiddenError(f"The key lacks the scope {scope.value}.")


async def _authenticate(request: Request, services: ApiServices) -> Caller:
    name, key = _read_key(request)
    if name == ORG_HEADER and (principal := services.authenticator.find_remembered(key)):
        return _build_org_caller(principal)
    claimed = key.rpartition("_api_")[0][:50] if name == ORG_HEADER else "root"
    address = build_failure_key(context_of(request.scope).address)
    try:
        # A valid key is served despite earlier failures: many callers may share one address.
        if name == ORG_HEADER:
            return await _authenticate_org(key, services)
        return _authenticate_root(key, services)
    except NotAuthenticatedError:
        await services.limiter.check_failures(address, claimed)
        await services.limiter.count_failure(address, claimed)
        raise


def _read_key(request: Request) -> tuple[str, str]:
    sent = [
        (name, value)
        for name in (*ROOT_HEADERS, ORG_HEADER)
        for value in request.headers.getlist(name)
    ]
    if len(sent) > 1:
        raise HTTPException(400, "Send exactly one key: the root key or an organization's key.")
    if not sent or not 0 < len(sent[0][1]) <= _MAX_KEY_CHARS:
        raise NotAuthenticatedError("Missing or invalid API key.")
    return sent[0]


def _authenticate_root(key: str, services: ApiServices) -> Caller:
    expected = services.settings.root_api_key
    # Digests have one length and are ASCII, so the time of the comparison reveals nothing.
    sent = hashlib.sha256(key.encode()).hexdigest()
    valid = hashlib.sha256(expected.get_secret_value().encode()).hexdigest() if expected else ""
    if not hmac.compare_digest(sent, valid):
        raise NotAuthenticatedError("Missing or invalid API key.")
    return ROOT_CALLER


async def _authenticate_org(key: str, services: ApiServices) -> Caller:
    try:
        principal = await run_in_threadpool(services.authenticator.authenticate, key)
    except NotAuthenticatedError:
        # The same message for unknown, malformed, expired and revoked keys: it reveals no state.
        raise NotAuthenticatedError("Missing or invalid API key.") from None
    return _build_org_caller(principal)


def _build_org_caller(principal: Principal) -> Caller:
    return Caller(
        CallerKind.ORG,
        org_slug=principal.org_slug,
        key_id=principal.key_id,
        scopes=frozenset(principal.scopes),
    )


def _from_loopback(request: Request) -> bool:
    """Return whether the peer itself is on this machine; a request through a proxy is not."""
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _build_local_caller(org: str | None) -> Caller:
    scopes = frozenset(list_org_scopes())
    return Caller(CallerKind.ORG, org_slug=org, key_id="auth-disabled", scopes=scopes)
