"""The app factory. The app is mounted under `/api/v1`, in Airflow's API server or standalone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from convergence.api.costs import routes as cost_routes
from convergence.api.http import document, problems
from convergence.api.http.guard import ORG_HEADER, ROOT_HEADERS
from convergence.api.http.idempotency import HEADER as IDEMPOTENCY_HEADER
from convergence.api.http.middleware import RequestContextMiddleware
from convergence.api.http.routing import check_every_route_is_guarded
from convergence.api.http.services import ApiServices
from convergence.api.integrations import routes as integration_routes
from convergence.api.organizations import (
    key_routes,
    onboarding_routes,
    quota_routes,
    subscription_routes,
)
from convergence.api.organizations import routes as organization_routes
from convergence.api.platform import admin_routes, background_tasks, docs_routes, health_routes
from convergence.api.platform.readiness import Readiness
from convergence.api.rates import routes as rate_routes
from convergence.api.reconciliation import routes as reconciliation_routes
from convergence.api.runs import pipeline_routes
from convergence.api.runs import routes as run_routes
from convergence.api.schedules import config_routes
from convergence.api.schedules import routes as schedule_routes
from convergence.errors import SettingsError
from convergence.settings import Environment, Settings, read_settings

log = logging.getLogger(__name__)

PREFIX = "/api/v1"
_EXPOSED_HEADERS = (
    "X-Request-ID",
    "Idempotency-Replayed",
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
)


def create_app(settings: Settings | None = None, services: ApiServices | None = None) -> FastAPI:
    """Build the app; services are connected at their first use.

    Raises:
        SettingsError: the environment is invalid, or authentication is disabled outside of
            development.
        ConfigurationError: a route declares no scope.
    """
    settings = settings or (services.settings if services else read_settings())
    if settings.disable_auth and settings.environment is not Environment.DEVELOPMENT:
        raise SettingsError("DISABLE_AUTH is for development only", errors=["DISABLE_AUTH: true"])
    services = services or ApiServices(settings)
    app = FastAPI(
        title=document.TITLE,
        version=document.VERSION,
        description=document.DESCRIPTION,
        openapi_tags=document.TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.readiness = Readiness(services)
    # Order matters: a literal path comes before one with a parameter in its place.
    for router in (
        health_routes.router,
        admin_routes.router,
        onboarding_routes.router,
        key_routes.router,
        subscription_routes.router,
        organization_routes.router,
        integration_routes.router,
        rate_routes.price_router,
        rate_routes.plan_router,
        pipeline_routes.router,
        config_routes.router,
        run_routes.router,
        schedule_routes.router,
        quota_routes.router,
        cost_routes.router,
        reconciliation_routes.router,
    ):
        app.include_router(router)
    if settings.enable_api_docs:
        app.include_router(docs_routes.router)
    problems.install_error_handlers(app)
    _add_middleware(app, settings)
    document.install_document(app)
    check_every_route_is_guarded(app)
    return app


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=[
                *ROOT_HEADERS, ORG_HEADER, IDEMPOTENCY_HEADER, "Content-Type", "X-Request-ID",
            ],
            expose_headers=list(_EXPOSED_HEADERS),
            max_age=600,
        )  # fmt: skip
    app.add_middleware(
        RequestContextMiddleware,
        auth_disabled=settings.disable_auth,
        trusted_proxies=settings.trusted_proxies,
        server_trusted=settings.server_trusted_proxies,
    )
    if settings.disable_auth:
        log.warning("auth=disabled: every request from this machine is trusted")


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: ApiServices = app.state.services
    tasks = [asyncio.create_task(task) for task in background_tasks.list_tasks(services)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        await services.close()
