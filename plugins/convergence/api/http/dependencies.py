"""Dependencies of the handlers: services, caller, addresses and the idempotency of a request.

All are `async` functions: FastAPI would call a synchronous one in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from convergence.api.http.context import CallerKind, RequestContext, context_of
from convergence.api.http.idempotency import HEADER, MAX_KEY_CHARS, PLATFORM, Claim, Idempotency
from convergence.api.http.problems import InvalidFieldsError, build_field_error
from convergence.api.http.responses import UrlBuilder
from convergence.api.http.services import ApiServices, services_of
from convergence.errors import NotAuthenticatedError
from convergence.tenants.audit import Actor


@dataclass(frozen=True)
class IdempotentCall:
    """The idempotency of one request: the owner of its key and the key, if one was sent."""

    idempotency: Idempotency
    owner: str
    key: str | None

    def claim(self, request: Mapping[str, Any]) -> AbstractContextManager[Claim]:
        """Claim the request from a handler that runs in a thread; see `Idempotency.claim`."""
        return self.idempotency.claim(self.owner, self.key, request=request)

    def claim_async(self, request: Mapping[str, Any]) -> AbstractAsyncContextManager[Claim]:
        """Claim the request from a handler that runs in the event loop."""
        return self.idempotency.claim_async(self.owner, self.key, request=request)


def read_idempotency_key(request: Request) -> str | None:
    """Return the caller's `Idempotency-Key`, None without one.

    Raises:
        InvalidFieldsError: the key is empty, too long, not printable ASCII, or sent twice.
    """
    sent = request.headers.getlist(HEADER)
    if not sent:
        return None
    key = sent[0]
    valid = len(sent) == 1 and 0 < len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()
    if not valid:
        message = f"must be one text of 1 to {MAX_KEY_CHARS} printable ASCII characters"
        raise InvalidFieldsError([build_field_error(f"header.{HEADER}", message)])
    return key


def build_actor(context: RequestContext) -> Actor:
    """Return the caller as the audit log names it."""
    return Actor(
        kind="root" if context.caller.kind is CallerKind.ROOT else "org_key",
        id=context.caller.key_id,
        request_id=context.request_id,
        address=context.address,
    )


async def _get_services(request: Request) -> ApiServices:
    return services_of(request)


async def _get_context(request: Request) -> RequestContext:
    return context_of(request.scope)


async def _get_actor(request: Request) -> Actor:
    return build_actor(context_of(request.scope))


async def _get_key_org(request: Request) -> str:
    """Return the org of the key; with authentication off no org is known without a path."""
    org = context_of(request.scope).caller.org_slug
    if org is None:
        raise NotAuthenticatedError("Missing or invalid API key.")
    return org


async def _get_idempotent_call(request: Request) -> IdempotentCall:
    root = context_of(request.scope).caller.kind is CallerKind.ROOT
    owner = PLATFORM if root else await _get_key_org(request)
    return IdempotentCall(services_of(request).idempotency, owner, read_idempotency_key(request))


async def _get_url_builder(request: Request) -> UrlBuilder:
    # Not `base_url`: that is the address of the outer app, without this app's prefix.
    where = request.url
    base = f"{where.scheme}://{where.netloc}{request.scope.get('root_path', '')}"
    return lambda path: f"{base}{path}"


ServicesDep = Annotated[ApiServices, Depends(_get_services)]
ContextDep = Annotated[RequestContext, Depends(_get_context)]
ActorDep = Annotated[Actor, Depends(_get_actor)]
KeyOrgDep = Annotated[str, Depends(_get_key_org)]
IdempotentCallDep = Annotated[IdempotentCall, Depends(_get_idempotent_call)]
UrlBuilderDep = Annotated[UrlBuilder, Depends(_get_url_builder)]
