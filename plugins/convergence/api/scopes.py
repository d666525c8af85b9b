"""What a route may ask of its caller; every route declares exactly one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from convergence.errors import ConfigurationError

_ATTRIBUTE = "convergence_scope"
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


def needs(scope: Scope) -> Callable[[Endpoint], Endpoint]:
    """Declare a route's scope; goes below the router's decorator."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _ATTRIBUTE, scope)
        return endpoint

    return declare


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
