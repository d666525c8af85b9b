"""Scopes of the callers; every route declares exactly one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from convergence.errors import ConfigurationError

_ATTRIBUTE = "convergence_scope"
_SUSPENDED = "convergence_when_suspended"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Scope(StrEnum):
    """PUBLIC needs no key, ADMIN the root key, every other scope an org key that has it."""

    PUBLIC = "public"
    ADMIN = "admin"
    PIPELINES_READ = "pipelines:read"
    PIPELINES_RUN = "pipelines:run"
    INTEGRATIONS_READ = "integrations:read"
    INTEGRATIONS_WRITE = "integrations:write"
    COSTS_READ = "costs:read"

    @property
    def for_orgs(self) -> bool:
        """Whether org keys can have the scope."""
        return self not in {Scope.PUBLIC, Scope.ADMIN}

    @property
    def writes(self) -> bool:
        """Whether the scope allows an org to change data."""
        return self in {Scope.PIPELINES_RUN, Scope.INTEGRATIONS_WRITE}


class WhenSuspended(StrEnum):
    """Behaviours of a route for an org without an active subscription.

    DENIED: the guard denies the request. DENIED_BY_GATE: the gate denies it, which the endpoint
    calls and which checks the provider's integration in the same query. SERVED: the route serves
    the org like any other.
    """

    DENIED = "denied"
    DENIED_BY_GATE = "denied_by_gate"
    SERVED = "served"


def require_scope(
    scope: Scope, *, when_suspended: WhenSuspended | None = None
) -> Callable[[Endpoint], Endpoint]:
    """Declare a route's scope; place this decorator below the router's.

    Args:
        scope: the scope that the caller's key must have.
        when_suspended: by default, writing scopes deny a suspended org and others serve it.
    """
    default = WhenSuspended.DENIED if scope.writes else WhenSuspended.SERVED

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, scope)
        setattr(endpoint, _SUSPENDED, when_suspended or default)
        return endpoint

    return declare


def get_when_suspended(endpoint: Callable[..., Any]) -> WhenSuspended:
    """Return how the route of this endpoint serves a suspended org."""
    return WhenSuspended(getattr(endpoint, _SUSPENDED, WhenSuspended.DENIED))


def get_scope(endpoint: Callable[..., Any]) -> Scope:
    """Return the scope that a route declares.

    Raises:
        ConfigurationError: the route declares none, so the app must not start.
    """
    scope = getattr(endpoint, _ATTRIBUTE, None)
    if isinstance(scope, Scope):
        return scope
    raise ConfigurationError("A route declares no scope", route=endpoint.__qualname__)


def list_org_scopes() -> tuple[str, ...]:
    """Return every scope that an organization's key can have; new keys have all of them."""
    return tuple(scope.value for scope in Scope if scope.for_orgs)
