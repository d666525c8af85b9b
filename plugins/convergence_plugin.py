"""Airflow's way to Convergence: mounts the HTTP API in the API server.

Airflow imports this file in every task process too, so nothing but Airflow's base class is
imported here: the API is built when the API server asks for it.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from fastapi import FastAPI

PREFIX = "/api/v1"


class ConvergencePlugin(AirflowPlugin):
    """Registers the API under `/api/v1`."""

    name = "convergence"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # a list to Airflow
        """The app; a wrong environment keeps the API server from starting, saying why."""
        return [{"app": _app(), "url_prefix": PREFIX, "name": "Convergence"}]


@cache
def _app() -> FastAPI:
    from airflow.configuration import conf

    from convergence.api.app import create_app
    from convergence.api.http.server_proxies import check_server
    from convergence.settings import read_settings

    settings = read_settings()
    server_type = conf.get("api", "server_type", fallback="uvicorn")
    check_server(settings, server_type=server_type, arguments=sys.argv)
    if settings.airflow_api_url is None:
        local_url = f"http://127.0.0.1:{conf.getint('api', 'port')}"
        settings = settings.model_copy(update={"airflow_api_url": local_url})
    return create_app(settings)
