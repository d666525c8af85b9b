"""Every POST with an `Idempotency-Key`, twice: one effect and one answer, never a key again."""

from __future__ import annotations

from typing import Any

import pytest

from convergence.api.http.scopes import Scope
from support.api.cases import CASES
from support.api.populated import PopulatedApi
from support.api.routes import ROUTES, name_route

ROUTES_BY_NAME = {name_route(route): route for route in ROUTES}
POSTS = [one for one in CASES if one.startswith("POST ")]


@pytest.mark.parametrize("route_name", POSTS)
def test_a_repeated_post_is_answered_as_the_first(
    populated_api: PopulatedApi, route_name: str
) -> None:
    route, case = ROUTES_BY_NAME[route_name], CASES[route_name]
    headers = populated_api.keys["root" if route.scope is Scope.ADMIN else "own"]
    # An organization has two keys at most, and rotating acme's has made two.
    one = populated_api.globex if route_name.endswith("/api-keys") else populated_api.acme
    path = case.path(route.path, one)
    sent: dict[str, Any] = {"headers": {**headers, "Idempotency-Key": f"again {route_name}"}}
    if case.body is not None:
        sent["json"] = case.body
    first, again = (populated_api.client.post(path, **sent) for _ in range(2))
    assert first.status_code == case.own[0], first.text
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    told = {name: value for name, value in first.json().items() if name != "api_key"}
    assert (again.status_code, again.json()) == (first.status_code, told)
