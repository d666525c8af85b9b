"""A suspended organization over the whole route table: it reads as before and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from convergence.api.http.routing import GuardedRoute
from integration.api.cases import CASES
from integration.api.conftest import ROOT
from integration.api.test_api_matrix import BY_NAME, is_refusal, portrait
from integration.api.town import Town

pytestmark = pytest.mark.timeout(300)

# They end a run and remove a secret: SECURITY.md names both.
SERVED = {
    "POST /pipelines/runs/{org}/{run_id}/cancel",
    "DELETE /integrations/{org}/{provider}",
}
ROUTES = {name: BY_NAME[name] for name in CASES if BY_NAME[name].scope.for_orgs}
READING = {name: route for name, route in ROUTES.items() if name.startswith("GET ")}
WRITING = {name: route for name, route in ROUTES.items() if name not in READING}


def set_subscription(town: Town, status: str) -> None:
    path = f"/organizations/{town.acme.slug}/subscription"
    response = town.client.request("PUT", path, headers=ROOT, json={"status": status})
    assert response.status_code == 200, response.text


def read(town: Town, route: GuardedRoute) -> tuple[int, Any]:
    response = town.ask(route, "own")
    return response.status_code, {**response.json(), "request_id": ""}


def test_a_suspended_org_reads_as_before_and_changes_nothing(town: Town) -> None:
    before = {name: read(town, route) for name, route in READING.items()}
    assert {status for status, _ in before.values()} == {200}
    set_subscription(town, "SUSPENDED")
    state = portrait(town)

    assert {name: read(town, route) for name, route in READING.items()} == before

    responses = {
        name: town.ask(route, "own") for name, route in WRITING.items() if name not in SERVED
    }
    assert [
        (name, response.status_code, response.text)
        for name, response in responses.items()
        if not is_refusal(response, 403, "subscription_inactive")
    ] == []
    assert portrait(town) == state
    for name in SERVED:
        assert town.ask(WRITING[name], "own").status_code == 200, name

    # A neighbour is not concerned, and payment opens everything again.
    price = WRITING["PUT /integrations/{org}/{provider}/pricing/{model_id:path}"]
    assert town.ask(price, "other", org=town.globex.slug).status_code == 200
    set_subscription(town, "ACTIVE")
    assert town.ask(price, "own").status_code == 200


def test_the_table_has_every_kind_of_route() -> None:
    assert len(READING) >= 9
    assert len(WRITING) >= 16
    assert set(WRITING) > SERVED
