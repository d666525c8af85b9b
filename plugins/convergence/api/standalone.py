"""The standalone app: mounted at the same prefix as in Airflow, with the probe at the root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from convergence.api.app import PREFIX, create_app
from convergence.api.http.services import ApiServices
from convergence.settings import Settings

_PROBE = "/health"


def create_standalone(
    settings: Settings | None = None, services: ApiServices | None = None
) -> Starlette:
    """Build the app under `/api/v1`, with `GET /health` at the root too.

    Raises:
        SettingsError: the environment is invalid.
    """
    api = create_app(settings, services)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with api.router.lifespan_context(api):
            yield

    app = Starlette(routes=[Mount(PREFIX, app=api)], lifespan=lifespan)
    # A mount does not match every path, such as one with a line feed.
    app.router.default = _ProbeOnly(api)
    return app


class _ProbeOnly:
    """The app at the root: every path except the probe's gets a 404."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != _PROBE:
            scope = {**scope, "path": "/-", "raw_path": b"/-"}
        await self._app(scope, receive, send)
