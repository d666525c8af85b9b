"""The routes of the app, for tests that are made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from convergence.api.app import create_app
from convergence.api.http.routing import GuardedRoute
from support.api.env import ApiEnv, InMemoryServices, make_settings

PATH_VALUES = {"asset": "swagger-ui.css",
          "provider": "openai", "domain": "cost", "pipeline": "usage_cost", "run_id": "run_x",
          "operation_id": "bootstrap__x", "key_id": "key_x", "model_id": "gpt-5",
          "plan_name": "chatgpt_business"}  # fmt: skip


def list_routes() -> list[GuardedRoute]:
    """Return the routes of the app; they are the same with all settings."""
    app = create_app(services=InMemoryServices(make_settings(Path()), ApiEnv(*[None] * 4)))  # type: ignore[arg-type]  # only its routes are looked at
    return [route for route in app.routes if isinstance(route, GuardedRoute)]


ROUTES = list_routes()


def name_route(route: APIRoute) -> str:
    return f"{next(iter(route.methods))} {route.path}"


def is_problem(answer: Any, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["request_id"] == answer.headers["X-Request-ID"]
    return (answer.status_code, body["status"], body["code"]) == (status, status, code)


def is_refusal(answer: Any, status: int, code: str) -> bool:
    body = answer.json()
    return bool(
        answer.status_code == body["status"] == status
        and body["code"] == code
        and answer.headers["content-type"] == "application/problem+json"
        and body["request_id"] == answer.headers["X-Request-ID"]
    )


ROUTES_BY_NAME = {name_route(route): route for route in ROUTES}
