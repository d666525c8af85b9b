"""Who is asking, and may they: key, then org, then scope, then rate, before the body is read."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from convergence.api.http.client_address import counted_as
from convergence.api.http.context import Caller, CallerKind, context_of
from convergence.api.http.scopes import Scope, org_scopes
from convergence.api.http.services import Services, services_of
from convergence.errors import ForbiddenError, NotAuthenticatedError, NotFoundError

if TYPE_CHECKING:
    from convergence.tenants.authentication import Principal

ROOT_HEADERS = ("X-CA-Root-Key", "X-Admin-Key")
ORG_HEADER = "X-API-Key"
ROOT_CALLER = Caller(CallerKind.ROOT, key_id="admin")
_PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip")
_MAX_KEY_CHARS = 256


async def admit(request: Request, scope: Scope) -> None:
    """Let the request in, with its caller in its context, or raise the refusal.

    Raises:
        HTTPException: 400 when more than one key was sent.
        NotAuthenticatedError: no key, or one that is not good.
        ForbiddenError: a good key that does not open this scope.
        NotFoundError: the path names another org than the key's.
        LimitError: too many requests, or too many wrong keys.
    """
    services, context = services_of(request), context_of(request.scope)
    context.auth_disabled = services.settings.disable_auth
    if scope is Scope.PUBLIC:
        return
    org = request.path_params.get("org")
    if context.auth_disabled and _from_loopback(request):
        context.caller = ROOT_CALLER if scope is Scope.ADMIN else _anyone_of(org)
    else:
        context.caller = await _authenticate(request, services)
        _authorize(context.caller, scope, org)
    await services.limiter.count(context)


async def require_subscription(request: Request) -> None:
    """Refuse an org whose subscription is not active; pass the root key.

    Raises:
        SubscriptionInactiveError: neither ACTIVE nor in an unexpired TRIAL.
    """
    org = context_of(request.scope).caller.org_slug
    if org is not None:
        gate = services_of(request).gate
        await run_in_threadpool(gate.require_subscription, org, now=datetime.now(UTC))


def _authorize(caller: Caller, scope: Scope, org: str | None) -> None:
    if scope is Scope.ADMIN:
        if caller.kind is not CallerKind.ROOT:
            raise ForbiddenError("This route opens with the root key only.")
        return
    if caller.kind is not CallerKind.ORG:
        raise ForbiddenError("This route opens with an organization's own key only.")
    if org is not None and org != caller.org_slug:
        raise NotFoundError("another org's path", org=org)
    if scope.value not in caller.scopes:
        raise ForbiddenError(f"The key lacks the scope {scope.value}.")


async def _authenticate(request: Request, services: Services) -> Caller:
    name, key = _the_key(request)
    if name == ORG_HEADER and (principal := services.authenticator.find_remembered(key)):
        return _caller_of(principal)
    claimed = key.rpartition("_api_")[0][:50] if name == ORG_HEADER else "root"
    address = counted_as(context_of(request.scope).address)
    try:
        # A good key is served whatever failed before it: behind one address may be many callers.
        if name == ORG_HEADER:
            return await _org_caller(key, services)
        return _root_caller(key, services)
    except NotAuthenticatedError:
        await services.limiter.check_failures(address, claimed)
        await services.limiter.count_failure(address, claimed)
        raise


def _the_key(request: Request) -> tuple[str, str]:
    sent = [
        (name, value)
        for name in (*ROOT_HEADERS, ORG_HEADER)
        for value in request.headers.getlist(name)
    ]
    if len(sent) > 1:
        raise HTTPException(400, "Send one key: the root key or an organization's, never both.")
    if not sent or not 0 < len(sent[0][1]) <= _MAX_KEY_CHARS:
        raise NotAuthenticatedError("A key is needed, and this is none.")
    return sent[0]


def _root_caller(key: str, services: Services) -> Caller:
    expected = services.settings.root_api_key
    # Digests have one length and are ASCII: comparing them tells nothing by its time.
    given = hashlib.sha256(key.encode()).hexdigest()
    kept = hashlib.sha256(expected.get_secret_value().encode()).hexdigest() if expected else ""
    if not hmac.compare_digest(given, kept):
        raise NotAuthenticatedError("A key is needed, and this is none.")
    return ROOT_CALLER


async def _org_caller(key: str, services: Services) -> Caller:
    try:
        principal = await run_in_threadpool(services.authenticator.authenticate, key)
    except NotAuthenticatedError:
        # One wording for every reason: unknown, malformed, expired and revoked look alike.
        raise NotAuthenticatedError("A key is needed, and this is none.") from None
    return _caller_of(principal)


def _caller_of(principal: Principal) -> Caller:
    return Caller(
        CallerKind.ORG,
        org_slug=principal.org_slug,
        key_id=principal.key_id,
        scopes=frozenset(principal.scopes),
    )


def _from_loopback(request: Request) -> bool:
    """Whether the peer itself is on this machine; a proxy that speaks for others is not."""
    if any(name in request.headers for name in _PROXY_HEADERS):
        return False
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _anyone_of(org: str | None) -> Caller:
    scopes = frozenset(org_scopes())
    return Caller(CallerKind.ORG, org_slug=org, key_id="auth-disabled", scopes=scopes)
