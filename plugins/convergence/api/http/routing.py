"""The route class of every router: guards a route before anything of its body is read."""

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
from convergence.api.http.guard import admit, require_subscription
from convergence.api.http.models import ONE_LINE
from convergence.api.http.problems import InvalidFieldsError, Problem, fault
from convergence.api.http.responses import idempotency_key
from convergence.api.http.scopes import Scope, WhenSuspended, scope_of, when_suspended
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
_TOLD = {
    Scope.PUBLIC: (429, 503),
    Scope.ADMIN: (400, 401, 403, 404, 409, 413, 415, 422, 429, 503),
}
_TOLD_TO_ORGS = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


class GuardedRoute(APIRoute):
    """A route that lets a request in by its declared scope, and only then reads the body."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        self.scope = scope_of(endpoint)
        self.when_suspended = when_suspended(endpoint)
        options["openapi_extra"] = {
            **(options.get("openapi_extra") or {}),
            "security": _SECURITY.get(self.scope, _ORG_SECURITY),
            "x-scope": self.scope.value,
        }
        given = options.get("responses") or {}
        options["responses"] = {status: own for status, own in given.items() if own is not _PROBLEM}
        super().__init__(path, endpoint, **options)
        # One field for all of them: FastAPI would build the same one for each status of each route.
        statuses: tuple[int | str, ...] = _TOLD.get(self.scope, _TOLD_TO_ORGS)
        told = dict.fromkeys(statuses, _PROBLEM)
        self.response_fields = {**dict.fromkeys(told, _PROBLEM_FIELD), **self.response_fields}
        self.responses = {**told, **self.responses}

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler: guard, body, parameters, endpoint; refusals are taken down."""
        handle = super().get_route_handler()

        async def audited(request: Request) -> Response:
            try:
                return await guarded(request)
            except ConvergenceError as error:
                await services_of(request).refusals.note(request, error, route=self.path)
                raise

        async def guarded(request: Request) -> Response:
            await admit(request, self.scope)
            if self.when_suspended is WhenSuspended.REFUSED:
                await require_subscription(request)
            if request.method == "POST":
                idempotency_key(request)
            _check_path(request)
            self._check_query(request)
            strict = body.StrictRequest(request.scope, request.receive)
            if self.body_field is not None and await strict.body():
                body.check_media_type(request.headers.get("content-type"))
                await strict.json()
            return await handle(strict)

        return audited

    def _check_query(self, request: Request) -> None:
        """Refuse names that the route does not know: a mistyped filter must not be no filter."""
        known = sorted(param.alias for param in self.dependant.query_params)
        faults = [
            fault(f"query.{name[:60]}", "is not a known parameter", given=name, accepted=known)
            for name in request.query_params
            if name not in known
        ]
        faults += [
            fault(f"query.{name}", "holds a control character")
            for name, value in request.query_params.multi_items()
            if name in known and not _LINE.fullmatch(value)
        ]
        if faults:
            raise InvalidFieldsError(faults)


def _check_path(request: Request) -> None:
    """No object has a control character in its name, and not every store can be asked for one."""
    for name, value in request.path_params.items():
        if not _LINE.fullmatch(str(value)):
            raise NotFoundError("a control character in the path", parameter=name)


def guarded_router(*, prefix: str = "", tag: str) -> APIRouter:
    """A router whose routes are all guarded."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=GuardedRoute)


def check_every_route_is_guarded(app: FastAPI) -> None:
    """Refuse an app with a route that nothing guards.

    Raises:
        ConfigurationError: naming the routes.
    """
    bare = [_name(route) for route in app.routes if not isinstance(route, GuardedRoute)]
    if bare:
        raise ConfigurationError("Routes without a guard", routes=bare)


def _name(route: BaseRoute) -> str:
    return str(getattr(route, "path", route))
