"""Apps for tests: building one takes longer than most tests have questions for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI

from convergence.api.app import create_app
from convergence.api.http.services import ApiServices
from convergence.api.platform.readiness import Readiness

_BUILT: dict[tuple[object, ...], FastAPI] = {}


@contextmanager
def borrow_app(services: ApiServices) -> Iterator[FastAPI]:
    """The app of these services, built once for all settings that build it alike.

    One borrower at a time; the routes that a test adds go when it gives the app back.
    """
    settings = services.settings
    alike = (settings.enable_api_docs, settings.disable_auth, *settings.cors_origins)
    if alike not in _BUILT:
        _BUILT[alike] = create_app(services=services)
    app = _BUILT[alike]
    app.state.services = services
    app.state.readiness = Readiness(services)
    routes = list(app.router.routes)
    try:
        yield app
    finally:
        app.router.routes[:] = routes
