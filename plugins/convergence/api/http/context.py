"""The context of one request while it is served: its id, its caller, its response headers."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.types import Scope as AsgiScope

_KEY = "convergence.request"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,128}")


class CallerKind(StrEnum):
    """Kinds of key that authenticated a request."""

    ANONYMOUS = "anonymous"
    ROOT = "root"
    ORG = "org"


@dataclass(frozen=True)
class Caller:
    """The sender of a request.

    Attributes:
        kind: kind of the key.
        org_slug: org of the key; None for the root key and without a key.
        key_id: the key's public id, as audit rows name it; never the key.
        scopes: scopes of an org key.
    """

    kind: CallerKind = CallerKind.ANONYMOUS
    org_slug: str | None = None
    key_id: str = "anonymous"
    scopes: frozenset[str] = frozenset()


@dataclass
class RequestContext:
    """Details of one request, shared by the middleware, the guard and the handlers."""

    request_id: str
    caller: Caller = field(default_factory=Caller)
    auth_disabled: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    address: str | None = None


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)


def new_request_id() -> str:
    """Return a new request id."""
    return f"req_{secrets.token_hex(12)}"


def accept_request_id(sent: str | None) -> str:
    """Return the caller's request id when it is safe to log, a new one otherwise."""
    return sent if sent and _REQUEST_ID.fullmatch(sent) else new_request_id()


def attach_context(scope: AsgiScope, context: RequestContext) -> None:
    """Store the context in the ASGI scope."""
    scope[_KEY] = context


def context_of(scope: AsgiScope) -> RequestContext:
    """Return the request's context; a new one when the middleware did not run."""
    found = scope.get(_KEY)
    if isinstance(found, RequestContext):
        return found
    context = RequestContext(new_request_id())
    attach_context(scope, context)
    return context
