"""The route class of every router: it checks the caller before it reads the body."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.utils import create_model_field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from convergence.api.http import body
from convergence.api.http.dependencies import read_idempotency_key
from convergence.api.http.guard import authorize_request, require_subscription
from convergence.api.http.models import ONE_LINE
from convergence.api.http.problems import InvalidFieldsError, Problem, build_field_error
from convergence.api.http.scopes import Scope, WhenSuspended, get_scope, get_when_suspended
from convergence.api.http.services import services_of
from convergence.errors import ConfigurationError, ConvergenceError, NotFoundError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_LINE = re.compile(ONE_LINE)
_SECURITY: dict[Scope, list[dict[str, list[str]]]] = {
    Scope.PUBLIC: [],
    Scope.ADMIN: [{"RootKey": []}, {"AdminKey": []}],
}
_ORG_SECURITY: list[dict[str, list[str]]] = [{"OrgKey": []}]
_PROBLEM: dict[str, Any] = {"model": Problem, "description": "A problem document."}
_PROBLEM_FIELD = create_model_field("Problem", Problem, mode="serialization")
_STATUSES = {
    Scope.PUBLIC: (429, 503),
    Scope.ADMIN: (400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
}
_ORG_STATUSES = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


class GuardedRoute(APIRoute):
    """A route that checks the caller by its declared scope before it reads the body."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.scope = get_scope(endpoint)
        self.when_suspended = get_when_suspended(endpoint)
        options["openapi_extra"] = {
            **(options.get("openapi_extra") or {}),
            "security": _SECURITY.get(self.scope, _ORG_SECURITY),
            "x-scope": self.scope.value,
        }
        declared = options.get("responses") or {}
        options["responses"] = {
            status: response for status, response in declared.items() if response is not _PROBLEM
        }
        super().__init__(path, endpoint, **options)
        # One field for all statuses: FastAPI would build one for each status of each route.
        statuses: tuple[int | str, ...] = _STATUSES.get(self.scope, _ORG_STATUSES)
        problems = dict.fromkeys(statuses, _PROBLEM)
        self.response_fields = {**dict.fromkeys(statuses, _PROBLEM_FIELD), **self.response_fields}
        self.responses = {**problems, **self.responses}

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler: audit, guard, parameters, body, endpoint."""
        handle = super().get_route_handler()

        async def audited(request: Request) -> Response:
            try:
                return await guarded(request)
            except ConvergenceError as error:
                await services_of(request).denied_requests.record(request, error, route=self.path)
                raise

        async def guarded(request: Request) -> Response:
            await authorize_request(request, self.scope)
            if self.when_suspended is WhenSuspended.DENIED:
                await require_subscription(request)
            if request.method == "POST":
                read_idempotency_key(request)
            _check_path(request)
            self._check_query(request)
            strict = body.StrictRequest(request.scope, request.receive)
            if self.body_field is not None and await strict.body():
                body.check_media_type(request.headers.get("content-type"))
                await strict.json()
            return await handle(strict)

        return audited

    def _check_query(self, request: Request) -> None:
        """Reject unknown names: a mistyped filter must not be ignored."""
        known = sorted(param.alias for param in self.dependant.query_params)
        errors = [
            build_field_error(
                f"query.{name[:60]}", "is not a known parameter", value=name, accepted=known
            )
            for name in request.query_params
            if name not in known
        ]
        errors += [
            build_field_error(f"query.{name}", "must not contain a control character")
            for name, value in request.query_params.multi_items()
            if name in known and not _LINE.fullmatch(value)
        ]
        if errors:
            raise InvalidFieldsError(errors)


def _check_path(request: Request) -> None:
    """Reject control characters: no name has one, and not every store accepts one."""
    for name, value in request.path_params.items():
        if not _LINE.fullmatch(str(value)):
            raise NotFoundError("a control character in the path", parameter=name)


def guarded_router(*, prefix: str = "", tag: str) -> APIRouter:
    """Return a router whose routes are all guarded."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=GuardedRoute)


def check_every_route_is_guarded(app: FastAPI) -> None:
    """Reject an app with an unguarded route.

    Raises:
        ConfigurationError: naming the routes.
    """
    unguarded = [_get_path(route) for route in app.routes if not isinstance(route, GuardedRoute)]
    if unguarded:
        raise ConfigurationError("Routes without a guard", routes=unguarded)


def _get_path(route: BaseRoute) -> str:
    return str(getattr(route, "path", route))
