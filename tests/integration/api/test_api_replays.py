"""Every POST with an `Idempotency-Key`, twice: one effect and one answer, never a key again."""

from __future__ import annotations

from typing import Any

import pytest

from convergence.api.http.scopes import Scope
from integration.api.cases import CASES
from integration.api.town import Town
from unit.api.test_api_access import ROUTES, name

BY_NAME = {name(route): route for route in ROUTES}
POSTS = [one for one in CASES if one.startswith("POST ")]


@pytest.mark.parametrize("route_name", POSTS)
def test_a_repeated_post_is_answered_as_the_first(town: Town, route_name: str) -> None:
    route, case = BY_NAME[route_name], CASES[route_name]
    headers = town.keys["root" if route.scope is Scope.ADMIN else "own"]
    # An organization has two keys at most, and rotating acme's has made two.
    one = town.globex if route_name.endswith("/api-keys") else town.acme
    path = case.path(route.path, one)
    sent: dict[str, Any] = {"headers": {**headers, "Idempotency-Key": f"again {route_name}"}}
    if case.body is not None:
        sent["json"] = case.body
    first, again = (town.client.post(path, **sent) for _ in range(2))
    assert first.status_code == case.own[0], first.text
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    told = {name: value for name, value in first.json().items() if name != "api_key"}
    assert (again.status_code, again.json()) == (first.status_code, told)
