"""What a route may ask of its caller; every route declares exactly one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from convergence.errors import ConfigurationError

_ATTRIBUTE = "convergence_scope"
_SUSPENDED = "convergence_when_suspended"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Scope(StrEnum):
    """PUBLIC needs no key, ADMIN the root key, every other an org key that has it."""

    PUBLIC = "public"
    ADMIN = "admin"
    PIPELINES_READ = "pipelines:read"
    PIPELINES_RUN = "pipelines:run"
    INTEGRATIONS_READ = "integrations:read"
    INTEGRATIONS_WRITE = "integrations:write"
    COSTS_READ = "costs:read"

    @property
    def for_orgs(self) -> bool:
        """Whether an org key opens it."""
        return self not in {Scope.PUBLIC, Scope.ADMIN}

    @property
    def writes(self) -> bool:
        """Whether an org changes something through it."""
        return self in {Scope.PIPELINES_RUN, Scope.INTEGRATIONS_WRITE}


class WhenSuspended(StrEnum):
    """How a route serves an org without an active subscription.

    REFUSED: the guard refuses it. REFUSED_BY_GATE: the endpoint requires the gate, which checks the
    provider's integration in the same query. SERVED: the route serves it as any other org.
    """

    REFUSED = "refused"
    REFUSED_BY_GATE = "refused_by_gate"
    SERVED = "served"


def needs(
    scope: Scope, *, when_suspended: WhenSuspended | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Declare a route's scope; goes below the router's decorator.

    Args:
        scope: that the caller's key must have.
        when_suspended: by default a writing scope refuses a suspended org and others serve it.
    """
    default = WhenSuspended.REFUSED if scope.writes else WhenSuspended.SERVED

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, scope)
        setattr(endpoint, _SUSPENDED, when_suspended or default)
        return endpoint

    return declare


def when_suspended(endpoint: Callable[..., Any]) -> WhenSuspended:
    """Return how the route of this endpoint serves a suspended org."""
    return WhenSuspended(getattr(endpoint, _SUSPENDED, WhenSuspended.REFUSED))


def scope_of(endpoint: Callable[..., Any]) -> Scope:
    """The scope that a route declared.

    Raises:
        ConfigurationError: it declared none, so the app must not start.
    """
    scope = getattr(endpoint, _ATTRIBUTE, None)
    if isinstance(scope, Scope):
        return scope
    raise ConfigurationError("A route declares no scope", route=endpoint.__qualname__)


def org_scopes() -> tuple[str, ...]:
    """Every scope that an organization's key can have, which a new one has."""
    return tuple(scope.value for scope in Scope if scope.for_orgs)
