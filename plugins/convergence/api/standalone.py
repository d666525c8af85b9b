"""The app as a service of its own: mounted where Airflow would mount it, the probe at the root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from convergence.api.app import PREFIX, create_app
from convergence.api.http.services import Services
from convergence.settings import Settings

_PROBE = "/health"


def create_alone(settings: Settings | None = None, services: Services | None = None) -> Starlette:
    """The app under `/api/v1`, and `GET /health` at the root for who probes there.

    Raises:
        SettingsError: the environment is wrong, or production refuses it.
    """
    api = create_app(settings, services)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with api.router.lifespan_context(api):
            yield

    app = Starlette(routes=[Mount(PREFIX, app=api)], lifespan=lifespan)
    # A mount does not match every path: one with a line feed in it is none of its own.
    app.router.default = _ProbeOnly(api)
    return app


class _ProbeOnly:
    """The app at the root, where every path but the probe's leads nowhere."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != _PROBE:
            scope = {**scope, "path": "/-", "raw_path": b"/-"}
        await self._app(scope, receive, send)
