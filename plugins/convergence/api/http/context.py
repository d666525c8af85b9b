"""What is known about one request while it is served: its id, its caller, its answer headers."""

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
    """Which key opened the request."""

    ANONYMOUS = "anonymous"
    ROOT = "root"
    ORG = "org"


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    Attributes:
        kind: which key was shown.
        org_slug: the key's org; None for the root key and for nobody.
        key_id: the key's public id, as audit rows name it; never the key.
        scopes: what an org key may do.
    """

    kind: CallerKind = CallerKind.ANONYMOUS
    org_slug: str | None = None
    key_id: str = "anonymous"
    scopes: frozenset[str] = frozenset()


@dataclass
class RequestContext:
    """One request's facts, shared by the middleware, the guard and the handlers."""

    request_id: str
    caller: Caller = field(default_factory=Caller)
    auth_disabled: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    address: str | None = None


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)


def new_request_id() -> str:
    """A fresh id, for a request that brought none of its own."""
    return f"req_{secrets.token_hex(12)}"


def accepted_request_id(offered: str | None) -> str:
    """The id a caller offered when it is harmless to log, a new one otherwise."""
    return offered if offered and _REQUEST_ID.fullmatch(offered) else new_request_id()


def attach(scope: AsgiScope, context: RequestContext) -> None:
    """Remember the context in the ASGI scope, where every layer below finds it."""
    scope[_KEY] = context


def context_of(scope: AsgiScope) -> RequestContext:
    """The request's context; a fresh one when the middleware did not run."""
    found = scope.get(_KEY)
    if isinstance(found, RequestContext):
        return found
    context = RequestContext(new_request_id())
    attach(scope, context)
    return context
